//! The life of a webhook: limited, paused, moved, disabled, enabled, deleted; and what is told of it.

use std::num::NonZeroU32;
use std::time::Duration;

use hookline_dispatcher::{ByHandError, EndpointState, Settings};
use hookline_event_log::JournalName;
use hookline_schemas::delivery::DisabledReason;
use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::signature::WebhookKey;
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::Webhook;

use crate::receiver::{Answer, OK, Receiver, status};
use crate::surroundings::{
    NEW_SECRET, append, event, open, records, secret, settings, start, until, webhook,
};

/// What came to a path, by the transactions' numbers.
fn transactions(receiver: &Receiver, path: &str) -> Vec<u64> {
    let transaction = |received: &crate::receiver::Received| {
        let body: serde_json::Value = serde_json::from_slice(&received.body).expect("JSON");
        let number = body.pointer("/data/gatewayTransactionId").and_then(|number| number.as_str());
        number.and_then(|number| number.parse().ok())
    };
    receiver.received(path).iter().filter_map(transaction).collect()
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_and_the_organization_is_told() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/gone", &[status(410), OK]);
    let operators =
        Webhook { events: vec![EventType::WebhookDisabled], ..webhook("wh_ops", &receiver.url("/ops")) };
    let webhooks = || vec![webhook("wh_gone", &receiver.url("/gone")), operators.clone()];
    let running = start(open(directory.path()), settings(), webhooks());
    append(&running.log, &event(1)).await;
    until("told", async || receiver.received("/ops").len() == 1).await;
    let told = receiver.received("/ops").remove(0);
    let told: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(told.get("type"), Some(&serde_json::json!("WEBHOOK_DISABLED")));
    assert_eq!(told.get("data"), Some(&serde_json::json!({ "webhookId": "wh_gone", "reason": "gone" })));
    append(&running.log, &event(2)).await;
    until("parked", async || records(&running.log, JournalName::Parked).await.len() == 2).await;
    running.stop().await.expect("drained");

    // It stays so, and is told once.
    let running = start(open(directory.path()), settings(), webhooks());
    append(&running.log, &event(3)).await;
    until("parked", async || running.status("wh_gone").await.backlog == 3).await;
    let now = running.status("wh_gone").await;
    assert_eq!(now.state, EndpointState::Disabled);
    assert_eq!(now.disabled.map(|disabled| disabled.reason), Some(DisabledReason::Gone));
    assert_eq!((receiver.received("/gone").len(), receiver.received("/ops").len()), (1, 1));
    assert!(records(&running.log, JournalName::DeadLetters).await.is_empty(), "the endpoint, not the event");

    running.endpoints().enable(WebhookId::new("wh_gone")).await.expect("enabled");
    until("caught up", async || running.status("wh_gone").await.backlog == 0).await;
    assert_eq!(transactions(&receiver, "/gone"), [1, 1, 2, 3]);
    assert_eq!(running.status("wh_gone").await.state, EndpointState::Active);
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn an_endpoint_that_is_down_for_too_long_is_disabled_and_a_probe_by_hand_enables_it() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/wh", &[status(500)]);
    let disable_after = Duration::from_millis(400);
    let running = start(
        open(directory.path()),
        Settings { disable_after, ..settings() },
        vec![webhook("wh", &receiver.url("/wh"))],
    );
    for transaction in 1..6 {
        append(&running.log, &event(transaction)).await;
    }
    until("disabled", async || running.status("wh").await.state == EndpointState::Disabled).await;
    assert_eq!(running.status("wh").await.disabled.map(|one| one.reason), Some(DisabledReason::Failing));
    let requests = receiver.received("/wh").len();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.received("/wh").len(), requests, "nothing is sent any more");

    let probe = async || running.endpoints().probe(WebhookId::new("wh")).await;
    probe().await.expect("probed");
    until("probed", async || receiver.received("/wh").len() == requests + 1).await;
    assert_eq!(running.status("wh").await.state, EndpointState::Disabled, "it failed");
    receiver.script("/wh", &[OK]);
    probe().await.expect("probed");
    until("caught up", async || running.status("wh").await.backlog == 0).await;
    assert_eq!(running.status("wh").await.state, EndpointState::Active);
    assert_eq!(probe().await, Err(ByHandError::NothingWaits));
    assert_eq!(running.endpoints().enable(WebhookId::new("wh_2")).await, Err(ByHandError::Unknown));
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn a_paused_webhook_waits_and_one_that_moved_is_tried_at_once() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/old", &[status(500)]);
    let hours = vec![Duration::from_secs(3_600)];
    let settings = Settings { probe_schedule: hours.clone(), retry_schedule: hours, ..settings() };
    let old = || webhook("wh", &receiver.url("/old"));
    let running = start(open(directory.path()), settings, vec![Webhook { paused: true, ..old() }]);
    for transaction in 1..9 {
        append(&running.log, &event(transaction)).await;
    }
    until("parked", async || running.status("wh").await.backlog == 8).await;
    assert_eq!(running.status("wh").await.state, EndpointState::Paused);
    assert_eq!(running.endpoints().probe(WebhookId::new("wh")).await, Err(ByHandError::Paused));
    running.change_webhooks(vec![old()]);
    let is_idle = async || running.status("wh").await.in_flight == 0;
    until("tried", async || !receiver.received("/old").is_empty() && is_idle().await).await;
    assert_eq!(running.status("wh").await.state, EndpointState::Down);
    assert_eq!(transactions(&receiver, "/old"), [1], "one probe");

    // Its secret changes with its URL.
    let (key, keys) = (WebhookKey::new(&secret(NEW_SECRET)), WebhookKeys::new(&secret(NEW_SECRET)));
    running.change_webhooks(vec![Webhook { keys, ..webhook("wh", &receiver.url("/new")) }]);
    until("caught up", async || running.status("wh").await.backlog == 0).await;
    let sent = transactions(&receiver, "/new");
    assert_eq!((sent.first(), sent.len()), (Some(&1), 8), "the head alone, then the others: {sent:?}");
    for received in receiver.received("/new") {
        assert!(key.verifies_izi(&received.body, received.header("x-izi-signature")));
    }
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn a_url_that_changed_while_nothing_ran_is_tried_at_once() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/old", &[status(410)]);
    let running = start(open(directory.path()), settings(), vec![webhook("wh", &receiver.url("/old"))]);
    append(&running.log, &event(1)).await;
    until("disabled", async || running.status("wh").await.state == EndpointState::Disabled).await;
    running.stop().await.expect("drained");
    let running = start(open(directory.path()), settings(), vec![webhook("wh", &receiver.url("/new"))]);
    until("delivered", async || transactions(&receiver, "/new") == [1]).await;
    until("active", async || running.status("wh").await.state == EndpointState::Active).await;
    running.stop().await.expect("drained");
}

