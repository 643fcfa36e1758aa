//! One request: counted, its site found by its login, answered as the site does, by the method's family, unless it
//! was told to go wrong.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::Value;

use super::faults::Fault;
use super::fields::Fields;
use super::site::{Desk, OpenSite};
use super::{Profile, State, account, lists, notifications, orders, payments, refunds};

/// No request of hookline is longer.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What every method answers, with status 200.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Value>,
    success: bool,
    message: Option<String>,
}

impl Envelope {
    /// Done.
    pub(super) const fn done() -> Self {
        Self { model: None, success: true, message: None }
    }

    /// Done, with words.
    pub(super) fn said(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::done() }
    }

    /// What was asked for.
    pub(super) fn found(model: &impl Serialize) -> Self {
        // Structs of texts, numbers and flags always serialize.
        Self { model: serde_json::to_value(model).ok(), ..Self::done() }
    }

    /// Refused, for this reason.
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self { success: false, ..Self::said(reason) }
    }

    /// What was done, or why not.
    fn of(result: anyhow::Result<Self>) -> Self {
        result.unwrap_or_else(|error| Self::refused(error.to_string()))
    }
}

/// A request whose caller is known to be the site's merchant.
struct Call {
    /// `/payments/get`, without what may follow.
    path: String,
    /// `X-Request-ID`.
    request_id: Option<String>,
    fields: Fields,
}

/// Answers a request and counts it. An error closes the connection without an answer.
pub(super) async fn answer(
    state: &Arc<State>,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    state.count(head.uri.path());
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| anyhow!(error))?.to_bytes();
    let Some((public_id, password)) = credentials(&head.headers) else {
        return Ok(unauthorized());
    };
    match state.at(&public_id, |site| site.profile.clone()).ok() {
        None => return Ok(unauthorized()),
        Some(Profile::Unavailable) => return Ok(empty(StatusCode::SERVICE_UNAVAILABLE)),
        Some(Profile::Hang(time)) => {
            tokio::time::sleep(time).await;
            bail!("the site hangs");
        }
        Some(Profile::Redirect(location)) => return redirect(&location),
        Some(Profile::Garbage) => return Ok(garbage()),
        Some(Profile::Healthy) => {}
    }
    if !state.at(&public_id, |site| site.has_password(&password))? {
        return Ok(unauthorized());
    }
    if head.method != Method::POST {
        return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Ok(fields) = Fields::read(&head.headers, &body) else {
        return Ok(empty(StatusCode::BAD_REQUEST));
    };
    let request_id = head.headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let call = Call { path: head.uri.path().to_owned(), request_id: request_id.map(str::to_owned), fields };
    answer_call(state, &public_id, &call).await
}

/// Takes one of the site's places for as long as it lasts.
async fn answer_call(
    state: &Arc<State>,
    public_id: &str,
    call: &Call,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let places = state.at(public_id, |site| Arc::clone(&site.places))?;
    let Ok(_place) = places.try_acquire() else { return Ok(empty(StatusCode::TOO_MANY_REQUESTS)) };
    let fault = state.at(public_id, |site| site.next_fault(&call.path))?;
    let after = match fault {
        Some(Fault::TooMany) => return Ok(empty(StatusCode::TOO_MANY_REQUESTS)),
        Some(Fault::Unavailable) => return Ok(empty(StatusCode::SERVICE_UNAVAILABLE)),
        Some(Fault::Refuse(reason)) => return Ok(json(&Envelope::refused(reason))),
        Some(Fault::DoneThenSilent) => After::Silence,
        Some(Fault::DoneThen503) => After::Unavailable,
        Some(Fault::WithoutEnvelope) => After::ModelAlone,
        Some(Fault::Hang(time)) => After::Answer(time),
        None => After::Answer(Duration::ZERO),
    };
    let Some(envelope) = state.at(public_id, |site| process(site, call, &state.desk))? else {
        return Ok(empty(StatusCode::NOT_FOUND));
    };
    match after {
        After::Silence => bail!("the site falls silent"),
        After::Unavailable => Ok(empty(StatusCode::SERVICE_UNAVAILABLE)),
        After::ModelAlone => Ok(json(&serde_json::json!({ "Model": envelope.model }))),
        After::Answer(time) => {
            tokio::time::sleep(time).await;
            Ok(json(&envelope))
        }
    }
}

