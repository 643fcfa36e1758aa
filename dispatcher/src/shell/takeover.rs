//! Taking over a partition: what the log says of it, read to the end before anything is done.

use std::collections::BTreeMap;

use bytes::Bytes;
use hookline_event_log::{
    AppendError, Change, Committed, Entry, Epoch, Fence, Journal, JournalName, Log, Offset, Partition,
    ReadError, ReadLimit, Table, TableName, TableWatch,
};
use hookline_schemas::delivery::{LaneRecord, OwnerMarker, decode, encode};
use hookline_schemas::event::EventIdentity;

use super::Happened;
use super::readers::Source;
use super::watched::{Believed, believed};
use crate::core::{Identity, Input, RegisteredWords, ResumedLane, TallyRecord, Totals};

/// What one read of the past takes at most.
const LIMIT: ReadLimit = ReadLimit { records: 4096, bytes: 4 * 1024 * 1024 };

/// Takes over a partition of `events`: the position, and the repeat memory from the events before it.
pub(super) async fn take_over_events<L: Log>(
    log: L,
    partition: Partition,
    epoch: Epoch,
    committed: Option<Committed>,
    repeat_memory: usize,
) -> Result<Happened, ReadError> {
    let (from, totals) = match committed {
        Some(committed) => {
            (committed.offset, serde_json::from_slice(&committed.metadata).unwrap_or_default())
        }
        None => (Offset::START, Totals::default()),
    };
    let journal = log.journal(JournalName::Events);
    let first = journal.bounds(partition).await?.first;
    let mut position = Offset(from.0.saturating_sub(repeat_memory as u64)).max(first);
    let mut events = Vec::new();
    while position < from {
        // The memory is a service, not a duty: what can't be read is not remembered.
        let Ok(batch) = journal.read(partition, position, None, LIMIT).await else { break };
        if batch.records.is_empty() {
            break;
        }
        let before = batch.records.iter().filter(|record| record.offset < from);
        let identities = before.filter_map(|record| EventIdentity::read(&record.value));
        events.extend(identities.map(|found| Identity::new(found.id, found.fingerprint)));
        position = batch.next;
    }
    let inputs = vec![
        Input::EventsGranted { partition, epoch, committed: from, totals },
        Input::Tallied { partition, records: load_tally(&log.table(TableName::Lanes), partition).await? },
        Input::Remembered { partition, events },
    ];
    Ok(Happened::TakenOver((inputs, Source { journal: JournalName::Events, partition, epoch, from })))
}

/// In which partition of `lanes` the tally of a partition of `events` stands.
pub(super) fn tally_partition<T: Table>(events: Partition, lanes: &T) -> Partition {
    Partition(events.0 % lanes.partitions().max(1))
}

async fn load_tally<T: Table>(table: &T, events: Partition) -> Result<Vec<TallyRecord>, ReadError> {
    let prefix = TallyRecord::prefix(events);
    let mut watch = table.watch(&[tally_partition(events, table)]);
    let mut pieces: BTreeMap<Bytes, TallyRecord> = BTreeMap::new();
    loop {
        let entry = match watch.next().await? {
            Change::Loaded => return Ok(pieces.into_values().collect()),
            Change::Entry(entry) => entry,
        };
        let record = entry.value.as_deref().and_then(|value| decode(value).ok());
        if let Some(record) = record.filter(|_| entry.key.starts_with(prefix.as_bytes())) {
            pieces.insert(entry.key, record);
        }
    }
}

/// Takes over a partition of `parked`: the owner's marker first, then its lanes; a lane record that a deposed
/// owner wrote after an earlier marker is not believed to be drained, and is written anew before anything else.
pub(super) async fn take_over_lanes<L: Log>(
    log: L,
    partition: Partition,
    marker: OwnerMarker,
    committed: Option<Committed>,
) -> Result<Happened, ReadError> {
    let table = log.table(TableName::Lanes);
    let epoch = Epoch(marker.epoch);
    let put = |key: String, value: Option<Bytes>| put_and_wait(table.clone(), partition, epoch, key, value);
    let marked = put(marker.key(), Some(encode(&marker).into())).await?;

    let (markers, records) = load(&table, partition, marked).await?;
    let mut fence = Fence::default();
    for entry in &markers {
        fence.owner(partition, entry.epoch, entry.version);
    }
    let mut lanes = Vec::new();
    for entry in records {
        let Some(Believed { record, is_corrected, is_late }) = believed(&entry, &fence) else { continue };
        if is_corrected {
            put(LaneRecord::key(&record.webhook), Some(encode(&record).into())).await?;
        }
        lanes.push((record, is_late));
    }
    for entry in markers.iter().filter(|entry| entry.epoch < epoch) {
        put(String::from_utf8_lossy(&entry.key).into_owned(), None).await?;
    }
    let registered = committed.as_ref().map_or(Offset::START, |committed| committed.offset);
    let words = committed.and_then(|committed| decode::<RegisteredWords>(&committed.metadata).ok());
    let counted_to = words.map_or(Offset::START, |words| Offset(words.counted_to));
    let counted = Uncounted::new(lanes, counted_to);
    let lanes =
        count_behind_the_tails(&log.journal(JournalName::Parked), partition, counted, registered).await?;
    let inputs = vec![Input::LanesGranted { partition, epoch, registered, lanes }];
    let source = Source { journal: JournalName::Parked, partition, epoch, from: registered };
    Ok(Happened::TakenOver((inputs, source)))
}

