//! The life of a webhook: changed, paused, disabled, enabled, deleted; and what is wanted of it by hand.
//!
//! An endpoint is its webhook's id: a new URL keeps the lane and forgets what was known of the old one. While
//! nothing is sent the lane goes on: what comes is parked, and deadlines run.

use std::sync::Arc;

use hookline_event_log::Offset;
use hookline_schemas::delivery::{AttemptOutcome, Disabled, DisabledReason, FailureReason};
use hookline_schemas::event::Event;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::webhook::{Webhook, Webhooks};

use super::breaker::Breaker;
use super::lane::{Lane, LaneDelivery, LaneSettled};
use super::window::Settled;
use super::{Action, Cancelled, Core, DeliveryKey, EndpointKey};
use crate::endpoints::ByHandError;

/// What somebody wants of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByHand {
    /// Try now, whatever the schedule says. Where it was disabled, a success enables it.
    Probe,
    /// Send again to one that was disabled.
    Enable,
}

/// Whether the endpoint says that it is no more.
pub(super) const fn is_gone(outcome: &AttemptOutcome) -> bool {
    matches!(outcome, AttemptOutcome::Rejected { reason: FailureReason::Status(410) })
}

impl Core {
    /// Whether these are the webhooks that it goes by.
    pub(crate) fn knows(&self, webhooks: &Arc<Webhooks>) -> bool {
        self.webhooks.as_ref().is_some_and(|known| Arc::ptr_eq(known, webhooks))
    }

    /// The position in `control` up to which the webhooks are known.
    pub(super) fn webhooks_version(&self) -> u64 {
        self.webhooks.as_ref().map_or(0, |webhooks| webhooks.version())
    }

    /// The webhooks as they are now.
    pub(super) fn take_webhooks(&mut self, webhooks: Arc<Webhooks>, actions: &mut Vec<Action>) {
        self.webhooks = Some(Arc::clone(&webhooks));
        self.webhook_counts =
            (webhooks.iter().count(), webhooks.iter().filter(|webhook| webhook.paused).count());
        for key in (0..self.endpoints.len()).map(|index| EndpointKey(index as u64)) {
            let now = self.now;
            let endpoint = self.endpoint_mut(key);
            let after = webhooks.find(&endpoint.id).cloned();
            let before = endpoint.webhook.clone();
            endpoint.take_webhook(after.clone(), now);
            match (before, after) {
                (Some(before), Some(after)) => self.change_webhook(key, &before, &after, actions),
                (Some(_), None) => self.cancel(key, actions),
                // It comes again under its id, perhaps elsewhere.
                (None, Some(_)) => self.start_anew(key),
                (None, None) => {}
            }
            self.pump(key, actions);
        }
    }

    fn change_webhook(
        &mut self,
        key: EndpointKey,
        before: &Webhook,
        after: &Webhook,
        actions: &mut Vec<Action>,
    ) {
        if before.url != after.url {
            self.endpoint_mut(key).disabled = None;
            self.start_anew(key);
            self.put_lane(key, actions);
        } else if before.paused && !after.paused {
            self.start_anew(key);
        }
        for (wanted, asked_before, asked) in [
            (ByHand::Enable, before.enabled_at, after.enabled_at),
            (ByHand::Probe, before.probed_at, after.probed_at),
        ] {
            if asked.is_some() && asked != asked_before {
                // Everybody sees it, and it is for the owner of the lane. Where nothing can be done there is nobody
                // to be told.
                let _ = self.do_by_hand(&after.id, wanted, actions);
            }
        }
    }

