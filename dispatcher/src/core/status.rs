//! What the core tells of itself: counts, gauges, positions, and the state of each endpoint.

use std::collections::{BTreeMap, BinaryHeap};

use hookline_event_log::{JournalName, Offset, Partition};
use hookline_schemas::delivery::{FailureReason, LaneCounts};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;

use super::breaker::Breaker;
use super::endpoint::{Endpoint, EndpointLane};
use super::lane::Lane;
use super::{Core, Counts, EndpointKey, Totals, Window};
use crate::endpoints::{EndpointState, EndpointStatus};

/// So many endpoints are told by name: those whose oldest delivery has waited longest.
const TOLD_BY_NAME: usize = 20;

/// How things stand now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Gauges {
    /// Endpoints that get their deliveries.
    pub(crate) healthy: usize,
    /// Endpoints that get their backlog, slowly at first.
    pub(crate) half_open: usize,
    /// Endpoints that are probed.
    pub(crate) down: usize,
    /// Endpoints of webhooks that are paused.
    pub(crate) paused: usize,
    /// Endpoints of webhooks that are disabled.
    pub(crate) disabled: usize,
    /// Attempts that those who get something may have in flight.
    pub(crate) permits: usize,
    /// Lanes of ours that are not drained.
    pub(crate) backlogged: usize,
    /// Deliveries in lanes of ours that are not settled.
    pub(crate) backlog: u64,
    /// Attempts in flight.
    pub(crate) in_flight: usize,
    /// Since when the oldest delivery waits that is not settled.
    pub(crate) oldest: Option<Timestamp>,
    /// The endpoints with the oldest deliveries, the oldest first.
    pub(crate) oldest_lanes: Vec<Waiting>,
    /// What became of the records of lanes, while they were ours.
    pub(crate) lanes: LaneCounts,
    /// By how many deliveries, or records, the counts of each partition of ours are wrong: never by one.
    pub(crate) unaccounted: BTreeMap<(JournalName, Partition), u64>,
}

/// An endpoint with a backlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Its webhook.
    pub(crate) webhook: WebhookId,
    /// Since when its oldest delivery waits: the acceptance of its event, or the wish for its redelivery, as its
    /// deadline tells.
    pub(crate) since: Timestamp,
    /// How many wait.
    pub(crate) backlog: u64,
}

/// What of a partition is needed still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// Of which journal.
    pub(crate) journal: JournalName,
    /// Which partition.
    pub(crate) partition: Partition,
    /// Below this nothing is.
    pub(crate) offset: Offset,
    /// When what stands there was accepted, where that is known.
    pub(crate) accepted_at: Option<Timestamp>,
}

/// The endpoints with the oldest deliveries, of all that are met.
#[derive(Debug, Default)]
struct Oldest(BinaryHeap<(Timestamp, EndpointKey, u64)>);

impl Oldest {
    fn meet(&mut self, since: Timestamp, endpoint: EndpointKey, backlog: u64) {
        if self.0.len() < TOLD_BY_NAME {
            self.0.push((since, endpoint, backlog));
        } else if let Some(mut youngest) = self.0.peek_mut()
            && since < youngest.0
        {
            *youngest = (since, endpoint, backlog);
        }
    }
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

