//! Dead letters as they are shown and asked for.

use async_graphql::{Enum, ID, SimpleObject};
use hookline_history::LetterSummary;
use hookline_schemas::delivery::{DeadLetter as LetterRecord, DeadReason};
use hookline_schemas::redelivery::LetterId;

use super::attempt::WebhookAttempt;
use crate::error::ApiError;
use crate::graphql::access::AnyWebhook;
use crate::graphql::page::PageInfo;
use crate::graphql::scalars::DateTime;
use crate::graphql::webhook::WebhookEventType;

/// Why a delivery was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum DeadLetterReason {
    /// The receiver will never take it.
    Rejected,
    /// Its deadline passed.
    Deadline,
}

/// A delivery that was given up.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
pub(crate) struct DeadLetter {
    /// Its id.
    id: ID,
    /// For which webhook it was.
    webhook_id: ID,
    /// Which event it was.
    event_id: ID,
    /// What that told.
    event_type: WebhookEventType,
    /// Why it was given up.
    reason: DeadLetterReason,
    /// Attempts made.
    tries: u32,
    /// How the latest attempt failed: timeout, connect, tls, 4xx, 503 and the like. Null, where none was made.
    last_failure: Option<String>,
    /// When it was given up.
    dead_at: DateTime,
    /// When the event was accepted. In the answer of deadLetter alone.
    accepted_at: Option<DateTime>,
    /// Its attempts, as far as they are on record, in the order in which they began; the latest 100 of them. In the
    /// answer of deadLetter alone.
    attempts: Option<Vec<WebhookAttempt>>,
}

/// Some dead letters. Those of one webhook stand in the order in which they were given up.
#[derive(Debug, SimpleObject)]
pub(crate) struct DeadLetterConnection {
    /// The letters. There may be less of them than asked for, and more behind them all the same.
    pub(super) nodes: Vec<DeadLetter>,
    /// Where the page ends.
    pub(super) page_info: PageInfo,
}

impl From<DeadReason> for DeadLetterReason {
    fn from(reason: DeadReason) -> Self {
        match reason {
            DeadReason::Rejected => Self::Rejected,
            DeadReason::Deadline => Self::Deadline,
        }
    }
}

impl From<DeadLetterReason> for DeadReason {
    fn from(reason: DeadLetterReason) -> Self {
        match reason {
            DeadLetterReason::Rejected => Self::Rejected,
            DeadLetterReason::Deadline => Self::Deadline,
        }
    }
}

impl From<LetterSummary> for DeadLetter {
    fn from(letter: LetterSummary) -> Self {
        let LetterSummary { id, webhook, event, event_type, reason, tries, last_failure, dead_at } = letter;
        Self {
            id: ID::from(id),
            webhook_id: ID::from(webhook.as_str()),
            event_id: ID::from(event.as_str()),
            event_type: event_type.into(),
            reason: reason.into(),
            tries,
            last_failure: last_failure.map(String::from),
            dead_at: DateTime(dead_at),
            accepted_at: None,
            attempts: None,
        }
    }
}

impl DeadLetter {
    /// With everything that is known of it.
    pub(super) fn whole(id: LetterId, letter: &LetterRecord, attempts: Vec<WebhookAttempt>) -> Self {
        let accepted_at = Some(DateTime(letter.event.accepted_at));
        Self { accepted_at, attempts: Some(attempts), ..Self::from(LetterSummary::of(id, letter)) }
    }
}

/// A letter by its id: what is no id is no letter's.
pub(super) fn letter_id(id: &ID) -> Result<LetterId, ApiError> {
    id.as_str().parse().map_err(|_| NO_LETTER)
}

/// The webhook of a letter has to be still of the organization that the letter's event is about: a letter does not go
/// along to another one.
pub(super) fn is_of_letter(webhook: AnyWebhook<'_>, letter: &LetterRecord) -> Result<(), ApiError> {
    if *webhook.organization() == letter.event.organization { Ok(()) } else { Err(NO_LETTER) }
}

pub(super) const NO_LETTER: ApiError = ApiError::NotFound("dead letter");
