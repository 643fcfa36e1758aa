//! What the core tells of itself: counts, gauges, and the state of each endpoint.

use hookline_event_log::{Offset, Partition};
use hookline_schemas::delivery::{FailureReason, LaneCounts};

use super::breaker::Breaker;
use super::endpoint::{Endpoint, EndpointLane};
use super::{Core, Counts, EndpointKey, Totals};
use crate::endpoints::{EndpointState, EndpointStatus};

/// How things stand now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Gauges {
    /// Endpoints whose breaker is open.
    pub(crate) down: usize,
    /// Webhooks that are disabled.
    pub(crate) disabled: usize,
    /// Lanes of ours that are not drained.
    pub(crate) backlogged: usize,
    /// Deliveries in lanes of ours that are not settled.
    pub(crate) backlog: u64,
    /// Attempts in flight.
    pub(crate) in_flight: usize,
}

impl Core {
    /// What has been counted.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// What became of the deliveries below the watermarks, while the partitions were ours.
    pub(crate) fn totals(&self) -> Totals {
        let mut sum = self.totals_of_past_windows;
        self.windows.values().for_each(|window| sum.add(&window.gained()));
        sum
    }

    /// What became of the records of lanes, while they were ours.
    pub(crate) fn lane_counts(&self) -> LaneCounts {
        let lanes = self.endpoints.iter().filter_map(Endpoint::owned);
        lanes.fold(self.counts_of_past_lanes, |sum, lane| sum.plus(&lane.gained()))
    }

    /// How things stand.
    pub(crate) fn gauges(&self) -> Gauges {
        let mut gauges = Gauges { in_flight: self.attempts.len(), ..Gauges::default() };
        for endpoint in &self.endpoints {
            gauges.down += usize::from(endpoint.breaker.is_open());
            gauges.disabled += usize::from(endpoint.disabled.is_some());
            if let Some(lane) = endpoint.owned() {
                gauges.backlogged += usize::from(!lane.is_drained());
                gauges.backlog += lane.backlog();
            }
        }
        gauges
    }

    /// The committed position of each partition of `events` that is ours.
    pub(crate) fn committed(&self) -> impl Iterator<Item = (Partition, Offset)> {
        self.windows.iter().map(|(partition, window)| (*partition, window.committed()))
    }

    /// Every endpoint whose webhook there is.
    pub(crate) fn statuses(&self) -> Vec<EndpointStatus> {
        let known = self.webhooks.iter().flat_map(|webhooks| webhooks.iter());
        let mut statuses: Vec<_> = known
            .map(|webhook| match self.endpoint_keys.get(&webhook.id) {
                Some(key) => status(self.endpoint(*key), self.tallied(*key)),
                None => {
                    let state = if webhook.paused { EndpointState::Paused } else { EndpointState::Active };
                    EndpointStatus::quiet(webhook.id.clone(), state)
                }
            })
            .collect();
        statuses.sort_by(|one, other| one.id.cmp(&other.id));
        statuses
    }

    /// What became of a webhook's deliveries below the watermarks of our partitions.
    fn tallied(&self, key: EndpointKey) -> Totals {
        let mut sum = Totals::default();
        self.windows.values().for_each(|window| sum.add(&window.tally.of(key)));
        sum
    }
}

fn status(endpoint: &Endpoint, totals: Totals) -> EndpointStatus {
    let state = match endpoint.breaker {
        _ if endpoint.webhook.as_ref().is_some_and(|webhook| webhook.paused) => EndpointState::Paused,
        _ if endpoint.disabled.is_some() => EndpointState::Disabled,
        Breaker::Open { .. } => EndpointState::Down,
        Breaker::HalfOpen => EndpointState::Recovering,
        Breaker::Closed { .. } => EndpointState::Active,
    };
    let (counts, backlog) = match &endpoint.lane {
        EndpointLane::Owned(lane) => (lane.counts(), lane.backlog()),
        EndpointLane::Remote(lane) => (lane.counts(), lane.counts().backlog()),
    };
    EndpointStatus {
        disabled: endpoint.disabled,
        last_failure: endpoint.last_failure.map(FailureReason::label),
        is_ours: endpoint.owned().is_some(),
        in_flight: endpoint.in_flight,
        concurrency: endpoint.concurrency.limit(),
        backlog,
        planned: totals.planned,
        repeated: totals.repeated,
        delivered: totals.delivered + counts.delivered,
        parked: counts.registered - counts.parked_again,
        dead: totals.dead + counts.dead,
        cancelled: totals.cancelled + counts.cancelled,
        expired: counts.expired,
        ..EndpointStatus::quiet(endpoint.id.clone(), state)
    }
}
