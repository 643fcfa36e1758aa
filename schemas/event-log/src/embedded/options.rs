//! What the embedded log can be told: where it lives, how large it may grow, how long it keeps records.

use std::path::PathBuf;
use std::time::Duration;

use crate::{JournalName, PartitionCounts};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How the embedded log is set up.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Holds everything of the log; made, readable by its owner alone, where it does not exist.
    pub directory: PathBuf,
    /// Fixed at creation.
    pub partitions: PartitionCounts,
    /// The most bytes that either environment may take. Address space alone: the file grows as it is used.
    pub map_size: u64,
    /// Bytes kept free for cursors, lanes and retention when the disk or the map is full. Must be well
    /// above the few MiB of one commit and below `map_size`.
    pub reserve: u64,
    /// Accept a file system on which a sync does not survive the power.
    pub allow_page_cache: bool,
    /// How long the journals keep their records.
    pub retention: Retention,
    /// How often `attempts` is synced at most, unless a commit is full before.
    pub lazy_sync: Duration,
}

impl EmbeddedOptions {
    /// The defaults, in a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            partitions: PartitionCounts::default(),
            map_size: 256 * GIB,
            reserve: 256 * MIB,
            allow_page_cache: false,
            retention: Retention::default(),
            lazy_sync: Duration::from_secs(1),
        }
    }
}

/// How long each journal keeps its records. `events` and `parked` keep them longer while they are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Of `events`, once released.
    pub events: Duration,
    /// Of `parked`, once released.
    pub parked: Duration,
    /// Of `dead_letters`.
    pub dead_letters: Duration,
    /// Of `attempts`.
    pub attempts: Duration,
    /// Of `quarantine`.
    pub quarantine: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events: 7 * DAY,
            parked: 5 * DAY,
            dead_letters: 30 * DAY,
            attempts: 3 * DAY,
            quarantine: 30 * DAY,
        }
    }
}

impl Retention {
    /// How long this journal keeps its records.
    pub const fn of(&self, journal: JournalName) -> Duration {
        match journal {
            JournalName::Events => self.events,
            JournalName::Parked => self.parked,
            JournalName::DeadLetters => self.dead_letters,
            JournalName::Attempts => self.attempts,
            JournalName::Quarantine => self.quarantine,
        }
    }
}
