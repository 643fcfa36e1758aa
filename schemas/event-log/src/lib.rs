//! The log: everything that hookline keeps stands here, behind three ports.
//!
//! The ports ([`Journal`], [`Table`], [`Ownership`]) are at the level of what the pipeline needs, not of a
//! client library; the delivery algorithm is written once on top of them. [`embedded`] is the backend of a
//! single machine, [`kafka`] the one past it. [`conformance`] is the suite that every backend has to pass, weaker guarantees included.
//!
//! Rules that hold on every backend: offsets are opaque and ordered, with gaps; an append may end
//! [`AppendError::Unknown`] (written or not) and callers tolerate duplicates; a reader below the retained
//! range gets [`ReadError::Expired`], never a silent skip; a late commit may rewind, never skip.

pub mod conformance;
pub mod embedded;
mod ending;
mod error;
mod fence;
pub mod kafka;
mod limits;
mod metrics;
mod ports;
mod record;
mod retention;

pub use error::{AppendError, CommitError, LogFailure, OpenError, ReadError};
pub use fence::{Fence, Verdict};
pub use metrics::{DURABILITY_METRIC, EXPIRED_UNREAD_METRIC, METRICS};
pub use ports::{Appending, Journal, Log, Ownership, Reader, Table, TableWatch};
pub use record::{
    Batch, Bounds, Change, Committed, Durability, Entry, Epoch, JournalName, Offset, Owned, OwnershipChange,
    Partition, PartitionCounts, ReadLimit, Record, TableName, partition_of,
};
pub use retention::Retention;
