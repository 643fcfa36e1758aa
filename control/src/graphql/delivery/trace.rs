//! The way of a payment, and what became of one event, from the log and the view of attempts.

use std::collections::BTreeSet;

use hookline_event_log::{Log, Offset, Partition};
use hookline_history::{FoundEvent, TraceQuery};
use hookline_registry::Registry;
use hookline_schemas::delivery::AttemptRecord;
use hookline_schemas::event::Event;
use hookline_schemas::ids::{GatewayId, WebhookId};
use hookline_schemas::webhook::{Webhook, Webhooks};

use super::output::{PaymentTrace, QuarantinedNotification, TracedEvent, WebhookDelivery};
use super::unreadable;
use crate::error::ApiError;
use crate::graphql::Api;
use crate::graphql::access::AnyGateway;
use crate::identity::Caller;

/// Events of a payment that are shown, and notifications about it in quarantine.
const MOST: usize = 100;

/// Attempts of a delivery that are shown.
const ATTEMPTS: usize = 100;

/// Of an event's and of a payment's: a prefix of 4 characters, and 26 of a hash.
const ID_LENGTH: usize = 30;

impl<L: Log> Api<L> {
    /// What became of an event at each webhook that the caller may see.
    pub(super) async fn deliveries(
        &self,
        caller: &Caller,
        registry: &Registry,
        id: &str,
    ) -> Result<Vec<WebhookDelivery>, ApiError> {
        can_be_an_id(id, "event")?;
        let webhooks = self.traced_webhooks(caller, registry)?;
        let events = self.callers_events(caller, registry, id).await?;
        let found = events.into_iter().find(|found| found.event.id.as_str() == id);
        let event = found.ok_or(ApiError::NotFound("event"))?.event;
        let deliveries = self.deliveries_of(caller, &webhooks, &event).await?;
        if deliveries.is_empty() {
            may_know(caller, &event)?;
        }
        Ok(deliveries)
    }

    /// The way of a payment, as far as it is the caller's.
    pub(super) async fn payment_trace(
        &self,
        caller: &Caller,
        registry: &Registry,
        id: &str,
    ) -> Result<PaymentTrace, ApiError> {
        can_be_an_id(id, "payment")?;
        let webhooks = self.traced_webhooks(caller, registry)?;
        let found = self.callers_events(caller, registry, id).await?;
        let (mut events, mut refused) = (Vec::new(), None);
        for found in found.iter().skip(found.len().saturating_sub(MOST)) {
            let deliveries = self.deliveries_of(caller, &webhooks, &found.event).await?;
            match may_know(caller, &found.event) {
                Err(error) if deliveries.is_empty() => refused = Some(error),
                Ok(()) | Err(_) => events.push(TracedEvent::new(found, deliveries)),
            }
        }
        let (quarantined, unopened) = self.quarantined_of(caller, registry, id).await?;
        if events.is_empty() && quarantined.is_empty() && unopened == 0 {
            return Err(refused.unwrap_or(ApiError::NotFound("payment")));
        }
        Ok(PaymentTrace { events, quarantined, unopened })
    }

    /// The attempts at an event at these webhooks, in the order in which they began: by the view, or, where that does
    /// not look back so far, by the journal itself.
    pub(super) async fn attempts_at(
        &self,
        event: &Event,
        webhooks: &[WebhookId],
    ) -> Result<Vec<AttemptRecord>, ApiError> {
        let (id, accepted_at) = (&event.id, event.accepted_at);
        if let Some(known) = self.attempts.at_event(webhooks, id, accepted_at).await.map_err(unreadable)? {
            return Ok(known);
        }
        let mut all = Vec::new();
        for webhook in webhooks {
            let mut attempts = self.history.attempts(webhook, id, accepted_at).await.map_err(unreadable)?;
            all.extend(attempts.drain(attempts.len().saturating_sub(ATTEMPTS)..));
        }
        all.sort_by_key(|attempt| attempt.started_at);
        Ok(all)
    }

    /// The events of the caller's organization that are about this, in the order in which they were accepted.
    async fn callers_events(
        &self,
        caller: &Caller,
        registry: &Registry,
        id: &str,
    ) -> Result<Vec<FoundEvent>, ApiError> {
        let gateways = self.gateways_traced(caller, registry);
        let places = self.known_places(caller, &gateways, id).await?;
        let organization = Some(&caller.organization);
        let found = self.history.events_at(&places, organization).await.map_err(unreadable)?;
        if !found.is_empty() {
            return Ok(found);
        }
        let webhooks = &Webhooks::default();
        let query = TraceQuery { payment: id, gateways: &gateways, places: &[], webhooks, sealer: None };
        let _turn = self.turns.to_look().await?;
        self.history.events_about(query, organization).await.map_err(unreadable)
    }

