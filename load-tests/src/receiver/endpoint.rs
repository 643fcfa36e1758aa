//! One request at one endpoint: read, judged, answered, recorded.

use std::sync::Mutex;

use anyhow::{anyhow, bail};
use bytes::Bytes;
use hookline_schemas::ids::{EventId, WebhookId};
use hookline_schemas::payload::Payload;
use hookline_schemas::signature::{StandardHeaders, WebhookKey};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use rand::Rng;

use super::{Delivery, Endpoint, Fault, Profile, State, foreign};
use crate::serve::locked;

/// The tolerance that Standard Webhooks recommends, in seconds.
const TOLERANCE_SECONDS: u64 = 300;
/// No payload is longer.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// An endpoint with its key prepared.
#[derive(Debug)]
pub(super) struct OpenEndpoint {
    webhook: WebhookId,
    key: WebhookKey,
    pub(super) profile: Mutex<Profile>,
}

impl From<Endpoint> for OpenEndpoint {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            key: WebhookKey::new(&endpoint.secret),
            webhook: endpoint.webhook,
            profile: Mutex::new(endpoint.profile),
        }
    }
}

/// Answers a request and records it. An error closes the connection without an answer.
pub(super) async fn answer(
    state: &State,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Empty<Bytes>>> {
    let received_at = state.clock.elapsed();
    let (head, body) = request.into_parts();
    let Some(endpoint) = state.endpoints.get(head.uri.path()) else {
        return Ok(empty(StatusCode::NOT_FOUND));
    };
    if head.method != http::Method::POST {
        return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| anyhow!(error))?.to_bytes();
    let profile = *locked(&endpoint.profile);
    if let Profile::Slow(delay) | Profile::Hang(delay) = profile {
        // Whoever hangs up meanwhile was not answered: this future is dropped, and nothing is recorded.
        tokio::time::sleep(delay).await;
    }
    let mut delivery = if profile == Profile::Foreign {
        unjudged(foreign::transaction(&body))
    } else {
        judge(&endpoint.key, &head.headers, &body, state.clock.wall().unix_seconds())
    };
    let status = match (profile, delivery.fault) {
        (Profile::Down | Profile::Hang(_), _) => None,
        (_, Some(Fault::IziSignature | Fault::StandardSignature)) => Some(StatusCode::UNAUTHORIZED),
        (_, Some(Fault::NotAPayload | Fault::IdMismatch)) => Some(StatusCode::BAD_REQUEST),
        (Profile::Flaky { per_cent }, None) if refuses(state, per_cent) => {
            Some(StatusCode::INTERNAL_SERVER_ERROR)
        }
        (Profile::Status(status), None) => Some(StatusCode::from_u16(status)?),
        (Profile::Healthy | Profile::Foreign | Profile::Flaky { .. } | Profile::Slow(_), None) => {
            Some(StatusCode::OK)
        }
    };
    delivery.webhook = endpoint.webhook.clone();
    delivery.received_at = received_at;
    delivery.answered_at = state.clock.elapsed();
    delivery.status = status.map_or(0, |status| status.as_u16());
    state.record(delivery);
    match status {
        Some(status) => Ok(empty(status)),
        None => bail!("the endpoint is down"),
    }
}

fn refuses(state: &State, per_cent: u8) -> bool {
    locked(&state.random).random_range(0..100) < per_cent
}

/// What an integrator finds out about a request before it believes a word of it.
fn judge(key: &WebhookKey, headers: &HeaderMap, body: &[u8], now: u64) -> Delivery {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let standard = StandardHeaders {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
    };
    let event_id = EventId::new(standard.id.unwrap_or_default());
    let payload: Result<Payload<serde_json::Value>, _> = serde_json::from_slice(body);
    let fault = if !header("x-izi-signature").is_some_and(|signature| key.verifies_izi(body, signature)) {
        Some(Fault::IziSignature)
    } else if key.verify_standard(&standard, body, now, TOLERANCE_SECONDS).is_err() {
        Some(Fault::StandardSignature)
    } else {
        match &payload {
            Err(_) => Some(Fault::NotAPayload),
            Ok(payload) if payload.id != event_id => Some(Fault::IdMismatch),
            Ok(_) => None,
        }
    };
    let payload = payload.ok();
    let transaction = payload
        .as_ref()
        .and_then(|payload| payload.data.get("gatewayTransactionId")?.as_str().map(str::to_owned));
    let event_type = payload.map(|payload| payload.event_type);
    Delivery { event_id, event_type, fault, ..unjudged(transaction) }
}

fn unjudged(transaction: Option<String>) -> Delivery {
    Delivery {
        webhook: WebhookId::new(""),
        event_id: EventId::new(""),
        event_type: None,
        transaction,
        received_at: std::time::Duration::ZERO,
        answered_at: std::time::Duration::ZERO,
        fault: None,
        status: 0,
    }
}

fn empty(status: StatusCode) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use hookline_schemas::event::EventType;
    use hookline_schemas::secret::WebhookSecret;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const BODY: &str = r#"{"id":"evt_1","type":"PAYMENT_RECEIVED","timestamp":"2026-05-30T14:32:00Z",
        "clubId":"club_1","data":{"gatewayTransactionId":"7"}}"#;

    fn key(text: &str) -> WebhookKey {
        WebhookKey::new(&WebhookSecret::parse(text).expect("a secret"))
    }

    fn signed(key: &WebhookKey, id: &str, timestamp: u64, body: &str) -> HeaderMap {
        let signatures = key.sign(id, timestamp, body.as_bytes());
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signatures.standard),
            ("x-izi-signature", signatures.izi),
        ] {
            headers.insert(name, value.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn believes_only_what_both_signatures_and_the_id_bear_out() {
        let ours = key("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX");
        let theirs = key("whsec_FxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA");
        let without = |name: &str| {
            let mut headers = signed(&ours, "evt_1", NOW, BODY);
            headers.remove(name);
            headers
        };
        let mixed = |name: &'static str| {
            let mut headers = signed(&ours, "evt_1", NOW, BODY);
            headers.insert(name, signed(&theirs, "evt_1", NOW, BODY)[name].clone());
            headers
        };
        let other_body = BODY.replace("evt_1", "evt_2");
        for (case, headers, body, expected) in [
            ("right", signed(&ours, "evt_1", NOW, BODY), BODY, None),
            ("another key", signed(&theirs, "evt_1", NOW, BODY), BODY, Some(Fault::IziSignature)),
            ("izi by another key", mixed("x-izi-signature"), BODY, Some(Fault::IziSignature)),
            ("izi missing", without("x-izi-signature"), BODY, Some(Fault::IziSignature)),
            ("standard by another key", mixed("webhook-signature"), BODY, Some(Fault::StandardSignature)),
            ("standard missing", without("webhook-signature"), BODY, Some(Fault::StandardSignature)),
            ("too old", signed(&ours, "evt_1", NOW - 301, BODY), BODY, Some(Fault::StandardSignature)),
            ("old", signed(&ours, "evt_1", NOW - 300, BODY), BODY, None),
            ("another body", signed(&ours, "evt_1", NOW, BODY), &other_body, Some(Fault::IziSignature)),
            ("another id", signed(&ours, "evt_1", NOW, &other_body), &other_body, Some(Fault::IdMismatch)),
            ("no payload", signed(&ours, "evt_1", NOW, "{}"), "{}", Some(Fault::NotAPayload)),
        ] {
            assert_eq!(judge(&ours, &headers, body.as_bytes(), NOW).fault, expected, "{case}");
        }
    }

    #[test]
    fn tells_what_the_payload_is_about() {
        let ours = key("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX");
        let delivery = judge(&ours, &signed(&ours, "evt_1", NOW, BODY), BODY.as_bytes(), NOW);
        assert_eq!(delivery.event_id.as_str(), "evt_1");
        assert_eq!(delivery.event_type, Some(EventType::PaymentReceived));
        assert_eq!(delivery.transaction.as_deref(), Some("7"));
    }
}
