//! The log of the simulated world: journals, the table of lanes, positions, and who owns what. It keeps what
//! was written, whoever wrote it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use hookline_event_log::{
    Change, CommitError, Committed, Entry, Epoch, Fence, JournalName, Offset, Partition, partition_of,
};
use hookline_schemas::delivery::{LaneRecord, OwnerMarker, ParkedDelivery, encode};
use hookline_schemas::event::Event;
use hookline_schemas::ids::WebhookId;

use super::super::{Committing, Load, ResumedLane, TallyRecord, Totals};
use crate::shell::holdings::Grant;
use crate::shell::takeover::Uncounted;
use crate::shell::watched::{Believed, believed};

pub(super) const EVENT_PARTITIONS: u16 = 3;
pub(super) const LANE_PARTITIONS: u16 = 3;

pub(super) type Key = (JournalName, Partition);

/// Every partition that is owned by somebody.
pub(super) fn partitions() -> impl Iterator<Item = Key> {
    let events = (0..EVENT_PARTITIONS).map(|partition| (JournalName::Events, Partition(partition)));
    events.chain((0..LANE_PARTITIONS).map(|partition| (JournalName::Parked, Partition(partition))))
}

/// Who owns a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ownership {
    pub(super) epoch: Epoch,
    pub(super) owner: Option<usize>,
    /// Who waits for it to be let go.
    pub(super) next: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) events: BTreeMap<Partition, Vec<(Offset, Event)>>,
    pub(super) parked: BTreeMap<Partition, Vec<(Offset, ParkedDelivery)>>,
    pub(super) watermarks: BTreeMap<Partition, (Offset, Totals)>,
    pub(super) registered: BTreeMap<Partition, Offset>,
    /// Beside R: below this the lane records count everything.
    pub(super) counted_to: BTreeMap<Partition, Offset>,
    pub(super) owners: BTreeMap<Key, Ownership>,
    pub(super) tallies: BTreeMap<(Partition, u64), TallyRecord>,
    /// Where the records of each webhook stand in `parked`.
    parked_of: HashMap<WebhookId, Vec<Offset>>,
    lanes: BTreeMap<(Partition, Bytes), Entry>,
    epochs: u64,
    offsets: u64,
}

impl Log {
    pub(super) fn next_offset(&mut self, gap: u64) -> Offset {
        self.offsets += gap;
        Offset(self.offsets)
    }

    pub(super) fn append_event(&mut self, partition: Partition, offset: Offset, event: Event) {
        self.events.entry(partition).or_default().push((offset, event));
    }

    pub(super) fn append_parked(&mut self, partition: Partition, offset: Offset, parked: ParkedDelivery) {
        self.parked_of.entry(parked.webhook.clone()).or_default().push(offset);
        self.parked.entry(partition).or_default().push((offset, parked));
    }

    /// How many records of a webhook stand in `parked` below an offset.
    pub(super) fn parked_below(&self, webhook: &WebhookId, offset: Offset) -> u64 {
        let parked = self.parked_of.get(webhook).map(Vec::as_slice).unwrap_or_default();
        parked.partition_point(|parked| *parked < offset) as u64
    }

    pub(super) fn parked_in(&self, partition: Partition) -> &[(Offset, ParkedDelivery)] {
        self.parked.get(&partition).map(Vec::as_slice).unwrap_or_default()
    }

    /// What a load of a lane finds, and where the next goes on.
    pub(super) fn load(
        &self,
        partition: Partition,
        webhook: &str,
        load: Load,
        limit: usize,
    ) -> (Vec<(Offset, ParkedDelivery)>, Offset) {
        let (from, until) = match load {
            Load::Backlog { from, until } => (from, until),
            Load::Exception { offset, .. } => (offset, offset.next()),
        };
        let in_range = self.parked_in(partition).iter().filter(|(offset, _)| (from..until).contains(offset));
        let mine = in_range.filter(|(_, parked)| parked.webhook.as_str() == webhook);
        let records: Vec<_> = mine.take(limit).cloned().collect();
        let last = records.last().map(|(last, _)| last.next());
        let next = last.filter(|_| records.len() == limit).unwrap_or(until);
        (records, next)
    }

    /// Makes this process the owner, under a new epoch.
    pub(super) fn assign(&mut self, (journal, partition): Key, to: usize) -> Grant {
        self.epochs += 1;
        let epoch = Epoch(self.epochs);
        self.owners.insert((journal, partition), Ownership { epoch, owner: Some(to), next: None });
        let committed = match journal {
            JournalName::Events => self
                .watermarks
                .get(&partition)
                .map(|(offset, totals)| Committed { offset: *offset, metadata: encode(totals).into() }),
            _ => self
                .registered
                .get(&partition)
                .map(|offset| Committed { offset: *offset, metadata: Bytes::new() }),
        };
        Grant { journal, partition, epoch, committed }
    }