/// The usual reason to move a URL is that the old one is about to go.
#[tokio::test]
async fn what_the_old_url_answers_late_says_nothing_of_the_new_one() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/old", &[Answer { after: Duration::from_millis(400), ..status(410) }]);
    let running = start(open(directory.path()), settings(), vec![webhook("wh", &receiver.url("/old"))]);
    append(&running.log, &event(1)).await;
    until("asked", async || !receiver.received("/old").is_empty()).await;
    running.change_webhooks(vec![webhook("wh", &receiver.url("/new"))]);
    until("delivered", async || transactions(&receiver, "/new") == [1]).await;
    assert_eq!(running.status("wh").await.state, EndpointState::Active);
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn a_webhook_that_comes_again_under_its_id_is_not_disabled() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/wh", &[status(410), OK]);
    let known = || vec![webhook("wh", &receiver.url("/wh"))];
    let running = start(open(directory.path()), settings(), known());
    append(&running.log, &event(1)).await;
    until("disabled", async || running.status("wh").await.state == EndpointState::Disabled).await;
    // What is on its way into the lane would find the webhook that has come again.
    until("parked", async || running.status("wh").await.backlog == 1).await;
    running.change_webhooks(Vec::new());
    let is_known = async || !running.endpoints().statuses().await.expect("it runs").is_empty();
    until("deleted", async || !is_known().await).await;
    running.change_webhooks(known());
    append(&running.log, &event(2)).await;
    until("delivered", async || transactions(&receiver, "/wh") == [1, 2]).await;
    assert_eq!(running.status("wh").await.state, EndpointState::Active);
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn the_backlog_of_a_deleted_webhook_is_cancelled_at_once() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let paused = || Webhook { paused: true, ..webhook("wh", &receiver.url("/wh")) };
    let running = start(open(directory.path()), settings(), vec![paused()]);
    for transaction in 1..301 {
        append(&running.log, &event(transaction)).await;
    }
    until("parked", async || running.status("wh").await.backlog == 300).await;
    running.change_webhooks(Vec::new());
    let is_known = async || !running.endpoints().statuses().await.expect("it runs").is_empty();
    until("deleted", async || !is_known().await).await;
    // It comes again under its id: what waited does not.
    running.change_webhooks(vec![webhook("wh", &receiver.url("/wh"))]);
    until("known", is_known).await;
    let now = running.status("wh").await;
    assert_eq!((now.backlog, now.cancelled, now.parked, now.delivered), (0, 300, 300, 0));
    append(&running.log, &event(301)).await;
    until("delivered", async || transactions(&receiver, "/wh") == [301]).await;
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn what_became_of_a_lane_is_known_after_a_restart() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/wh", &[status(413), status(500), status(500), status(500)]);
    let hours = vec![Duration::from_secs(3_600)];
    let settings = || Settings { probe_schedule: hours.clone(), breaker_failures: 1, ..settings() };
    let webhooks = || vec![webhook("wh", &receiver.url("/wh"))];
    let running = start(open(directory.path()), settings(), webhooks());
    append(&running.log, &event(0)).await;
    until("dead", async || running.status("wh").await.dead == 1).await;
    for transaction in 1..101 {
        append(&running.log, &event(transaction)).await;
    }
    until("parked", async || running.status("wh").await.backlog == 100).await;
    running.kill().await;

    // What was parked and not committed yet is parked again.
    let running = start(open(directory.path()), settings(), webhooks());
    until("resumed", async || running.status("wh").await.backlog >= 100).await;
    receiver.script("/wh", &[OK]);
    running.endpoints().probe(WebhookId::new("wh")).await.expect("probed");
    until("caught up", async || running.status("wh").await.backlog == 0).await;
    running.stop().await.expect("drained");

    let running = start(open(directory.path()), settings(), webhooks());
    until("resumed", async || running.status("wh").await.is_ours).await;
    let now = running.status("wh").await;
    let parked = records(&running.log, JournalName::Parked).await.len() as u64;
    assert!(parked >= 100);
    assert_eq!((now.parked, now.delivered, now.backlog, now.expired), (parked, parked, 0, 0));
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn what_went_out_directly_is_known_after_a_restart() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let webhooks = || vec![webhook("wh_1", &receiver.url("/1")), webhook("wh_2", &receiver.url("/2"))];
    let running = start(open(directory.path()), settings(), webhooks());
    for transaction in [1, 2, 2, 3] {
        append(&running.log, &event(transaction)).await;
    }
    until("delivered", async || running.status("wh_2").await.delivered == 3).await;
    running.stop().await.expect("drained");

    let running = start(open(directory.path()), settings(), webhooks());
    append(&running.log, &event(4)).await;
    for webhook in ["wh_1", "wh_2"] {
        until("delivered", async || running.status(webhook).await.delivered == 4).await;
        let now = running.status(webhook).await;
        assert_eq!((now.planned, now.repeated, now.parked, now.dead), (4, 1, 0, 0));
    }
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn no_webhook_gets_more_than_its_rate() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/wh", &[Answer { after: Duration::from_millis(1), ..OK }]);
    let limited = Webhook { rate_limit: NonZeroU32::new(20), ..webhook("wh", &receiver.url("/wh")) };
    let others = webhook("wh_others", &receiver.url("/others"));
    let running = start(open(directory.path()), settings(), vec![limited, others]);
    let clock = Clock::start();
    for transaction in 0..62 {
        append(&running.log, &event(transaction)).await;
    }
    until("the others", async || receiver.received("/others").len() == 62).await;
    assert!(receiver.received("/wh").len() < 62, "nobody waits for the one that is limited");
    until("delivered", async || running.status("wh").await.delivered == 62).await;
    // Two at once, then twenty a second.
    assert!(clock.elapsed() >= Duration::from_secs(3), "{:?}", clock.elapsed());
    // The first two are on their way together, and any may come before the other.
    let mut delivered = transactions(&receiver, "/wh");
    delivered.sort_unstable();
    assert_eq!(delivered, (0..62).collect::<Vec<_>>());
    running.stop().await.expect("drained");
}
