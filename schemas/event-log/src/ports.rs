//! The ports: what the pipeline needs of a log. Every backend implements all of them, and passes the
//! conformance suite.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    AppendError, Batch, Bounds, Change, CommitError, Durability, Epoch, JournalName, LogFailure, Offset,
    Owned, OwnershipChange, Partition, ReadError, ReadLimit, TableName,
};

/// A log that is open: gives out its journals, tables and ownerships. Cheap to clone.
pub trait Log: Clone + Send + Sync + 'static {
    /// Its journals.
    type Journal: Journal;
    /// Its tables.
    type Table: Table;
    /// Its ownerships.
    type Ownership: Ownership;

    /// One of the journals.
    fn journal(&self, name: JournalName) -> Self::Journal;

    /// One of the tables.
    fn table(&self, name: TableName) -> Self::Table;

    /// Takes part in the ownership of the partitions of a journal, or of `control`. Once for each in a process.
    fn ownership(&self, of: impl Into<Owned>) -> Self::Ownership;

    /// What an acknowledged append has survived.
    fn durability(&self) -> Durability;

    /// Resolves when the log can't go on and the process must end; never, where all is well.
    fn failed(&self) -> impl Future<Output = LogFailure> + Send;
}

/// An append that has been accepted. Resolves to the record's offset once it is durable as
/// [`Log::durability`] declares. Dropping it changes nothing: the record is written all the same.
#[derive(Debug)]
#[must_use = "an accepted append is not durable yet"]
pub struct Appending(oneshot::Receiver<Result<Offset, AppendError>>);

impl Appending {
    /// The waiting half, with the sender by which the backend acknowledges.
    pub fn new() -> (oneshot::Sender<Result<Offset, AppendError>>, Self) {
        let (acknowledge, acknowledged) = oneshot::channel();
        (acknowledge, Self(acknowledged))
    }
}

impl Future for Appending {
    type Output = Result<Offset, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|told| told.unwrap_or(Err(AppendError::Unknown)))
    }
}

/// Append-only, partitioned records.
pub trait Journal: Clone + Send + Sync + 'static {
    /// Follows a partition.
    type Reader: Reader;

    /// How many partitions it has.
    fn partitions(&self) -> u16;

    /// First stage: waits until the log has room for the record and takes it (the point of backpressure).
    /// Records accepted one after the other for one partition get ascending offsets. The second stage is
    /// [`Appending`]. Dropping this future before it resolves leaves nothing written.
    fn append(
        &self,
        partition: Partition,
        key: Bytes,
        value: Bytes,
    ) -> impl Future<Output = Result<Appending, AppendError>> + Send;

    /// Reads what is there from an offset on, in order, without waiting for more; with a filter, only the
    /// records with that key. An empty batch means that nothing (more) is there.
    fn read(
        &self,
        partition: Partition,
        from: Offset,
        filter: Option<Bytes>,
        limit: ReadLimit,
    ) -> impl Future<Output = Result<Batch, ReadError>> + Send;

    /// Follows the partition from an offset on. A position below the retained range is an error of the
    /// first read; [`Offset::START`] is always at the first record.
    fn follow(&self, partition: Partition, from: Offset) -> Self::Reader;

    /// The retained range.
    fn bounds(&self, partition: Partition) -> impl Future<Output = Result<Bounds, ReadError>> + Send;

    /// Everything below is needed no more: retention may delete it once it is old enough. A journal that is
    /// never released keeps everything unless it is one that nobody settles (dead letters, attempts,
    /// quarantine). Remembered in memory and written with the next commit; a crash may forget it.
    fn release(&self, partition: Partition, below: Offset);
}

/// Follows one partition of a journal.
pub trait Reader: Send + 'static {
    /// The next records in order; waits until there is one. Dropping the future loses nothing.
    fn next(&mut self, limit: ReadLimit) -> impl Future<Output = Result<Batch, ReadError>> + Send;
}

/// The latest value per key.
pub trait Table: Clone + Send + Sync + 'static {
    /// Reports its entries and their changes.
    type Watch: TableWatch;

    /// How many partitions it has.
    fn partitions(&self) -> u16;

    /// Puts a value (`None`: a tombstone) under an epoch. Accepted and acknowledged as an append is; the
    /// acknowledgement carries the entry's version. A put under a deposed epoch may be acknowledged; the
    /// entry carries its epoch and readers judge it.
    fn put(
        &self,
        partition: Partition,
        key: Bytes,
        value: Option<Bytes>,
        epoch: Epoch,
    ) -> impl Future<Output = Result<Appending, AppendError>> + Send;

    /// Reports the entries of these partitions, then `Loaded`, then changes. A key changed several times
    /// may be reported once, with its latest value.
    fn watch(&self, partitions: &[Partition]) -> Self::Watch;
}

/// Reports the entries of a table and their changes.
pub trait TableWatch: Send + 'static {
    /// The next report; waits until there is one. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Change, ReadError>> + Send;
}

/// Who works on which partition of a journal, or writes `control`.
pub trait Ownership: Send + 'static {
    /// The next change; waits until there is one. The embedded log grants every partition once, at start.
    fn next(&mut self) -> impl Future<Output = OwnershipChange> + Send;

    /// Commits a position with words of the committer beside it (at most 1 KiB). Durable when it returns.
    /// A commit under an epoch that is not the partition's latest is refused as fenced.
    fn commit(
        &self,
        partition: Partition,
        epoch: Epoch,
        offset: Offset,
        metadata: Bytes,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static;

    /// The owner of a partition that is being revoked has committed what it could and works on it no more:
    /// the next owner may have it. Without it the backend waits for its drain time-out.
    fn let_go(&self, partition: Partition, epoch: Epoch);
}
