//! The log of a single machine: one process, one directory, nothing to operate.
//!
//! Journals, tables and cursors stand in one LMDB environment, written by one thread that commits in groups
//! and acknowledges after the sync; `attempts` stands in a second one that is synced at leisure. Reads are
//! short snapshots on threads of their own. The format is in `codec.rs`, what a failed commit means in
//! `writer.rs`, what happens on a full disk in `reserve.rs`.
//!
//! What an acknowledged append has survived: the process, the machine, the power; not the disk. After a
//! crash a commit is there whole or not at all.

mod backup;
mod batch;
mod codec;
mod cursors;
mod directory;
mod environment;
mod faults;
mod journal;
mod open;
mod options;
mod ownership;
mod positions;
mod query;
mod queue;
mod readers;
mod released;
mod reserve;
mod retention;
mod table;
#[cfg(test)]
mod tests;
mod transaction;
mod verify;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use hookline_schemas::time::Clock;
use tokio::sync::watch;

pub use self::backup::{Backup, BackupError, BackupStatus, Backups};
pub use self::journal::{EmbeddedJournal, EmbeddedReader};
pub use self::options::EmbeddedOptions;
pub use self::ownership::EmbeddedOwnership;
pub use self::table::{EmbeddedTable, EmbeddedWatch};
pub use self::verify::{Counted, VerifyError, verify};

use self::cursors::Cursors;
use self::environment::EnvironmentName;
use self::faults::Faults;
use self::positions::EndWatch;
use self::queue::{Command, WriteQueue};
use self::readers::ReadQueue;
use self::released::Released;
use crate::ending;
use crate::{Durability, Epoch, JournalName, Log, LogFailure, OpenError, Owned, PartitionCounts, TableName};

/// The embedded log, open. Cheap to clone; when the last clone and everything made from it is dropped, its
/// threads finish what was accepted and end. [`EmbeddedLog::close`] waits for that.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
}

/// What journals, tables and ownerships have in common. Holds no environment: those belong to the threads,
/// so that they close, and the lock opens, when the threads have ended.
#[derive(Debug)]
struct Shared {
    counts: PartitionCounts,
    life: Epoch,
    durability: Durability,
    log_writer: WriteQueue,
    attempts_writer: WriteQueue,
    readers: ReadQueue,
    backups: Backups,
    log_ends: EndWatch,
    attempts_ends: EndWatch,
    released: Arc<Released>,
    cursors: Arc<Cursors>,
    failure: watch::Receiver<Option<LogFailure>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    /// Where the appends of a journal go.
    fn writer_of(&self, journal: JournalName) -> &WriteQueue {
        match EnvironmentName::of_journal(journal) {
            EnvironmentName::Log => &self.log_writer,
            EnvironmentName::Attempts => &self.attempts_writer,
        }
    }

    /// Where the ends of a journal are published.
    fn ends_of(&self, journal: JournalName) -> &EndWatch {
        match EnvironmentName::of_journal(journal) {
            EnvironmentName::Log => &self.log_ends,
            EnvironmentName::Attempts => &self.attempts_ends,
        }
    }
}

impl EmbeddedLog {
    /// Opens the log in its directory, or creates it there. When this returns, the directory is locked, a
    /// new life has begun durably, and the threads run. Blocks while it does so.
    pub fn open(options: EmbeddedOptions, clock: Clock) -> Result<Self, OpenError> {
        let shared = open::open(&options, clock, Faults::default())?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Copies of the log, made while it runs.
    pub fn backups(&self) -> Backups {
        self.shared.backups.clone()
    }

    /// Writes and answers what was accepted, refuses everything later, and lets go of the directory. When
    /// it returns, the log can be opened again; by this process, though, only if no backup hangs on its disk.
    pub async fn close(&self) {
        let close = || Command::Close;
        // An error means that the writer has ended already.
        let _ = self.shared.log_writer.accept(close()).await;
        let _ = self.shared.attempts_writer.accept(close()).await;
        self.shared.readers.close().await;
        let threads =
            std::mem::take(&mut *self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::join!(ending::join(threads), self.shared.backups.close());
    }
}

impl Log for EmbeddedLog {
    type Journal = EmbeddedJournal;
    type Table = EmbeddedTable;
    type Ownership = EmbeddedOwnership;

    fn journal(&self, name: JournalName) -> EmbeddedJournal {
        EmbeddedJournal::new(name, Arc::clone(&self.shared))
    }

    fn table(&self, name: TableName) -> EmbeddedTable {
        EmbeddedTable::new(name, Arc::clone(&self.shared))
    }

    fn ownership(&self, of: impl Into<Owned>) -> EmbeddedOwnership {
        EmbeddedOwnership::new(of.into(), Arc::clone(&self.shared))
    }

    fn durability(&self) -> Durability {
        self.shared.durability
    }

    async fn failed(&self) -> LogFailure {
        ending::failure(self.shared.failure.clone()).await
    }
}
