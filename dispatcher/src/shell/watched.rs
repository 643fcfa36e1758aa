//! The lanes as they are written down: the entries of `lanes` that the watch has shown, and which of them are
//! believed.
//!
//! Lanes that are ours are remembered and not read: the core knows better, until they are ours no more.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use bytes::Bytes;
use hookline_event_log::{Change, Entry, Fence, Offset, Partition, Verdict};
use hookline_schemas::delivery::{LaneRecord, OwnerMarker, decode};

use crate::core::Input;
use crate::core::defect::{self, Defect};

/// What the watch has shown.
#[derive(Debug, Default)]
pub(crate) struct WatchedLanes {
    fence: Fence,
    lanes: BTreeMap<Partition, BTreeMap<Bytes, Entry>>,
    /// The latest owner of each partition.
    owners: BTreeMap<Partition, OwnerMarker>,
    is_loaded: bool,
}

impl WatchedLanes {
    /// Whether everything that was written down when the watch began has been shown.
    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// Takes what the watch reports, and says what is new of lanes that are not ours.
    pub(crate) fn take(&mut self, change: Change, is_ours: impl Fn(Partition) -> bool) -> Vec<Input> {
        let shown = match change {
            Change::Loaded => {
                self.is_loaded = true;
                let partitions = self.lanes.keys().filter(|partition| !is_ours(**partition));
                return partitions.flat_map(|partition| self.of_partition(*partition)).collect();
            }
            Change::Entry(entry) if OwnerMarker::is_key(&entry.key) => {
                return self.take_marker(&entry, is_ours);
            }
            Change::Entry(entry) => entry,
        };
        if LaneRecord::webhook_of_key(&shown.key).is_none() {
            return Vec::new();
        }
        let shows = self.is_loaded && !is_ours(shown.partition);
        let entries = self.lanes.entry(shown.partition).or_default();
        if entries.get(&shown.key).is_some_and(|known| known.version >= shown.version) {
            return Vec::new();
        }
        let input = if shows { seen(&shown, &self.fence) } else { None };
        entries.insert(shown.key.clone(), shown);
        input.into_iter().collect()
    }

    /// How many dispatchers own lanes.
    pub(crate) fn dispatchers(&self) -> NonZeroU32 {
        let processes: BTreeSet<_> = self.owners.values().map(|owner| owner.process).collect();
        u32::try_from(processes.len()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
    }

    /// Everything that is written down of a partition's lanes.
    pub(crate) fn of_partition(&self, partition: Partition) -> Vec<Input> {
        self.written_since(partition, Offset::START)
    }

    /// A marker tells what was written behind it under an earlier epoch. Its tombstone changes nothing: by then
    /// a later owner has written anew what it told.
    fn take_marker(&mut self, entry: &Entry, is_ours: impl Fn(Partition) -> bool) -> Vec<Input> {
        if entry.value.is_none() {
            return Vec::new();
        }
        self.fence.owner(entry.partition, entry.epoch, entry.version);
        if let Some(marker) = entry.value.as_deref().and_then(|value| decode::<OwnerMarker>(value).ok()) {
            let owner = self.owners.entry(entry.partition).or_insert_with(|| marker.clone());
            if marker.epoch > owner.epoch {
                *owner = marker;
            }
        }
        let shows = self.is_loaded && !is_ours(entry.partition);
        if shows { self.written_since(entry.partition, entry.version) } else { Vec::new() }
    }

    fn written_since(&self, partition: Partition, version: Offset) -> Vec<Input> {
        let entries = self.lanes.get(&partition).into_iter().flat_map(BTreeMap::values);
        entries
            .filter(|entry| entry.version >= version)
            .filter_map(|entry| seen(entry, &self.fence))
            .collect()
    }
}

fn seen(entry: &Entry, fence: &Fence) -> Option<Input> {
    let webhook = LaneRecord::webhook_of_key(&entry.key)?;
    Some(Input::LaneSeen { webhook, record: believed(entry, fence).map(|believed| believed.record) })
}

/// A lane record, as far as it is believed.
#[derive(Debug)]
pub(crate) struct Believed {
    pub(crate) record: LaneRecord,
    /// It stands otherwise in the table: as *drained*, by an owner that had been deposed.
    pub(crate) is_corrected: bool,
    /// An owner that had been deposed wrote it, perhaps over what a later one had counted.
    pub(crate) is_late: bool,
}

/// What an entry says of its lane; nothing, if it is a tombstone. A lane record stays true for ever but for
/// *drained*, which a deposed owner does not know.
pub(crate) fn believed(entry: &Entry, fence: &Fence) -> Option<Believed> {
    let record = lane_record(entry)?;
    let is_late = fence.judge(entry) == Verdict::LateForeign;
    let is_corrected = record.drained && is_late && !defect::is(Defect::DeposedBelieved);
    let record = LaneRecord { drained: record.drained && !is_corrected, ..record };
    Some(Believed { record, is_corrected, is_late })
}

/// A lane record that can't be read was written by a later version. Its lane is read again from the start:
/// that costs duplicates, and nothing else.
fn lane_record(entry: &Entry) -> Option<LaneRecord> {
    let value = entry.value.as_deref()?;
    let webhook = LaneRecord::webhook_of_key(&entry.key)?;
    match decode(value) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(%webhook, %error, "a lane record can't be read: it covers nothing");
            Some(LaneRecord::unknown(webhook))
        }
    }
}

