//! What became of deliveries: attempts, dead letters, their redelivery, and the way of a payment.
//!
//! Everything is told of webhooks that the caller may see now, and of no others: letters and attempts of a webhook that
//! was deleted are nobody's any more.

mod attempt;
mod letter;
mod live;
mod output;
mod redelivery;
mod trace;
mod turns;

use std::sync::Arc;

use async_graphql::{Context, ID, Object};
use hookline_event_log::{Log, Offset, Partition, ReadError};
use hookline_history::{LettersOf, RedeliveryStatus};
use hookline_registry::Registry;
use hookline_schemas::ids::{EventId, WebhookId};
use hookline_schemas::redelivery::LetterFilter;
use hookline_schemas::time::Timestamp;

pub(crate) use self::live::DeliverySubscriptions;
pub(crate) use self::turns::Turns;

use self::attempt::{WebhookAttempt, WebhookAttemptConnection};
use self::letter::{DeadLetter, DeadLetterConnection, DeadLetterReason, NO_LETTER, is_of_letter, letter_id};
use self::output::{PaymentTrace, WebhookDelivery};
use self::redelivery::{RedeliverInput, Redelivery, RedeliveryConnection, as_letter, place_of};
use super::Api;
use super::access::member;
use super::page::{self, DEFAULT_FIRST, PageInfo};
use super::scalars::DateTime;
use super::text;
use super::webhook::WebhookEventType;
use crate::attempts::{Place, ViewError, Wanted};
use crate::error::ApiError;
use crate::identity::Caller;

/// The lists, in their cursors.
const ATTEMPTS: &str = "attempts";
const LETTERS: &str = "letters";
const REDELIVERIES: &str = "redeliveries";

/// What can be asked about deliveries.
pub(crate) struct DeliveryQueries<L: Log>(pub(super) Arc<Api<L>>);

/// What can be changed about them.
pub(crate) struct DeliveryMutations<L: Log>(pub(super) Arc<Api<L>>);

