//! Planning: from a fetched event to its deliveries, each sent, queued or parked; and the budget that none of
//! them may exceed in the window.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hookline_event_log::{Epoch, JournalName, Offset, Partition};
use hookline_schemas::delivery::{FailureReason, ParkedDelivery, Party};
use hookline_schemas::event::Event;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhooks;

use super::endpoint::Route;
use super::lane::Lane;
use super::objective::Standing;
use super::outcomes::{Attempt, Target};
use super::repeats::{Identity, Seen};
use super::window::Settled;
use super::{
    Action, AttemptKey, Core, DeliveryKey, EndpointKey, FetchedEvent, ParkReason, Prepared, Timer, Way,
    schedule,
};

/// The one quick retry comes within this time, with full jitter.
const QUICK_RETRY: Duration = Duration::from_millis(300);

/// This part of the budget a delivery may wait for a permit. An endpoint that can't keep up is no reason to fill
/// the window, where everybody's events stand.
const QUEUE_SHARE: u32 = 5;

/// In a window that is nearly full, attempts that take longer than this part of the budget run on outside of it.
const TIGHT_SHARE: u32 = 5;

/// How long the last deliveries of a lane of ours are waited for.
const OWNED_HOLD: Duration = Duration::from_millis(500);

/// How long after the deadline of an attempt its parked copy may go out.
const DEADLINE_SLACK: Duration = Duration::from_secs(1);

/// A delivery of the window, until it is settled.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Where its event stands.
    pub(super) partition: Partition,
    /// Where its event stands.
    pub(super) offset: Offset,
    /// For whom.
    pub(super) endpoint: EndpointKey,
    /// What.
    pub(super) event: Arc<Prepared>,
    /// Attempts made so far, the one in flight included.
    pub(super) tries: u32,
    /// How the latest attempt failed.
    pub(super) last_failure: Option<FailureReason>,
    /// When its event was fetched.
    pub(super) fetched_at: Timestamp,
    /// How it stands to the objective.
    pub(super) standing: Standing,
    /// What happens to it now.
    pub(super) state: State,
}

/// What happens to a delivery of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for a permit of its endpoint.
    Queued,
    /// Waits for its quick retry.
    Retrying,
    /// In flight.
    Attempting(AttemptKey),
    /// On its way into `parked` or `dead_letters`; the append settles it.
    Appending,
}

impl Delivery {
    /// How long its event has been accepted.
    pub(super) fn age(&self, now: Timestamp) -> Duration {
        now.since(self.event.event.accepted_at)
    }
}

impl Core {
    /// Remembers events that were settled in an earlier life.
    pub(super) fn remember(&mut self, partition: Partition, events: &[Identity]) {
        let Some(window) = self.windows.get_mut(&partition) else { return };
        window.repeats.expect(events.len());
        for event in events {
            window.repeats.meet(*event);
        }
    }

    /// Plans the deliveries of fetched events.
    pub(super) fn plan(
        &mut self,
        partition: Partition,
        epoch: Epoch,
        events: Vec<FetchedEvent>,
        actions: &mut Vec<Action>,
    ) {
        let is_ours = self.windows.get(&partition).is_some_and(|window| window.epoch == epoch);
        // What was on its way when the drain began is for whoever comes next: the last commit may have been made.
        if !is_ours || self.draining || self.is_revoking(JournalName::Events, partition) {
            return;
        }
        for FetchedEvent { offset, event, bytes } in events {
            self.counts.fetched += 1;
            match event {
                Some(event) => self.plan_event(partition, offset, event, bytes, actions),
                // A slot that nothing settles: the watermark stays below it until a version that can read it
                // takes over.
                None => {
                    self.counts.unreadable += 1;
                    if let Some(window) = self.windows.get_mut(&partition) {
                        window.open_unreadable(offset, self.now);
                    }
                }
            }
        }
    }

    fn plan_event(
        &mut self,
        partition: Partition,
        offset: Offset,
        event: Event,
        bytes: usize,
        actions: &mut Vec<Action>,
    ) {
        let Some(webhooks) = self.webhooks.clone() else { return };
        let Some(window) = self.windows.get_mut(&partition) else { return };
        match window.repeats.meet(Identity::new(event.id.as_str(), event.fingerprint)) {
            Seen::Repeated => return self.pass_repeated(partition, offset, &event, &webhooks),
            Seen::Conflicting => self.counts.conflicting += 1,
            Seen::New => {}
        }
        let matching: Vec<_> = webhooks.matching(&event).cloned().collect();
        window.open(offset, matching.len(), bytes, event.accepted_at);
        if matching.is_empty() {
            return;
        }
        let event = Prepared::new(event);
        for webhook in matching {
            let endpoint = self.endpoint_of(&webhook.id);
            let key = DeliveryKey(self.new_key());
            let route = self.route(endpoint);
            let obstacle = (route != Route::Direct).then(|| self.endpoint(endpoint).obstacle(self.now));
            let delivery = Delivery {
                partition,
                offset,
                endpoint,
                event: Arc::clone(&event),
                tries: 0,
                last_failure: None,
                fetched_at: self.now,
                standing: Standing::planned(obstacle, self.now.since(event.event.accepted_at)),
                state: State::Queued,
            };
            self.deliveries.insert(key, delivery);
            self.budgets.push_back((self.now.after(self.settings.budget), key));
            self.place(key, endpoint, route, actions);
        }
    }

