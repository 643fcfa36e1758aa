//! `/sealing`: has this process read its keys again, and what it has sealed sealed anew. At the admin socket alone.
//!
//! Whoever asks says which key he means, by something that was sealed with it: so a file that this process does not
//! read is not taken for its own, and no key goes over the socket.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use hookline_schemas::seal::Sealer;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::key::{KeyError, Keys};

/// A question is not longer.
const MAX_QUESTION: usize = 4 * 1024;

/// What is sealed to say which key is meant.
const PLACE: &str = "sealing/meant";

/// Seals with the first key whatever the control plane has sealed with another, and says how many records it was.
/// It may be broken off and asked again.
pub(crate) type Reseal = Arc<dyn Fn() -> BoxFuture<'static, Result<usize, String>> + Send + Sync>;

/// The keys of this process, and what they have sealed.
pub(crate) struct Sealing {
    /// The keys.
    pub(crate) keys: Keys,
    /// `None` where this process has no control role.
    pub(crate) reseal: Option<Reseal>,
}

/// `POST /sealing/check` and `POST /sealing/rotate`: the key that is meant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyMeant {
    /// Something that it has sealed, in base64.
    sealed: String,
}

impl KeyMeant {
    /// The key that seals there.
    pub(crate) fn of(sealer: &Sealer) -> Self {
        Self { sealed: STANDARD.encode(sealer.seal(PLACE, &[])) }
    }

    fn bytes(&self) -> Result<Vec<u8>, NoAnswer> {
        STANDARD.decode(&self.sealed).map_err(|error| NoAnswer::Malformed(error.to_string()))
    }
}

/// What `/sealing/check` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checked {
    /// Whether this process opens what that key has sealed.
    pub(crate) opens: bool,
}

/// What `/sealing/rotate` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rotated {
    /// Records that were sealed with another key before.
    pub(crate) sealed_anew: usize,
}

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("the question is malformed: {0}")]
    Malformed(String),
    #[error("there are POST /sealing/check and POST /sealing/rotate")]
    NotFound,
    #[error("the keys stay as they were: {0}")]
    Keys(#[from] KeyError),
    #[error(
        "this process has read its keys again, and another key comes first: it does not read the file that was changed \
         (sealing.key_file of its own configuration says which one it reads). Nothing was sealed anew"
    )]
    AnotherKey,
    #[error(
        "this process has read its keys again, and has no control role: ask the active control to seal anew what the \
         old key has sealed (`hookline rotate-key --finish`)"
    )]
    NoControl,
    /// In the control plane's own words.
    #[error("the keys were read again, and not all was sealed anew: {0}")]
    Reseal(String),
}

impl NoAnswer {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NotFound | Self::NoControl => StatusCode::NOT_FOUND,
            Self::AnotherKey => StatusCode::CONFLICT,
            Self::Keys(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Reseal(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Whether a path is about keys.
pub(super) fn is_path(path: &str) -> bool {
    path.split('/').nth(1) == Some("sealing")
}

impl Sealing {
    pub(super) async fn answer(&self, method: &Method, path: &str, body: Incoming) -> Answer {
        let answered = match (method, path) {
            (&Method::POST, "/sealing/check") => {
                self.check(body).await.map(|checked| Answer::json(StatusCode::OK, &checked))
            }
            (&Method::POST, "/sealing/rotate") => {
                self.rotate(body).await.map(|rotated| Answer::json(StatusCode::OK, &rotated))
            }
            _ => Err(NoAnswer::NotFound),
        };
        answered.unwrap_or_else(|error| {
            Answer::json(error.status(), &serde_json::json!({ "error": error.to_string() }))
        })
    }

    async fn check(&self, body: Incoming) -> Result<Checked, NoAnswer> {
        let meant = read(body).await?.bytes()?;
        Ok(Checked { opens: self.keys.sealer.open(PLACE, &meant).is_ok() })
    }

    /// The keys are read again whatever follows: that one more of them opens harms nobody.
    async fn rotate(&self, body: Incoming) -> Result<Rotated, NoAnswer> {
        let meant = read(body).await?.bytes()?;
        let keys = self.keys.read_again()?;
        tracing::info!(keys, "the sealing keys were read again");
        if !self.keys.sealer.sealed_it(&meant) {
            return Err(NoAnswer::AnotherKey);
        }
        let reseal = self.reseal.as_ref().ok_or(NoAnswer::NoControl)?;
        let sealed_anew = reseal().await.map_err(NoAnswer::Reseal)?;
        tracing::info!(records = sealed_anew, "sealed anew with the first of the sealing keys");
        Ok(Rotated { sealed_anew })
    }
}

async fn read(body: Incoming) -> Result<KeyMeant, NoAnswer> {
    let malformed = |reason: String| NoAnswer::Malformed(reason);
    let body = Limited::new(body, MAX_QUESTION).collect().await;
    let body = body.map_err(|error| malformed(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))
}
