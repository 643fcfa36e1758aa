//! No answer before the log has acknowledged; whatever the log says, Check goes on.

use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::embedded::EmbeddedLog;
use hookline_event_log::{AppendError, Journal, JournalName, Log, Partition};
use hookline_schemas::notification::NotificationType::Pay;

use crate::client::{Answer, Connection, Post};
use crate::gated::{Failing, GatedLog};
use crate::harness::{ACCEPTED, DIRECTORY, Edge, NOT_ACCEPTED, Scratch, Setup, eventually};
use crate::notifications::pay;

async fn start_gated(setup: Setup) -> Edge<GatedLog> {
    let scratch = Scratch::new();
    let log = GatedLog::new(scratch.open_loaded(DIRECTORY).await);
    let edge = Edge::launch(scratch, log, setup).await;
    edge.wait_until_ready().await;
    edge
}

fn assert_to_be_sent_again(answer: &Answer) {
    assert_eq!(answer.parts(), (503, NOT_ACCEPTED));
    assert_eq!(answer.header("Retry-After"), Some("5"));
}

/// What is appended: a payment, and one that goes to quarantine.
fn appended() -> [Post; 2] {
    [Post::notification(Pay, &pay("1")), Post::notification(Pay, &pay("2").with("Status", "Pending"))]
}

#[tokio::test]
async fn no_answer_leaves_before_the_acknowledgement() {
    let edge = start_gated(Setup::default()).await;
    edge.log.gates.acknowledgements.shut();
    let mut waiting = Vec::new();
    for post in appended() {
        let mut connection = Connection::open(edge.address).await;
        connection.send(&post.bytes()).await;
        waiting.push(connection);
    }
    eventually("both records are in the log", || edge.log.gates.written() == 2).await;
    for connection in &mut waiting {
        let early = connection.answer_within(Duration::from_millis(100)).await;
        assert!(early.is_none(), "{early:?}");
    }
    assert!(edge.answers_checks().await, "Check waits for nobody");

    edge.log.gates.acknowledgements.open();
    for connection in &mut waiting {
        assert_eq!(connection.answer().await.parts(), (200, ACCEPTED));
    }
    assert_eq!((edge.answered("appended"), edge.answered("quarantined")), (1, 1));
}

#[tokio::test]
async fn an_acknowledgement_that_does_not_come_in_time_is_a_refusal() {
    let edge = start_gated(Setup::with_settings(|settings| {
        settings.answer_timeout = Duration::from_millis(100);
    }))
    .await;
    edge.log.gates.acknowledgements.shut();
    for post in appended() {
        assert_to_be_sent_again(&edge.post(&post).await);
    }
    assert_eq!(edge.answered("deadline_passed"), 2);
    assert!(edge.answers_checks().await);
    edge.log.gates.acknowledgements.open();
    for post in appended() {
        assert_eq!(edge.post(&post).await.parts(), (200, ACCEPTED), "it is sent again");
    }
    // The first tries were written all the same: whoever reads them tolerates duplicates.
    assert_eq!(edge.records(JournalName::Events).await.len(), 2);
    assert_eq!(edge.records(JournalName::Quarantine).await.len(), 2);
}

#[tokio::test]
async fn a_log_that_takes_nothing_is_a_refusal_and_check_goes_on() {
    let failures = [
        Failing::Accepting(AppendError::NoSpace),
        Failing::Accepting(AppendError::Closed),
        Failing::Acknowledging(AppendError::NoSpace),
        Failing::Acknowledging(AppendError::Unknown),
    ];
    for failing in failures {
        let edge = start_gated(Setup::default()).await;
        edge.log.gates.fail(Some(failing));
        for post in appended() {
            assert_to_be_sent_again(&edge.post(&post).await);
        }
        assert_eq!(edge.answered("log_not_writable"), 2, "{failing:?}");
        assert!(edge.answers_checks().await, "{failing:?}");
        edge.log.gates.fail(None);
        for post in appended() {
            assert_eq!(edge.post(&post).await.parts(), (200, ACCEPTED), "{failing:?}");
        }
        edge.assert_goes_on().await;
    }
}

/// Appends until nothing fits, with ever smaller records.
async fn fill(log: &EmbeddedLog) {
    let journal = log.journal(JournalName::Events);
    for size in [512 * 1024, 64 * 1024, 8 * 1024, 1024, 1] {
        loop {
            let value = Bytes::from(vec![b'x'; size]);
            let appending = journal.append(Partition(0), Bytes::from_static(b"key"), value).await;
            match appending.expect("the log is open").await {
                Ok(_) => {}
                Err(AppendError::NoSpace) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_full_log_refuses_payments_and_answers_checks() {
    let edge = Edge::start(Setup::default()).await;
    fill(&edge.log).await;
    for post in appended() {
        assert_to_be_sent_again(&edge.post(&post).await);
    }
    assert_eq!(edge.answered("log_not_writable"), 2);
    assert!(edge.answers_checks().await);
    edge.close().await;
}
