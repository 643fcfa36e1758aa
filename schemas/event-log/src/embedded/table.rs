//! The tables of the embedded log.
//!
//! A watch reads the partition's changes in the order of their versions, from the first on, and reports
//! `Loaded` once it has come to the end of a snapshot of every partition. Loading and following are the same
//! read, so nothing can fall between them, and a watch that is slow holds nothing in memory: a key that
//! changes meanwhile moves to the end of the order and is reported there.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::Shared;
use super::positions::FIRST;
use super::queue::{Command, PutCommand};
use crate::limits::{check_lengths, check_partition};
use crate::{
    AppendError, Appending, Change, Entry, Epoch, Partition, ReadError, Table, TableName, TableWatch,
};

/// A table of the embedded log.
#[derive(Debug, Clone)]
pub struct EmbeddedTable {
    name: TableName,
    shared: Arc<Shared>,
}

impl EmbeddedTable {
    pub(super) fn new(name: TableName, shared: Arc<Shared>) -> Self {
        Self { name, shared }
    }

    fn check(&self, partition: Partition) {
        check_partition(self.name.as_str(), partition, self.partitions());
    }
}

impl Table for EmbeddedTable {
    type Watch = EmbeddedWatch;

    fn partitions(&self) -> u16 {
        self.shared.counts.of_table(self.name)
    }

    async fn put(
        &self,
        partition: Partition,
        key: Bytes,
        value: Option<Bytes>,
        epoch: Epoch,
    ) -> Result<Appending, AppendError> {
        self.check(partition);
        check_lengths(&key, value.as_deref().unwrap_or_default())?;
        let (acknowledge, appending) = Appending::new();
        let put = PutCommand { table: self.name, partition, key, value, epoch, acknowledge };
        self.shared.log_writer.accept(Command::Put(put)).await?;
        Ok(appending)
    }

    fn watch(&self, partitions: &[Partition]) -> EmbeddedWatch {
        for partition in partitions {
            self.check(*partition);
        }
        let progress =
            |partition: &Partition| Progress { partition: *partition, next: FIRST, is_loaded: false };
        EmbeddedWatch {
            table: self.clone(),
            partitions: partitions.iter().map(progress).collect(),
            ends: self.shared.log_ends.table(self.name).clone(),
            ready: VecDeque::new(),
            said_loaded: false,
        }
    }
}

/// Reports the entries of a table of the embedded log.
#[derive(Debug)]
pub struct EmbeddedWatch {
    table: EmbeddedTable,
    partitions: Vec<Progress>,
    ends: watch::Receiver<Vec<u64>>,
    /// Of one snapshot, not reported yet.
    ready: VecDeque<Entry>,
    said_loaded: bool,
}

/// How far the watch has come in a partition.
#[derive(Debug, Clone, Copy)]
struct Progress {
    partition: Partition,
    /// The version to go on from.
    next: u64,
    /// It has come to the end of a snapshot once.
    is_loaded: bool,
}

impl EmbeddedWatch {
    /// The first partition that has something to read.
    fn behind(&mut self) -> Option<usize> {
        let ends = self.ends.borrow_and_update();
        self.partitions.iter().position(|progress| {
            let end = ends.get(usize::from(progress.partition.0)).copied().unwrap_or(FIRST);
            !progress.is_loaded || progress.next < end
        })
    }
}

impl TableWatch for EmbeddedWatch {
    async fn next(&mut self) -> Result<Change, ReadError> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Change::Entry(entry));
            }
            if !self.said_loaded && self.partitions.iter().all(|progress| progress.is_loaded) {
                self.said_loaded = true;
                return Ok(Change::Loaded);
            }
            let behind = self.behind();
            match behind.and_then(|place| self.partitions.get_mut(place)) {
                Some(progress) => {
                    let readers = &self.table.shared.readers;
                    let changes = readers.changes(self.table.name, progress.partition, progress.next).await?;
                    // From here on nothing waits: a future that is dropped has taken nothing.
                    progress.next = changes.next;
                    progress.is_loaded |= changes.is_end;
                    self.ready.extend(changes.entries);
                }
                None => self.ends.changed().await.map_err(|_| ReadError::Closed)?,
            }
        }
    }
}