    /// How things stand. One pass over the endpoints, however many there are.
    pub(crate) fn gauges(&self) -> Gauges {
        let mut gauges =
            Gauges { in_flight: self.attempts.len(), lanes: self.counts_of_past_lanes, ..Gauges::default() };
        let events = self.windows.iter().map(|(of, window)| ((JournalName::Events, *of), window.totals()));
        gauges.unaccounted = events.map(|(of, totals)| (of, totals.unaccounted())).collect();
        gauges.unaccounted.extend(self.shards.keys().map(|of| ((JournalName::Parked, *of), 0)));
        let mut oldest = Oldest::default();
        let (mut seen, mut seen_paused) = (0, 0);
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if endpoint.webhook.is_some() {
                seen += 1;
                seen_paused += usize::from(endpoint.is_paused());
                gauges.count_endpoint(endpoint);
            }
            let Some(lane) = endpoint.owned() else { continue };
            let backlog = if lane.is_empty() { 0 } else { lane.backlog() };
            gauges.count_lane(endpoint.partition, lane, backlog);
            if backlog > 0 {
                let since = lane.oldest_deadline().map(|deadline| self.waits_since(endpoint, deadline));
                since.into_iter().for_each(|since| {
                    oldest.meet(since, EndpointKey(index as u64), backlog);
                });
            }
        }
        // Webhooks for which nothing has come have no endpoint yet.
        let (all, all_paused) = self.webhook_counts;
        let unseen_paused = all_paused.saturating_sub(seen_paused);
        let unseen = all.saturating_sub(seen).saturating_sub(unseen_paused);
        gauges.paused += unseen_paused;
        gauges.healthy += unseen;
        gauges.permits += unseen * self.settings.endpoint_concurrency;
        gauges.oldest_lanes = self.named(oldest);
        let lanes = gauges.oldest_lanes.first().map(|waiting| waiting.since);
        let windows = self.windows.values().filter_map(Window::oldest);
        gauges.oldest = lanes.into_iter().chain(windows).min();
        gauges
    }

    /// Deadlines count from the acceptance of an event, or from the wish for a redelivery, by what its webhook says
    /// of them now.
    fn waits_since(&self, endpoint: &Endpoint, deadline: Timestamp) -> Timestamp {
        let own = endpoint.webhook.as_ref().and_then(|webhook| webhook.deadline);
        deadline.before(own.unwrap_or(self.settings.deadline))
    }

    fn named(&self, oldest: Oldest) -> Vec<Waiting> {
        let named = |(since, endpoint, backlog): (Timestamp, EndpointKey, u64)| Waiting {
            webhook: self.endpoint(endpoint).id.clone(),
            since,
            backlog,
        };
        oldest.0.into_sorted_vec().into_iter().map(named).collect()
    }

    /// Below what nothing is needed any more, of each partition that is ours.
    pub(crate) fn needed(&self) -> Vec<Position> {
        let events = self.windows.iter().map(|(partition, window)| Position {
            journal: JournalName::Events,
            partition: *partition,
            offset: window.committed(),
            accepted_at: window.accepted_at(),
        });
        let of_lanes = self.least_of_lanes(|lane| lane.needed_from);
        let parked = self.shards.iter().map(|(partition, shard)| {
            let committed = shard.committed();
            let offset = of_lanes.get(partition).map_or(committed, |needed| committed.min(*needed));
            Position { journal: JournalName::Parked, partition: *partition, offset, accepted_at: None }
        });
        events.chain(parked).collect()
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

impl Gauges {
    fn count_endpoint(&mut self, endpoint: &Endpoint) {
        let permits = endpoint.concurrency.limit();
        let (count, permits) = match state_of(endpoint) {
            EndpointState::Active => (&mut self.healthy, permits),
            EndpointState::Recovering => (&mut self.half_open, permits),
            EndpointState::Down => (&mut self.down, 0),
            EndpointState::Paused => (&mut self.paused, 0),
            EndpointState::Disabled => (&mut self.disabled, 0),
        };
        *count += 1;
        self.permits += permits;
    }

    fn count_lane(&mut self, partition: Partition, lane: &Lane, backlog: u64) {
        let counts = lane.counts();
        self.lanes = self.lanes.plus(&lane.gained());
        self.backlogged += usize::from(!lane.is_empty());
        self.backlog += backlog;
        let unaccounted = counts.registered.abs_diff(counts.settled() + backlog);
        // One lane's too many must not hide another's too few.
        if unaccounted > 0 {
            *self.unaccounted.entry((JournalName::Parked, partition)).or_default() += unaccounted;
        }
    }
}

/// Every dispatcher tells of every endpoint: of one whose lane another owns, what its owner has written down. He probes
/// it; we know better only while he takes for healthy what has just failed here.
fn state_of(endpoint: &Endpoint) -> EndpointState {
    let by_owner = match &endpoint.lane {
        EndpointLane::Remote(lane) => Some(lane.state()).filter(|state| *state != EndpointState::Active),
        EndpointLane::Owned(_) => None,
    };
    match endpoint.breaker {
        _ if endpoint.is_paused() => EndpointState::Paused,
        _ if endpoint.disabled.is_some() => EndpointState::Disabled,
        breaker => by_owner.unwrap_or(match breaker {
            Breaker::Open { .. } => EndpointState::Down,
            Breaker::HalfOpen => EndpointState::Recovering,
            Breaker::Closed { .. } => EndpointState::Active,
        }),
    }
}

fn status(endpoint: &Endpoint, totals: Totals) -> EndpointStatus {
    let state = state_of(endpoint);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hookline_schemas::delivery::{BreakerRecord, Disabled, DisabledReason, LaneRecord};

    use super::*;

    const OPEN: Breaker = Breaker::in_doubt(Timestamp(1));

    fn written(breaker: Breaker) -> LaneRecord {
        LaneRecord { breaker: breaker.to_record(), ..LaneRecord::unknown(WebhookId::new("wh")) }
    }

    #[test]
    fn an_endpoint_whose_lane_another_owns_is_counted_as_its_owner_has_written() {
        let disabled =
            Some(Disabled { reason: DisabledReason::Failing, at: Timestamp(1), is_announced: true });
        let untimed = BreakerRecord { failed_probes: Some(2), ..BreakerRecord::default() };
        let table = [
            (Breaker::CLOSED, None, EndpointState::Active),
            (Breaker::CLOSED, Some(written(Breaker::CLOSED)), EndpointState::Active),
            (Breaker::CLOSED, Some(written(OPEN)), EndpointState::Down),
            (Breaker::CLOSED, Some(written(Breaker::HalfOpen)), EndpointState::Recovering),
            (Breaker::CLOSED, Some(LaneRecord { breaker: untimed, ..written(OPEN) }), EndpointState::Down),
            (Breaker::CLOSED, Some(LaneRecord { disabled, ..written(OPEN) }), EndpointState::Disabled),
            (OPEN, None, EndpointState::Down),
            (OPEN, Some(written(Breaker::HalfOpen)), EndpointState::Recovering),
        ];
        for (number, (breaker, record, expected)) in table.into_iter().enumerate() {
            let mut endpoint = Endpoint::new(WebhookId::new("wh"), Partition(0), 4);
            endpoint.breaker = breaker;
            // Parked here, and not passed: what failed here is not known to be well.
            endpoint.last_parked = Some(Offset(9));
            endpoint.see_lane(record.as_ref(), Duration::ZERO, Timestamp(2));
            assert_eq!(endpoint.breaker, breaker, "{number}: what is told changes nothing of what is sent");
            assert_eq!(state_of(&endpoint), expected, "{number}");
            let mut gauges = Gauges::default();
            gauges.count_endpoint(&endpoint);
            assert_eq!(gauges.down, usize::from(expected == EndpointState::Down), "{number}");
        }
    }
}
