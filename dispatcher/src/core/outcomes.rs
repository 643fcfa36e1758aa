//! What the end of an attempt means: for the endpoint's health, and for the delivery.

use hookline_event_log::Offset;
use hookline_schemas::delivery::{AttemptOutcome, DeadReason};
use hookline_schemas::time::Timestamp;

use super::breaker::Breaker;
use super::lane::{LaneDelivery, READY_WHILE_DOWN};
use super::window::Settled;
use super::{Action, AttemptKey, Core, DeliveryKey, EndpointKey, index_of};

/// An attempt in flight.
#[derive(Debug)]
pub(super) struct Attempt {
    /// At whom.
    pub(super) endpoint: EndpointKey,
    /// When it ends at the latest.
    pub(super) deadline: Timestamp,
    /// Whether it is the probe of an open breaker.
    pub(super) is_probe: bool,
    /// For what.
    pub(super) target: Target,
}

/// What an attempt is for.
#[derive(Debug)]
pub(super) enum Target {
    /// A delivery of a window.
    Window(DeliveryKey),
    /// A delivery of a lane.
    Lane {
        /// Its record in `parked`.
        offset: Offset,
        /// The delivery.
        delivery: LaneDelivery,
    },
    /// A delivery that was parked while the attempt ran on.
    Detached {
        /// Its record in `parked`, once the append has been acknowledged.
        parked: Option<Offset>,
    },
    /// A delivery that is no longer ours: the end teaches the breaker, and settles nothing.
    Orphaned,
}

impl Core {
    /// Learns from an attempt that ended, and settles, retries, parks or buries.
    pub(super) fn finish_attempt(
        &mut self,
        key: AttemptKey,
        outcome: &AttemptOutcome,
        actions: &mut Vec<Action>,
    ) {
        let Some(attempt) = self.attempts.remove(&key) else { return };
        let endpoint = attempt.endpoint;
        self.endpoint_mut(endpoint).in_flight -= 1;
        self.learn(&attempt, outcome);
        match attempt.target {
            Target::Window(delivery) => self.finish_window_attempt(delivery, outcome, actions),
            Target::Lane { offset, delivery } => {
                self.finish_lane_attempt(endpoint, offset, delivery, outcome, actions);
            }
            Target::Detached { parked } if outcome.is_delivered() => match parked {
                Some(offset) => self.strike(endpoint, offset),
                // Remembered until the copy's append has been acknowledged.
                None => drop(self.late_successes.insert(key)),
            },
            Target::Detached { .. } | Target::Orphaned => {}
        }
        self.pump(endpoint, actions);
    }

    /// A delivery that had failed before and fails again right after its neighbours passed says nothing about
    /// the endpoint: it would close the door behind every probe.
    fn learn(&mut self, attempt: &Attempt, outcome: &AttemptOutcome) {
        let rules = Self::breaker_rules(&self.settings);
        let Some(endpoint) = self.endpoints.get_mut(index_of(attempt.endpoint)) else { return };
        let known_to_fail = matches!(&attempt.target, Target::Lane { delivery, .. } if delivery.tries > 1);
        if known_to_fail && !outcome.is_delivered() && matches!(endpoint.breaker, Breaker::HalfOpen { .. }) {
            return;
        }
        let before = endpoint.breaker;
        endpoint.breaker.learn(outcome, attempt.is_probe, rules, self.now, &mut self.random);
        let breaker = endpoint.breaker;
        let Some(lane) = endpoint.owned_mut() else { return };
        if breaker.is_open() {
            lane.shrink(READY_WHILE_DOWN);
        }
        lane.dirty |= breaker.to_record() != before.to_record();
    }

    fn finish_window_attempt(
        &mut self,
        key: DeliveryKey,
        outcome: &AttemptOutcome,
        actions: &mut Vec<Action>,
    ) {
        if let Some(delivery) = self.deliveries.get_mut(&key) {
            delivery.last_failure = outcome.failure();
        }
        match outcome {
            AttemptOutcome::Delivered { .. } => self.settle(key, Settled::Delivered),
            AttemptOutcome::Retryable { .. } => self.retry_or_park(key, actions),
            AttemptOutcome::Rejected { .. } => self.bury_from_window(key, DeadReason::Rejected, actions),
        }
    }

    fn finish_lane_attempt(
        &mut self,
        key: EndpointKey,
        offset: Offset,
        delivery: LaneDelivery,
        outcome: &AttemptOutcome,
        actions: &mut Vec<Action>,
    ) {
        match outcome {
            AttemptOutcome::Delivered { .. } => {
                self.counts.lane_delivered += 1;
                self.settle_in_lane(key, offset);
            }
            AttemptOutcome::Rejected { reason } => {
                self.bury_from_lane(key, offset, &delivery, Some(*reason), DeadReason::Rejected, actions);
            }
            AttemptOutcome::Retryable { reason, .. } if delivery.parked.deadline <= self.now => {
                self.bury_from_lane(key, offset, &delivery, Some(*reason), DeadReason::Deadline, actions);
            }
            AttemptOutcome::Retryable { reason, .. } => {
                let due = self.retry_due(key, delivery.tries);
                let lane_holds_its_place = self.endpoint(key).breaker.is_open();
                let Some(lane) = self.endpoint_mut(key).owned_mut() else { return };
                if lane_holds_its_place && !lane.is_exception(offset) {
                    lane.put_back(offset, delivery);
                } else if !lane.except(offset, delivery.tries, due, delivery.parked.deadline) {
                    self.park_again(key, offset, &delivery, *reason, actions);
                }
            }
        }
        self.write_lane_if_due(key, actions);
    }

    /// A late 2xx settles the parked copy, if it has not gone out and the lane is ours.
    pub(super) fn strike(&mut self, key: EndpointKey, offset: Offset) {
        if self.endpoint_mut(key).owned_mut().is_some_and(|lane| lane.strike(offset)) {
            self.counts.lane_delivered += 1;
        }
    }
}
