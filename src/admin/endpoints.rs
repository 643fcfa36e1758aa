//! `/webhooks`: how the endpoints do, and what an operator wants of one of them.

use hookline_dispatcher::{ByHandError, Endpoints};
use hookline_schemas::ids::WebhookId;
use http::{Method, StatusCode};

use super::Answer;

/// The path under which all of this is.
pub(super) const PATH: &str = "/webhooks";

/// Answers a request for this path, or one below it.
pub(super) async fn answer(endpoints: Option<&Endpoints>, method: &Method, path: &str) -> Answer {
    let Some(endpoints) = endpoints else {
        return refusal(StatusCode::NOT_FOUND, "this process has no dispatcher");
    };
    let segments: Vec<_> = path.strip_prefix(PATH).unwrap_or_default().split('/').skip(1).collect();
    let wanted = match (method, segments.as_slice()) {
        (&Method::GET | &Method::HEAD, []) => return statuses(endpoints, None).await,
        (&Method::GET | &Method::HEAD, [webhook]) => return statuses(endpoints, Some(webhook)).await,
        (&Method::POST, [webhook, "probe"]) => endpoints.probe(WebhookId::new(webhook)).await,
        (&Method::POST, [webhook, "enable"]) => endpoints.enable(WebhookId::new(webhook)).await,
        (_, [] | [_]) => return refusal(StatusCode::METHOD_NOT_ALLOWED, "GET only"),
        (_, [_, "probe" | "enable"]) => return refusal(StatusCode::METHOD_NOT_ALLOWED, "POST only"),
        _ => return refusal(StatusCode::NOT_FOUND, "there are probe and enable"),
    };
    match wanted {
        Ok(()) => Answer::json(StatusCode::ACCEPTED, &serde_json::json!({ "accepted": true })),
        Err(error) => refusal(status_of(error), &error.to_string()),
    }
}

async fn statuses(endpoints: &Endpoints, webhook: Option<&str>) -> Answer {
    let statuses = match endpoints.statuses().await {
        Ok(statuses) => statuses,
        Err(error) => return refusal(status_of(error), &error.to_string()),
    };
    let Some(webhook) = webhook else { return Answer::json(StatusCode::OK, &statuses) };
    match statuses.iter().find(|status| status.id.as_str() == webhook) {
        Some(status) => Answer::json(StatusCode::OK, status),
        None => refusal(StatusCode::NOT_FOUND, &ByHandError::Unknown.to_string()),
    }
}

const fn status_of(error: ByHandError) -> StatusCode {
    match error {
        ByHandError::Unknown => StatusCode::NOT_FOUND,
        ByHandError::NotOurs | ByHandError::Paused | ByHandError::NothingWaits => StatusCode::CONFLICT,
        ByHandError::NotRunning => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refusal(status: StatusCode, reason: &str) -> Answer {
    Answer::json(status, &serde_json::json!({ "error": reason }))
}
