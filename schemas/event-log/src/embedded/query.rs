//! What is read in one short snapshot: a stretch of a partition, its bounds, or the changes of a table.
//!
//! Each looks at a bounded number of records and copies out what it found; whoever wants more asks again.

use std::ops::Bound;

use bytes::Bytes;
use heed::RoTxn;

use super::codec::{self, Corrupt, Mark};
use super::environment::{Database, Environment};
use super::positions::last_offset;
use crate::limits::KEY_LIMIT;
use crate::{Batch, Bounds, Entry, JournalName, Offset, Partition, ReadError, ReadLimit, Record, TableName};

/// The most records that one snapshot looks at, matching or not.
const LOOK: usize = 4096;
/// The most bytes that one snapshot looks at.
const LOOK_BYTES: usize = 8 * 1024 * 1024;

/// A stretch of a partition.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) journal: JournalName,
    pub(super) partition: Partition,
    pub(super) from: Offset,
    pub(super) filter: Option<Bytes>,
    pub(super) limit: ReadLimit,
}

/// What was found in it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) batch: Batch,
    /// Nothing more was there.
    pub(super) is_end: bool,
}

/// Entries of a table that were put since a version.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) entries: Vec<Entry>,
    /// The version to go on from.
    pub(super) next: u64,
    /// Nothing more was there: every key of the partition has been reported.
    pub(super) is_end: bool,
}

/// Reads a stretch.
pub(super) fn stretch(environment: &Environment, asked: &Stretch) -> Result<Found, ReadError> {
    let snapshot = environment.read().map_err(backend)?;
    let first = first_retained(environment, &snapshot, asked.journal, asked.partition)?;
    if asked.from != Offset::START && asked.from < first {
        return Err(ReadError::Expired { partition: asked.partition, asked: asked.from, first });
    }
    let from = asked.from.max(first);
    match &asked.filter {
        Some(key) if asked.journal == JournalName::Parked => {
            read_by_index(environment, &snapshot, asked, from, key)
        }
        Some(_) | None => read_in_order(environment, &snapshot, asked, from),
    }
}

fn read_in_order(
    environment: &Environment,
    snapshot: &RoTxn<'_>,
    asked: &Stretch,
    from: Offset,
) -> Result<Found, ReadError> {
    let database = environment.journal(asked.journal);
    let mut collected = Collected::new(asked, from);
    for (looked, stored) in range(database, snapshot, &all_from(asked.partition, from))?.enumerate() {
        let (key, value) = stored.map_err(backend)?;
        let offset = Offset(offset_in(key, asked.partition, from)?);
        if collected.is_full() || looked == LOOK || collected.looked_bytes >= LOOK_BYTES {
            return Ok(collected.found(false));
        }
        if !collected.look(offset, value)? {
            return Ok(collected.found(false));
        }
    }
    Ok(collected.found(true))
}

fn read_by_index(
    environment: &Environment,
    snapshot: &RoTxn<'_>,
    asked: &Stretch,
    from: Offset,
    key: &[u8],
) -> Result<Found, ReadError> {
    let mut collected = Collected::new(asked, from);
    if key.len() > KEY_LIMIT {
        return Ok(collected.found(true));
    }
    let journal = environment.journal(asked.journal);
    let wanted =
        (codec::index_key(asked.partition, key, from.0), codec::index_key(asked.partition, key, u64::MAX));
    for indexed in range(environment.parked_by_key(), snapshot, &wanted)? {
        let (index, _) = indexed.map_err(backend)?;
        let offset = offset_in(index, asked.partition, from)?;
        if collected.is_full() || collected.looked_bytes >= LOOK_BYTES {
            return Ok(collected.found(false));
        }
        let value = journal.get(snapshot, &codec::record_key(asked.partition, offset)).map_err(backend)?;
        let corrupt = ReadError::Corrupt { partition: asked.partition, offset: Offset(offset) };
        if !collected.look(Offset(offset), value.ok_or(corrupt)?)? {
            return Ok(collected.found(false));
        }
    }
    // Between the last match and the end stands nothing with this key: the next read need not look again.
    let end = last_offset(journal, snapshot, asked.partition).map_err(backend)?;
    collected.next = collected.next.max(end.map_or(from, |last| Offset(last).next()));
    Ok(collected.found(true))
}

/// The records of one read, within its limit.
struct Collected<'asked> {
    asked: &'asked Stretch,
    records: Vec<Record>,
    bytes: usize,
    looked_bytes: usize,
    next: Offset,
}

impl<'asked> Collected<'asked> {
    /// Nothing yet. Where nothing is found, the next read goes on where this one began.
    fn new(asked: &'asked Stretch, from: Offset) -> Self {
        let next = if asked.from == Offset::START { Offset::START } else { from };
        Self { asked, records: Vec::new(), bytes: 0, looked_bytes: 0, next }
    }