    fn pass_repeated(&mut self, partition: Partition, offset: Offset, event: &Event, webhooks: &Webhooks) {
        let matching: Vec<_> =
            webhooks.matching(event).map(|webhook| self.endpoint_of(&webhook.id)).collect();
        if let Some(window) = self.windows.get_mut(&partition) {
            window.repeat(offset, matching.into_iter());
        }
    }

    /// Sends a new delivery, queues it, or parks it; never before those that wait already.
    fn place(&mut self, key: DeliveryKey, endpoint: EndpointKey, route: Route, actions: &mut Vec<Action>) {
        let queue_length = self.settings.endpoint_queue;
        let now = self.now;
        let is_next = route == Route::Direct && self.endpoint(endpoint).queue.is_empty();
        if is_next && self.take_permit(endpoint, self.dispatchers) {
            return self.send(key, actions);
        }
        let state = self.endpoint(endpoint);
        let is_full = state.queue.len() >= queue_length;
        let has_rate = state.rate.is_some();
        if has_rate && let Some(delivery) = self.deliveries.get_mut(&key) {
            delivery.standing.hold_back();
        }
        if route == Route::Park || is_full {
            let state = self.endpoint(endpoint);
            let why = if route == Route::Park { state.obstacle(now) } else { ParkReason::QueueFull };
            self.park_queue(endpoint, why, actions);
            self.park(key, why, Timestamp(0), actions);
        } else {
            self.endpoint_mut(endpoint).queue.push_back(key);
            self.waits.push_back((now.after(self.settings.budget / QUEUE_SHARE), key));
            let state = self.endpoint(endpoint);
            if route == Route::Hold || state.rate_free_at(now).is_some() {
                self.set_timer(endpoint);
            }
        }
    }

    /// The way of a new delivery. A lane of ours in which nothing is left but what is in flight is waited for.
    fn route(&mut self, key: EndpointKey) -> Route {
        let now = self.now;
        let endpoint = self.endpoint_mut(key);
        match endpoint.route(now) {
            Route::Direct => endpoint.end_hold(),
            Route::Park if endpoint.owned().is_some_and(Lane::is_nearly_caught_up) => {
                endpoint.begin_hold(OWNED_HOLD, now);
            }
            Route::Hold | Route::Park => {}
        }
        endpoint.route(now)
    }

    /// Sends deliveries that wait for a permit, or parks them where the endpoint takes none any more.
    pub(super) fn pump_queue(&mut self, endpoint: EndpointKey, actions: &mut Vec<Action>) {
        let now = self.now;
        while let Some(key) = self.first_queued(endpoint) {
            match self.endpoint_mut(endpoint).route(now) {
                Route::Direct if self.take_permit(endpoint, self.dispatchers) => {}
                Route::Direct | Route::Hold => return,
                Route::Park => {
                    let why = self.endpoint_mut(endpoint).obstacle(now);
                    return self.park_queue(endpoint, why, actions);
                }
            }
            self.endpoint_mut(endpoint).queue.pop_front();
            self.send(key, actions);
        }
    }

    fn park_queue(&mut self, endpoint: EndpointKey, why: ParkReason, actions: &mut Vec<Action>) {
        while let Some(key) = self.first_queued(endpoint) {
            self.endpoint_mut(endpoint).queue.pop_front();
            self.park(key, why, Timestamp(0), actions);
        }
    }

    /// The first delivery that still waits: the budget of others may have ended, or their window is gone.
    fn first_queued(&mut self, endpoint: EndpointKey) -> Option<DeliveryKey> {
        loop {
            let key = *self.endpoint(endpoint).queue.front()?;
            if self.deliveries.get(&key).is_some_and(|delivery| delivery.state == State::Queued) {
                return Some(key);
            }
            self.endpoint_mut(endpoint).queue.pop_front();
        }
    }

