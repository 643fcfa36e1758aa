//! The lane of an endpoint whose partition of `parked` another process owns, as the watch of `lanes` shows it.
//!
//! A record of `lanes` is a second old or more, and under steady traffic something of this process always
//! stands behind its cursor. So once the lane has passed what stood there at the record before, deliveries are
//! held for a moment instead of being parked: the next record shows that nothing is left to wait for.

use std::time::Duration;

use hookline_event_log::Offset;
use hookline_schemas::delivery::LaneRecord;
use hookline_schemas::time::Timestamp;

/// What is known of a lane by its latest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemoteLane {
    /// Everything below is settled, except the exceptions.
    cursor: Offset,
    /// Nothing waits in order.
    is_caught_up: bool,
    /// The breaker of its owner is closed.
    is_healthy: bool,
    /// What this process had parked last when the record was seen.
    parked_then: Option<Offset>,
    /// Deliveries are held until then.
    held_until: Option<Timestamp>,
}

impl RemoteLane {
    /// A lane as it is written down; without a record nothing was ever parked in it.
    pub(crate) fn new(record: Option<&LaneRecord>) -> Self {
        Self {
            cursor: record.map_or(Offset::START, |record| Offset(record.cursor)),
            is_caught_up: record.is_none_or(is_caught_up),
            is_healthy: record.is_none_or(|record| record.breaker.failed_probes.is_none()),
            parked_then: None,
            held_until: None,
        }
    }

    /// The record has changed. Returns whether it is healthy and has passed what this process had parked by
    /// the record before.
    pub(crate) fn see(
        &mut self,
        record: Option<&LaneRecord>,
        last_parked: Option<Offset>,
        hold: Duration,
        now: Timestamp,
    ) -> bool {
        let was_held = self.held_until.is_some();
        let passes = |cursor: Offset| self.parked_then.is_some_and(|parked| cursor > parked);
        let seen = Self::new(record);
        let keeps_up = seen.is_healthy && passes(seen.cursor);
        // Not twice in a row: what did not suffice once may not suffice for long.
        let held_until = (keeps_up && !was_held).then(|| now.after(hold));
        *self = Self { parked_then: last_parked, held_until, ..seen };
        keeps_up
    }

    /// Whether the lane's owner sends without restraint and has settled everything up to this offset.
    pub(crate) fn has_passed(&self, parked: Option<Offset>) -> bool {
        self.is_healthy && parked.is_none_or(|parked| self.cursor > parked)
    }

    /// Whether nothing waits in order.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.is_caught_up
    }

    /// Until when deliveries are held, if they are.
    pub(crate) fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.held_until.filter(|until| *until > now)
    }
}

/// A lane with exceptions does not say whether others wait in order. It is taken for caught up: an exception
/// may stand for days while its neighbours pass.
fn is_caught_up(record: &LaneRecord) -> bool {
    record.drained || !record.exceptions.is_empty()
}
