//! What came: who got what and how often, in nine to eighteen bytes for each delivery.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Deliveries that are told apart at most: 300 MB or so. Further ones are counted alone.
const MAX_MARKS: usize = 20_000_000;
/// Deliveries that came more than once and are counted one by one.
const MAX_REPEATED: usize = 1_000_000;
/// The record is kept in so many parts: one table of all would stand still for a second whenever it grows.
const PARTS: usize = 256;

/// An event at a webhook, as 64 bits. That two of 20 million have the same is one chance in 90,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(pub u64);

/// An event's part of its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHash(u64);

impl EventHash {
    /// Of a `webhook-id`.
    pub fn of(id: &str) -> Self {
        Self(xxh3_64(id.as_bytes()))
    }

    /// The event at the webhook with this number. For each number the map from hash to mark is one to one.
    pub const fn at(self, webhook: u16) -> Mark {
        Mark(self.0 ^ (webhook as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

/// What a sink has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Connections over which a delivery came.
    pub connections: u64,
    /// Requests at the path of a webhook.
    pub requests: u64,
    /// Of those, by webhook: the first stands for `wh_1`.
    pub by_webhook: Vec<u64>,
    /// Different deliveries: an event at a webhook counts once.
    pub distinct: u64,
    /// Requests beyond the first of a delivery.
    pub repeated: u64,
    /// Requests whose signatures were verified.
    pub verified: u64,
    /// Of those, with one that an integrator refuses: answered 401.
    pub bad_signatures: u64,
    /// What was no request, had no `webhook-id`, or was for nobody.
    pub malformed: u64,
    /// Requests that came when the record was full. Not zero: what is told of losses is not true.
    pub forgotten: u64,
}

/// The record.
#[derive(Debug)]
pub(super) struct Record {
    parts: Vec<HashSet<u64>>,
    /// How often those came again that did.
    again: HashMap<u64, u32>,
    kept: usize,
    most: usize,
    pub(super) counts: Counts,
}

impl Record {
    pub(super) fn new(webhooks: u16) -> Self {
        Self::of_at_most(webhooks, MAX_MARKS)
    }

    fn of_at_most(webhooks: u16, most: usize) -> Self {
        let counts = Counts { by_webhook: vec![0; usize::from(webhooks)], ..Counts::default() };
        Self { parts: vec![HashSet::new(); PARTS], again: HashMap::new(), kept: 0, most, counts }
    }

    /// Takes a delivery.
    pub(super) fn take(&mut self, webhook: u16, mark: Mark) {
        self.counts.requests += 1;
        if let Some(count) = self.counts.by_webhook.get_mut(usize::from(webhook).wrapping_sub(1)) {
            *count += 1;
        }
        let is_full = self.kept >= self.most;
        let Some(part) = self.parts.get_mut(part_of(mark)) else { return };
        if part.contains(&mark.0) {
            self.counts.repeated += 1;
            if self.again.len() < MAX_REPEATED {
                *self.again.entry(mark.0).or_default() += 1;
            }
        } else if is_full {
            self.counts.forgotten += 1;
        } else {
            part.insert(mark.0);
            self.kept += 1;
            self.counts.distinct += 1;
        }
    }

    /// How often it came.
    pub(super) fn times(&self, mark: Mark) -> u32 {
        let came = self.parts.get(part_of(mark)).is_some_and(|part| part.contains(&mark.0));
        u32::from(came) + self.again.get(&mark.0).copied().unwrap_or_default()
    }
}

/// Any eight bits of it do.
fn part_of(mark: Mark) -> usize {
    let [.., part, _] = mark.0.to_le_bytes();
    usize::from(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_at_each_webhook_is_a_delivery_of_its_own() {
        let mut record = Record::new(3);
        for webhook in 1..=3 {
            (0..1000).for_each(|n| record.take(webhook, EventHash::of(&format!("evt_{n}")).at(webhook)));
        }
        let counts = &record.counts;
        assert_eq!((counts.requests, counts.distinct, counts.repeated), (3000, 3000, 0));
        assert_eq!(counts.by_webhook, [1000, 1000, 1000]);
    }

    #[test]
    fn tells_what_never_came_and_what_came_again() {
        let mut record = Record::new(2);
        for (id, webhook) in [("evt_1", 1), ("evt_1", 2), ("evt_2", 1), ("evt_1", 1), ("evt_1", 1)] {
            record.take(webhook, EventHash::of(id).at(webhook));
        }
        for (id, webhook, times) in [("evt_1", 1, 3), ("evt_1", 2, 1), ("evt_2", 1, 1), ("evt_2", 2, 0)] {
            assert_eq!(record.times(EventHash::of(id).at(webhook)), times, "{id} {webhook}");
        }
        assert_eq!((record.counts.distinct, record.counts.repeated), (3, 2));
    }

    #[test]
    fn says_so_when_it_is_full() {
        let mut record = Record::of_at_most(1, 2);
        ["evt_1", "evt_2", "evt_3", "evt_1"]
            .into_iter()
            .for_each(|id| record.take(1, EventHash::of(id).at(1)));
        let counts = &record.counts;
        assert_eq!((counts.requests, counts.distinct, counts.repeated, counts.forgotten), (4, 2, 1, 1));
    }
}