    /// Nothing is known of the endpoint any more: what waits begins with a probe now, and then slowly.
    pub(super) fn start_anew(&mut self, key: EndpointKey) {
        let now = self.now;
        let endpoint = self.endpoint_mut(key);
        let waits = endpoint.owned().is_some_and(|lane| !lane.is_caught_up());
        endpoint.breaker = if waits { Breaker::in_doubt(now) } else { Breaker::CLOSED };
        endpoint.concurrency.restart();
        (endpoint.rests_until, endpoint.last_failure) = (now, None);
        endpoint.write_down_soon();
        // What is in flight would tell of the time before.
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.endpoint == key) {
            attempt.is_outdated = true;
            attempt.is_probe = false;
        }
    }

    /// The webhook is no more: its backlog is given up, in memory or not, but for what is in flight.
    pub(super) fn cancel(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        let endpoint = self.endpoint_mut(key);
        endpoint.disabled = None;
        let cancelled = endpoint.owned_mut().map_or(0, Lane::cancel);
        if cancelled > 0 {
            let webhook = endpoint.id.clone();
            actions.push(Action::Cancelled { webhook, what: Cancelled::Backlog(cancelled) });
        }
    }

    /// The webhook of a delivery of the window is no more.
    pub(super) fn cancel_in_window(&mut self, key: DeliveryKey, actions: &mut Vec<Action>) {
        if let Some(delivery) = self.deliveries.get(&key) {
            self.tell_cancelled(delivery.endpoint, &delivery.event.event, delivery.tries, actions);
        }
        self.settle(key, Settled::Cancelled);
    }

    /// The webhook of a delivery of its lane is no more.
    pub(super) fn cancel_in_lane(
        &mut self,
        key: EndpointKey,
        offset: Offset,
        delivery: &LaneDelivery,
        actions: &mut Vec<Action>,
    ) {
        self.tell_cancelled(key, &delivery.parked.event, delivery.tries, actions);
        self.settle_in_lane(key, offset, LaneSettled::Cancelled);
    }

    fn tell_cancelled(&self, key: EndpointKey, event: &Event, tries: u32, actions: &mut Vec<Action>) {
        let webhook = self.endpoint(key).id.clone();
        actions.push(Action::Cancelled { webhook, what: Cancelled::one(event, tries) });
    }

    /// Sends nothing more until somebody enables it, and tells the organization's other webhooks. Whoever does
    /// not own the lane leaves that to its owner.
    pub(super) fn disable(&mut self, key: EndpointKey, reason: DisabledReason, actions: &mut Vec<Action>) {
        let at = self.now;
        let endpoint = self.endpoint_mut(key);
        if endpoint.disabled.is_some() || endpoint.owned().is_none() || endpoint.webhook.is_none() {
            return;
        }
        endpoint.disabled = Some(Disabled { at, reason, is_announced: false });
        endpoint.probe_by_hand = false;
        *match reason {
            DisabledReason::Gone => &mut self.counts.disabled_gone,
            DisabledReason::Failing => &mut self.counts.disabled_failing,
        } += 1;
        self.put_lane(key, actions);
        self.announce(key, actions);
    }

    /// Appends the event that tells of it, unless it stands there. Twice is as good as once: it has one id.
    pub(super) fn announce(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        let endpoint = self.endpoint(key);
        if let (Some(disabled), Some(webhook)) = (&endpoint.disabled, &endpoint.webhook)
            && !disabled.is_announced
        {
            let event = Arc::new(Event::webhook_disabled(webhook, disabled));
            self.append_announcement(key, event, actions);
        }
    }

    /// The announcement stands in the log.
    pub(super) fn finish_announcement(&mut self, key: EndpointKey) {
        let endpoint = self.endpoint_mut(key);
        if let Some(disabled) = &mut endpoint.disabled {
            disabled.is_announced = true;
        }
        endpoint.write_down_soon();
    }

    /// Does what somebody wants.
    ///
    /// # Errors
    ///
    /// If it can't be done, and then nothing has changed.
    pub(super) fn do_by_hand(
        &mut self,
        webhook: &WebhookId,
        wanted: ByHand,
        actions: &mut Vec<Action>,
    ) -> Result<(), ByHandError> {
        let is_known = self.webhooks.as_ref().is_some_and(|webhooks| webhooks.find(webhook).is_some());
        if !is_known {
            return Err(ByHandError::Unknown);
        }
        let key = self.endpoint_of(webhook);
        let Some(lane) = self.endpoint(key).owned() else { return Err(ByHandError::NotOurs) };
        match wanted {
            ByHand::Probe if lane.is_drained() => return Err(ByHandError::NothingWaits),
            ByHand::Probe => self.probe_by_hand(key)?,
            ByHand::Enable => self.enable(key, actions),
        }
        self.pump(key, actions);
        Ok(())
    }

    fn probe_by_hand(&mut self, key: EndpointKey) -> Result<(), ByHandError> {
        let now = self.now;
        let endpoint = self.endpoint_mut(key);
        if endpoint.is_paused() {
            return Err(ByHandError::Paused);
        }
        endpoint.probe_by_hand = endpoint.disabled.is_some();
        if endpoint.disabled.is_some() && !endpoint.breaker.is_open() {
            endpoint.breaker = Breaker::in_doubt(now);
        }
        endpoint.breaker.hurry(now);
        if let Some(lane) = endpoint.owned_mut().filter(|lane| lane.is_caught_up()) {
            lane.hurry_exception(now);
        }
        Ok(())
    }

    /// Enables it if its owner has asked for that since it was disabled: perhaps while nobody had its lane. What
    /// was asked for before, the latest disabling has overtaken.
    pub(super) fn enable_if_asked(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        let endpoint = self.endpoint(key);
        let asked_at = endpoint.webhook.as_ref().and_then(|webhook| webhook.enabled_at);
        let disabled_at = endpoint.disabled.map(|disabled| disabled.at);
        if disabled_at.is_some_and(|at| Some(at) < asked_at) {
            self.enable(key, actions);
        }
    }

    /// Sends again, beginning with a probe.
    pub(super) fn enable(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        if self.endpoint_mut(key).disabled.take().is_some() {
            self.start_anew(key);
            self.put_lane(key, actions);
        }
    }
}
