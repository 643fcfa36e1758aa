//! The lane of an endpoint whose partition of `parked` another process owns, as the watch of `lanes` shows it.

use hookline_event_log::Offset;
use hookline_schemas::delivery::{BreakerRecord, LaneCounts, LaneRecord};

use super::breaker::Breaker;
use crate::endpoints::EndpointState;

/// So many deliveries that wait are soon gone.
pub(crate) const NEARLY_CAUGHT_UP: u64 = 64;

/// What is known of a lane by its latest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemoteLane {
    /// Everything below is settled, except the exceptions.
    cursor: Offset,
    /// Nothing waits in order, or hardly anything.
    is_nearly_caught_up: bool,
    /// The breaker of its owner is closed, and the endpoint is not disabled.
    is_healthy: bool,
    /// The breaker of its owner.
    breaker: BreakerRecord,
    /// What became of its records.
    counts: LaneCounts,
    /// What this process had parked last when the record was seen.
    parked_then: Option<Offset>,
}

impl RemoteLane {
    /// A lane as it is written down; without a record nothing was ever parked in it.
    pub(crate) fn new(record: Option<&LaneRecord>) -> Self {
        Self {
            cursor: record.map_or(Offset::START, |record| Offset(record.cursor)),
            is_nearly_caught_up: record.is_none_or(is_nearly_caught_up),
            is_healthy: record
                .is_none_or(|record| record.breaker.failed_probes.is_none() && record.disabled.is_none()),
            breaker: record.map_or_else(BreakerRecord::default, |record| record.breaker),
            counts: record.map_or_else(LaneCounts::default, |record| record.counts),
            parked_then: None,
        }
    }

    /// What became of its records.
    pub(crate) fn counts(&self) -> LaneCounts {
        self.counts
    }

    /// How the endpoint stands by its owner's breaker, to be told: what is sent goes by [`Self::has_passed`].
    pub(crate) fn state(&self) -> EndpointState {
        if self.breaker.failed_probes.is_none() {
            EndpointState::Active
        } else if self.breaker == Breaker::HalfOpen.to_record() {
            EndpointState::Recovering
        } else {
            EndpointState::Down
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

    /// Whether nothing waits in order, or no more than is always on its way where others park.
    pub(crate) fn is_nearly_caught_up(&self) -> bool {
        self.is_nearly_caught_up
    }
}

/// An exception may stand for days while its neighbours pass. What others have parked is of other payments than
/// ours: it need not be waited for, if it is soon gone.
fn is_nearly_caught_up(record: &LaneRecord) -> bool {
    let waiting = record.counts.backlog().saturating_sub(record.exceptions.len() as u64);
    record.drained || (record.tail > 0 && waiting <= NEARLY_CAUGHT_UP)
}
