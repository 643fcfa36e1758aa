//! What became of each webhook's deliveries, per partition of `events`: the totals of the window, told apart.
//!
//! Written down now and then with the watermark that it is true of, and before a partition is let go. After a
//! crash what was sent directly since the last time is missing from it; the totals, which are committed with
//! every watermark, are exact.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hookline_event_log::{Offset, Partition};
use hookline_schemas::ids::WebhookId;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::EndpointKey;
use super::window::{Settled, Totals};

/// A tally is written in so many pieces, of which each fits into a record with a hundred thousand webhooks.
const PIECES: u64 = 16;

/// A piece of a tally: an entry of `lanes` under [`TallyRecord::key`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TallyRecord {
    /// Of which partition of `events`.
    pub(crate) partition: u16,
    /// Which piece.
    pub(crate) piece: u64,
    /// Everything below is counted.
    pub(crate) watermark: u64,
    /// What became of the deliveries of each.
    pub(crate) webhooks: BTreeMap<WebhookId, Totals>,
}

impl TallyRecord {
    /// The key of a piece.
    pub(crate) fn key(&self) -> String {
        format!("{}{:02}", Self::prefix(Partition(self.partition)), self.piece)
    }

    /// What the keys of all pieces of a partition begin with.
    pub(crate) fn prefix(partition: Partition) -> String {
        format!("tally/{:05}/", partition.0)
    }
}

/// The tally of one partition.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: HashMap<EndpointKey, Totals>,
    /// Up to where what was taken over is counted: its watermark may not have been committed.
    counted_to: HashMap<EndpointKey, Offset>,
    /// What has changed since it was written.
    changed: BTreeSet<EndpointKey>,
    /// What is being written, by piece.
    writing: BTreeMap<u64, BTreeSet<EndpointKey>>,
}

impl Tally {
    /// Goes on with what was written down.
    pub(crate) fn resume(&mut self, endpoint: EndpointKey, totals: &Totals, watermark: Offset) {
        self.counts.entry(endpoint).or_default().add(totals);
        self.counted_to.insert(endpoint, watermark);
    }

    /// A delivery of the event at this offset, which is below the watermark now.
    pub(crate) fn count(&mut self, endpoint: EndpointKey, offset: Offset, how: Settled) {
        if self.counted_to.get(&endpoint).is_some_and(|counted_to| offset < *counted_to) {
            return;
        }
        let counts = self.counts.entry(endpoint).or_default();
        counts.planned += u64::from(how != Settled::Repeated);
        counts.count(how);
        self.changed.insert(endpoint);
    }

    /// What became of one webhook's deliveries.
    pub(crate) fn of(&self, endpoint: EndpointKey) -> Totals {
        self.counts.get(&endpoint).copied().unwrap_or_default()
    }

    /// Whether it stands in the log as it is.
    pub(crate) fn is_written(&self) -> bool {
        self.changed.is_empty() && self.writing.is_empty()
    }

    /// The pieces to be written now; none while some are on their way.
    pub(crate) fn begin_write<'a>(
        &mut self,
        partition: Partition,
        watermark: Offset,
        id: impl Fn(EndpointKey) -> &'a WebhookId,
    ) -> Vec<TallyRecord> {
        if !self.writing.is_empty() {
            return Vec::new();
        }
        let piece = |endpoint: EndpointKey| xxh3_64(id(endpoint).as_str().as_bytes()) % PIECES;
        for endpoint in std::mem::take(&mut self.changed) {
            self.writing.entry(piece(endpoint)).or_default().insert(endpoint);
        }
        let mut records: BTreeMap<u64, TallyRecord> = BTreeMap::new();
        let in_changed =
            self.counts.iter().filter(|(endpoint, _)| self.writing.contains_key(&piece(**endpoint)));
        for (endpoint, totals) in in_changed {
            let piece = piece(*endpoint);
            let (partition, watermark) = (partition.0, watermark.0);
            let empty = || TallyRecord { partition, piece, watermark, webhooks: BTreeMap::new() };
            let record = records.entry(piece).or_insert_with(empty);
            record.webhooks.insert(id(*endpoint).clone(), *totals);
        }
        records.into_values().collect()
    }

    /// A piece has been written, or has not: then it will be again.
    pub(crate) fn end_write(&mut self, piece: u64, acknowledged: bool) {
        let written = self.writing.remove(&piece).unwrap_or_default();
        if !acknowledged {
            self.changed.extend(written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_what_was_counted() {
        let ids: Vec<_> = (0..100).map(|number| WebhookId::new(format!("wh_{number}"))).collect();
        let id = |endpoint: EndpointKey| ids.get(usize::try_from(endpoint.0).expect("small")).expect("an id");
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.count(EndpointKey(number), Offset(1), Settled::Delivered);
            tally.count(EndpointKey(number), Offset(2), Settled::Repeated);
        }
        tally.count(EndpointKey(7), Offset(8), Settled::Parked);
        let records = tally.begin_write(Partition(3), Offset(9), id);
        assert_eq!(records.len(), 16);
        assert!(tally.begin_write(Partition(3), Offset(9), id).is_empty(), "one write at a time");
        for record in &records {
            tally.end_write(record.piece, record.piece != 0);
        }
        assert!(!tally.is_written(), "one of them failed");
        let again = tally.begin_write(Partition(3), Offset(9), id);
        assert_eq!(again.iter().map(|record| record.piece).collect::<Vec<_>>(), [0]);
        tally.end_write(0, true);
        assert!(tally.is_written());

        let mut resumed = Tally::default();
        for record in &records {
            assert!(record.key().starts_with(&TallyRecord::prefix(Partition(3))));
            for (webhook, totals) in &record.webhooks {
                let number = ids.iter().position(|id| id == webhook).expect("known");
                resumed.resume(EndpointKey(number as u64), totals, Offset(record.watermark));
            }
        }
        let seventh = Totals { planned: 2, delivered: 1, parked: 1, repeated: 1, ..Totals::default() };
        resumed.count(EndpointKey(7), Offset(8), Settled::Parked);
        assert_eq!((resumed.of(EndpointKey(7)), resumed.counts.len()), (seventh, 100), "once is enough");

        tally.count(EndpointKey(7), Offset(9), Settled::Dead);
        let records = tally.begin_write(Partition(3), Offset(10), id);
        assert_eq!(records.len(), 1, "what has not changed is not written again");
    }
}
