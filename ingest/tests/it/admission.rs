//! Admission: what there is no room for is refused at once, and what is in flight goes on.

use std::time::Duration;

use bytesize::ByteSize;
use hookline_ingest::Settings;
use hookline_schemas::notification::NotificationType::{Check, Pay};
use hookline_schemas::time::Clock;

use crate::client::{Connection, Post};
use crate::harness::{ACCEPTED, Edge, NOT_ACCEPTED, Setup};
use crate::notifications::{check, pay};

/// While a body of this type is in flight there is no room for another of it, but there is for the other
/// type; once it is there, it is accepted, and there is room again.
async fn assert_one_at_a_time(edge: &Edge, slow: &Post, other: &Post) {
    let mut first = Connection::open(edge.address).await;
    first.begin(slow).await;

    let clock = Clock::start();
    let answer = edge.post(slow).await;
    assert!(clock.elapsed() < Duration::from_secs(3), "it waited {:?}", clock.elapsed());
    assert_eq!(answer.parts(), (503, NOT_ACCEPTED));
    assert_eq!(answer.header("Retry-After"), Some("5"));
    assert_eq!(answer.header("Connection"), Some("close"));
    assert_eq!(edge.answered("overloaded"), 1);
    assert_eq!(edge.post(other).await.parts(), (200, ACCEPTED), "Checks have permits of their own");

    first.send(slow.body()).await;
    assert_eq!(first.answer().await.parts(), (200, ACCEPTED));
    assert!(edge.answers_checks().await);
    edge.assert_goes_on().await;
}

async fn assert_one_of_each_at_a_time(change: impl Fn(&mut Settings)) {
    let check = Post::notification(Check, &check());
    let pay = Post::notification(Pay, &pay("1"));
    for (slow, other) in [(&pay, &check), (&check, &pay)] {
        assert_one_at_a_time(&Edge::start(Setup::with_settings(&change)).await, slow, other).await;
    }
}

#[tokio::test]
async fn a_request_too_many_is_refused_at_once() {
    assert_one_of_each_at_a_time(|settings| settings.max_requests = 2).await;
}

#[tokio::test]
async fn bytes_too_many_are_refused_at_once() {
    // Either body takes the 1 KiB that there is for its type.
    assert_one_of_each_at_a_time(|settings| {
        settings.max_body = ByteSize::kib(1);
        settings.max_request_bytes = ByteSize::kib(2);
    })
    .await;
}

#[tokio::test]
async fn a_refused_request_gives_its_permit_back() {
    let edge = Edge::start(Setup::with_settings(|settings| settings.max_requests = 1)).await;
    for _ in 0..3 {
        let unsigned = Post::notification(Pay, &pay("1")).header("Content-HMAC", "");
        let forged = Post::form("/payments/cloudpayments/gw_club/pay", pay("1").form()).signed("a guess");
        assert_eq!(edge.post(&forged).await.status, 401);
        let mut broken = Connection::open(edge.address).await;
        broken.send(&unsigned.head_of_length(10)).await;
        broken.end_sending().await;
        assert_eq!(broken.answer().await.status, 400);
    }
    edge.assert_goes_on().await;
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_is_closed() {
    let edge = Edge::start(Setup::with_settings(|settings| settings.max_connections = 1)).await;
    let post = Post::notification(Check, &check());
    let mut first = Connection::open(edge.address).await;
    assert_eq!(first.post(&post).await.parts(), (200, ACCEPTED));
    let mut second = Connection::open(edge.address).await;
    second.send(&post.bytes()).await;
    let early = second.answer_within(Duration::from_millis(100)).await;
    assert!(early.is_none(), "{early:?}");
    assert_eq!(first.post(&post).await.parts(), (200, ACCEPTED));
    drop(first);
    assert_eq!(second.answer().await.parts(), (200, ACCEPTED));
}
