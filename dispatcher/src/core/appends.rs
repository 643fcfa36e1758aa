//! Appends to `parked` and `dead_letters`: what has been handed to the log and not been acknowledged. A
//! delivery is settled by the acknowledgement, never by the handing over; a refused append is tried again.

use std::sync::Arc;
use std::time::Duration;

use hookline_event_log::{AppendError, Offset};
use hookline_schemas::delivery::{DeadLetter, DeadReason, FailureReason, ParkedDelivery};
use hookline_schemas::event::Event;

use super::lane::{LaneDelivery, LaneSettled};
use super::outcomes::{Attempt, Target};
use super::window::Settled;
use super::{Action, AppendKey, AttemptKey, Core, DeliveryKey, EndpointKey, ParkReason, Timer};

/// How long to wait before a refused append is tried again.
const APPEND_AGAIN: Duration = Duration::from_millis(500);

/// An append that has not been acknowledged.
#[derive(Debug)]
pub(super) struct Append {
    endpoint: EndpointKey,
    record: AppendRecord,
    origin: Origin,
    /// The attempt that runs on beside the parked copy.
    detached: Option<AttemptKey>,
}

#[derive(Debug)]
enum AppendRecord {
    Parked(Arc<ParkedDelivery>, ParkReason),
    Dead(Arc<DeadLetter>),
    /// Into `events`.
    Announcement(Arc<Event>),
}

/// What the acknowledgement settles.
#[derive(Debug, Clone, Copy)]
enum Origin {
    Window(DeliveryKey),
    Lane(Offset),
    /// That the webhook has been disabled.
    Disabling,
    /// Nothing: its window or lane is no longer ours.
    Orphaned,
}

impl Append {
    pub(super) fn endpoint(&self) -> EndpointKey {
        self.endpoint
    }

    /// The delivery of a window that its acknowledgement settles.
    pub(super) fn delivery(&self) -> Option<DeliveryKey> {
        match self.origin {
            Origin::Window(delivery) => Some(delivery),
            Origin::Lane(_) | Origin::Disabling | Origin::Orphaned => None,
        }
    }

    /// Whether its acknowledgement settles a delivery of a lane.
    pub(super) fn is_from_lane(&self) -> bool {
        matches!(self.origin, Origin::Lane(_))
    }

    fn is_orphaned(&self) -> bool {
        matches!(self.origin, Origin::Orphaned)
    }

    fn is_parked(&self) -> bool {
        matches!(self.record, AppendRecord::Parked(..))
    }
}

impl Core {
    pub(super) fn park_delivery(
        &mut self,
        delivery: DeliveryKey,
        endpoint: EndpointKey,
        parked: ParkedDelivery,
        why: ParkReason,
        detached: Option<AttemptKey>,
        actions: &mut Vec<Action>,
    ) {
        let record = AppendRecord::Parked(Arc::new(parked), why);
        self.begin_append(Append { endpoint, record, origin: Origin::Window(delivery), detached }, actions);
    }

    /// An exception without a place goes to the end of its lane.
    pub(super) fn park_again(
        &mut self,
        endpoint: EndpointKey,
        offset: Offset,
        delivery: &LaneDelivery,
        failure: FailureReason,
        actions: &mut Vec<Action>,
    ) {
        let mut parked = ParkedDelivery::clone(&delivery.parked);
        parked.tries = delivery.tries;
        parked.last_failure = Some(failure);
        parked.webhooks_version = self.webhooks_version();
        let record = AppendRecord::Parked(Arc::new(parked), ParkReason::ExceptionsFull);
        self.endpoint_mut(endpoint).parking += 1;
        self.begin_append(Append { endpoint, record, origin: Origin::Lane(offset), detached: None }, actions);
    }

    pub(super) fn bury_from_window(
        &mut self,
        key: DeliveryKey,
        reason: DeadReason,
        actions: &mut Vec<Action>,
    ) {
        let dead_at = self.now;
        let Some(delivery) = self.deliveries.get_mut(&key) else { return };
        delivery.state = super::planning::State::Appending;
        let (endpoint, tries, last_failure) = (delivery.endpoint, delivery.tries, delivery.last_failure);
        let event = delivery.event.event.clone();
        let webhook = self.endpoint(endpoint).id.clone();
        let letter = DeadLetter { webhook, event, reason, tries, last_failure, dead_at };
        let record = AppendRecord::Dead(Arc::new(letter));
        self.begin_append(Append { endpoint, record, origin: Origin::Window(key), detached: None }, actions);
    }

