//! The writer: one thread that owns the write side of one environment.
//!
//! It takes what has come, writes it in one transaction, commits (LMDB syncs), and only then publishes the
//! new ends and acknowledges. What comes while a sync runs is the next batch: no timer, no window.
//!
//! A commit that fails is never tried again, because after a failed sync the kernel may have dropped the
//! pages and a second sync would say yes to nothing. The writer answers `Unknown`, says why the log failed,
//! and writes never again. The one exception is a full disk, see [`Writer::after_failed_commit`].

use std::sync::Arc;
use std::time::Duration;

use hookline_schemas::time::Clock;
use rustix::io::Errno;
use tokio::sync::watch;

use super::batch::{Batch, Refusal};
use super::cursors::Cursors;
use super::environment::Environment;
use super::faults::Faults;
use super::positions::{EndPublisher, Positions};
use super::queue::{Claim, Command, Intake, Taken};
use super::reserve::{Keep, Reserve, Usage};
use super::retention::{Expired, Sweep};
use super::transaction::{Outcome, Transaction};
use crate::metrics::WriterMetrics;
use crate::{Epoch, LogFailure};

/// The most commands of one commit.
const BATCH_COMMANDS: usize = 4096;
/// The most bytes of one commit, but for the last command.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Between two looks at the disk.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A batch that waits for more looks for it so often: whoever appends wakes nobody meanwhile. The queue holds many times
/// what comes in this time.
const REST: Duration = Duration::from_millis(20);

/// When a batch is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// As soon as the commit before it is done.
    AtOnce,
    /// At least this long after the commit before it, unless it is full.
    Lazily(Duration),
}

/// The state of the thread.
pub(super) struct Writer {
    pub(super) environment: Arc<Environment>,
    pub(super) intake: Intake,
    pub(super) positions: Positions,
    pub(super) publisher: EndPublisher,
    pub(super) cursors: Arc<Cursors>,
    pub(super) reserve: Reserve,
    /// Bytes of pages in use, as of the last commit.
    pub(super) used: u64,
    pub(super) sweep: Sweep,
    pub(super) pace: Pace,
    pub(super) life: Epoch,
    pub(super) clock: Clock,
    pub(super) committed_at: Duration,
    /// When the disk was asked last what it has left.
    pub(super) looked_at: Duration,
    pub(super) failure: Arc<watch::Sender<Option<LogFailure>>>,
    pub(super) metrics: WriterMetrics,
    pub(super) faults: Faults,
}

/// What a commit has made true.
struct Written {
    positions: Positions,
    outcomes: Vec<Outcome>,
    expired: Expired,
}

/// Why a batch was not written.
enum WriteError {
    /// Nothing of it was: the map or the disk is full.
    Full,
    /// The environment must not be written any more.
    Failed(LogFailure),
}

impl Writer {
    /// Writes until the queue is closed and empty, or the log has failed.
    pub(super) fn run(mut self) {
        loop {
            let (batch, ended) = self.gather();
            if let Err(failure) = self.write(batch) {
                self.fail(failure);
                return;
            }
            if ended {
                return;
            }
        }
    }

    /// What the disk has left: asked seldom, because nobody is answered meanwhile.
    #[expect(clippy::cast_precision_loss, reason = "a gauge; 52 bits are enough")]
    fn look_at_disk(&mut self, now: Duration) {
        if now.saturating_sub(self.looked_at) < LOOK_INTERVAL {
            return;
        }
        self.looked_at = now;
        if let Some(free) = self.reserve.disk_free() {
            self.metrics.disk_free_bytes.set(free as f64);
        }
    }

    /// Takes everything there is up to a commit's worth; waits only where there is nothing, and not beyond
    /// the next sweep. Says whether the queue has ended.
    fn gather(&mut self) -> (Batch, bool) {
        let mut batch = Batch::default();
        let mut wait = self.sweep.due_in(self.clock.elapsed());
        while batch.len() < BATCH_COMMANDS && batch.bytes() < BATCH_BYTES {
            match self.intake.take(wait) {
                Taken::Command(accepted) if matches!(accepted.command, Command::Close) => self.intake.close(),
                Taken::Command(accepted) => {
                    batch.push(accepted);
                    wait = Duration::ZERO;
                }
                Taken::Nothing if self.rest(&batch) => {}
                Taken::Nothing => return (batch, false),
                Taken::Ended => return (batch, true),
            }
        }
        (batch, false)
    }

    /// Rests, where a batch that has begun may wait for more. Says whether it did.
    fn rest(&self, batch: &Batch) -> bool {
        let rest = self.patience().min(REST);
        let rests = !batch.is_empty() && !rest.is_zero() && !self.intake.is_closed();
        if rests {
            std::thread::sleep(rest);
        }
        rests
    }

    /// How long a batch that has begun waits for more.
    fn patience(&self) -> Duration {
        match self.pace {
            Pace::AtOnce => Duration::ZERO,
            Pace::Lazily(interval) => (self.committed_at + interval).saturating_sub(self.clock.elapsed()),
        }
    }