#[Object]
impl<L: Log> DeliveryQueries<L> {
    /// The latest attempts at your webhooks, the newest first. A token for some clubs sees those at webhooks of its clubs.
    #[graphql(complexity = "20 + child_complexity")]
    async fn attempts(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Those at this webhook. Absent: at all of them.")] webhook_id: Option<ID>,
        #[graphql(desc = "Those at this event.")] event_id: Option<ID>,
        #[graphql(desc = "True: those that were answered 2xx. False: all others.")] delivered: Option<bool>,
        #[graphql(desc = "How many: 1 to 100.", default_with = "Some(DEFAULT_FIRST)")] first: Option<i32>,
        #[graphql(desc = "The endCursor of the page before.")] after: Option<String>,
    ) -> Result<WebhookAttemptConnection, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        let webhooks = api.asked_webhooks(caller, webhook_id.as_ref())?;
        let event = event_id.map(|id| EventId::new(id.as_str()));
        let before = page::after(ATTEMPTS, after.as_deref(), read_place)?;
        let wanted = Wanted { webhooks: &webhooks, event: event.as_ref(), is_delivered: delivered, before };
        let page = api.attempts.page(wanted, page::first(first)?).await?;
        let end = page.end.map(|end| page::cursor(ATTEMPTS, &write_place(end)));
        Ok(WebhookAttemptConnection {
            nodes: page.attempts.into_iter().map(|attempt| WebhookAttempt::new(attempt, caller)).collect(),
            page_info: PageInfo::new(end, page.has_next),
            since: page.since.map(whole_second),
        })
    }

    /// What became of an event at each of your webhooks. A token for some clubs sees that at webhooks of its clubs.
    #[graphql(complexity = "200 + child_complexity")]
    async fn deliveries(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The event: the header webhook-id of its deliveries.")] event_id: ID,
    ) -> Result<Vec<WebhookDelivery>, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        api.deliveries(caller, &*api.store.registry()?, text::name("eventId", event_id.as_str())?).await
    }

    /// The way of a payment: what happened to it, what became of that at each of your webhooks, and which notifications
    /// about it were not understood. A token for some clubs sees what is about its clubs, or went to their webhooks.
    #[graphql(complexity = "200 + child_complexity")]
    async fn payment_trace(
        &self,
        context: &Context<'_>,
        #[graphql(
            desc = "A transaction's number, an InvoiceId, a subscription's id, or an id of ours (pay_…, evt_…)."
        )]
        id: ID,
    ) -> Result<PaymentTrace, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        api.payment_trace(caller, &*api.store.registry()?, text::name("id", id.as_str())?).await
    }

    /// Deliveries to your webhooks that were given up. A token for some clubs sees those to webhooks of its clubs.
    #[graphql(complexity = "50 + child_complexity")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the contract")]
    async fn dead_letters(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Those to this webhook. Absent: to all of them.")] webhook_id: Option<ID>,
        #[graphql(desc = "Given up then or later.")] since: Option<DateTime>,
        #[graphql(desc = "Given up before then.")] until: Option<DateTime>,
        #[graphql(desc = "Given up for this reason.")] reason: Option<DeadLetterReason>,
        #[graphql(desc = "Whose event is of this type.")] event_type: Option<WebhookEventType>,
        #[graphql(desc = "How many: 1 to 100.", default_with = "Some(DEFAULT_FIRST)")] first: Option<i32>,
        #[graphql(desc = "The endCursor of the page before.")] after: Option<String>,
    ) -> Result<DeadLetterConnection, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        let webhooks = api.asked_webhooks(caller, webhook_id.as_ref())?;
        let filter = LetterFilter {
            webhook: webhook_id.map(|id| WebhookId::new(id.as_str())),
            event_type: event_type.map(|wanted| wanted.sent_as("eventType")).transpose()?,
            reason: reason.map(Into::into),
            since: since.map(|since| since.0),
            until: until.map(|until| until.0),
            ..LetterFilter::default()
        };
        let (most, after) =
            (page::first(first)?, page::after(LETTERS, after.as_deref(), |id| id.parse().ok())?);
        let webhooks = webhooks.into_iter().collect();
        let whose = LettersOf { webhooks: &webhooks, organization: &caller.organization };
        let page = api.history.letters_of(Some(whose), &filter, after, most).await.map_err(unreadable)?;
        let end = page.next.or_else(|| page.letters.last().map(|letter| letter.id));
        let end = end.map(|end| page::cursor(LETTERS, &end.to_string()));
        Ok(DeadLetterConnection {
            nodes: page.letters.into_iter().map(DeadLetter::from).collect(),
            page_info: PageInfo::new(end, page.next.is_some()),
        })
    }

    /// One of them, with its attempts.
    #[graphql(complexity = "50 + child_complexity")]
    async fn dead_letter(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<DeadLetter, ApiError> {
        let (api, caller, id) = (&*self.0, member(context)?, letter_id(&id)?);
        let letter = api.history.letter_alone(id).await.map_err(unreadable)?.ok_or(NO_LETTER)?;
        let registry = api.store.registry()?;
        let webhook = api.webhook_of(caller, &registry, &letter.webhook).map_err(as_letter)?;
        is_of_letter(webhook, &letter)?;
        let attempts = api.attempts_at(&letter.event, std::slice::from_ref(&letter.webhook)).await?;
        let attempts = attempts.into_iter().map(|attempt| WebhookAttempt::new(attempt, caller)).collect();
        Ok(DeadLetter::whole(id, &letter, attempts))
    }

    /// The redeliveries of dead letters of your webhooks, the newest first: those that go on, and those that ended within
    /// 30 days. A token for some clubs sees those of webhooks of its clubs.
    #[graphql(complexity = "50 + child_complexity")]
    async fn redeliveries(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many: 1 to 100.", default_with = "Some(DEFAULT_FIRST)")] first: Option<i32>,
        #[graphql(desc = "The endCursor of the page before.")] after: Option<String>,
    ) -> Result<RedeliveryConnection, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        let (most, after) =
            (page::first(first)?, page::after(REDELIVERIES, after.as_deref(), read_requested)?);
        let mut all = api.redeliveries_of(caller, &*api.store.registry()?).await?;
        let is_behind = |status: &RedeliveryStatus| {
            after.as_ref().is_none_or(|(at, id)| place_of(status) < (*at, id.as_str()))
        };
        all.retain(is_behind);
        let has_next = all.len() > most;
        all.truncate(most);
        let end = all.last().map(place_of).map(|(at, id)| page::cursor(REDELIVERIES, &format!("{at}.{id}")));
        let nodes = all.iter().filter_map(Redelivery::new).collect();
        Ok(RedeliveryConnection { nodes, page_info: PageInfo::new(end, has_next) })
    }

    /// One of them.
    #[graphql(complexity = "50 + child_complexity")]
    async fn redelivery(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<Redelivery, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        let registry = api.store.registry()?;
        let judge = |webhook: &WebhookId| api.webhook_of(caller, &registry, webhook).map(drop);
        let found = api.find_redelivery(&id, judge).await?;
        Redelivery::new(&found).ok_or(ApiError::NotFound("redelivery"))
    }
}