    pub(super) fn bury_from_lane(
        &mut self,
        endpoint: EndpointKey,
        offset: Offset,
        delivery: &LaneDelivery,
        failure: Option<FailureReason>,
        reason: DeadReason,
        actions: &mut Vec<Action>,
    ) {
        let letter = DeadLetter {
            webhook: self.endpoint(endpoint).id.clone(),
            event: delivery.parked.event.clone(),
            reason,
            tries: delivery.tries,
            last_failure: failure.or(delivery.parked.last_failure),
            dead_at: self.now,
        };
        let record = AppendRecord::Dead(Arc::new(letter));
        self.begin_append(Append { endpoint, record, origin: Origin::Lane(offset), detached: None }, actions);
    }

    pub(super) fn append_announcement(
        &mut self,
        endpoint: EndpointKey,
        event: Arc<Event>,
        actions: &mut Vec<Action>,
    ) {
        let record = AppendRecord::Announcement(event);
        self.begin_append(Append { endpoint, record, origin: Origin::Disabling, detached: None }, actions);
    }

    fn begin_append(&mut self, append: Append, actions: &mut Vec<Action>) {
        let key = AppendKey(self.new_key());
        self.appends.insert(key, append);
        self.append(key, actions);
    }

    /// Hands the append to the log, for the first time or again.
    pub(super) fn append(&mut self, key: AppendKey, actions: &mut Vec<Action>) {
        let Some(append) = self.appends.get(&key) else { return };
        if append.is_orphaned() {
            return self.give_up_append(key, actions);
        }
        let partition = self.endpoint(append.endpoint).partition;
        actions.push(match &append.record {
            AppendRecord::Parked(parked, why) => {
                Action::Park { append: key, partition, parked: Arc::clone(parked), why: *why }
            }
            AppendRecord::Dead(letter) => Action::Bury { append: key, partition, letter: Arc::clone(letter) },
            AppendRecord::Announcement(event) => Action::Announce { append: key, event: Arc::clone(event) },
        });
    }

    /// An append was acknowledged, or is to be tried again: it may be in the log twice then, which costs a
    /// duplicate.
    pub(super) fn finish_append(
        &mut self,
        key: AppendKey,
        result: Result<Offset, AppendError>,
        actions: &mut Vec<Action>,
    ) {
        let Ok(offset) = result else {
            return self.start_timer(APPEND_AGAIN, Timer::AppendAgain(key));
        };
        let Some(append) = self.appends.remove(&key) else { return };
        let endpoint = append.endpoint;
        let is_parked = append.is_parked();
        match &append.record {
            AppendRecord::Parked(_, why) => {
                self.counts.parked_records += 1;
                self.counts.parked.count(*why);
            }
            AppendRecord::Dead(letter) => self.counts.bury(letter.reason),
            AppendRecord::Announcement(_) => {}
        }
        if is_parked {
            let state = self.endpoint_mut(endpoint);
            state.parking -= 1;
            state.last_parked = state.last_parked.max(Some(offset));
        }
        match append.origin {
            Origin::Window(delivery) => {
                self.settle(delivery, if is_parked { Settled::Parked } else { Settled::Dead });
            }
            Origin::Lane(old) => {
                let how = if is_parked { LaneSettled::ParkedAgain } else { LaneSettled::Dead };
                self.settle_in_lane(endpoint, old, how);
            }
            Origin::Disabling => self.finish_announcement(endpoint),
            Origin::Orphaned => {}
        }
        if let Some(attempt) = append.detached {
            self.attach(attempt, endpoint, offset);
        }
        self.pump(endpoint, actions);
    }

    /// Appends whose window or lane is no longer ours are not tried again, and settle nothing.
    pub(super) fn orphan_appends(&mut self, is_orphan: impl Fn(&Self, &Append) -> bool) {
        let orphans = self.appends.iter().filter(|(_, append)| is_orphan(self, append));
        let orphans: Vec<_> = orphans.map(|(key, _)| *key).collect();
        for key in orphans {
            if let Some(append) = self.appends.get_mut(&key) {
                append.origin = Origin::Orphaned;
            }
        }
    }

    fn give_up_append(&mut self, key: AppendKey, actions: &mut Vec<Action>) {
        let Some(append) = self.appends.remove(&key) else { return };
        if append.is_parked() {
            self.endpoint_mut(append.endpoint).parking -= 1;
        }
        if let Some(attempt) = append.detached {
            self.late_successes.remove(&attempt);
            if let Some(attempt) = self.attempts.get_mut(&attempt) {
                attempt.target = Target::Orphaned;
            }
        }
        self.pump(append.endpoint, actions);
    }

    /// Tells an attempt that runs on where its parked copy stands; one that has succeeded strikes it.
    fn attach(&mut self, attempt: AttemptKey, endpoint: EndpointKey, offset: Offset) {
        if self.late_successes.remove(&attempt) {
            self.strike(endpoint, offset);
        } else if let Some(Attempt { target: Target::Detached { parked, .. }, .. }) =
            self.attempts.get_mut(&attempt)
        {
            *parked = Some(offset);
        }
    }
}
