//! What is known of payments: `/dead-letters`, `/redeliveries`, `/trace`, `/reconciliations`. At the admin socket alone.

use std::num::NonZeroU32;
use std::sync::Arc;

use futures::future::BoxFuture;
use hookline_control::{ReconcileError, ReconcileRequest, Reconciled};
use hookline_event_log::{Log, ReadError};
use hookline_history::{CancelError, History, RedeliverError, TraceQuery};
use hookline_schemas::redelivery::{LetterFilter, LetterId};
use hookline_schemas::seal::Sealer;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::registered::Told;

/// A question is not longer.
const MAX_QUESTION: usize = 64 * 1024;

/// Letters of one page at most.
const MAX_PAGE: usize = 1_000;

/// Nobody's payment is called by more.
const MAX_PAYMENT: usize = 255;

/// `POST /dead-letters`: one page of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LettersAsked {
    /// Which.
    #[serde(default)]
    pub(crate) filter: LetterFilter,
    /// Behind this one.
    #[serde(default)]
    pub(crate) after: Option<LetterId>,
    /// So many at most.
    pub(crate) limit: usize,
}

/// `POST /redeliveries`: a wish.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedeliveryAsked {
    /// Which letters.
    pub(crate) filter: LetterFilter,
    /// How many per second.
    pub(crate) rate: NonZeroU32,
}

/// Compares a gateway's payments with CloudPayments'. It may be broken off and asked again.
pub(crate) type Reconcile =
    Arc<dyn Fn(ReconcileRequest) -> BoxFuture<'static, Result<Reconciled, ReconcileError>> + Send + Sync>;

/// What this process can tell of payments.
pub(crate) struct Payments<L: Log> {
    /// What the log tells.
    pub(crate) history: History<L>,
    /// The gateways and webhooks as they are now.
    pub(crate) told: Told,
    /// Opens what is in quarantine.
    pub(crate) sealer: Sealer,
    /// `None` where this process has no control role.
    pub(crate) reconcile: Option<Reconcile>,
}

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("the question is malformed: {0}")]
    Malformed(String),
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("failed to read the log: {0}")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Redeliver(#[from] RedeliverError),
    #[error(transparent)]
    Cancel(#[from] CancelError),
    #[error("this process has no control role: ask the active control")]
    NoControl,
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
}

impl NoAnswer {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_)
            | Self::NoControl
            | Self::Redeliver(RedeliverError::NoSuchLetter)
            | Self::Cancel(CancelError::Unknown) => StatusCode::NOT_FOUND,
            Self::Read(_)
            | Self::Redeliver(RedeliverError::Read(_) | RedeliverError::Write(_))
            | Self::Cancel(CancelError::Read(_) | CancelError::Write(_))
            | Self::Reconcile(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

fn found(told: &impl Serialize) -> Result<Answer, NoAnswer> {
    Ok(Answer::json(StatusCode::OK, told))
}

/// Whether a path is about payments.
pub(super) fn is_path(path: &str) -> bool {
    let first = path.split('/').nth(1);
    matches!(first, Some("dead-letters" | "redeliveries" | "trace" | "reconciliations"))
}

impl<L: Log> Payments<L> {
    pub(super) async fn answer(&self, method: &Method, path: &str, body: Incoming) -> Answer {
        match self.try_answer(method, path, body).await {
            Ok(answer) => answer,
            Err(error) => Answer::json(error.status(), &serde_json::json!({ "error": error.to_string() })),
        }
    }

    async fn try_answer(&self, method: &Method, path: &str, body: Incoming) -> Result<Answer, NoAnswer> {
        let segments: Vec<_> = path.split('/').skip(1).collect();
        match (method, segments.as_slice()) {
            (&Method::POST, ["dead-letters"]) => {
                let LettersAsked { filter, after, limit } = read(body).await?;
                found(&self.history.letters(&filter, after, limit.min(MAX_PAGE)).await?)
            }
            (&Method::GET, ["dead-letters", id]) => {
                let id = id.parse().map_err(|error| NoAnswer::Malformed(format!("{error}")))?;
                let letter = self.history.letter(id).await?;
                found(&letter.ok_or(NoAnswer::NotFound("dead letter"))?)
            }
            (&Method::POST, ["redeliveries"]) => {
                let RedeliveryAsked { filter, rate } = read(body).await?;
                found(&self.history.redeliver(filter, rate).await?)
            }
            (&Method::GET, ["redeliveries"]) => found(&self.history.redeliveries().await?),
            (&Method::GET, ["redeliveries", id]) => {
                let all = self.history.redeliveries().await?;
                let status = all.into_iter().find(|status| status.wish.id == *id);
                found(&status.ok_or(NoAnswer::NotFound("redelivery"))?)
            }
            (&Method::POST, ["redeliveries", id, "cancel"]) => {
                self.history.cancel(id).await?;
                found(&serde_json::json!({ "cancelled": true }))
            }
            (&Method::POST, ["reconciliations"]) => {
                let reconcile = self.reconcile.as_ref().ok_or(NoAnswer::NoControl)?;
                found(&reconcile(read(body).await?).await?)
            }
            (&Method::GET, ["trace", payment]) => self.trace(payment).await,
            _ => Err(NoAnswer::NotFound("question")),
        }
    }

    async fn trace(&self, payment: &str) -> Result<Answer, NoAnswer> {
        let payment = percent_decode_str(payment).decode_utf8();
        let payment = payment.map_err(|error| NoAnswer::Malformed(error.to_string()))?;
        if payment.is_empty() || payment.len() > MAX_PAYMENT {
            return Err(NoAnswer::Malformed(format!("a payment is called by 1 to {MAX_PAYMENT} bytes")));
        }
        let webhooks = self.told.webhooks.borrow().clone().unwrap_or_default();
        let gateways = self.told.gateways.load();
        let gateways: Vec<_> =
            gateways.iter().flat_map(|gateways| gateways.iter()).map(|gateway| gateway.id.clone()).collect();
        let query = TraceQuery {
            payment: &payment,
            gateways: &gateways,
            places: &[],
            webhooks: &webhooks,
            sealer: Some(&self.sealer),
        };
        found(&self.history.trace(query).await?)
    }
}

async fn read<Q: DeserializeOwned>(body: Incoming) -> Result<Q, NoAnswer> {
    let malformed = |reason: String| NoAnswer::Malformed(reason);
    let body = Limited::new(body, MAX_QUESTION).collect().await;
    let body = body.map_err(|error| malformed(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))
}