    pub(super) fn owner(&self, key: Key) -> Option<Ownership> {
        self.owners.get(&key).copied()
    }

    /// Whether a commit is made.
    pub(super) fn commit(
        &mut self,
        journal: JournalName,
        committing: Committing,
        totals: Totals,
    ) -> Result<(), CommitError> {
        let Committing { partition, epoch, offset } = committing;
        if self.owner((journal, partition)).is_none_or(|owner| owner.epoch != epoch) {
            return Err(CommitError::Fenced);
        }
        match journal {
            JournalName::Events => drop(self.watermarks.insert(partition, (offset, totals))),
            _ => drop(self.registered.insert(partition, offset)),
        }
        Ok(())
    }

    fn put(&mut self, partition: Partition, key: String, value: Option<Vec<u8>>, epoch: Epoch) {
        let key = Bytes::from(key);
        let version = self.next_offset(1);
        let entry = Entry { partition, key: key.clone(), value: value.map(Bytes::from), epoch, version };
        self.lanes.insert((partition, key), entry);
    }

    pub(super) fn put_lane(&mut self, partition: Partition, record: &LaneRecord, epoch: Epoch) {
        self.put(partition, LaneRecord::key(&record.webhook), Some(encode(record)), epoch);
    }

    pub(super) fn put_marker(&mut self, partition: Partition, epoch: Epoch, process: usize) {
        let marker = OwnerMarker { epoch: epoch.0, process: process as u64 };
        self.put(partition, marker.key(), Some(encode(&marker)), epoch);
    }

    /// As a takeover does behind its marker: judges the lanes by the markers that stand in the table, corrects
    /// what lies, and removes the markers of earlier owners.
    pub(super) fn take_over_lanes(
        &mut self,
        partition: Partition,
        epoch: Epoch,
        registered: Offset,
    ) -> Vec<ResumedLane> {
        let fence = self.fence(partition);
        let present =
            self.lanes.values().filter(|entry| entry.partition == partition && entry.value.is_some());
        let (markers, lanes): (Vec<_>, Vec<_>) =
            present.cloned().partition(|entry| OwnerMarker::is_key(&entry.key));
        let mut records = Vec::new();
        for Believed { record, is_corrected, is_late } in
            lanes.iter().filter_map(|entry| believed(entry, &fence))
        {
            if is_corrected {
                self.put_lane(partition, &record, epoch);
            }
            records.push((record, is_late));
        }
        for marker in markers.iter().filter(|marker| marker.epoch < epoch) {
            self.put(partition, String::from_utf8_lossy(&marker.key).into_owned(), None, epoch);
        }
        let counted_to = self.counted_to.get(&partition).copied().unwrap_or(Offset::START);
        let mut counted = Uncounted::new(records, counted_to);
        let below = self.parked_in(partition).iter().filter(|(offset, _)| *offset < registered);
        below.for_each(|(offset, parked)| counted.count(*offset, parked.webhook.as_str().as_bytes()));
        counted.into_lanes()
    }

    /// The markers that stand in the table.
    fn fence(&self, partition: Partition) -> Fence {
        let mut fence = Fence::new();
        let here = self.lanes.values().filter(|entry| entry.partition == partition && entry.value.is_some());
        here.filter(|entry| OwnerMarker::is_key(&entry.key))
            .for_each(|marker| fence.owner(partition, marker.epoch, marker.version));
        fence
    }

    /// What a watch that has come to this version reports, in the order of the versions.
    pub(super) fn changes_since(&self, version: Offset) -> Vec<Change> {
        let mut entries: Vec<_> = self.lanes.values().filter(|entry| entry.version > version).collect();
        entries.sort_by_key(|entry| entry.version);
        entries.into_iter().cloned().map(Change::Entry).collect()
    }

    pub(super) fn version(&self) -> Offset {
        Offset(self.offsets)
    }

    /// The lane of a webhook as whoever takes it over next must believe it.
    pub(super) fn believed_lane(&self, webhook: &WebhookId) -> Option<LaneRecord> {
        let partition = partition_of(webhook.as_str().as_bytes(), LANE_PARTITIONS);
        let entry = self.lanes.get(&(partition, Bytes::from(LaneRecord::key(webhook))))?;
        believed(entry, &self.fence(partition)).map(|believed| believed.record)
    }

    /// Whether everything there is has been committed.
    pub(super) fn is_committed_to_the_end(&self) -> bool {
        let events = self.events.iter().all(|(partition, events)| {
            let end = events.last().map_or(Offset::START, |(last, _)| last.next());
            self.watermarks.get(partition).is_some_and(|(watermark, _)| *watermark >= end)
        });
        let lanes = self.parked.iter().all(|(partition, parked)| {
            let end = parked.last().map_or(Offset::START, |(last, _)| last.next());
            self.registered.get(partition).is_some_and(|registered| *registered >= end)
        });
        events && lanes
    }
}
