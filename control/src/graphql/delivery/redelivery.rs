//! Redeliveries: dead letters that an organization wants delivered again.
//!
//! A wish is confined to one webhook of the organization, by a member of its own filter: whoever carries it out takes
//! no other letters, whatever else the wish says.

use std::num::NonZeroU32;

use async_graphql::{Enum, ID, InputObject, SimpleObject};
use hookline_event_log::{AppendError, Log};
use hookline_history::{CancelError, RedeliverError, RedeliveryStatus};
use hookline_registry::Registry;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::redelivery::{LetterFilter, RedeliveryProgress};

use super::letter::{DeadLetterReason, NO_LETTER, is_of_letter, letter_id};
use super::unreadable;
use crate::error::ApiError;
use crate::graphql::Api;
use crate::graphql::page::PageInfo;
use crate::graphql::scalars::DateTime;
use crate::graphql::text::invalid;
use crate::graphql::webhook::WebhookEventType;
use crate::identity::Caller;

/// So many letters are named at once.
const MAX_LETTERS: usize = 100;

/// Events per second, unless it is said otherwise.
const DEFAULT_RATE: i32 = 50;

/// Events per second at most.
const MAX_RATE: u32 = 1_000;

/// So many redeliveries of a webhook run at a time.
const MAX_RUNNING: usize = 10;

/// So many of a webhook are kept: those that run, and those that ended within 30 days.
const MAX_KEPT: usize = 100;

const NO_REDELIVERY: ApiError = ApiError::NotFound("redelivery");

/// What is to be delivered again: some letters of one webhook, or all of its letters to which everything applies that is
/// given here.
#[derive(Debug, InputObject)]
pub(crate) struct RedeliverInput {
    /// These letters: 1 to 100, of one webhook.
    letter_ids: Option<Vec<ID>>,
    /// Letters of this webhook. It is needed where no letters are named.
    webhook_id: Option<ID>,
    /// Given up then or later.
    since: Option<DateTime>,
    /// Given up before then.
    until: Option<DateTime>,
    /// Given up for this reason.
    reason: Option<DeadLetterReason>,
    /// Whose event is of this type.
    event_type: Option<WebhookEventType>,
    /// How many per second: 1 to 1000.
    #[graphql(default_with = "Some(DEFAULT_RATE)")]
    rate: Option<i32>,
}

/// How far a redelivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum RedeliveryState {
    /// It goes on, or is about to begin.
    Running,
    /// All of its letters are on their way again.
    Completed,
    /// It was cancelled.
    Cancelled,
}

/// Dead letters that are delivered again. Those that are given up later than it was asked for are not meant.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct Redelivery {
    /// Its id.
    id: ID,
    /// How far it has come.
    state: RedeliveryState,
    /// Whose letters.
    webhook_id: ID,
    /// These letters. Empty: not only named ones.
    letter_ids: Vec<ID>,
    /// Those given up then or later.
    since: Option<DateTime>,
    /// Those given up before then.
    until: Option<DateTime>,
    /// Those given up for this reason.
    reason: Option<DeadLetterReason>,
    /// Those whose event is of this type.
    event_type: Option<WebhookEventType>,
    /// How many per second.
    rate: u32,
    /// When it was asked for.
    requested_at: DateTime,
    /// When it ended. Null, while it has not.
    ended_at: Option<DateTime>,
    /// Letters that are on their way again.
    redelivered: u64,
}

/// Some redeliveries, the newest first.
#[derive(Debug, SimpleObject)]
pub(crate) struct RedeliveryConnection {
    /// The redeliveries.
    pub(super) nodes: Vec<Redelivery>,
    /// Where the page ends.
    pub(super) page_info: PageInfo,
}

