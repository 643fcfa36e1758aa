//! The identity provider's keys behind a URL, with a provider on the loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::fixtures::{ED25519_PRIVATE, OTHER_PRIVATE, PROVIDER, claims, settings, signed};
use super::super::verifier::Verifier;
use super::*;
use crate::settings::TokenSettings;

const HOUR: Duration = Duration::from_secs(3600);

/// Fetches once, and whenever somebody asks.
const EAGER: Pace = Pace { refresh: HOUR, least: Duration::ZERO, least_at_first: Duration::ZERO };

/// What the provider answers.
#[derive(Debug, Clone)]
enum Behaviour {
    Lists(Value),
    Fails,
    Redirects,
}

#[derive(Debug)]
struct Provider {
    behaviour: Mutex<Behaviour>,
    asked: AtomicUsize,
}

impl Provider {
    fn behaves(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answer(State(provider): State<Arc<Provider>>) -> Response {
    provider.asked.fetch_add(1, Ordering::SeqCst);
    // Long enough for others to come meanwhile.
    tokio::time::sleep(Duration::from_millis(50)).await;
    match provider.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone() {
        Behaviour::Lists(keys) => json!({ "keys": keys }).to_string().into_response(),
        Behaviour::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Behaviour::Redirects => Redirect::temporary("/elsewhere").into_response(),
    }
}

/// A provider, a verifier that believes it, and what keeps both going.
struct Scene {
    provider: Arc<Provider>,
    verifier: Arc<Verifier>,
    _running: JoinSet<()>,
}

async fn scene(pace: Pace, behaviour: Behaviour) -> Scene {
    let provider = Arc::new(Provider { behaviour: Mutex::new(behaviour), asked: AtomicUsize::new(0) });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let jwks_url = Some(format!("http://{}/keys", listener.local_addr().expect("an address")));
    let settings = TokenSettings { issuer: Some(PROVIDER.to_owned()), jwks_url, ..settings() };
    let verifier =
        Verifier::at_pace(&settings, "nowhere".as_ref(), Clock::start(), pace).expect("a verifier");
    let verifier = Arc::new(verifier);
    let mut running = JoinSet::new();
    let app = Router::new().route("/keys", axum::routing::get(answer)).with_state(Arc::clone(&provider));
    running.spawn(async { axum::serve(listener, app).await.expect("a server") });
    let keeping = Arc::clone(&verifier);
    running.spawn(async move { keeping.keep_keys().await });
    Scene { provider, verifier, _running: running }
}

fn listed(private: &str, id: Option<&str>) -> Value {
    let public = SigningKey::from_pkcs8_pem(private.trim()).expect("a key").verifying_key();
    let mut key = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public.as_bytes()) });
    if let (Some(id), Some(members)) = (id, key.as_object_mut()) {
        members.insert("kid".to_owned(), json!(id));
    }
    key
}

fn token(private: &str, id: Option<&str>) -> String {
    signed(Algorithm::EdDSA, private, id, &claims(json!({})))
}

async fn code(verifier: &Verifier, token: &str) -> &'static str {
    verifier.verify(token).await.map_or_else(|error| error.code(), |_| "believed")
}

/// What so many get who ask at once.
async fn codes(verifier: &Verifier, token: &str, count: usize) -> Vec<&'static str> {
    futures::future::join_all((0..count).map(|_| code(verifier, token))).await
}

