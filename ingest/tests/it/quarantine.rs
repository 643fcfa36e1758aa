//! Quarantine: what is verified and not understood is kept sealed before it is answered, once.

use hookline_event_log::JournalName;
use hookline_schemas::delivery::decode;
use hookline_schemas::notification::NotificationType::Pay;
use hookline_schemas::quarantine::{QuarantinedNotification, key_of, place_of};
use hookline_schemas::seal::OpenSealError;

use crate::client::Post;
use crate::harness::{ACCEPTED, Edge, Setup, sealer};
use crate::notifications::{Pairs, pay};

/// A Pay whose status is neither taken nor held.
fn not_understood(transaction: &str) -> Pairs {
    pay(transaction).with("Status", "Pending")
}

#[tokio::test]
async fn what_is_not_understood_is_kept_sealed_for_its_place() {
    let edge = Edge::start(Setup::default()).await;
    let post = Post::notification(Pay, &not_understood("1"));
    assert_eq!(edge.post(&post).await.parts(), (200, ACCEPTED));
    let scratch = edge.close().await;

    let edge = Edge::start_in(scratch, Setup::default()).await;
    let records = edge.records(JournalName::Quarantine).await;
    let [record] = records.as_slice() else { panic!("one record, not {records:?}") };
    let key = key_of(post.body());
    assert_eq!(record.key, key.as_bytes());
    for clear in ["4242", "user+1", "user%2b1", "elsewhere", "TransactionId", "tk_1"] {
        let found = record.value.windows(clear.len()).any(|window| window == clear.as_bytes());
        assert!(!found, "{clear} stands in the record");
    }
    let kept: QuarantinedNotification = decode(&record.value).expect("a quarantined notification");
    assert_eq!((kept.gateway.as_str(), kept.notification, kept.json), ("gw_club", Pay, false));
    assert_eq!(kept.reason, "the status is not known");
    let sealed = kept.decode_sealed().expect("base64");
    assert_eq!(sealer().open(&place_of(&key), &sealed).as_deref(), Ok(post.body()));
    let elsewhere = place_of(&key_of(b"another body"));
    assert_eq!(sealer().open(&elsewhere, &sealed), Err(OpenSealError::Forged));
}

#[tokio::test]
async fn a_repetition_is_answered_and_not_kept_again() {
    let edge = Edge::start(Setup::default()).await;
    let (first, second) = (not_understood("1"), not_understood("2"));
    for (pairs, expected) in [(&first, 1), (&first, 1), (&second, 2), (&first, 2), (&second, 2)] {
        let answer = edge.post(&Post::notification(Pay, pairs)).await;
        assert_eq!(answer.parts(), (200, ACCEPTED));
        assert_eq!(edge.records(JournalName::Quarantine).await.len(), expected);
    }
    assert_eq!(edge.answered("quarantined"), 5);
}