impl Redelivery {
    /// One whose filter names a webhook: no other is anybody's.
    pub(super) fn new(status: &RedeliveryStatus) -> Option<Self> {
        let RedeliveryStatus { wish, progress } = status;
        let filter = &wish.filter;
        let state = match (progress.ended_at, wish.is_cancelled) {
            (Some(_), _) => RedeliveryState::Completed,
            (None, true) => RedeliveryState::Cancelled,
            (None, false) => RedeliveryState::Running,
        };
        Some(Self {
            id: ID::from(&wish.id),
            state,
            webhook_id: ID::from(filter.webhook.as_ref()?.as_str()),
            letter_ids: filter.named().map(ID::from).collect(),
            since: filter.since.map(DateTime),
            until: filter.until.map(DateTime),
            reason: filter.reason.map(DeadLetterReason::from),
            event_type: filter.event_type.map(WebhookEventType::from),
            rate: wish.rate.get(),
            requested_at: DateTime(wish.requested_at),
            ended_at: progress.ended_at.map(DateTime),
            redelivered: progress.redelivered,
        })
    }
}

impl<L: Log> Api<L> {
    /// Takes the wish down; it is durable when this returns.
    pub(super) async fn redeliver(
        &self,
        caller: &Caller,
        registry: &Registry,
        input: RedeliverInput,
    ) -> Result<Redelivery, ApiError> {
        let filter = self.confined_filter(caller, registry, &input).await?;
        let rate = rate(input.rate)?;
        self.store.epoch()?;
        let _turn = self.turns.to_wish().await;
        self.has_room(&filter).await?;
        let wish = self.history.redeliver(filter, rate).await.map_err(not_redelivered)?;
        let status = RedeliveryStatus { wish, progress: RedeliveryProgress::NONE };
        Redelivery::new(&status).ok_or(NO_REDELIVERY)
    }

    /// Whether the filter's webhook may have another redelivery. Whoever asks this and writes one has a turn.
    async fn has_room(&self, filter: &LetterFilter) -> Result<(), ApiError> {
        let mut all = self.history.redeliveries().await.map_err(unreadable)?;
        all.retain(|status| status.wish.filter.webhook == filter.webhook);
        let running = all.iter().filter(|status| !status.is_over()).count();
        let details = if running >= MAX_RUNNING {
            format!("{MAX_RUNNING} redeliveries of this webhook are running already")
        } else if all.len() >= MAX_KEPT {
            format!("this webhook has had {MAX_KEPT} redeliveries within 30 days: name more letters at once")
        } else {
            return Ok(());
        };
        Err(invalid("webhookId", details))
    }

    /// Which letters are meant: of one webhook, which the caller manages.
    async fn confined_filter(
        &self,
        caller: &Caller,
        registry: &Registry,
        input: &RedeliverInput,
    ) -> Result<LetterFilter, ApiError> {
        let named = input.letter_ids.as_deref().unwrap_or_default();
        let letters = named.iter().take(MAX_LETTERS + 1).map(letter_id).collect::<Result<Vec<_>, _>>()?;
        let mut webhook = input.webhook_id.as_ref().map(|id| WebhookId::new(id.as_str()));
        if let Some(webhook) = &webhook {
            self.tested_webhook(caller, registry, webhook)?;
        }
        if input.letter_ids.is_some() && !(1..=MAX_LETTERS).contains(&letters.len()) {
            return Err(invalid("letterIds", format!("1 to {MAX_LETTERS} are taken at once")));
        }
        for letter in &letters {
            let found = self.history.letter_alone(*letter).await.map_err(unreadable)?;
            let found = found.ok_or(NO_LETTER)?;
            let of = found.webhook.clone();
            is_of_letter(self.tested_webhook(caller, registry, &of).map_err(as_letter)?, &found)?;
            if *webhook.get_or_insert_with(|| of.clone()) != of {
                return Err(invalid("letterIds", "they are of several webhooks: one is taken at a time"));
            }
        }
        if webhook.is_none() {
            return Err(invalid("webhookId", "a webhook or some of its letters have to be named"));
        }
        Ok(LetterFilter {
            letters,
            webhook,
            event_type: input.event_type.map(|wanted| wanted.sent_as("eventType")).transpose()?,
            reason: input.reason.map(Into::into),
            since: input.since.map(|since| since.0),
            until: input.until.map(|until| until.0),
            ..LetterFilter::default()
        })
    }