async fn until(verifier: &Verifier, token: &str, expected: &str) {
    soon(async {
        while code(verifier, token).await != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn soon(waited: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(15), waited).await.expect("it does not come");
}

#[tokio::test]
async fn many_at_once_share_one_fetch_and_a_new_key_takes_one_more() {
    let one = listed(ED25519_PRIVATE, Some("one"));
    let Scene { provider, verifier, _running } = scene(EAGER, Behaviour::Lists(json!([one]))).await;
    assert_eq!(codes(&verifier, &token(ED25519_PRIVATE, Some("one")), 20).await, ["believed"; 20]);
    // Long enough for a second one to begin, if there were one.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(provider.asked(), 1);

    provider.behaves(Behaviour::Lists(json!([one, listed(OTHER_PRIVATE, Some("two"))])));
    assert_eq!(codes(&verifier, &token(OTHER_PRIVATE, Some("two")), 20).await, ["believed"; 20]);
    assert_eq!(codes(&verifier, &token(ED25519_PRIVATE, Some("one")), 20).await, ["believed"; 20]);
    assert_eq!(provider.asked(), 2);
    assert_eq!(
        code(&verifier, &token(OTHER_PRIVATE, Some("one"))).await,
        "TOKEN_INVALID",
        "a name is no key"
    );
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn unknown_names_do_not_wear_the_provider_out() {
    let slow = Pace { least: HOUR, ..EAGER };
    let one = listed(ED25519_PRIVATE, Some("one"));
    let Scene { provider, verifier, _running } = scene(slow, Behaviour::Lists(json!([one]))).await;
    assert_eq!(code(&verifier, &token(ED25519_PRIVATE, Some("one"))).await, "believed");
    for id in ["two", "three", "four"] {
        let answered = code(&verifier, &token(OTHER_PRIVATE, Some(id))).now_or_never();
        assert_eq!(answered, Some("TOKEN_INVALID"), "nobody waits for what does not come");
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn without_a_name_every_key_of_the_algorithm_is_tried() {
    let keys = json!([
        { "kty": "RSA", "n": "short", "e": "AQAB" },
        { "kty": "quantum", "kid": 7 },
        listed(ED25519_PRIVATE, Some("one")),
        listed(OTHER_PRIVATE, None),
    ]);
    let Scene { verifier, _running, .. } = scene(Pace::NORMAL, Behaviour::Lists(keys)).await;
    assert_eq!(code(&verifier, &token(ED25519_PRIVATE, None)).await, "believed");
    assert_eq!(code(&verifier, &token(OTHER_PRIVATE, None)).await, "believed");
    assert_eq!(
        code(&verifier, &token(OTHER_PRIVATE, Some("another"))).await,
        "believed",
        "one key has no name"
    );
    assert_eq!(code(&verifier, &token(OTHER_PRIVATE, Some("one"))).await, "believed");
}

#[tokio::test]
async fn a_provider_that_fails_locks_nobody_out() {
    let often = Pace { refresh: Duration::from_millis(10), ..EAGER };
    let one = listed(ED25519_PRIVATE, Some("one"));
    let Scene { provider, verifier, _running } = scene(often, Behaviour::Lists(json!([one]))).await;
    let good = token(ED25519_PRIVATE, Some("one"));
    assert_eq!(code(&verifier, &good).await, "believed");
    for behaviour in [Behaviour::Fails, Behaviour::Lists(json!([])), Behaviour::Lists(json!(7))] {
        let before = provider.asked();
        provider.behaves(behaviour);
        soon(async {
            while provider.asked() < before + 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(code(&verifier, &good).await, "believed");
        assert_eq!(code(&verifier, &token(OTHER_PRIVATE, Some("two"))).await, "TOKEN_INVALID");
    }
}

#[tokio::test]
async fn keys_are_fetched_again_by_the_clock_and_withdrawn_ones_believed_no_more() {
    let often = Pace { refresh: Duration::from_millis(10), ..EAGER };
    let one = listed(ED25519_PRIVATE, Some("one"));
    let Scene { provider, verifier, _running } = scene(often, Behaviour::Lists(json!([one]))).await;
    let withdrawn = token(ED25519_PRIVATE, Some("one"));
    assert_eq!(code(&verifier, &withdrawn).await, "believed");
    provider.behaves(Behaviour::Lists(json!([listed(OTHER_PRIVATE, Some("two"))])));
    until(&verifier, &withdrawn, "TOKEN_INVALID").await;
}

#[tokio::test]
async fn before_there_are_keys_nothing_is_said_of_a_token() {
    for behaviour in [Behaviour::Fails, Behaviour::Redirects] {
        let Scene { provider, verifier, _running } = scene(EAGER, behaviour.clone()).await;
        let good = token(ED25519_PRIVATE, None);
        assert_eq!(code(&verifier, &good).await, "SERVICE_UNAVAILABLE", "{behaviour:?}");
        provider.behaves(Behaviour::Lists(json!([listed(ED25519_PRIVATE, None)])));
        until(&verifier, &good, "believed").await;
    }
}