    /// Writes a batch, together with what retention is due to delete, and answers each of its commands.
    fn write(&mut self, mut batch: Batch) -> Result<(), LogFailure> {
        let now = self.clock.elapsed();
        let sweeping = self.sweep.due_in(now).is_zero();
        if batch.is_empty() && !sweeping {
            return Ok(());
        }
        if sweeping {
            self.look_at_disk(now);
        }
        if let Some(accepted_at) = batch.accepted_at() {
            self.metrics.queue_seconds.record(now.saturating_sub(accepted_at));
            self.intake.sample_next();
        }
        for (claim, keep) in [(Claim::NewData, Keep::Whole), (Claim::Delivery, Keep::Half)] {
            if batch.has(claim) && !self.admits(&batch, keep) {
                batch.split_off(claim).refuse(Refusal::NoSpace, &self.metrics);
            }
        }
        match self.commit(&batch, sweeping) {
            Ok(written) => self.acknowledge(batch, written),
            Err(WriteError::Failed(failure)) => {
                batch.refuse(Refusal::Unknown, &self.metrics);
                return Err(failure);
            }
            Err(WriteError::Full) => {
                for claim in [Claim::NewData, Claim::Delivery] {
                    batch.split_off(claim).refuse(Refusal::NoSpace, &self.metrics);
                }
                // What is essential gets a second try without the rest.
                match self.commit(&batch, sweeping) {
                    Ok(written) => self.acknowledge(batch, written),
                    Err(WriteError::Full) => batch.refuse(Refusal::NoSpace, &self.metrics),
                    Err(WriteError::Failed(failure)) => {
                        batch.refuse(Refusal::Unknown, &self.metrics);
                        return Err(failure);
                    }
                }
            }
        }
        Ok(())
    }

    fn admits(&mut self, batch: &Batch, keep: Keep) -> bool {
        let usage = Usage { used: self.used, file_end: self.environment.file_end() };
        self.reserve.admits(batch.need(), keep, usage, self.clock.elapsed())
    }

    /// One transaction from begin to sync.
    fn commit(&mut self, batch: &Batch, sweeping: bool) -> Result<Written, WriteError> {
        let began = self.clock.elapsed();
        let now = self.clock.now();
        let environment = Arc::clone(&self.environment);
        let mut transaction = Transaction::begin(&environment, self.positions.clone())
            .map_err(|error| self.not_written("a transaction could not begin", &error))?;
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut apply = || {
            for command in batch.commands() {
                outcomes.push(transaction.apply(command, now, self.life)?);
            }
            self.sweep.persist_released(&mut transaction)?;
            let expired =
                if sweeping { self.sweep.expire(&mut transaction, now, began)? } else { Expired::default() };
            Ok((expired, transaction.used_bytes()?))
        };
        let (expired, used) =
            apply().map_err(|error| self.not_written("a record could not be written", &error))?;
        if !transaction.dirty {
            return Ok(Written { positions: transaction.positions, outcomes, expired });
        }
        let committed = self.faults.before_commit().and_then(|()| transaction.commit());
        let positions = committed.map_err(|error| self.after_failed_commit(&error))?;
        self.used = used;
        self.committed_at = self.clock.elapsed();
        self.metrics.used_bytes.set(used as f64);
        self.metrics.commit_seconds.record(self.committed_at.saturating_sub(began));
        self.metrics.batch_records.record(batch.len() as f64);
        Ok(Written { positions, outcomes, expired })
    }

    /// What was not committed yet is gone with its transaction. A full map is the one harmless reason.
    fn not_written(&self, what: &'static str, error: &heed::Error) -> WriteError {
        match error {
            heed::Error::Mdb(heed::MdbError::MapFull) => WriteError::Full,
            error => WriteError::Failed(self.failure(what, error)),
        }
    }

    /// A commit failed. `ENOSPC` refuses the batch, everything else ends the writer.
    ///
    /// LMDB commits in three steps: it writes the pages, syncs them, and then writes the root page through a
    /// descriptor that syncs by itself. A failure of the first two aborts the transaction: the root still
    /// leads to the old pages, none of which was touched, and those were synced by their own commits, so
    /// nothing that was acknowledged hangs on what was lost. That holds for a failed sync as well, but a
    /// disk that reports an I/O error is not to be trusted with more; one that is full is. If the root page
    /// could not be written, its state is unknown: LMDB refuses every later transaction then, and so we
    /// find out.
    fn after_failed_commit(&self, error: &heed::Error) -> WriteError {
        let full = match error {
            heed::Error::Io(error) => Errno::from_io_error(error) == Some(Errno::NOSPC),
            heed::Error::Mdb(error) => *error == heed::MdbError::MapFull,
            _ => false,
        };
        match self.environment.write() {
            Ok(_unused) if full => {
                tracing::warn!("the disk of the log is full");
                WriteError::Full
            }
            Ok(_) | Err(_) => WriteError::Failed(self.failure("a commit failed", error)),
        }
    }

    fn failure(&self, what: &'static str, error: &heed::Error) -> LogFailure {
        LogFailure { reason: format!("{}: {what}: {error}", self.environment.name.as_str()) }
    }

    /// Readers are woken before anybody is told, so that whoever was told finds what he wrote.
    fn acknowledge(&mut self, batch: Batch, written: Written) {
        for (command, outcome) in batch.commands().zip(&written.outcomes) {
            if let (Command::Commit(commit), Outcome::Committed) = (command, outcome) {
                self.cursors.committed(commit);
            }
        }
        self.positions = written.positions;
        self.publisher.publish(&self.positions);
        for (journal, records) in written.expired.expired {
            self.metrics.journal(journal).expired.increment(records as u64);
        }
        batch.acknowledge(&written.outcomes, &self.metrics);
    }

    /// Says why the log failed and refuses everything that was accepted since. Nothing is written again.
    fn fail(mut self, failure: LogFailure) {
        tracing::error!(reason = failure.reason, "the log failed and is not written any more");
        // Closed before it is told: whoever has heard of the failure is refused at the door.
        self.intake.close();
        self.failure.send_replace(Some(failure));
        let mut late = Batch::default();
        while let Taken::Command(accepted) = self.intake.take(Duration::ZERO) {
            late.push(accepted);
        }
        late.refuse(Refusal::Closed, &self.metrics);
    }
}