    /// Where the events of a payment stand in `events`, if the payment is known: then the journal is not looked through.
    async fn known_places(
        &self,
        caller: &Caller,
        gateways: &[GatewayId],
        id: &str,
    ) -> Result<Vec<(Partition, Offset)>, ApiError> {
        let view = &self.payments.view;
        let payments = view.payments_about(&caller.organization, gateways.to_vec(), id).await?;
        let places: BTreeSet<_> =
            payments.iter().flat_map(|payment| payment.events.values().copied()).collect();
        Ok(places.into_iter().map(|place| (Partition(place.partition), Offset(place.offset))).collect())
    }

    async fn deliveries_of(
        &self,
        caller: &Caller,
        webhooks: &[Webhook],
        event: &Event,
    ) -> Result<Vec<WebhookDelivery>, ApiError> {
        let ids: Vec<_> = webhooks.iter().map(|webhook| webhook.id.clone()).collect();
        let mut attempts = self.attempts_at(event, &ids).await?;
        let mut deliveries = Vec::new();
        for webhook in webhooks {
            let here: Vec<_> = attempts.extract_if(.., |attempt| attempt.webhook == webhook.id).collect();
            // One that has had attempts at it may have asked for it once.
            if webhook.wants(event) || !here.is_empty() {
                let traced = self.history.trace_delivery(event, webhook, here).await.map_err(unreadable)?;
                deliveries.push(WebhookDelivery::new(traced, caller));
            }
        }
        Ok(deliveries)
    }

    /// The webhooks that the caller may see, as dispatchers have them.
    fn traced_webhooks(&self, caller: &Caller, registry: &Registry) -> Result<Vec<Webhook>, ApiError> {
        let unreadable = |_| ApiError::Unavailable("a webhook can't be read".to_owned());
        let registered: Webhooks = registry.open_webhooks().map_err(unreadable)?.into_iter().collect();
        let visible = self.visible_webhooks(caller, registry);
        let open = |id| registered.find(id).or_else(|| self.configured.webhooks.find(id));
        Ok(visible.iter().filter_map(open).map(|webhook| Webhook::clone(webhook)).collect())
    }

    fn gateways_traced(&self, caller: &Caller, registry: &Registry) -> Vec<GatewayId> {
        let id = |gateway| match gateway {
            AnyGateway::Registered(record) => record.id.clone(),
            AnyGateway::Configured(gateway) => gateway.id.clone(),
        };
        self.gateways_of(caller, registry).map(id).collect()
    }

    /// What stands in quarantine says nothing of clubs, so that tokens of some clubs are not told of it.
    async fn quarantined_of(
        &self,
        caller: &Caller,
        registry: &Registry,
        id: &str,
    ) -> Result<(Vec<QuarantinedNotification>, u64), ApiError> {
        if caller.clubs.is_some() {
            return Ok((Vec::new(), 0));
        }
        let gateways = self.gateways_traced(caller, registry);
        let is_theirs = |gateway: &GatewayId| gateways.contains(gateway);
        let found = {
            let _turn = self.turns.to_look().await?;
            self.history.quarantined(id, Some(&self.sealer), is_theirs).await
        };
        let (mut quarantined, unopened) = found.map_err(unreadable)?;
        quarantined.truncate(MOST);
        Ok((quarantined.into_iter().map(Into::into).collect(), unopened))
    }
}

/// What begins as an id of ours and can be none is nobody's, and nothing is read for it.
fn can_be_an_id(id: &str, what: &'static str) -> Result<(), ApiError> {
    let is_ours = id.starts_with("evt_") || id.starts_with("pay_");
    let is_whole =
        id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_ours && !is_whole { Err(ApiError::NotFound(what)) } else { Ok(()) }
}

/// Whether the event is about one of the caller's clubs, or about all clubs of his organization.
fn may_know(caller: &Caller, event: &Event) -> Result<(), ApiError> {
    if event.club_id.as_str().is_empty() { Ok(()) } else { caller.may_enter(Some(&event.club_id)) }
}