#[cfg(test)]
mod tests {
    use hookline_event_log::Epoch;
    use hookline_schemas::delivery::encode;
    use hookline_schemas::ids::WebhookId;

    use super::*;

    fn entry(key: String, value: Option<Vec<u8>>, epoch: u64, version: u64) -> Change {
        let (partition, key, value) = (Partition(0), key.into(), value.map(Bytes::from));
        Change::Entry(Entry { partition, key, value, epoch: Epoch(epoch), version: Offset(version) })
    }

    fn lane(cursor: u64, epoch: u64, version: u64) -> Change {
        let webhook = WebhookId::new("wh");
        let key = LaneRecord::key(&webhook);
        let record = LaneRecord { cursor, drained: true, ..LaneRecord::unknown(webhook) };
        entry(key, Some(encode(&record)), epoch, version)
    }

    fn marker(epoch: u64, version: u64) -> Change {
        let marker = OwnerMarker { epoch, process: epoch };
        entry(marker.key(), Some(encode(&marker)), epoch, version)
    }

    /// The cursor that was seen, and whether the lane was said to be drained; `None`: no record.
    fn seen(inputs: &[Input]) -> Vec<Option<(u64, bool)>> {
        let seen = inputs.iter().map(|input| match input {
            Input::LaneSeen { record, .. } => record.as_ref().map(|record| (record.cursor, record.drained)),
            other => panic!("{other:?}"),
        });
        seen.collect()
    }

    #[test]
    fn nothing_is_said_before_everything_is_known() {
        let mut watched = WatchedLanes::default();
        assert!(watched.take(lane(5, 1, 20), |_| false).is_empty());
        assert!(watched.take(marker(2, 10), |_| false).is_empty());
        assert!(!watched.is_loaded());
        let inputs = watched.take(Change::Loaded, |_| false);
        assert_eq!(seen(&inputs), [Some((5, false))], "late, by a marker that came after it");
        assert!(watched.is_loaded());
    }

    #[test]
    fn a_late_record_is_not_believed_to_be_drained() {
        let mut watched = WatchedLanes::default();
        watched.take(Change::Loaded, |_| false);
        assert_eq!(seen(&watched.take(lane(5, 1, 9), |_| false)), [Some((5, true))]);
        assert!(watched.take(marker(2, 10), |_| false).is_empty(), "it stands behind what was seen");
        assert_eq!(seen(&watched.take(lane(6, 1, 11), |_| false)), [Some((6, false))]);
        assert_eq!(seen(&watched.take(lane(7, 2, 12), |_| false)), [Some((7, true))]);
        // The marker has been removed by the next owner; what it told stays known.
        assert!(
            watched
                .take(entry(OwnerMarker { epoch: 2, process: 2 }.key(), None, 3, 13), |_| false)
                .is_empty()
        );
        assert_eq!(seen(&watched.take(lane(8, 1, 14), |_| false)), [Some((8, false))]);
        assert_eq!(seen(&watched.take(marker(2, 10), |_| false)), [Some((8, false))]);
    }

    #[test]
    fn what_is_ours_is_remembered_for_the_time_when_it_is_not() {
        let mut watched = WatchedLanes::default();
        watched.take(Change::Loaded, |_| true);
        assert!(watched.take(lane(5, 1, 9), |_| true).is_empty());
        assert!(watched.take(lane(4, 1, 8), |_| false).is_empty(), "older than what was seen");
        assert!(watched.take(lane(5, 1, 9), |_| false).is_empty(), "seen before");
        assert_eq!(seen(&watched.of_partition(Partition(0))), [Some((5, true))]);
        let removed = entry(LaneRecord::key(&WebhookId::new("wh")), None, 1, 12);
        assert_eq!(seen(&watched.take(removed, |_| false)), [None]);
    }
}
