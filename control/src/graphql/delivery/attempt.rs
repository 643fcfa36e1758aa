//! Attempts as they are shown.

use async_graphql::{Enum, ID, SimpleObject};
use hookline_schemas::delivery::{AttemptOutcome, AttemptRecord, FailureReason};

use crate::graphql::page::PageInfo;
use crate::graphql::scalars::DateTime;
use crate::identity::Caller;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum AttemptResult {
    /// The receiver has the event: its endpoint answered 2xx.
    Delivered,
    /// It failed, and the event is tried again.
    Retryable,
    /// It failed, and the receiver will never take the event.
    Rejected,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum AttemptFailure {
    /// The endpoint answered with another status than 2xx; redirects are not followed.
    Status,
    /// The endpoint did not answer in time.
    Timeout,
    /// The name of the host could not be resolved.
    Resolve,
    /// An address of the host is not one that webhooks are sent to.
    BlockedAddress,
    /// The connection was refused or could not be made.
    Connect,
    /// TLS could not be agreed on, or the certificate is not valid.
    Tls,
    /// The connection broke, or what came is no HTTP.
    Broken,
    /// hookline could not do its part: this tells nothing of the endpoint.
    Local,
}

/// One request to the endpoint of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
pub(crate) struct WebhookAttempt {
    /// The webhook.
    webhook_id: ID,
    /// The event: the header webhook-id of the request.
    event_id: ID,
    /// Its number among the attempts of this delivery, from 1.
    number: u32,
    /// When it began.
    started_at: DateTime,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// How it ended.
    result: AttemptResult,
    /// Why it failed. Null, if it did not.
    failure: Option<AttemptFailure>,
    /// The status that the endpoint answered with. Null, where it did not answer.
    status: Option<u16>,
    /// For how many seconds the endpoint asked to be left alone. Null, where it did not.
    retry_after_seconds: Option<u64>,
    /// How the body of an answer began that was no 2xx. Whatever it says, the receiver wrote it. Null for everybody but
    /// OWNER and ADMIN.
    answer: Option<String>,
}

/// Some attempts, the newest first.
#[derive(Debug, SimpleObject)]
pub(crate) struct WebhookAttemptConnection {
    /// The attempts. Those whose records are gone are left out, so there may be less of them than asked for.
    pub(super) nodes: Vec<WebhookAttempt>,
    /// Where the page ends.
    pub(super) page_info: PageInfo,
    /// Attempts that began earlier are not shown, though some may still be on record. Null, where all that is on record
    /// is shown.
    pub(super) since: Option<DateTime>,
}

impl From<FailureReason> for AttemptFailure {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::Status(_) => Self::Status,
            FailureReason::Timeout => Self::Timeout,
            FailureReason::Resolve => Self::Resolve,
            FailureReason::BlockedAddress => Self::BlockedAddress,
            FailureReason::Connect => Self::Connect,
            FailureReason::Tls => Self::Tls,
            FailureReason::Broken => Self::Broken,
            FailureReason::Local => Self::Local,
        }
    }
}

impl WebhookAttempt {
    /// As this caller may see it.
    pub(super) fn new(attempt: AttemptRecord, caller: &Caller) -> Self {
        let AttemptRecord { webhook, event, number, started_at, duration_ms, outcome, answer } = attempt;
        let (result, retry_after) = match &outcome {
            AttemptOutcome::Delivered { .. } => (AttemptResult::Delivered, None),
            AttemptOutcome::Retryable { retry_after, .. } => (AttemptResult::Retryable, *retry_after),
            AttemptOutcome::Rejected { .. } => (AttemptResult::Rejected, None),
        };
        Self {
            webhook_id: ID::from(webhook.as_str()),
            event_id: ID::from(event.as_str()),
            number,
            started_at: DateTime(started_at),
            duration_ms,
            result,
            failure: outcome.failure().map(AttemptFailure::from),
            status: status_of(&outcome),
            retry_after_seconds: retry_after.map(|duration| duration.as_secs()),
            answer: answer.filter(|_| caller.manages().is_ok()),
        }
    }
}

const fn status_of(outcome: &AttemptOutcome) -> Option<u16> {
    match outcome {
        AttemptOutcome::Delivered { status } => Some(*status),
        AttemptOutcome::Retryable { reason: FailureReason::Status(status), .. }
        | AttemptOutcome::Rejected { reason: FailureReason::Status(status) } => Some(*status),
        AttemptOutcome::Retryable { .. } | AttemptOutcome::Rejected { .. } => None,
    }
}
