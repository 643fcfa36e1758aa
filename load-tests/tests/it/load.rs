//! The generator of load against servers that count, and against ones that refuse.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hookline_load_tests::load::{Load, Outcome, Requests, Sender, run};
use hookline_schemas::ids::GatewayId;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use hookline_schemas::time::Clock;

use crate::stub::{Posted, Rule, Stub};

const SECRET: &str = "api-secret";

fn sender() -> Sender {
    Sender {
        gateway_id: GatewayId::new("gw_1"),
        public_id: "pk_1".to_owned(),
        api_secret: Secret::new(SECRET),
    }
}

fn verified(posted: &Posted, _: usize) -> (u16, &'static str) {
    let key = ContentKey::new(&Secret::new(SECRET));
    if key.verifies(&posted.body, posted.header("content-hmac")) {
        (200, r#"{"code":0}"#)
    } else {
        (401, r#"{"code":13}"#)
    }
}

/// What comes of 200 requests over 8 connections.
async fn ask(rule: Rule, per_second: Option<NonZeroU32>) -> (Stub, Outcome) {
    let stub = Stub::start(rule).await;
    let load = Load {
        address: stub.address,
        connections: 8,
        per_second,
        time: Duration::from_secs(20),
        most: 200,
        first: 0,
        core: None,
    };
    let requests = Arc::new(Requests::pays(&sender(), 200));
    let outcome = run(load, requests, Clock::start()).await.expect("an outcome");
    (stub, outcome)
}

#[tokio::test]
async fn every_request_is_sent_once_signed_and_counted() {
    for per_second in [None, NonZeroU32::new(2000)] {
        let (stub, outcome) = ask(verified, per_second).await;
        outcome.tally.require_right().expect("only right answers");
        let posted = stub.posted();
        let mut bodies: Vec<_> = posted.iter().map(|posted| posted.body.clone()).collect();
        bodies.sort_unstable();
        bodies.dedup();
        assert_eq!((posted.len(), bodies.len()), (200, 200));
        assert_eq!((outcome.tally.right, outcome.tally.micros.len(), outcome.next), (200, 200, 200));
        assert_eq!(outcome.tally.late_micros.is_empty(), per_second.is_none());
        let connections = posted.iter().map(|posted| posted.connection).max();
        assert!(connections.is_some_and(|last| last < 8), "connections are kept: {connections:?}");
    }
}

#[tokio::test]
async fn an_open_loop_sends_nothing_before_it_is_due() {
    let (_stub, outcome) = ask(verified, NonZeroU32::new(400)).await;
    // The last of 200 is due after 199 intervals.
    assert!(outcome.lasted >= Duration::from_secs_f64(199.0 / 400.0), "{:?}", outcome.lasted);
}

#[tokio::test]
async fn a_refusal_among_right_answers_fails_the_arm() {
    let refused = |posted: &Posted, before: usize| match posted.body.contains(&b'7') && before == 0 {
        true => (401, r#"{"code":13}"#),
        false => (200, r#"{"code":0}"#),
    };
    let (stub, outcome) = ask(refused, None).await;
    let wrong = stub.posted().iter().filter(|posted| posted.body.contains(&b'7')).count();
    assert_eq!(outcome.tally.wrong, u64::try_from(wrong).expect("a count"));
    assert_eq!(outcome.tally.right + outcome.tally.wrong, 200);
    let error = outcome.tally.require_right().expect_err("a failure").to_string();
    assert!(error.contains("401"), "{error}");
}

#[tokio::test]
async fn a_code_other_than_zero_and_a_closed_connection_fail_the_arm() {
    let (_stub, outcome) = ask(|_, _| (200, r#"{"code":13}"#), None).await;
    assert_eq!((outcome.tally.right, outcome.tally.wrong), (0, 200));
    let (_stub, outcome) = ask(|_, _| (0, ""), None).await;
    assert_eq!((outcome.tally.right, outcome.tally.unanswered), (0, 8));
    assert!(outcome.tally.require_right().is_err());
}