/// R may have passed records that stand behind the tail of their lane's latest record: they are counted now.
async fn count_behind_the_tails<J: Journal>(
    journal: &J,
    partition: Partition,
    mut counted: Uncounted,
    registered: Offset,
) -> Result<Vec<ResumedLane>, ReadError> {
    let mut position = counted.from().unwrap_or(registered).max(journal.bounds(partition).await?.first);
    while position < registered {
        let batch = match journal.read(partition, position, None, LIMIT).await {
            Ok(batch) => batch,
            Err(ReadError::Expired { first, .. }) if first > position => {
                position = first;
                continue;
            }
            Err(error) => return Err(error),
        };
        if batch.records.is_empty() {
            break;
        }
        for record in batch.records.iter().filter(|record| record.offset < registered) {
            counted.count(record.offset, &record.key);
        }
        position = batch.next;
    }
    Ok(counted.into_lanes())
}

/// Lanes as they are written down, with the records that are to be counted beside them.
#[derive(Debug)]
pub(crate) struct Uncounted {
    /// With the offset from which on that is; none, where nothing is.
    lanes: BTreeMap<Bytes, (ResumedLane, Option<Offset>)>,
}

impl Uncounted {
    /// Nothing has been counted yet. Below `counted_to` the records count everything, but for those that an
    /// owner wrote late (`true`): they may be older than what that rests on.
    pub(crate) fn new(lanes: Vec<(LaneRecord, bool)>, counted_to: Offset) -> Self {
        let lanes = lanes.into_iter().map(|(record, is_late)| {
            let key = Bytes::copy_from_slice(record.webhook.as_str().as_bytes());
            let tail = Offset(record.tail);
            let from = if is_late { tail } else { tail.max(counted_to) };
            let from = (!record.drained).then_some(from);
            (key, (ResumedLane { record, uncounted: 0 }, from))
        });
        Self { lanes: lanes.collect() }
    }

    /// From where on something may stand that is not counted.
    fn from(&self) -> Option<Offset> {
        self.lanes.values().filter_map(|(_, from)| *from).min()
    }

    /// A record below R of the webhook with this key.
    pub(crate) fn count(&mut self, offset: Offset, webhook: &[u8]) {
        if let Some((lane, from)) = self.lanes.get_mut(webhook) {
            lane.uncounted += u64::from(from.is_some_and(|from| offset >= from));
        }
    }

    /// The lanes to be resumed.
    pub(crate) fn into_lanes(self) -> Vec<ResumedLane> {
        self.lanes.into_values().map(|(lane, _)| lane).collect()
    }
}

/// Everything that stands in a partition of the table: markers and lane records, of each key the latest. Read
/// at least up to our own marker, because a broker that has been deposed may not know how far it goes.
async fn load<T: Table>(
    table: &T,
    partition: Partition,
    marked: Offset,
) -> Result<(Vec<Entry>, Vec<Entry>), ReadError> {
    let mut watch = table.watch(&[partition]);
    let mut latest: BTreeMap<Bytes, Entry> = BTreeMap::new();
    let (mut is_loaded, mut is_marked) = (false, false);
    while !(is_loaded && is_marked) {
        match watch.next().await? {
            Change::Entry(entry) => {
                is_marked |= entry.version >= marked;
                latest.insert(entry.key.clone(), entry);
            }
            Change::Loaded => is_loaded = true,
        }
    }
    let present = latest.into_values().filter(|entry| entry.value.is_some());
    Ok(present.partition(|entry| OwnerMarker::is_key(&entry.key)))
}

/// Puts until the put is acknowledged: without it the partition can't be worked on.
async fn put_and_wait<T: Table>(
    table: T,
    partition: Partition,
    epoch: Epoch,
    key: String,
    value: Option<Bytes>,
) -> Result<Offset, ReadError> {
    loop {
        let put = table.put(partition, key.clone().into(), value.clone(), epoch).await;
        let acknowledged = match put {
            Ok(appending) => appending.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(version) => return Ok(version),
            Err(AppendError::Closed) => return Err(ReadError::Closed),
            Err(error) => {
                tracing::warn!(%error, "failed to write to lanes, trying again");
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        }
    }
}
