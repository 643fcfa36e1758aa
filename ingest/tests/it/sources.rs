//! Who posts wrong signatures at the shared URL is stopped, and nobody else is.

use hookline_schemas::notification::NotificationType::Pay;

use crate::client::{Post, SHARED_URL};
use crate::harness::{ACCEPTED, Edge, NOT_ACCEPTED, Setup};
use crate::notifications::{check, pay};

const ALLOWED: u32 = 3;

/// An edge behind a proxy on this machine, which takes few wrong signatures.
async fn strict() -> Edge {
    Edge::start(Setup::with_settings(|settings| {
        settings.max_signature_failures = ALLOWED;
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    }))
    .await
}

/// Nothing in it tells whose it is.
fn without_hint(secret: &str) -> Post {
    let pairs = pay("1").with("AccountId", "nobody");
    Post::form(SHARED_URL, pairs.form()).signed(secret)
}

/// Posts wrong signatures until they are not looked at any more; from this address behind the proxy.
async fn exhaust(edge: &Edge, source: &str) {
    let wrong = without_hint("a guess").header("X-Forwarded-For", source);
    let mut looked_at = 0;
    loop {
        let answer = edge.post(&wrong).await;
        if answer.status == 503 {
            assert_eq!(answer.body, NOT_ACCEPTED);
            assert!(answer.header("Retry-After").is_some());
            break;
        }
        assert_eq!(answer.parts(), (401, NOT_ACCEPTED));
        looked_at += 1;
        assert!(looked_at <= ALLOWED + 1, "wrong signatures are looked at without end");
    }
    assert!(looked_at >= ALLOWED, "only {looked_at} wrong signatures were allowed");
    assert_eq!(edge.answered("too_many_failures"), 1);
}

#[tokio::test]
async fn a_source_of_wrong_signatures_is_stopped_at_the_shared_url_alone() {
    let edge = strict().await;
    exhaust(&edge, "192.0.2.1").await;
    let right = without_hint("secret of club").header("X-Forwarded-For", "192.0.2.1");
    assert_eq!(edge.post(&right).await.status, 503, "without a hint even a right one is not looked at");
    edge.assert_nothing_appended().await;
    let typed = Post::notification(Pay, &pay("2")).header("X-Forwarded-For", "192.0.2.1");
    assert_eq!(edge.post(&typed).await.parts(), (200, ACCEPTED));
}

#[tokio::test]
async fn a_stopped_source_still_gets_the_gateway_that_its_fields_hint_at() {
    let edge = strict().await;
    exhaust(&edge, "192.0.2.1").await;
    let by_invoice = pay("1").with("InvoiceId", "i-1").with("AccountId", "nobody");
    let by_account = pay("2");
    for pairs in [by_invoice, by_account, check()] {
        let post = |secret: &str| {
            Post::form(SHARED_URL, pairs.form()).signed(secret).header("X-Forwarded-For", "192.0.2.1")
        };
        assert_eq!(edge.post(&post("a guess")).await.status, 503, "a hint is no proof");
        assert_eq!(edge.post(&post("secret of other")).await.status, 503, "the hint alone is tried");
        let answer = edge.post(&post("secret of club")).await;
        assert_eq!(answer.status, 200, "{pairs:?}");
    }
    assert_eq!(edge.events().await.len(), 2);
}

#[tokio::test]
async fn another_source_is_not_stopped() {
    let edge = strict().await;
    exhaust(&edge, "192.0.2.1").await;
    for source in ["192.0.2.2", "192.0.2.1, 192.0.2.3"] {
        let right = without_hint("secret of club").header("X-Forwarded-For", source);
        assert_eq!(edge.post(&right).await.parts(), (200, ACCEPTED), "{source}");
    }
}

#[tokio::test]
async fn right_signatures_are_not_counted() {
    let edge = strict().await;
    for _ in 0..ALLOWED * 3 {
        assert_eq!(edge.post(&without_hint("secret of other")).await.parts(), (200, ACCEPTED));
    }
}