    fn send(&mut self, key: DeliveryKey, actions: &mut Vec<Action>) {
        let attempt = AttemptKey(self.new_key());
        let deadline = self.now.after(self.settings.attempt_timeout);
        let Some(delivery) = self.deliveries.get_mut(&key) else { return };
        delivery.tries += 1;
        delivery.state = State::Attempting(attempt);
        let (endpoint, event, number) = (delivery.endpoint, Arc::clone(&delivery.event), delivery.tries);
        let Some(webhook) = self.endpoint(endpoint).webhook.clone() else {
            return self.cancel_in_window(key, actions);
        };
        self.endpoint_mut(endpoint).in_flight += 1;
        let target = Target::Window(key);
        self.attempts
            .insert(attempt, Attempt { endpoint, deadline, is_probe: false, is_outdated: false, target });
        actions.push(Action::Attempt { attempt, webhook, event, number, way: Way::Window });
    }

    /// An attempt of a window's delivery failed: once more quickly while the endpoint is healthy and the
    /// event young, else into its lane.
    pub(super) fn retry_or_park(&mut self, key: DeliveryKey, actions: &mut Vec<Action>) {
        let Some(delivery) = self.deliveries.get_mut(&key) else { return };
        let is_young = self.now.since(delivery.fetched_at) < self.settings.budget / 2;
        let (endpoint, partition) = (delivery.endpoint, delivery.partition);
        let is_first = delivery.tries == 1 && is_young;
        let starts_more = !self.draining && !self.is_revoking(JournalName::Events, partition);
        let state = self.endpoint(endpoint);
        if is_first && starts_more && state.breaker.is_closed() && !state.is_resting(self.now) {
            let wait = schedule::jittered(QUICK_RETRY, &mut self.random);
            if let Some(delivery) = self.deliveries.get_mut(&key) {
                delivery.state = State::Retrying;
            }
            self.start_timer(wait, Timer::QuickRetry(key));
        } else {
            self.park_failed(key, actions);
        }
    }

    /// The quick retry is due.
    pub(super) fn retry_quickly(&mut self, key: DeliveryKey, actions: &mut Vec<Action>) {
        let Some(delivery) = self.deliveries.get(&key) else { return };
        if delivery.state != State::Retrying {
            return;
        }
        let (key_of_endpoint, now) = (delivery.endpoint, self.now);
        let endpoint = self.endpoint(key_of_endpoint);
        let is_open = endpoint.breaker.is_closed() && !endpoint.is_halted() && !endpoint.is_resting(now);
        if is_open && self.take_permit(key_of_endpoint, self.dispatchers) {
            self.send(key, actions);
        } else {
            self.park_failed(key, actions);
        }
    }

    /// Parks what is not tried again here.
    fn park_failed(&mut self, key: DeliveryKey, actions: &mut Vec<Action>) {
        let failure = self.deliveries.get(&key).and_then(|delivery| delivery.last_failure);
        let is_our_fault = failure.is_some_and(|reason| reason.party() == Party::Ours);
        let why = if is_our_fault { ParkReason::Local } else { ParkReason::Failed };
        self.park(key, why, Timestamp(0), actions);
    }

    /// Parks what waits for an endpoint whose permits do not come free, with all that waits behind it.
    pub(super) fn end_queueing(&mut self, actions: &mut Vec<Action>) {
        while let Some((due, key)) = self.waits.front().copied()
            && due <= self.now
        {
            self.waits.pop_front();
            let waiting = self.deliveries.get(&key).filter(|delivery| delivery.state == State::Queued);
            let Some(endpoint) = waiting.map(|delivery| delivery.endpoint) else { continue };
            if self.endpoint(endpoint).hold_ends(self.now).is_some() {
                self.waits.push_back((self.now.after(self.settings.budget / QUEUE_SHARE), key));
            } else {
                self.park_queue(endpoint, ParkReason::Permit, actions);
            }
        }
    }

    /// Makes room in windows that are nearly full: attempts that hang hold the others up.
    pub(super) fn relieve_windows(&mut self, actions: &mut Vec<Action>) {
        let most = self.settings.window_events;
        let patience = self.settings.budget / TIGHT_SHARE;
        let tight = self.windows.iter().filter(|(_, window)| window.is_tight(most));
        let tight: BTreeSet<_> = tight.map(|(partition, _)| *partition).collect();
        if tight.is_empty() || self.draining {
            return;
        }
        let hangs = |delivery: &Delivery| {
            let is_long = self.now.since(delivery.fetched_at) >= patience;
            is_long && matches!(delivery.state, State::Attempting(_)) && tight.contains(&delivery.partition)
        };
        let hanging: BTreeSet<_> =
            self.deliveries.iter().filter(|(_, delivery)| hangs(delivery)).map(|(key, _)| *key).collect();
        for key in hanging {
            self.end_wait(key, ParkReason::WindowFull, actions);
        }
    }

