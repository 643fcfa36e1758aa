//! Retention: deletes what is old enough, a bounded number of records with each commit, the partitions in
//! turn.
//!
//! `events` and `parked` lose only what their owner has released, however full the disk: the log refuses
//! new records rather than to lose one that was not delivered. The others go by age alone.

use std::sync::Arc;
use std::time::Duration;

use hookline_schemas::time::Timestamp;

use super::codec::Mark;
use super::environment::Environment;
use super::released::Released;
use super::transaction::Transaction;
use crate::{JournalName, Offset, OpenError, Partition, PartitionCounts, Retention};

/// The most records that one commit deletes: a commit stays short.
const LIMIT: usize = 1000;
/// How often the oldest records are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The sweep of one environment.
#[derive(Debug)]
pub(super) struct Sweep {
    retention: Retention,
    released: Arc<Released>,
    partitions: Vec<Swept>,
    /// Which partition is next; the others of this round follow it.
    turn: usize,
    due_at: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Swept {
    journal: JournalName,
    partition: Partition,
    /// The release that stands on disk.
    persisted: Offset,
}

/// What one sweep has deleted, to be counted once it is committed.
#[derive(Debug, Default)]
pub(super) struct Expired {
    pub(super) expired: Vec<(JournalName, usize)>,
}

impl Sweep {
    /// The sweep of an environment, with what was released in earlier lives.
    pub(super) fn open(
        environment: &Environment,
        counts: PartitionCounts,
        retention: Retention,
        released: Arc<Released>,
    ) -> Result<Self, OpenError> {
        let failed = |reason: String| OpenError::Backend { path: environment.data_file.clone(), reason };
        let snapshot = environment.read().map_err(|error| failed(error.to_string()))?;
        let mut partitions = Vec::new();
        for journal in environment.name.journals() {
            for partition in (0..counts.of_journal(journal)).map(Partition) {
                let below = environment
                    .position(&snapshot, Mark::Released, journal, partition)
                    .map_err(|error| failed(error.to_string()))?
                    .map_err(|_| failed(format!("the released offset of {} is corrupt", journal.as_str())))?;
                released.release(journal, partition, Offset(below));
                partitions.push(Swept { journal, partition, persisted: Offset(below) });
            }
        }
        drop(snapshot);
        Ok(Self { retention, released, partitions, turn: 0, due_at: Duration::ZERO })
    }

    /// How long until the next one.
    pub(super) fn due_in(&self, now: Duration) -> Duration {
        self.due_at.saturating_sub(now)
    }

    /// Writes down what was released since the last commit.
    pub(super) fn persist_released(&mut self, transaction: &mut Transaction<'_>) -> heed::Result<()> {
        for swept in &mut self.partitions {
            let below = self.released.below(swept.journal, swept.partition);
            if below > swept.persisted {
                transaction.mark(Mark::Released, swept.journal, swept.partition, below.0)?;
                // Should the commit fail, it is forgotten until the next release, which the port allows.
                swept.persisted = below;
            }
        }
        Ok(())
    }

    /// Deletes a commit's worth of what is old enough. Due again at once where it did not come to the end.
    pub(super) fn expire(
        &mut self,
        transaction: &mut Transaction<'_>,
        wall: Timestamp,
        now: Duration,
    ) -> heed::Result<Expired> {
        let mut swept = Expired::default();
        let mut left = LIMIT;
        for _ in 0..self.partitions.len() {
            let Some(next) = self.partitions.get(self.turn).copied() else { break };
            let below = match next.journal {
                JournalName::Events | JournalName::Parked => {
                    self.released.below(next.journal, next.partition)
                }
                JournalName::DeadLetters | JournalName::Attempts | JournalName::Quarantine => {
                    Offset(u64::MAX)
                }
            };
            let until = wall.before(self.retention.of(next.journal));
            let expired = transaction.expire(next.journal, next.partition, until, below, left)?;
            if expired > 0 {
                swept.expired.push((next.journal, expired));
            }
            left -= expired;
            if left == 0 {
                self.due_at = now;
                return Ok(swept);
            }
            self.turn = (self.turn + 1) % self.partitions.len();
        }
        self.due_at = now + INTERVAL;
        Ok(swept)
    }
}