    fn is_full(&self) -> bool {
        !self.records.is_empty()
            && (self.records.len() >= self.asked.limit.records || self.bytes >= self.asked.limit.bytes)
    }

    /// Looks at a record, keeps it if it matches. Says no, and has not looked, where the record would
    /// exceed the limit.
    fn look(&mut self, offset: Offset, value: &[u8]) -> Result<bool, ReadError> {
        let stored = codec::decode_record(value)
            .map_err(|Corrupt| ReadError::Corrupt { partition: self.asked.partition, offset })?;
        if self.asked.filter.as_ref().is_none_or(|key| key == stored.key) {
            let bytes = stored.key.len() + stored.value.len();
            if !self.records.is_empty() && self.bytes + bytes > self.asked.limit.bytes {
                return Ok(false);
            }
            self.bytes += bytes;
            // One allocation holds key and value.
            let mut copied = Bytes::from([stored.key, stored.value].concat());
            let key = copied.split_to(stored.key.len());
            let appended_at = stored.appended_at;
            self.records.push(Record { offset, key, value: copied, appended_at });
        }
        self.looked_bytes += value.len();
        self.next = offset.next();
        Ok(true)
    }

    fn found(self, is_end: bool) -> Found {
        Found { batch: Batch { records: self.records, next: self.next }, is_end }
    }
}

/// The retained range. An empty partition begins where it ends.
pub(super) fn bounds(
    environment: &Environment,
    journal: JournalName,
    partition: Partition,
) -> Result<Bounds, ReadError> {
    let snapshot = environment.read().map_err(backend)?;
    let first = first_retained(environment, &snapshot, journal, partition)?;
    let last = last_offset(environment.journal(journal), &snapshot, partition).map_err(backend)?;
    Ok(Bounds { first, end: last.map_or(first, |last| Offset(last).next()) })
}

/// Reads the changes of a partition from a version on.
pub(super) fn changes(
    environment: &Environment,
    table: TableName,
    partition: Partition,
    from: u64,
) -> Result<Changes, ReadError> {
    let snapshot = environment.read().map_err(backend)?;
    let databases = environment.table(table);
    let mut changes = Changes { entries: Vec::new(), next: from, is_end: true };
    let mut bytes = 0;
    for change in range(databases.by_version, &snapshot, &all_from(partition, Offset(from)))? {
        let (by_version, key) = change.map_err(backend)?;
        if changes.entries.len() >= LOOK || bytes >= LOOK_BYTES {
            changes.is_end = false;
            break;
        }
        let version = offset_in(by_version, partition, Offset(from))?;
        let corrupt = || ReadError::Backend(format!("an entry of {} is corrupt", table.as_str()));
        let stored = databases.entries.get(&snapshot, &codec::entry_key(partition, key)).map_err(backend)?;
        let entry = codec::decode_entry(stored.ok_or_else(corrupt)?).map_err(|Corrupt| corrupt())?;
        // An entry that was corrupt when it was replaced has left its old version behind.
        if entry.version == version {
            bytes += key.len() + entry.value.map_or(0, <[u8]>::len);
            changes.entries.push(Entry {
                partition,
                key: Bytes::copy_from_slice(key),
                value: entry.value.map(Bytes::copy_from_slice),
                epoch: entry.epoch,
                version: Offset(version),
            });
        }
        changes.next = version + 1;
    }
    Ok(changes)
}

fn first_retained(
    environment: &Environment,
    snapshot: &RoTxn<'_>,
    journal: JournalName,
    partition: Partition,
) -> Result<Offset, ReadError> {
    let stored = environment.position(snapshot, Mark::FirstRetained, journal, partition).map_err(backend)?;
    let first = stored.map_err(|Corrupt| ReadError::Backend("the retained range is corrupt".to_owned()))?;
    Ok(Offset(first.max(super::positions::FIRST)))
}

type Range<'snapshot> = heed::RoRange<'snapshot, heed::types::Bytes, heed::types::Bytes>;

fn range<'snapshot, Key: AsRef<[u8]>>(
    database: Database,
    snapshot: &'snapshot RoTxn<'_>,
    (from, to): &(Key, Key),
) -> Result<Range<'snapshot>, ReadError> {
    let keys = (Bound::Included(from.as_ref()), Bound::Included(to.as_ref()));
    database.range(snapshot, &keys).map_err(backend)
}

fn all_from(partition: Partition, from: Offset) -> ([u8; 10], [u8; 10]) {
    (codec::record_key(partition, from.0), codec::record_key(partition, u64::MAX))
}

fn offset_in(key: &[u8], partition: Partition, near: Offset) -> Result<u64, ReadError> {
    codec::offset_of(key).map_err(|Corrupt| ReadError::Corrupt { partition, offset: near })
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn backend(error: heed::Error) -> ReadError {
    ReadError::Backend(error.to_string())
}
