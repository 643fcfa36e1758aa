//! How far each partition is needed no more. Told at any time from anywhere, without waiting; the writer
//! takes note with its next commit.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{JournalName, Offset, Partition, PartitionCounts};

/// The released offset per journal and partition; only grows.
#[derive(Debug)]
pub(super) struct Released {
    journals: [Vec<AtomicU64>; JournalName::ALL.len()],
}

impl Released {
    /// Nothing is released yet.
    pub(super) fn new(counts: PartitionCounts) -> Self {
        let partitions = |name| (0..counts.of_journal(name)).map(|_| AtomicU64::new(0)).collect();
        Self { journals: JournalName::ALL.map(partitions) }
    }

    /// Releases up to an offset; an earlier one than before changes nothing.
    pub(super) fn release(&self, journal: JournalName, partition: Partition, below: Offset) {
        // Retention may act on it later or sooner: nothing else is ordered by it.
        self.place(journal, partition).fetch_max(below.0, Ordering::Relaxed);
    }

    /// Everything below may go.
    pub(super) fn below(&self, journal: JournalName, partition: Partition) -> Offset {
        Offset(self.place(journal, partition).load(Ordering::Relaxed))
    }

    fn place(&self, journal: JournalName, partition: Partition) -> &AtomicU64 {
        self.journals
            .get(journal as usize)
            .and_then(|partitions| partitions.get(usize::from(partition.0)))
            .expect("the partition was checked against the counts")
    }
}
