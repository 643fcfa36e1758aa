//! What the embedded log can be told: where it lives, how large it may grow, how long it keeps records.

use std::path::PathBuf;
use std::time::Duration;

use crate::{PartitionCounts, Retention};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

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
