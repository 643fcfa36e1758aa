//! What leaves the dispatcher, and what it makes of the answers.

use std::time::Duration;

use hookline_event_log::JournalName;
use hookline_schemas::delivery::{AttemptRecord, DeadLetter, DeadReason, FailureReason, decode};
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::signature::{StandardHeaders, WebhookKey};
use hookline_schemas::time::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::receiver::{Answer, OK, Receiver, status};
use crate::surroundings::{SECRET, append, event, open, records, settings, start, until, webhook};

#[tokio::test]
async fn a_delivery_carries_both_signatures_and_the_events_id() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let running = start(open(directory.path()), settings(), vec![webhook("wh", &receiver.url("/wh"))]);
    append(&running.log, &event(1)).await;
    until("delivered", async || receiver.received("/wh").len() == 1).await;

    let received = receiver.received("/wh").remove(0);
    let key = WebhookKey::new(&WebhookSecret::parse(SECRET).expect("a secret"));
    assert!(key.verifies_izi(&received.body, received.header("x-izi-signature")));
    let headers = StandardHeaders {
        id: Some(received.header("webhook-id")),
        timestamp: Some(received.header("webhook-timestamp")),
        signature: Some(received.header("webhook-signature")),
    };
    let now = Clock::start().wall().unix_seconds();
    assert_eq!(key.verify_standard(&headers, &received.body, now, 300), Ok(()));
    let body: serde_json::Value = serde_json::from_slice(&received.body).expect("JSON");
    assert_eq!(body.get("id").and_then(|id| id.as_str()), Some(event(1).id.as_str()));
    assert_eq!(received.header("webhook-id"), event(1).id.as_str());
    assert_eq!(received.header("content-type"), "application/json");
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn a_repeated_event_goes_out_once() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let webhooks = || vec![webhook("wh", &receiver.url("/wh"))];
    let running = start(open(directory.path()), settings(), webhooks());
    append(&running.log, &event(1)).await;
    append(&running.log, &event(1)).await;
    append(&running.log, &event(2)).await;
    until("delivered", async || receiver.received("/wh").len() == 2).await;
    running.stop().await.expect("drained");

    // The memory is filled again from the log.
    let running = start(open(directory.path()), settings(), webhooks());
    append(&running.log, &event(1)).await;
    append(&running.log, &event(3)).await;
    until("delivered", async || receiver.received("/wh").len() == 3).await;
    running.stop().await.expect("drained");
    assert_eq!(receiver.received("/wh").len(), 3);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let away = Answer { location: Some("/elsewhere"), ..status(302) };
    receiver.script("/wh", &[away, away, OK]);
    let running = start(open(directory.path()), settings(), vec![webhook("wh", &receiver.url("/wh"))]);
    append(&running.log, &event(1)).await;
    until("delivered", async || receiver.received("/wh").len() == 3).await;
    assert!(receiver.received("/elsewhere").is_empty());
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn every_attempt_is_recorded_with_its_number_and_outcome() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/wh", &[status(500), status(503), OK]);
    let running = start(open(directory.path()), settings(), vec![webhook("wh", &receiver.url("/wh"))]);
    append(&running.log, &event(1)).await;
    until("recorded", async || records(&running.log, JournalName::Attempts).await.len() == 3).await;
    let attempts = records(&running.log, JournalName::Attempts).await;
    let attempts = attempts.iter().map(|record| decode::<AttemptRecord>(record).expect("an attempt"));
    let told: Vec<_> = attempts.map(|attempt| (attempt.number, attempt.outcome.failure())).collect();
    let failed = |status| Some(FailureReason::Status(status));
    assert_eq!(told, [(1, failed(500)), (2, failed(503)), (3, None)]);
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn what_a_receiver_will_never_take_is_a_dead_letter_and_concerns_nobody_else() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/never", &[status(413)]);
    let webhooks = vec![webhook("wh_never", &receiver.url("/never")), webhook("wh", &receiver.url("/wh"))];
    let running = start(open(directory.path()), settings(), webhooks);
    append(&running.log, &event(1)).await;
    until("delivered", async || receiver.received("/wh").len() == 1).await;
    until("buried", async || records(&running.log, JournalName::DeadLetters).await.len() == 1).await;
    let letter: DeadLetter =
        decode(&records(&running.log, JournalName::DeadLetters).await.remove(0)).expect("a letter");
    assert_eq!((letter.webhook.as_str(), letter.reason, letter.tries), ("wh_never", DeadReason::Rejected, 1));
    assert_eq!(letter.last_failure, Some(FailureReason::Status(413)));
    running.stop().await.expect("drained");
    assert_eq!(receiver.received("/never").len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_parked_and_concerns_nobody_else() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/hangs", &[Answer { after: Duration::from_secs(60), ..OK }]);
    let webhooks = vec![webhook("wh_hangs", &receiver.url("/hangs")), webhook("wh", &receiver.url("/wh"))];
    let running = start(open(directory.path()), settings(), webhooks);
    for transaction in 0..50 {
        append(&running.log, &event(transaction)).await;
    }
    until("delivered", async || receiver.received("/wh").len() == 50).await;
    until("parked", async || records(&running.log, JournalName::Parked).await.len() == 50).await;
    assert!(receiver.received("/hangs").len() <= 5, "{}", receiver.received("/hangs").len());
    // The attempts in flight outlast the drain; nothing of them is lost, which is what the error says.
    assert!(running.stop().await.is_err());
}

