//! The lane of an endpoint whose partition of `parked` another process owns, as the watch of `lanes` shows it.

use hookline_event_log::Offset;
use hookline_schemas::delivery::LaneRecord;

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
}

impl RemoteLane {
    /// A lane as it is written down; without a record nothing was ever parked in it.
    pub(crate) fn new(record: Option<&LaneRecord>) -> Self {
        Self {
            cursor: record.map_or(Offset::START, |record| Offset(record.cursor)),
            is_caught_up: record.is_none_or(is_caught_up),
            is_healthy: record.is_none_or(|record| record.breaker.failed_probes.is_none()),
            parked_then: None,
        }
    }

    /// The record has changed. Returns whether it is healthy and has passed what this process had parked by
    /// the record before: under steady traffic something more always stands behind its cursor.
    pub(crate) fn see(&mut self, record: Option<&LaneRecord>, last_parked: Option<Offset>) -> bool {
        let seen = Self::new(record);
        let keeps_up = seen.is_healthy && self.parked_then.is_some_and(|parked| seen.cursor > parked);
        *self = Self { parked_then: last_parked, ..seen };
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
}

/// A lane with exceptions does not say whether others wait in order. It is taken for caught up: an exception
/// may stand for days while its neighbours pass.
fn is_caught_up(record: &LaneRecord) -> bool {
    record.drained || !record.exceptions.is_empty()
}
