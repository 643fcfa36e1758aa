//! What stands in the head of a delivery: the signatures while a secret is rotated, and the webhook's own headers.

use std::time::Duration;

use hookline_dispatcher::{EndpointState, Settings};
use hookline_schemas::custom_headers::CustomHeaders;
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::WebhookKey;
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::Webhook;

use crate::receiver::{Receiver, status};
use crate::surroundings::{NEW_SECRET, SECRET, append, event, open, secret, settings, start, until, webhook};

const HOUR: Duration = Duration::from_secs(3_600);

/// The webhook with a new secret beside the old one until then.
fn rotating(receiver: &Receiver, end: Timestamp) -> Webhook {
    let keys = WebhookKeys::rotating(&secret(NEW_SECRET), &secret(SECRET), end).expect("two secrets");
    Webhook { keys, ..webhook("wh", &receiver.url("/wh")) }
}

#[tokio::test]
async fn a_rotation_begins_and_ends_while_deliveries_go_on() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let (old, new) = (WebhookKey::new(&secret(SECRET)), WebhookKey::new(&secret(NEW_SECRET)));
    let now = Clock::start().wall();
    let running = start(open(directory.path()), settings(), vec![webhook("wh", &receiver.url("/wh"))]);
    for (transaction, change, signs, signs_next, count) in [
        (1, None, &old, None, 1),
        (2, Some(rotating(&receiver, now.after(HOUR))), &old, Some(&new), 2),
        (3, Some(rotating(&receiver, now)), &new, None, 1),
    ] {
        if let Some(webhook) = change {
            // An event may overtake what changes, so the test waits until the other one is there.
            let other = format!("wh_{transaction}");
            let asks_for_nothing =
                Webhook { events: Vec::new(), ..self::webhook(&other, "http://127.0.0.1/") };
            running.change_webhooks(vec![webhook, asks_for_nothing]);
            let statuses = async || running.endpoints().statuses().await.expect("it runs");
            until("changed", async || statuses().await.iter().any(|one| one.id.as_str() == other)).await;
        }
        append(&running.log, &event(transaction)).await;
        let id = event(transaction).id;
        let of_this =
            || receiver.received("/wh").into_iter().find(|one| one.header("webhook-id") == id.as_str());
        until("delivered", async || of_this().is_some()).await;
        let received = of_this().expect("it was delivered");
        assert!(signs.verifies_izi(&received.body, received.header("x-izi-signature")), "{transaction}");
        let next = received.headers.get("x-izi-signature-next").and_then(|value| value.to_str().ok());
        assert_eq!(next.is_some(), signs_next.is_some(), "{transaction}");
        if let (Some(key), Some(next)) = (signs_next, next) {
            assert!(key.verifies_izi(&received.body, next), "{transaction}");
        }
        let signatures: Vec<_> = received.header("webhook-signature").split(' ').collect();
        assert_eq!(signatures.len(), count, "{transaction}: {signatures:?}");
        assert!(signatures.iter().all(|signature| signature.starts_with("v1,")), "{signatures:?}");
    }
    running.stop().await.expect("drained");
    assert_eq!(receiver.received("/wh").len(), 3);
}

#[tokio::test]
async fn a_rotation_leaves_the_lane_of_an_endpoint_that_is_down_alone() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/wh", &[status(500)]);
    let hours = vec![HOUR];
    let settings =
        Settings { probe_schedule: hours.clone(), retry_schedule: hours, breaker_failures: 2, ..settings() };
    let running = start(open(directory.path()), settings, vec![webhook("wh", &receiver.url("/wh"))]);
    for transaction in 1..9 {
        append(&running.log, &event(transaction)).await;
    }
    let is_quiet = async || {
        let now = running.status("wh").await;
        now.state == EndpointState::Down && now.in_flight == 0 && now.backlog == 8
    };
    until("down", is_quiet).await;
    let tried = receiver.received("/wh").len();
    running.change_webhooks(vec![rotating(&receiver, Clock::start().wall().after(HOUR))]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is_quiet().await, "{:?}", running.status("wh").await);
    assert_eq!(receiver.received("/wh").len(), tried, "nothing was tried");
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn the_webhooks_own_headers_go_out_beside_ours() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let (tenant, token) = (Secret::new("club-7"), Secret::new("Bearer s3cret"));
    let headers = CustomHeaders::parse([("X-Tenant", &tenant), ("Authorization", &token)]).expect("headers");
    let with_headers = Webhook { headers, ..webhook("wh", &receiver.url("/wh")) };
    let webhooks = vec![with_headers, webhook("wh_other", &receiver.url("/other"))];
    let running = start(open(directory.path()), settings(), webhooks);
    append(&running.log, &event(1)).await;
    let both = async || !receiver.received("/wh").is_empty() && !receiver.received("/other").is_empty();
    until("delivered", both).await;
    let (received, other) = (receiver.received("/wh").remove(0), receiver.received("/other").remove(0));
    assert_eq!(received.header("x-tenant"), "club-7");
    assert_eq!(received.header("authorization"), "Bearer s3cret");
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("webhook-id"), event(1).id.as_str());
    assert_eq!(received.headers.len(), other.headers.len() + 2, "{other:?}");
    assert_eq!((other.header("x-tenant"), other.header("authorization")), ("", ""));
    running.stop().await.expect("drained");
}
