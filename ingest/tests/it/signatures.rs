//! Signatures: what is not signed by the gateway's own key is refused, whatever else is right about it.

use hookline_ingest::{GatewayConflict, Gateways};
use hookline_schemas::notification::NotificationType::{Check, Pay};
use hookline_schemas::secret::Secret;

use crate::client::{Post, SHARED_URL, sign, typed_url};
use crate::harness::{ACCEPTED, Edge, Setup, gateway};
use crate::notifications::{Pairs, check, pay};

/// A Pay at its URL, with this value in Content-HMAC.
fn pay_with_signature(pairs: &Pairs, signature: &str) -> Post {
    Post::form(&typed_url("gw_club", Pay), pairs.form()).header("Content-HMAC", signature)
}

async fn assert_only_refused(post: Post, outcome: &str) {
    let edge = Edge::start(Setup::default()).await;
    let answer = edge.post(&post).await;
    edge.assert_refused(&answer, 401, outcome).await;
}

#[tokio::test]
async fn a_signature_of_another_body_is_refused() {
    let signature = sign("secret of club", pay("2").form().as_bytes());
    assert_only_refused(pay_with_signature(&pay("1"), &signature), "signature_wrong").await;
}

#[tokio::test]
async fn a_missing_signature_is_refused() {
    assert_only_refused(Post::form(&typed_url("gw_club", Pay), pay("1").form()), "signature_missing").await;
}

#[tokio::test]
async fn an_empty_signature_is_refused() {
    assert_only_refused(pay_with_signature(&pay("1"), ""), "signature_wrong").await;
}

#[tokio::test]
async fn a_truncated_signature_is_refused() {
    let whole = sign("secret of club", pay("1").form().as_bytes());
    let truncated = whole.get(..whole.len() - 4).expect("a signature is longer");
    assert_only_refused(pay_with_signature(&pay("1"), truncated), "signature_wrong").await;
}

#[tokio::test]
async fn a_signature_of_another_gateway_is_refused_at_the_url_of_one() {
    let post = Post::form(&typed_url("gw_club", Pay), pay("1").form()).signed("secret of other");
    assert_only_refused(post, "signature_wrong").await;
}

#[tokio::test]
async fn a_check_without_its_signature_learns_nothing() {
    let post = Post::form(&typed_url("gw_club", Check), check().form()).signed("a guess");
    assert_only_refused(post, "signature_wrong").await;
}

#[tokio::test]
async fn an_unknown_gateway_is_refused() {
    let post = Post::form(&typed_url("gw_nobody", Pay), pay("1").form()).signed("secret of club");
    assert_only_refused(post, "unknown_gateway").await;
}

#[tokio::test]
async fn a_signature_of_nobody_is_refused_at_the_shared_url() {
    let post = Post::form(SHARED_URL, pay("1").form()).signed("secret of nobody");
    assert_only_refused(post, "signature_wrong").await;
}

#[tokio::test]
async fn a_gateway_that_does_not_take_part_is_refused_at_the_shared_url() {
    let mut setup = Setup::default();
    let mut apart = gateway("apart");
    apart.shared_url = false;
    setup.gateways.push(apart);
    let edge = Edge::start(setup).await;
    let signed = |url: &str| Post::form(url, pay("1").form()).signed("secret of apart");
    let answer = edge.post(&signed(SHARED_URL)).await;
    edge.assert_refused(&answer, 401, "signature_wrong").await;
    let answer = edge.post(&signed(&typed_url("gw_apart", Pay))).await;
    assert_eq!(answer.parts(), (200, ACCEPTED));
}

#[tokio::test]
async fn the_signature_over_decoded_text_does_not_count_for_a_form() {
    let body = pay("1").form();
    let signature = sign("secret of club", body.as_bytes());
    let post = Post::form(&typed_url("gw_club", Pay), body).header("X-Content-HMAC", signature);
    assert_only_refused(post, "signature_missing").await;
}

#[tokio::test]
async fn the_signature_over_decoded_text_counts_for_json_that_has_no_other() {
    let edge = Edge::start(Setup::default()).await;
    let body = pay("1").json();
    let signature = sign("secret of club", body.as_bytes());
    let post = Post::json(&typed_url("gw_club", Pay), body).header("X-Content-HMAC", signature);
    assert_eq!(edge.post(&post).await.parts(), (200, ACCEPTED));
    let contradicted = post.header("Content-HMAC", sign("secret of other", b""));
    assert_eq!(edge.post(&contradicted).await.status, 401);
    assert_eq!(edge.events().await.len(), 1);
}

#[tokio::test]
async fn the_old_secret_counts_as_long_as_both_are_configured() {
    let mut setup = Setup::default();
    let mut rotating = gateway("rotating");
    rotating.api_secrets = vec![Secret::new("the new one"), Secret::new("the old one")];
    setup.gateways.push(rotating);
    let edge = Edge::start(setup).await;
    for (url, secret) in [
        (typed_url("gw_rotating", Pay), "the new one"),
        (typed_url("gw_rotating", Pay), "the old one"),
        (SHARED_URL.to_owned(), "the old one"),
    ] {
        let post = Post::form(&url, pay("1").form()).signed(secret);
        assert_eq!(edge.post(&post).await.parts(), (200, ACCEPTED), "{url} {secret}");
    }
    assert_eq!(edge.events().await.len(), 3);
}

#[test]
fn a_gateway_with_a_key_that_everybody_knows_is_refused() {
    for secrets in [&[][..], &[""], &["   "], &["a secret", ""]] {
        let mut open = gateway("open");
        open.api_secrets = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        let id = open.id.clone();
        let conflicts = Gateways::new(vec![open]).expect_err("it is refused");
        assert_eq!(conflicts, [GatewayConflict::NoSecret(id)], "{secrets:?}");
    }
}
