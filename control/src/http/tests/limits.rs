//! How much may be asked for, as the headers tell it.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::stage::{Stage, Told};

const NEW: Duration = Duration::ZERO;
const TIMEOUT: Duration = Duration::from_secs(30);

fn headers(told: &Told) -> (u64, u64, u64) {
    (told.number("x-ratelimit-limit"), told.number("x-ratelimit-remaining"), told.number("x-ratelimit-cost"))
}

#[tokio::test]
async fn a_token_has_its_limit_and_hears_when_to_come_again() {
    let stage = Stage::with(4, TIMEOUT).await;
    let token = stage.token("user_1", NEW);
    let began = stage.clock.wall().0;
    assert_eq!(headers(&stage.ask(Some(&token), "{ subject }").await), (4, 3, 1));
    let two = json!([{ "query": "{ subject }" }, { "query": "{ subject }" }]);
    let told = stage.post(Some(&token), &two).await;
    assert_eq!(headers(&told), (4, 1, 2));
    let reset = told.number("x-ratelimit-reset");
    let ended = stage.clock.wall().0;
    assert!((began / 1000 + 10..=ended.div_ceil(1000) + 10).contains(&reset), "{began} {reset} {ended}");

    let refused = stage.post(Some(&token), &two).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
    assert_eq!(headers(&refused), (4, 0, 2));
    assert!((1..=10).contains(&refused.number("retry-after")), "{refused:?}");
    assert_eq!(refused.number("x-ratelimit-reset"), reset);
    let refused = stage.ask(Some(&token), "{ subject }").await;
    assert_eq!((refused.status, headers(&refused)), (StatusCode::TOO_MANY_REQUESTS, (4, 0, 1)));

    let other = stage.token("user_2", NEW);
    assert_eq!(headers(&stage.ask(Some(&other), "{ subject }").await), (4, 3, 1), "each its own");
}

#[tokio::test]
async fn fields_in_fragments_are_paid_for() {
    let stage = Stage::with(4, TIMEOUT).await;
    let token = stage.token("user_1", NEW);
    let query = "query { ...F } fragment F on Query { a: subject ... { b: subject c: subject } }";
    let told = stage.ask(Some(&token), query).await;
    assert_eq!((told.status, headers(&told)), (StatusCode::OK, (4, 1, 3)));
    let refused = stage.ask(Some(&token), query).await;
    assert_eq!((refused.status, headers(&refused)), (StatusCode::TOO_MANY_REQUESTS, (4, 0, 3)));
}

#[tokio::test]
async fn strangers_share_two_limits_and_good_tokens_have_nothing_to_do_with_them() {
    let stage = Stage::with(2, TIMEOUT).await;
    let good = stage.token("user_1", NEW);
    stage.ask(Some(&good), "{ subject }").await;
    let expired = stage.token("user_1", Duration::from_secs(3600));
    let forged = format!("{expired}x");
    for left in (1..20).rev() {
        let told = stage.ask(None, "{ __typename }").await;
        assert_eq!(headers(&told), (20, left, 1), "without a token");
    }
    for (token, left) in [&expired, &forged].into_iter().cycle().zip((2..20).rev()) {
        let told = stage.ask(Some(token), "{ __typename }").await;
        assert_eq!(headers(&told), (20, left, 1), "with a bad one");
    }
    let mut get = stage.request(Some("no.such.token"), "");
    *get.method_mut() = http::Method::GET;
    assert_eq!(headers(&stage.send(get).await), (20, 1, 1), "whatever they ask for costs");
    let three = json!(vec![json!({ "query": "{ __typename }" }); 3]);
    assert_eq!(stage.post(None, &three).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(stage.ask(None, "{ __typename }").await.code(), "RATE_LIMITED", "the refused one cost one");
    assert_eq!(headers(&stage.ask(Some(&expired), "{ __typename }").await), (20, 0, 1), "the last one");
    assert_eq!(stage.ask(Some(&expired), "{ __typename }").await.code(), "RATE_LIMITED");
    let told = stage.ask(Some(&good), "{ subject }").await;
    assert_eq!((told.status, headers(&told)), (StatusCode::OK, (2, 0, 1)));
}

#[tokio::test]
async fn who_stands_by_counts_too() {
    let stage = Stage::with(1, TIMEOUT).await;
    stage.is_ready(false);
    for _ in 0..10 {
        assert_eq!(stage.ask(None, "{ __typename }").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(stage.ask(None, "{ __typename }").await.status, StatusCode::TOO_MANY_REQUESTS);
}
