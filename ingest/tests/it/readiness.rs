//! Before what Check needs has been loaded, everything is to be sent again: missing never means unknown.

use std::time::Duration;

use hookline_schemas::notification::NotificationType::{Check, Pay};

use crate::client::Post;
use crate::gated::GatedLog;
use crate::harness::{DIRECTORY, Edge, NOT_ACCEPTED, Scratch, Setup, eventually};
use crate::notifications::{check, pay};

/// Asked again and again for a while: whatever the edge loads meanwhile, it is not enough.
async fn assert_not_ready(edge: &Edge<GatedLog>) {
    for post in [Post::notification(Check, &check()), Post::notification(Pay, &pay("1"))] {
        for _ in 0..5 {
            let answer = edge.post(&post).await;
            assert_eq!(answer.parts(), (503, NOT_ACCEPTED), "{post:?}");
            assert!(answer.header("Retry-After").is_some());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(!edge.is_ready());
}

#[tokio::test]
async fn everything_is_refused_until_both_tables_are_loaded() {
    let scratch = Scratch::new();
    let log = GatedLog::new(scratch.open_loaded(DIRECTORY).await);
    log.gates.clients.shut();
    log.gates.top_ups.shut();
    let edge = Edge::launch(scratch, log.clone(), Setup::default()).await;
    assert_not_ready(&edge).await;
    log.gates.top_ups.open();
    assert_not_ready(&edge).await;
    log.gates.clients.open();
    eventually("both tables are loaded", || edge.is_ready()).await;
    assert_eq!(edge.answered("not_ready"), 20);
    edge.assert_nothing_appended().await;
    assert!(edge.answers_checks().await);
    edge.assert_goes_on().await;
}
