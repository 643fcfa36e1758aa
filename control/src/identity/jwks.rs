//! The identity provider's published keys: fetched, kept, and fetched again when one is missing or they grow old.
//!
//! One owner fetches ([`PublishedKeys::keep`]); who needs a key that is not there tells him, and waits for what he
//! finds. So however many wait, one request goes out, and nobody who leaves takes the answer with him. Once there are
//! keys they are kept for good: a provider that is down locks nobody out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use hookline_outbound::{NoAnswer, Outbound, Patience};
use hookline_schemas::time::Clock;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use jsonwebtoken::Header;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::key::{Jwk, Key};
use crate::error::ApiError;

/// How long the provider may take.
const PATIENCE: Patience = Patience { head: Duration::from_secs(5), body: Duration::from_secs(5) };

/// A token without a `kid` is tried against all keys of its algorithm: there may not be too many.
const MAX_KEYS: usize = 32;

/// How often keys are fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// At least so often.
    pub(super) refresh: Duration,
    /// At most so often, whoever asks for them.
    pub(super) least: Duration,
    /// The same, before there have ever been any.
    pub(super) least_at_first: Duration,
}

impl Pace {
    /// For earnest.
    pub(super) const NORMAL: Self = Self {
        refresh: Duration::from_secs(600),
        least: Duration::from_secs(30),
        least_at_first: Duration::from_secs(5),
    };
}

/// Why an answer gave no keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer did not end in time, or is too long")]
    Cut,
    #[error("its answer is no JWKS")]
    NotJwks(#[from] serde_json::Error),
    #[error("its answer holds no RSA or Ed25519 key for signatures")]
    NoKeys,
}

/// What is known of the provider's keys.
#[derive(Debug, Clone, Default)]
struct Known {
    /// `None`: never fetched.
    keys: Option<Arc<[Key]>>,
    /// When the last try ended.
    tried: Option<Duration>,
}

/// The keys behind a URL.
#[derive(Debug)]
pub(super) struct PublishedKeys {
    url: Uri,
    outbound: Outbound,
    clock: Clock,
    pace: Pace,
    known: watch::Sender<Known>,
    wanted: Notify,
}

impl PublishedKeys {
    pub(super) fn new(url: Uri, outbound: Outbound, clock: Clock, pace: Pace) -> Self {
        let known = watch::Sender::new(Known::default());
        Self { url, outbound, clock, pace, known, wanted: Notify::new() }
    }

    /// The keys among which the one for this header is, if the provider has it.
    ///
    /// # Errors
    ///
    /// [`ApiError::Unavailable`] if there have never been any.
    pub(super) async fn keys_for(&self, header: &Header) -> Result<Arc<[Key]>, ApiError> {
        let mut known = self.known.subscribe();
        let now = known.borrow_and_update().clone();
        let has_one = now.keys.as_ref().is_some_and(|keys| has_one_for(keys, header));
        if !has_one && self.may_try(&now) {
            self.wanted.notify_one();
            // The owner's own patience bounds this; if he is gone, so does ours.
            let _ = tokio::time::timeout(PATIENCE.head + PATIENCE.body, known.changed()).await;
        }
        let keys = known.borrow().keys.clone();
        keys.ok_or_else(|| {
            ApiError::Unavailable("the identity provider's keys could not be fetched".to_owned())
        })
    }

    fn may_try(&self, known: &Known) -> bool {
        let Some(tried) = known.tried else { return true };
        self.clock.elapsed().saturating_sub(tried) >= self.least_of(known)
    }

    const fn least_of(&self, known: &Known) -> Duration {
        if known.keys.is_some() { self.pace.least } else { self.pace.least_at_first }
    }

    /// Fetches the keys: now, when one is missing, and every now and then. Never ends.
    pub(super) async fn keep(&self) {
        loop {
            let fetched = self.fetch().await;
            if let Err(error) = &fetched {
                tracing::warn!(url = %self.url, %error, "failed to fetch the identity provider's keys");
            }
            let is_refused = fetched.is_err();
            self.known.send_modify(|known| {
                known.keys = fetched.ok().or_else(|| known.keys.take());
                known.tried = Some(self.clock.elapsed());
            });
            // Whoever asked until now has his answer.
            let _ = self.wanted.notified().now_or_never();
            let least = self.least_of(&self.known.borrow());
            tokio::time::sleep(least).await;
            let rest = if is_refused { Duration::ZERO } else { self.pace.refresh.saturating_sub(least) };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    async fn fetch(&self) -> Result<Arc<[Key]>, FetchError> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = self.url.clone();
        request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
        let answer = self.outbound.send(request, PATIENCE).await?;
        match answer.response.status() {
            StatusCode::OK if answer.is_whole => read(answer.response.body()),
            StatusCode::OK => Err(FetchError::Cut),
            status => Err(FetchError::Status(status)),
        }
    }
}

fn has_one_for(keys: &[Key], header: &Header) -> bool {
    match &header.kid {
        Some(id) => keys.iter().any(|key| key.id() == Some(id)),
        None => true,
    }
}

/// Providers list keys for other purposes and of kinds to come beside ours: those are passed over.
fn read(body: &[u8]) -> Result<Arc<[Key]>, FetchError> {
    #[derive(Deserialize)]
    struct Jwks {
        keys: Vec<Value>,
    }
    let listed = serde_json::from_slice::<Jwks>(body)?.keys.into_iter();
    let usable = listed.filter_map(|value| serde_json::from_value::<Jwk>(value).ok());
    let keys: Arc<[Key]> = usable.filter_map(|jwk| Key::from_jwk(jwk).ok()).take(MAX_KEYS).collect();
    if keys.is_empty() { Err(FetchError::NoKeys) } else { Ok(keys) }
}

#[cfg(test)]
mod tests;