/// What follows a request that was processed.
enum After {
    Answer(Duration),
    ModelAlone,
    Unavailable,
    Silence,
}

/// The answer to a call; that of the hour before, if it was made then and done. `None` where there is no such method.
fn process(site: &mut OpenSite, call: &Call, desk: &Desk) -> Option<Envelope> {
    let now = desk.now();
    let key = call.request_id.clone().map(|id| (call.path.clone(), id));
    if let Some(answered) = key.as_ref().and_then(|key| site.repeats.answered(key, now)) {
        return Some(answered);
    }
    let segments: Vec<&str> = call.path.split('/').skip(1).collect();
    let envelope = by_method(site, &segments, &call.fields, desk)?;
    if let Some(key) = key.filter(|_| envelope.success) {
        site.repeats.keep(key, envelope.clone(), now);
    }
    Some(envelope)
}

/// `None` where there is no such method.
fn by_method(site: &mut OpenSite, segments: &[&str], fields: &Fields, desk: &Desk) -> Option<Envelope> {
    let result = match segments {
        ["test"] => Ok(account::test()),
        ["payments", "get"] => lists::get(site, fields),
        ["payments", "find"] => lists::find(site, fields),
        ["v2", "payments", "find"] => lists::find_any(site, fields),
        ["payments", "list"] => lists::list_day(site, fields),
        ["v2", "payments", "list"] => lists::list(site, fields),
        ["payments", "confirm"] => payments::confirm(site, fields, desk),
        ["payments", "void"] => payments::void(site, fields, desk),
        ["payments", "refund"] => refunds::refund(site, fields, desk),
        ["orders", "create"] => orders::create(site, fields, desk),
        ["orders", "cancel"] => orders::cancel(site, fields),
        ["site", "notifications", kind, "get"] => Ok(notifications::get(site, kind)),
        ["site", "notifications", kind, "update"] => Ok(notifications::update(site, kind, fields)),
        _ => return None,
    };
    Some(Envelope::of(result))
}

/// HTTP Basic: login and password.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (login, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((login.to_owned(), password.to_owned()))
}

fn json(answer: &impl Serialize) -> Response<Full<Bytes>> {
    // As in `found`.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    with_type("application/json; charset=utf-8", body.into())
}

fn garbage() -> Response<Full<Bytes>> {
    let page = "<!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>";
    with_type("text/html", Bytes::from_static(page.as_bytes()))
}

fn with_type(content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut response = empty(StatusCode::UNAUTHORIZED);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    response
}

fn redirect(location: &str) -> anyhow::Result<Response<Full<Bytes>>> {
    let mut response = empty(StatusCode::FOUND);
    response.headers_mut().insert(header::LOCATION, location.parse()?);
    Ok(response)
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_basic_says() {
        for (value, expected) in [
            ("Basic cGtfMTpzM2NyZXQ=", Some(("pk_1", "s3cret"))),
            ("basic cGtfMTpzM2NyZXQ=", Some(("pk_1", "s3cret"))),
            ("Basic cGtfMTphOmI=", Some(("pk_1", "a:b"))),
            ("Bearer cGtfMTpzM2NyZXQ=", None),
            ("Basic cGtfMQ==", None),
            ("Basic !", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
            let read = credentials(&headers);
            let read = read.as_ref().map(|(login, password)| (login.as_str(), password.as_str()));
            assert_eq!(read, expected, "{value}");
        }
        assert_eq!(credentials(&HeaderMap::new()), None);
    }

    #[test]
    fn an_envelope_is_as_documented() {
        let model = serde_json::json!({ "IsEnabled": true });
        for (envelope, expected) in [
            (Envelope::done(), r#"{"Success":true,"Message":null}"#),
            (Envelope::said("1"), r#"{"Success":true,"Message":"1"}"#),
            (Envelope::refused("no"), r#"{"Success":false,"Message":"no"}"#),
            (Envelope::found(&model), r#"{"Model":{"IsEnabled":true},"Success":true,"Message":null}"#),
        ] {
            assert_eq!(serde_json::to_string(&envelope).expect("a text"), expected);
        }
    }
}