    /// Parks what is not settled when its budget ends, so that no endpoint holds the watermark for longer.
    pub(super) fn end_budgets(&mut self, actions: &mut Vec<Action>) {
        while let Some((due, key)) = self.budgets.front().copied() {
            let Some(delivery) = self.deliveries.get(&key) else {
                self.budgets.pop_front();
                continue;
            };
            if due > self.now {
                return;
            }
            self.budgets.pop_front();
            match delivery.state {
                State::Queued | State::Retrying | State::Attempting(_) => {
                    self.end_wait(key, ParkReason::Budget, actions);
                }
                State::Appending => {}
            }
        }
    }

    /// Parks a delivery now, whatever it waits for. An attempt in flight runs on; its late 2xx strikes the
    /// parked copy.
    fn end_wait(&mut self, key: DeliveryKey, why: ParkReason, actions: &mut Vec<Action>) {
        let Some(delivery) = self.deliveries.get(&key) else { return };
        let (standing, accepted_at) = (delivery.standing, delivery.event.event.accepted_at);
        match delivery.state {
            State::Appending => {}
            State::Queued | State::Retrying => self.park(key, why, Timestamp(0), actions),
            State::Attempting(attempt) => {
                let Some(attempt) = self.attempts.get_mut(&attempt) else { return };
                attempt.target = Target::Detached { parked: None, standing, accepted_at };
                // A little later than the attempt ends, so that its end is known first.
                let not_before = attempt.deadline.after(DEADLINE_SLACK);
                self.park(key, why, not_before, actions);
            }
        }
    }

    /// Begins nothing new, and parks what waits: left unsettled, it would hold the last commit below what has been
    /// delivered beside it, and all of that would go out again after the restart.
    pub(super) fn begin_drain(&mut self, actions: &mut Vec<Action>) {
        self.draining = true;
        let partitions: Vec<_> = self.windows.keys().copied().collect();
        for partition in partitions {
            self.park_window(partition, false, actions);
        }
    }

    /// Parks deliveries of a partition, in their order: those that wait, or those in flight as well.
    pub(super) fn park_window(&mut self, partition: Partition, in_flight: bool, actions: &mut Vec<Action>) {
        let parks = |delivery: &Delivery| match delivery.state {
            State::Queued | State::Retrying => true,
            State::Attempting(_) => in_flight,
            State::Appending => false,
        };
        let here = self.deliveries.iter().filter(|(_, delivery)| delivery.partition == partition);
        let parked: BTreeSet<_> = here.filter(|(_, delivery)| parks(delivery)).map(|(key, _)| *key).collect();
        for key in parked {
            self.end_wait(key, ParkReason::Handover, actions);
        }
    }

    /// Appends the delivery to its lane; the acknowledged append settles it.
    fn park(&mut self, key: DeliveryKey, why: ParkReason, not_before: Timestamp, actions: &mut Vec<Action>) {
        let Some(delivery) = self.deliveries.get_mut(&key) else { return };
        let detached = match delivery.state {
            // One that has just failed runs on no more.
            State::Attempting(attempt) => Some(attempt).filter(|attempt| self.attempts.contains_key(attempt)),
            State::Queued | State::Retrying | State::Appending => None,
        };
        delivery.state = State::Appending;
        let (endpoint, standing) = (delivery.endpoint, delivery.standing);
        let (event, tries, last_failure) =
            (Arc::clone(&delivery.event), delivery.tries, delivery.last_failure);
        let Some(webhook) = self.endpoint(endpoint).webhook.clone() else {
            // There will be no copy that a late success could strike.
            if let Some(attempt) = detached.and_then(|attempt| self.attempts.get_mut(&attempt)) {
                attempt.target = Target::Orphaned;
            }
            return self.cancel_in_window(key, actions);
        };
        if detached.is_none() {
            self.counts.judge(standing.parked());
        }
        let deadline = event.event.accepted_at.after(webhook.deadline.unwrap_or(self.settings.deadline));
        let webhook = webhook.id.clone();
        let event = event.event.clone();
        let webhooks_version = self.webhooks_version();
        let parked =
            ParkedDelivery { webhook, event, tries, last_failure, not_before, deadline, webhooks_version };
        self.endpoint_mut(endpoint).parking += 1;
        self.park_delivery(key, endpoint, parked, why, detached, actions);
    }

    /// The delivery is settled.
    pub(super) fn settle(&mut self, key: DeliveryKey, how: Settled) {
        let Some(delivery) = self.deliveries.remove(&key) else { return };
        if let Some(window) = self.windows.get_mut(&delivery.partition) {
            window.settle(delivery.offset, delivery.endpoint, how);
        }
    }
}
