//! Logs in scratch directories.

use std::time::Duration;

use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
use hookline_event_log::{OpenError, PartitionCounts, Retention};
use hookline_schemas::time::Clock;
use tempfile::TempDir;

/// A scratch directory with the options of the log in it: small, and with a retention of zero for what has
/// to be released first.
pub(crate) struct Scratch {
    pub(crate) options: EmbeddedOptions,
    _directory: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let options = EmbeddedOptions {
            partitions: PartitionCounts { events: 2, lanes: 3 },
            map_size: 256 * 1024 * 1024,
            reserve: 1024 * 1024,
            allow_page_cache: true,
            retention: Retention { events: Duration::ZERO, parked: Duration::ZERO, ..Retention::default() },
            lazy_sync: Duration::from_millis(10),
            ..EmbeddedOptions::new(directory.path().join("data"))
        };
        Self { options, _directory: directory }
    }

    pub(crate) fn try_open(&self) -> Result<EmbeddedLog, OpenError> {
        EmbeddedLog::open(self.options.clone(), Clock::start())
    }

    pub(crate) fn open(&self) -> EmbeddedLog {
        self.try_open().expect("the log opens")
    }
}