#[Object]
impl<L: Log> DeliveryMutations<L> {
    /// Has dead letters of a webhook delivered again: those that there are now, under the webhook-id that they have, with a
    /// deadline of their own. It is durable once this is answered, and goes on by itself. OWNER or ADMIN; a token for some
    /// clubs redelivers to webhooks of its clubs.
    #[graphql(complexity = "100 + child_complexity")]
    async fn redeliver(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which letters, and how fast.")] input: RedeliverInput,
    ) -> Result<Redelivery, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        api.redeliver(caller, &*api.store.registry()?, input).await
    }

    /// Cancels a redelivery. What is on its way again is delivered all the same. OWNER or ADMIN; a token for some clubs
    /// cancels those of webhooks of its clubs.
    #[graphql(complexity = "100 + child_complexity")]
    async fn cancel_redelivery(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<Redelivery, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        api.cancel_redelivery(caller, &*api.store.registry()?, &id).await
    }
}

impl<L: Log> Api<L> {
    /// The one webhook that is asked for, or all that the caller may see.
    fn asked_webhooks(&self, caller: &Caller, asked: Option<&ID>) -> Result<Vec<WebhookId>, ApiError> {
        let registry = self.store.registry()?;
        match asked {
            Some(id) => {
                let id = WebhookId::new(id.as_str());
                self.webhook_of(caller, &registry, &id)?;
                Ok(vec![id])
            }
            None => Ok(self.visible_webhooks(caller, &registry)),
        }
    }

    fn visible_webhooks(&self, caller: &Caller, registry: &Registry) -> Vec<WebhookId> {
        self.webhooks_of(caller, registry).map(|webhook| webhook.id().clone()).collect()
    }
}

impl From<ViewError> for ApiError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Loading => Self::Unavailable(error.to_string()),
            ViewError::Read(error) => unreadable(error),
        }
    }
}

/// What the log says of itself is for the operator.
fn unreadable(error: ReadError) -> ApiError {
    tracing::warn!(%error, "a question was not answered");
    ApiError::Unavailable("the log can't be read now".to_owned())
}

/// The first whole second from then on: times are shown in seconds, and nothing before this one is complete.
const fn whole_second(at: Timestamp) -> DateTime {
    DateTime(Timestamp(at.0.div_ceil(1_000).saturating_mul(1_000)))
}

fn write_place(place: Place) -> String {
    format!("{}.{}.{}", place.started_at.0, place.partition.0, place.offset.0)
}

fn read_place(text: &str) -> Option<Place> {
    let (started_at, rest) = text.split_once('.')?;
    let (partition, offset) = rest.split_once('.')?;
    Some(Place {
        started_at: Timestamp(started_at.parse().ok()?),
        partition: Partition(partition.parse().ok()?),
        offset: Offset(offset.parse().ok()?),
    })
}

fn read_requested(text: &str) -> Option<(u64, String)> {
    let (at, id) = text.split_once('.')?;
    Some((at.parse().ok()?, id.to_owned()))
}