#[tokio::test]
async fn a_late_2xx_strikes_the_parked_copy() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/wh", &[Answer { after: Duration::from_millis(1_600), ..OK }, OK]);
    let running = start(open(directory.path()), settings(), vec![webhook("wh", &receiver.url("/wh"))]);
    append(&running.log, &event(1)).await;
    until("parked", async || records(&running.log, JournalName::Parked).await.len() == 1).await;
    // The copy may go out once the attempt's deadline (3 s) has passed.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    append(&running.log, &event(2)).await;
    until("the next", async || receiver.received("/wh").len() == 2).await;
    running.stop().await.expect("drained");
    let ids: Vec<_> =
        receiver.received("/wh").iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert_eq!(ids, [event(1).id.to_string(), event(2).id.to_string()]);
}

#[tokio::test]
async fn no_connection_is_made_to_an_address_that_is_not_permitted() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let guarded = hookline_dispatcher::Settings { allow_addresses: Vec::new(), ..settings() };
    let urls = [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://[::1]:{port}/"),
    ];
    let webhooks =
        urls.iter().enumerate().map(|(number, url)| webhook(&format!("wh_{number}"), url)).collect();
    let running = start(open(directory.path()), guarded, webhooks);
    append(&running.log, &event(1)).await;
    // A blocked address is retryable, because resolvers err: the deliveries wait in their lanes.
    until("parked", async || records(&running.log, JournalName::Parked).await.len() == 3).await;
    let connection = tokio::time::timeout(Duration::from_millis(500), listener.accept()).await;
    assert!(connection.is_err(), "somebody connected");
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn a_2xx_counts_even_if_the_body_breaks_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut requests = 0;
        while let Ok(Ok((mut stream, _))) =
            tokio::time::timeout(Duration::from_secs(2), listener.accept()).await
        {
            requests += 1;
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        }
        requests
    });
    let running = start(open(directory.path()), settings(), vec![webhook("wh", &url)]);
    append(&running.log, &event(1)).await;
    let requests = serving.join_next().await.expect("a task").expect("no panic");
    assert_eq!(requests, 1);
    assert!(records(&running.log, JournalName::Parked).await.is_empty());
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn an_endpoint_is_left_alone_for_as_long_as_it_asks() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/wh", &[Answer { retry_after: Some("2"), ..status(429) }, OK]);
    let running = start(open(directory.path()), settings(), vec![webhook("wh", &receiver.url("/wh"))]);
    let clock = Clock::start();
    append(&running.log, &event(1)).await;
    append(&running.log, &event(2)).await;
    until("both", async || receiver.received("/wh").len() >= 3).await;
    assert!(clock.elapsed() >= Duration::from_secs(2), "{:?}", clock.elapsed());
    running.stop().await.expect("drained");
}
