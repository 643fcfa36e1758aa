//! The errors of the log, one enum per operation. Each says whether to try again.

use std::path::PathBuf;

use crate::{Offset, Partition};

/// Why an append was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk or the map is full up to its reserve. Nothing was written; try again once there is room.
    #[error("no space left for new records")]
    NoSpace,
    /// Nothing was written: larger than the log takes (1 MiB).
    #[error("record of {0} bytes is too large")]
    TooLarge(usize),
    /// The log is closing or has failed. Nothing was written.
    #[error("the log is closed")]
    Closed,
    /// Written or not: the writer went away before it said. Tolerate a duplicate.
    #[error("the outcome is unknown")]
    Unknown,
}

/// Why a read returned nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Records from the position asked for have been deleted by retention: they are lost to this reader.
    #[error("offset {asked:?} of partition {partition:?} has expired, the first is {first:?}")]
    Expired {
        /// Which partition.
        partition: Partition,
        /// The position asked for.
        asked: Offset,
        /// The lowest offset that can still be read.
        first: Offset,
    },
    /// The checksum of a record is wrong: the disk has changed it.
    #[error("record at {offset:?} of partition {partition:?} is corrupt")]
    Corrupt {
        /// Which partition.
        partition: Partition,
        /// The position of the record.
        offset: Offset,
    },
    /// The log is closing or has failed.
    #[error("the log is closed")]
    Closed,
    /// The backend could not read; the text is its own.
    #[error("the backend failed: {0}")]
    Backend(String),
}

/// Why a commit was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another owner has the partition under a later epoch.
    #[error("fenced by a later owner")]
    Fenced,
    /// Not committed, or not known to be: commit again.
    #[error("not committed")]
    Retry,
    /// The log is closing or has failed.
    #[error("the log is closed")]
    Closed,
}

/// Why the log can't go on at all. The process must end; everything acknowledged is in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log failed and must not be written any more: {reason}")]
pub struct LogFailure {
    /// What failed, in the words of the backend.
    pub reason: String,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Network and memory file systems do not keep what is synced.
    #[error("{} is on {filesystem}, where a sync does not survive the power; set log.embedded.allow_page_cache to accept that", path.display())]
    NotDurable {
        /// The directory.
        path: PathBuf,
        /// The file system's name.
        filesystem: &'static str,
    },
    /// The log was created with other partition counts: keys would move.
    #[error("the log was created with {stored} partitions of {name}, the configuration says {configured}")]
    PartitionMismatch {
        /// What is partitioned.
        name: &'static str,
        /// The count in the log.
        stored: u16,
        /// The count asked for.
        configured: u16,
    },
    /// The log was written by a later version of hookline.
    #[error("the log has format {stored}, this version reads {supported}")]
    Format {
        /// The format in the log.
        stored: u32,
        /// The format of this version.
        supported: u32,
    },
    /// The backend could not open it; the text is its own.
    #[error("failed to open {}: {reason}", path.display())]
    Backend {
        /// The directory.
        path: PathBuf,
        /// What the backend said.
        reason: String,
    },
    /// The directory could not be made or read.
    #[error("failed to prepare {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No broker answers.
    #[error("no broker of {servers} answers: {reason}")]
    Unreachable {
        /// Where the cluster was looked for.
        servers: String,
        /// What the client said.
        reason: String,
    },
    /// A topic is missing, or set up so that records would be lost.
    #[error("topic {topic} {problem}")]
    Topic {
        /// Its name.
        topic: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The options contradict each other, or the backend does not take them.
    #[error("the log can't be set up like this: {reason}")]
    Settings {
        /// Which, and why.
        reason: String,
    },
}
