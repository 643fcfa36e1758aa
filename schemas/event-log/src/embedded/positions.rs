//! Where each partition goes on: the next offset of the journals, the next version of the tables. The
//! writer keeps them in memory and readers wait on them.
//!
//! An offset is given out once, ever: what retention has deleted is remembered in `positions` on disk, so an
//! emptied partition goes on above it.

use tokio::sync::watch;

use super::codec::{self, Mark};
use super::environment::Environment;
use crate::{JournalName, OpenError, Partition, PartitionCounts, TableName};

/// The first offset and the first version of a partition; below it is only `Offset::START`.
pub(super) const FIRST: u64 = 1;

/// The ends of all partitions of one environment. A transaction works on a copy, which replaces the
/// original once it is committed: an offset that was not written was not given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Positions {
    journals: [Vec<u64>; JournalName::ALL.len()],
    tables: [Vec<u64>; TableName::ALL.len()],
}

impl Positions {
    /// Reads where the last life ended.
    pub(super) fn load(environment: &Environment, counts: PartitionCounts) -> Result<Self, OpenError> {
        let failed = |reason: String| OpenError::Backend { path: environment.data_file.clone(), reason };
        let snapshot = environment.read().map_err(|error| failed(error.to_string()))?;
        let mut positions = Self { journals: Default::default(), tables: Default::default() };
        for name in environment.name.journals() {
            let database = environment.journal(name);
            for partition in (0..counts.of_journal(name)).map(Partition) {
                let last =
                    last_offset(database, &snapshot, partition).map_err(|error| failed(error.to_string()))?;
                let deleted = environment
                    .position(&snapshot, Mark::FirstRetained, name, partition)
                    .map_err(|error| failed(error.to_string()))?
                    .map_err(|_| failed(format!("the retained range of {} is corrupt", name.as_str())))?;
                let next = last.map_or(FIRST, |last| last + 1).max(deleted);
                positions
                    .journals
                    .get_mut(name as usize)
                    .expect("there is a place for every journal")
                    .push(next);
            }
        }
        for name in environment.name.tables() {
            let database = environment.table(name).by_version;
            for partition in (0..counts.of_table(name)).map(Partition) {
                let last =
                    last_offset(database, &snapshot, partition).map_err(|error| failed(error.to_string()))?;
                let next = last.map_or(FIRST, |last| last + 1);
                positions.tables.get_mut(name as usize).expect("there is a place for every table").push(next);
            }
        }
        Ok(positions)
    }

    /// Where a partition of a journal goes on.
    pub(super) fn journal(&mut self, name: JournalName, partition: Partition) -> &mut u64 {
        place(&mut self.journals, name as usize, partition)
    }

    /// Where a partition of a table goes on.
    pub(super) fn table(&mut self, name: TableName, partition: Partition) -> &mut u64 {
        place(&mut self.tables, name as usize, partition)
    }
}

fn place(ends: &mut [Vec<u64>], name: usize, partition: Partition) -> &mut u64 {
    ends.get_mut(name)
        .and_then(|partitions| partitions.get_mut(usize::from(partition.0)))
        .expect("the partition was checked against the counts when the command was made")
}

/// The highest offset or version in the database under this partition.
pub(super) fn last_offset(
    database: super::environment::Database,
    snapshot: &heed::RoTxn<'_>,
    partition: Partition,
) -> heed::Result<Option<u64>> {
    let highest = codec::record_key(partition, u64::MAX);
    let Some((key, _)) = database.get_lower_than_or_equal_to(snapshot, &highest)? else {
        return Ok(None);
    };
    let of_this_partition = key.starts_with(&partition.0.to_be_bytes());
    Ok(codec::offset_of(key).ok().filter(|_| of_this_partition))
}

/// The writer's side of what readers wait on. Dropped with the writer: then they learn that it is over.
#[derive(Debug)]
pub(super) struct EndPublisher {
    journals: [Vec<watch::Sender<u64>>; JournalName::ALL.len()],
    tables: [watch::Sender<Vec<u64>>; TableName::ALL.len()],
}

/// The readers' side.
#[derive(Debug)]
pub(super) struct EndWatch {
    journals: [Vec<watch::Receiver<u64>>; JournalName::ALL.len()],
    tables: [watch::Receiver<Vec<u64>>; TableName::ALL.len()],
}

/// Both sides, from where the last life ended.
pub(super) fn published(positions: &Positions) -> (EndPublisher, EndWatch) {
    let publisher = EndPublisher {
        journals: positions.journals.clone().map(|ends| ends.into_iter().map(watch::Sender::new).collect()),
        tables: positions.tables.clone().map(watch::Sender::new),
    };
    let watch = EndWatch {
        journals: publisher
            .journals
            .each_ref()
            .map(|ends| ends.iter().map(watch::Sender::subscribe).collect()),
        tables: publisher.tables.each_ref().map(watch::Sender::subscribe),
    };
    (publisher, watch)
}

impl EndPublisher {
    /// Wakes the readers of every partition that has moved, and no others.
    pub(super) fn publish(&self, positions: &Positions) {
        for (senders, ends) in self.journals.iter().zip(&positions.journals) {
            for (sender, end) in senders.iter().zip(ends) {
                sender.send_if_modified(|published| std::mem::replace(published, *end) != *end);
            }
        }
        for (sender, ends) in self.tables.iter().zip(&positions.tables) {
            sender.send_if_modified(|published| {
                let moved = published != ends;
                if moved {
                    published.clone_from(ends);
                }
                moved
            });
        }
    }
}

impl EndWatch {
    /// The end of one partition of a journal, and its changes.
    pub(super) fn journal(&self, name: JournalName, partition: Partition) -> &watch::Receiver<u64> {
        self.journals
            .get(name as usize)
            .and_then(|partitions| partitions.get(usize::from(partition.0)))
            .expect("the partition was checked against the counts")
    }

    /// The ends of a table's partitions, and their changes.
    pub(super) fn table(&self, name: TableName) -> &watch::Receiver<Vec<u64>> {
        self.tables.get(name as usize).expect("there is a place for every table")
    }
}
