//! The lines of the log about deliveries: one for each that is settled, and nothing in them that must not be there.

#![expect(clippy::indexing_slicing, reason = "a panic fails the test")]

use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};

use serde_json::Value;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::receiver::{OK, Receiver, status};
use crate::surroundings::{append, event, open, settings, start, until, webhook};

static TOLD: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Writes down what every test of this binary is told.
#[derive(Clone, Copy)]
struct Ears;

impl Write for Ears {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        TOLD.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Ears {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let filter = EnvFilter::new("hookline::delivery=debug");
        tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(Ears).init();
    });
}

/// What was told of this webhook.
fn told_of(webhook: &str) -> Vec<Value> {
    let told = String::from_utf8(TOLD.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("UTF-8");
    let lines = told.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["fields"]["webhook"] == webhook).collect()
}

/// The outcome, the attempts, the status and the reason of a line.
fn summary(line: &Value) -> (String, Option<u64>, Option<u64>, Option<String>) {
    let text = |name: &str| line["fields"][name].as_str().map(str::to_owned);
    let number = |name: &str| line["fields"][name].as_u64();
    (text("outcome").expect("an outcome"), number("attempts"), number("status"), text("reason"))
}

#[tokio::test]
async fn a_settled_delivery_is_one_line_that_says_how_it_ended_and_betrays_nothing() {
    listen();
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/told_fails", &[status(500), status(503), OK]);
    receiver.script("/told_never", &[status(413)]);
    let name = |path: &str| receiver.url(&format!("/{path}?key=hidden"));
    let webhooks = ["told_once", "told_fails", "told_never"].map(|id| webhook(id, &name(id)));
    let running = start(open(directory.path()), settings(), webhooks.to_vec());
    append(&running.log, &event(7)).await;
    let settled = |webhook: &str| told_of(webhook).iter().any(|line| line["level"] == "INFO");
    until("told", async || ["told_once", "told_fails", "told_never"].into_iter().all(settled)).await;
    running.stop().await.expect("drained");

    let summaries = |webhook: &str| told_of(webhook).iter().map(summary).collect::<Vec<_>>();
    let line = |outcome: &str, attempts, status, reason: Option<&str>| {
        (outcome.to_owned(), Some(attempts), status, reason.map(str::to_owned))
    };
    assert_eq!(summaries("told_once"), [line("delivered", 1, Some(200), None)]);
    let parked_first = [line("parked", 2, Some(503), Some("failed")), line("delivered", 3, Some(200), None)];
    assert_eq!(summaries("told_fails"), parked_first);
    assert_eq!(summaries("told_never"), [line("dead", 1, Some(413), Some("rejected"))]);
    let line = told_of("told_once").remove(0);
    assert_eq!((line["target"].as_str(), line["level"].as_str()), (Some("hookline::delivery"), Some("INFO")));
    assert_eq!(told_of("told_fails").first().map(|line| line["level"] == "DEBUG"), Some(true));
    assert_eq!(line["fields"]["event"].as_str(), Some(event(7).id.as_str()));
    assert_eq!(line["fields"]["type"].as_str(), Some("PAYMENT_RECEIVED"));
    assert!(line["fields"]["age_ms"].as_u64().is_some_and(|age| age < 60_000), "{line}");
    for line in ["told_once", "told_fails", "told_never"].into_iter().flat_map(told_of) {
        let line = line.to_string();
        assert!(!line.contains("hidden") && !line.contains("127.0.0.1") && !line.contains("10.00"), "{line}");
    }
}

#[tokio::test]
async fn the_backlog_of_a_webhook_that_is_deleted_is_one_line_with_a_count() {
    listen();
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let mut paused = webhook("told_deleted", &receiver.url("/told_deleted"));
    paused.paused = true;
    let running = start(open(directory.path()), settings(), vec![paused]);
    for transaction in 0..5 {
        append(&running.log, &event(transaction)).await;
    }
    let backlog = async || running.status("told_deleted").await.backlog == 5;
    until("parked", backlog).await;
    running.change_webhooks(Vec::new());
    let cancelled =
        || told_of("told_deleted").into_iter().filter(|line| line["level"] == "INFO").collect::<Vec<_>>();
    until("told", async || !cancelled().is_empty()).await;
    running.stop().await.expect("drained");
    let [line] = &cancelled()[..] else { panic!("{:?}", cancelled()) };
    assert_eq!(line["fields"]["outcome"].as_str(), Some("cancelled"));
    assert_eq!(line["fields"]["deliveries"].as_u64(), Some(5));
}
