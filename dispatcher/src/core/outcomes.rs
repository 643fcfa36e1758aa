//! What the end of an attempt means: for the endpoint's health, and for the delivery.

use hookline_event_log::Offset;
use hookline_schemas::delivery::{AttemptOutcome, DeadReason, DisabledReason, FailureReason, Party};
use hookline_schemas::time::Timestamp;

use super::breaker::Breaker;
use super::defect::{self, Defect};
use super::lane::{LaneDelivery, LaneSettled, READY_WHILE_DOWN};
use super::life::is_gone;
use super::objective::Standing;
use super::pace::is_overload;
use super::window::Settled;
use super::{Action, AttemptKey, Core, DeliveryKey, EndpointKey, index_of, schedule};

/// An attempt in flight.
#[derive(Debug)]
pub(super) struct Attempt {
    /// At whom.
    pub(super) endpoint: EndpointKey,
    /// When it ends at the latest.
    pub(super) deadline: Timestamp,
    /// Whether it is the probe of an open breaker.
    pub(super) is_probe: bool,
    /// It began when the webhook was another one, perhaps at another URL: it teaches nothing.
    pub(super) is_outdated: bool,
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
        /// How it stands to the objective, which it may still reach.
        standing: Standing,
        /// When its event was accepted.
        accepted_at: Timestamp,
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
        self.endpoint_mut(endpoint).in_flight -= usize::from(!defect::is(Defect::PermitLeaked));
        if !attempt.is_outdated {
            let state = self.endpoint_mut(endpoint);
            state.last_failure = outcome.failure().or(state.last_failure);
            // What is our own fault teaches nothing of the endpoint: neither its breaker nor its pace.
            if outcome.is_our_fault() {
                self.rest(&attempt);
            } else {
                self.learn(&attempt, outcome);
                self.disable_if_hopeless(&attempt, outcome, actions);
            }
        }
        match attempt.target {
            Target::Window(delivery) => self.finish_window_attempt(delivery, outcome, actions),
            Target::Lane { offset, delivery } => {
                self.finish_lane_attempt(endpoint, offset, delivery, outcome, actions);
            }
            Target::Detached { parked, standing, accepted_at } => {
                self.judge_detached(standing, accepted_at, outcome);
                match parked {
                    _ if !outcome.is_delivered() => {}
                    Some(offset) => self.strike(endpoint, offset),
                    // Remembered until the copy's append has been acknowledged.
                    None => drop(self.late_successes.insert(key)),
                }
            }
            Target::Orphaned => {}
        }
        // First the others, or one who always has something would keep all the room that it gives back.
        self.give_room(actions);
        self.pump(endpoint, actions);
    }

    /// This machine could not do its part: nothing more is started at this endpoint for a moment, or what waits
    /// would be tried as fast as it fails.
    fn rest(&mut self, attempt: &Attempt) {
        let rules = Self::breaker_rules(&self.settings);
        let began = attempt.deadline.before(self.settings.attempt_timeout);
        let now = self.now;
        let Some(endpoint) = self.endpoints.get_mut(index_of(attempt.endpoint)) else { return };
        if !endpoint.is_resting(now) {
            endpoint.rests_until = schedule::due(rules.probe_schedule, 1, now, &mut self.random);
        }
        if attempt.is_probe {
            endpoint.breaker.put_off_probe(began, rules, now, &mut self.random);
            endpoint.write_down_soon();
        }
    }

    /// A delivery that had failed before and fails again right after its neighbours passed says nothing about
    /// the endpoint: it would close the door behind every probe.
    fn learn(&mut self, attempt: &Attempt, outcome: &AttemptOutcome) {
        let rules = Self::breaker_rules(&self.settings);
        let (now, cap) = (self.now, self.settings.endpoint_concurrency);
        let began = attempt.deadline.before(self.settings.attempt_timeout);
        let Some(endpoint) = self.endpoints.get_mut(index_of(attempt.endpoint)) else { return };
        let known_to_fail = matches!(&attempt.target, Target::Lane { delivery, .. } if delivery.tries > 1);
        let says_something = outcome.is_delivered() || is_gone(outcome);
        if known_to_fail && !says_something && endpoint.breaker == Breaker::HalfOpen {
            return;
        }
        let before = endpoint.breaker;
        endpoint.breaker.learn(outcome, attempt.is_probe, rules, now, &mut self.random);
        if is_overload(outcome) {
            endpoint.concurrency.halve(began, now);
        } else if before.is_open() && endpoint.breaker == Breaker::HalfOpen {
            endpoint.concurrency.restart();
        } else if outcome.is_delivered() && !endpoint.breaker.is_open() {
            endpoint.concurrency.grow(endpoint.in_flight + 1, cap);
        }
        // The pace is back, or more than what is asked for.
        let limit = endpoint.concurrency.limit();
        let is_enough = limit >= cap || (outcome.is_delivered() && (endpoint.in_flight + 1) * 2 < limit);
        if endpoint.breaker == Breaker::HalfOpen && is_enough {
            endpoint.breaker.close();
        }
        let breaker = endpoint.breaker;
        let Some(lane) = endpoint.owned_mut() else { return };
        if breaker.is_open() {
            lane.shrink(READY_WHILE_DOWN);
        }
        lane.dirty |= breaker.to_record() != before.to_record();
    }

    /// An endpoint that is gone, or has been down for too long, is not asked any more; one that was given up
    /// and answers a probe by hand is asked again.
    fn disable_if_hopeless(
        &mut self,
        attempt: &Attempt,
        outcome: &AttemptOutcome,
        actions: &mut Vec<Action>,
    ) {
        let (key, now, disable_after) = (attempt.endpoint, self.now, self.settings.disable_after);
        let endpoint = self.endpoint_mut(key);
        let is_hopeless = endpoint.breaker.failing_for(now).is_some_and(|time| time >= disable_after);
        if is_gone(outcome) {
            self.disable(key, DisabledReason::Gone, actions);
        } else if attempt.is_probe && is_hopeless {
            self.disable(key, DisabledReason::Failing, actions);
        } else if attempt.is_probe && outcome.is_delivered() && endpoint.disabled.take().is_some() {
            endpoint.write_down_soon();
        }
    }

    fn finish_window_attempt(
        &mut self,
        key: DeliveryKey,
        outcome: &AttemptOutcome,
        actions: &mut Vec<Action>,
    ) {
        if let Some(delivery) = self.deliveries.get_mut(&key) {
            delivery.last_failure = outcome.failure();
            match outcome.failure() {
                Some(reason) => delivery.standing.fail(reason.party()),
                None => self.counts.judge(delivery.standing.delivered(delivery.age(self.now))),
            }
        }
        match outcome {
            AttemptOutcome::Delivered { .. } => self.settle(key, Settled::Delivered),
            AttemptOutcome::Retryable { .. } => self.retry_or_park(key, actions),
            // Gone: the endpoint, not the event.
            AttemptOutcome::Rejected { .. } if is_gone(outcome) => self.retry_or_park(key, actions),
            AttemptOutcome::Rejected { .. } => self.bury_from_window(key, DeadReason::Rejected, actions),
        }
    }

    /// The attempt was all that could still bring it in time.
    fn judge_detached(&mut self, mut standing: Standing, accepted_at: Timestamp, outcome: &AttemptOutcome) {
        self.counts.judge(match outcome.failure() {
            None => standing.delivered(self.now.since(accepted_at)),
            Some(reason) => {
                standing.fail(reason.party());
                standing.parked()
            }
        });
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
            AttemptOutcome::Delivered { .. } => self.settle_in_lane(key, offset, LaneSettled::Delivered),
            _ if self.endpoint(key).webhook.is_none() => self.cancel_in_lane(key, offset, &delivery, actions),
            AttemptOutcome::Rejected { reason } if !is_gone(outcome) => {
                self.bury_from_lane(key, offset, &delivery, Some(*reason), DeadReason::Rejected, actions);
            }
            AttemptOutcome::Retryable { reason, .. } | AttemptOutcome::Rejected { reason } => {
                self.keep_in_lane(key, offset, delivery, *reason, actions);
            }
        }
        self.write_lane_if_due(key, actions);
    }

    /// It failed and is tried again: in its place where the endpoint is to blame or this machine, else as an
    /// exception.
    fn keep_in_lane(
        &mut self,
        key: EndpointKey,
        offset: Offset,
        delivery: LaneDelivery,
        reason: FailureReason,
        actions: &mut Vec<Action>,
    ) {
        if delivery.parked.deadline <= self.now {
            return self.bury_from_lane(key, offset, &delivery, Some(reason), DeadReason::Deadline, actions);
        }
        let is_our_fault = reason.party() == Party::Ours;
        let due =
            if is_our_fault { self.endpoint(key).rests_until } else { self.retry_due(key, delivery.tries) };
        let holds_its_place = is_our_fault || self.endpoint(key).is_down();
        let Some(lane) = self.endpoint_mut(key).owned_mut() else { return };
        if holds_its_place && !lane.is_exception(offset) {
            lane.put_back(offset, delivery);
        } else if !lane.except(offset, delivery.tries, due, delivery.parked.deadline) {
            self.park_again(key, offset, &delivery, reason, actions);
        }
    }

    /// A late 2xx settles the parked copy, if it has not gone out and the lane is ours.
    pub(super) fn strike(&mut self, key: EndpointKey, offset: Offset) {
        if let Some(lane) = self.endpoint_mut(key).owned_mut() {
            lane.strike(offset);
        }
    }
}
