//! One write transaction: commands and retention applied to the databases, and to a copy of the positions.
//! Nothing of it is true before the commit; dropped, it never was.

use heed::RwTxn;
use hookline_schemas::time::Timestamp;

use super::codec::{self, Encoder, Mark};
use super::environment::Environment;
use super::positions::Positions;
use super::queue::{AppendCommand, Command, CommitCommand, PutCommand};
use crate::{Epoch, JournalName, Offset, Partition};

/// What a command has come to, once the transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A record or an entry stands here.
    Written(Offset),
    /// The position is committed.
    Committed,
    /// The position was not committed: the partition is owned under another epoch.
    Fenced,
}

/// A transaction under way.
pub(super) struct Transaction<'environment> {
    environment: &'environment Environment,
    inner: RwTxn<'environment>,
    encoder: Encoder,
    pub(super) positions: Positions,
    pub(super) dirty: bool,
}

impl<'environment> Transaction<'environment> {
    /// Begins where the last one ended.
    pub(super) fn begin(environment: &'environment Environment, positions: Positions) -> heed::Result<Self> {
        let inner = environment.write()?;
        Ok(Self { environment, inner, encoder: Encoder::default(), positions, dirty: false })
    }

    /// Bytes of pages in use, with what was applied so far.
    pub(super) fn used_bytes(&self) -> heed::Result<u64> {
        self.environment.used_bytes(&self.inner)
    }

    /// Makes it durable: returns after LMDB has synced pages and root. The new positions are true then.
    pub(super) fn commit(self) -> heed::Result<Positions> {
        self.inner.commit()?;
        Ok(self.positions)
    }

    /// Applies one command.
    pub(super) fn apply(&mut self, command: &Command, now: Timestamp, life: Epoch) -> heed::Result<Outcome> {
        match command {
            Command::Append(append) => self.append(append, now),
            Command::Put(put) => self.put(put),
            Command::Commit(commit) if commit.epoch == life => self.commit_cursor(commit),
            Command::Commit(_) => Ok(Outcome::Fenced),
            Command::Close => unreachable!("the intake is closed instead of written"),
        }
    }

    fn append(&mut self, append: &AppendCommand, now: Timestamp) -> heed::Result<Outcome> {
        let next = self.positions.journal(append.journal, append.partition);
        let offset = *next;
        *next += 1;
        let value = self.encoder.record(now, &append.key, &append.value);
        let key = codec::record_key(append.partition, offset);
        self.environment.journal(append.journal).put(&mut self.inner, &key, value)?;
        if append.journal == JournalName::Parked {
            let index = codec::index_key(append.partition, &append.key, offset);
            self.environment.parked_by_key().put(&mut self.inner, &index, &[])?;
        }
        self.dirty = true;
        Ok(Outcome::Written(Offset(offset)))
    }

    fn put(&mut self, put: &PutCommand) -> heed::Result<Outcome> {
        let databases = self.environment.table(put.table);
        let next = self.positions.table(put.table, put.partition);
        let version = *next;
        *next += 1;
        let key = codec::entry_key(put.partition, &put.key);
        let replaced = databases.entries.get(&self.inner, &key)?.map(codec::decode_entry);
        if let Some(Ok(entry)) = replaced {
            let old = codec::record_key(put.partition, entry.version);
            databases.by_version.delete(&mut self.inner, &old)?;
        }
        let value = self.encoder.entry(version, put.epoch, put.value.as_deref());
        databases.entries.put(&mut self.inner, &key, value)?;
        let by_version = codec::record_key(put.partition, version);
        databases.by_version.put(&mut self.inner, &by_version, &put.key)?;
        self.dirty = true;
        Ok(Outcome::Written(Offset(version)))
    }

    fn commit_cursor(&mut self, commit: &CommitCommand) -> heed::Result<Outcome> {
        let key = codec::cursor_key(commit.journal, commit.partition);
        let value = self.encoder.cursor(commit.epoch, commit.offset, &commit.metadata);
        self.environment.cursors().put(&mut self.inner, &key, value)?;
        self.dirty = true;
        Ok(Outcome::Committed)
    }

    /// Remembers a position of a partition.
    pub(super) fn mark(
        &mut self,
        mark: Mark,
        journal: JournalName,
        partition: Partition,
        offset: u64,
    ) -> heed::Result<()> {
        let key = codec::position_key(mark, journal, partition);
        self.dirty = true;
        self.environment.positions().put(&mut self.inner, &key, self.encoder.number(offset))
    }

    /// Deletes the records of a partition that were appended at or before `until` and stand below `below`,
    /// the oldest first, at most `limit`. Remembers how far it came, so that a reader who asks for one of
    /// them is told, and no offset is given out again. Returns how many it deleted.
    pub(super) fn expire(
        &mut self,
        journal: JournalName,
        partition: Partition,
        until: Timestamp,
        below: Offset,
        limit: usize,
    ) -> heed::Result<usize> {
        let database = self.environment.journal(journal);
        let mut expired = Vec::new();
        let mut certain = 0;
        let all = codec::record_key(partition, 0)..codec::record_key(partition, below.0);
        for record in bounded(database, &self.inner, &all)?.take(limit) {
            let (key, value) = record?;
            let Ok(offset) = codec::offset_of(key) else { break };
            match codec::decode_record(value) {
                Ok(record) if record.appended_at > until => break,
                Ok(record) if journal == JournalName::Parked => {
                    expired.push((offset, Some(codec::index_key(partition, record.key, offset))));
                    certain = expired.len();
                }
                Ok(_) => {
                    expired.push((offset, None));
                    certain = expired.len();
                }
                // The age of a corrupt record can't be read: it goes together with the one behind it.
                Err(codec::Corrupt) => expired.push((offset, None)),
            }
        }
        expired.truncate(certain);
        for (offset, index) in &expired {
            database.delete(&mut self.inner, &codec::record_key(partition, *offset))?;
            if let Some(index) = index {
                self.environment.parked_by_key().delete(&mut self.inner, index)?;
            }
        }
        if let Some((last, _)) = expired.last() {
            self.mark(Mark::FirstRetained, journal, partition, last + 1)?;
        }
        Ok(expired.len())
    }
}

/// The records between two keys, the first included, the last not.
fn bounded<'snapshot>(
    database: super::environment::Database,
    snapshot: &'snapshot heed::RoTxn<'_>,
    keys: &std::ops::Range<[u8; 10]>,
) -> heed::Result<heed::RoRange<'snapshot, heed::types::Bytes, heed::types::Bytes>> {
    let range: (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) =
        (std::ops::Bound::Included(&keys.start), std::ops::Bound::Excluded(&keys.end));
    database.range(snapshot, &range)
}
