//! The committed positions as of the last commit, in memory: what a grant begins with.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::environment::Environment;
use super::queue::CommitCommand;
use crate::{Committed, JournalName, OpenError, Partition, PartitionCounts};

/// The latest commit per journal and partition.
#[derive(Debug)]
pub(super) struct Cursors {
    journals: Mutex<[Vec<Option<Committed>>; JournalName::ALL.len()]>,
}

impl Cursors {
    /// Reads what earlier lives committed.
    pub(super) fn load(environment: &Environment, counts: PartitionCounts) -> Result<Self, OpenError> {
        let mut journals: [Vec<Option<Committed>>; JournalName::ALL.len()] = Default::default();
        for (name, cursors) in JournalName::ALL.into_iter().zip(&mut journals) {
            let stored = environment.stored_cursors(name, counts.of_journal(name))?;
            let committed = stored.into_iter().map(|cursor| {
                cursor.map(|cursor| Committed { offset: cursor.offset, metadata: cursor.metadata })
            });
            cursors.extend(committed);
        }
        Ok(Self { journals: Mutex::new(journals) })
    }

    /// Takes note of a position that has been committed.
    pub(super) fn committed(&self, commit: &CommitCommand) {
        let mut journals = self.lock();
        let cursor = journals
            .get_mut(commit.journal as usize)
            .and_then(|partitions| partitions.get_mut(usize::from(commit.partition.0)))
            .expect("the partition was checked against the counts when the command was made");
        *cursor = Some(Committed { offset: commit.offset, metadata: commit.metadata.clone() });
    }

    /// The positions of a journal, for its partitions in order.
    pub(super) fn of(&self, journal: JournalName) -> Vec<(Partition, Option<Committed>)> {
        let journals = self.lock();
        let cursors = journals.get(journal as usize).expect("there is a place for every journal");
        (0..).map(Partition).zip(cursors.iter().cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, [Vec<Option<Committed>>; JournalName::ALL.len()]> {
        // Nothing between lock and unlock can be left half-done.
        self.journals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
