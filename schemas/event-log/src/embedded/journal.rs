//! The journals of the embedded log: appends go to a writer, reads to the reader threads, and a follower
//! waits on the end of its partition between them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::Shared;
use super::query::Stretch;
use super::queue::{AppendCommand, Command};
use crate::limits::{check_lengths, check_partition};
use crate::{
    AppendError, Appending, Batch, Bounds, Journal, JournalName, Offset, Partition, ReadError, ReadLimit,
    Reader,
};

/// A journal of the embedded log.
#[derive(Debug, Clone)]
pub struct EmbeddedJournal {
    name: JournalName,
    shared: Arc<Shared>,
}

impl EmbeddedJournal {
    pub(super) fn new(name: JournalName, shared: Arc<Shared>) -> Self {
        Self { name, shared }
    }

    fn check(&self, partition: Partition) {
        check_partition(self.name.as_str(), partition, self.partitions());
    }
}

impl Journal for EmbeddedJournal {
    type Reader = EmbeddedReader;

    fn partitions(&self) -> u16 {
        self.shared.counts.of_journal(self.name)
    }

    async fn append(&self, partition: Partition, key: Bytes, value: Bytes) -> Result<Appending, AppendError> {
        self.check(partition);
        check_lengths(&key, &value)?;
        let (acknowledge, appending) = Appending::new();
        let append = AppendCommand { journal: self.name, partition, key, value, acknowledge };
        self.shared.writer_of(self.name).accept(Command::Append(append)).await?;
        Ok(appending)
    }

    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        filter: Option<Bytes>,
        limit: ReadLimit,
    ) -> Result<Batch, ReadError> {
        self.check(partition);
        let mut from = from;
        loop {
            let asked = Stretch { journal: self.name, partition, from, filter: filter.clone(), limit };
            let found = self.shared.readers.stretch(asked).await?;
            // A snapshot that looked at as much as it may and found no match says nothing yet.
            if found.is_end || !found.batch.records.is_empty() {
                return Ok(found.batch);
            }
            from = found.batch.next;
        }
    }

    fn follow(&self, partition: Partition, from: Offset) -> EmbeddedReader {
        self.check(partition);
        let end = self.shared.ends_of(self.name).journal(self.name, partition).clone();
        EmbeddedReader { journal: self.clone(), partition, position: from, end }
    }

    async fn bounds(&self, partition: Partition) -> Result<Bounds, ReadError> {
        self.check(partition);
        self.shared.readers.bounds(self.name, partition).await
    }

    fn release(&self, partition: Partition, below: Offset) {
        self.check(partition);
        self.shared.released.release(self.name, partition, below);
    }
}

/// Follows a partition of the embedded log.
#[derive(Debug)]
pub struct EmbeddedReader {
    journal: EmbeddedJournal,
    partition: Partition,
    position: Offset,
    end: watch::Receiver<u64>,
}

impl Reader for EmbeddedReader {
    async fn next(&mut self, limit: ReadLimit) -> Result<Batch, ReadError> {
        loop {
            // Seen before the read: what is appended during it wakes the wait below.
            let end = *self.end.borrow_and_update();
            if self.position.0 < end {
                let batch = self.journal.read(self.partition, self.position, None, limit).await?;
                if !batch.records.is_empty() {
                    // Only now, and without waiting after it: a future that is dropped has taken nothing.
                    self.position = batch.next;
                    return Ok(batch);
                }
            }
            self.end.changed().await.map_err(|_| ReadError::Closed)?;
        }
    }
}