    /// The redeliveries that the caller may see, the newest first.
    pub(super) async fn redeliveries_of(
        &self,
        caller: &Caller,
        registry: &Registry,
    ) -> Result<Vec<RedeliveryStatus>, ApiError> {
        let mut all = self.history.redeliveries().await.map_err(unreadable)?;
        all.retain(|status| {
            let webhook = status.wish.filter.webhook.as_ref();
            webhook.is_some_and(|webhook| self.webhook_of(caller, registry, webhook).is_ok())
        });
        all.sort_by(|one, other| place_of(other).cmp(&place_of(one)));
        Ok(all)
    }

    /// One of an organization's webhook; `judge`: whether the caller may.
    pub(super) async fn find_redelivery(
        &self,
        id: &ID,
        judge: impl FnOnce(&WebhookId) -> Result<(), ApiError>,
    ) -> Result<RedeliveryStatus, ApiError> {
        let all = self.history.redeliveries().await.map_err(unreadable)?;
        let found = all.into_iter().find(|status| status.wish.id == id.as_str()).ok_or(NO_REDELIVERY)?;
        judge(found.wish.filter.webhook.as_ref().ok_or(NO_REDELIVERY)?).map_err(as_redelivery)?;
        Ok(found)
    }

    /// Wishes for it no more; durable when this returns.
    pub(super) async fn cancel_redelivery(
        &self,
        caller: &Caller,
        registry: &Registry,
        id: &ID,
    ) -> Result<Redelivery, ApiError> {
        let judge = |webhook: &WebhookId| self.tested_webhook(caller, registry, webhook).map(drop);
        let mut status = self.find_redelivery(id, judge).await?;
        self.store.epoch()?;
        self.history.cancel(id.as_str()).await.map_err(not_cancelled)?;
        status.wish.is_cancelled = true;
        Redelivery::new(&status).ok_or(NO_REDELIVERY)
    }
}

/// Orders redeliveries by when they were asked for.
pub(super) fn place_of(status: &RedeliveryStatus) -> (u64, &str) {
    (status.wish.requested_at.0, &status.wish.id)
}

fn rate(wanted: Option<i32>) -> Result<NonZeroU32, ApiError> {
    let wanted = u32::try_from(wanted.unwrap_or(DEFAULT_RATE)).ok().and_then(NonZeroU32::new);
    let in_bounds = wanted.filter(|rate| rate.get() <= MAX_RATE);
    in_bounds.ok_or_else(|| invalid("rate", format!("1 to {MAX_RATE} per second are taken")))
}

/// The border that was met at its webhook.
pub(super) fn as_letter(error: ApiError) -> ApiError {
    if matches!(error, ApiError::NotFound(_)) { NO_LETTER } else { error }
}

fn as_redelivery(error: ApiError) -> ApiError {
    if matches!(error, ApiError::NotFound(_)) { NO_REDELIVERY } else { error }
}

fn not_redelivered(error: RedeliverError) -> ApiError {
    match error {
        RedeliverError::NoSuchLetter => NO_LETTER,
        RedeliverError::Read(error) => unreadable(error),
        RedeliverError::Write(error) => not_written(error),
    }
}

fn not_cancelled(error: CancelError) -> ApiError {
    match error {
        CancelError::Unknown => NO_REDELIVERY,
        CancelError::Read(error) => unreadable(error),
        CancelError::Write(error) => not_written(error),
    }
}

fn not_written(error: AppendError) -> ApiError {
    match error {
        AppendError::Unknown => ApiError::Unknown,
        AppendError::TooLarge(_) | AppendError::NoSpace | AppendError::Closed => {
            ApiError::Unavailable(format!("nothing has changed: {error}"))
        }
    }
}
