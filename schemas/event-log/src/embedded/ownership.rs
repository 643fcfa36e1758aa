//! Ownership in the embedded log: one process has everything, from the start until it ends.
//!
//! The epoch is the number of this life of the log, so what an earlier life left behind is told apart as it
//! is between processes.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Shared;
use super::queue::{Command, CommitCommand};
use crate::limits::{check_metadata, check_partition};
use crate::{CommitError, Epoch, Offset, Owned, Ownership, OwnershipChange, Partition};

/// The ownership of all partitions of a journal, or of `control`.
#[derive(Debug)]
pub struct EmbeddedOwnership {
    of: Owned,
    shared: Arc<Shared>,
    grants: VecDeque<OwnershipChange>,
}

impl EmbeddedOwnership {
    pub(super) fn new(of: Owned, shared: Arc<Shared>) -> Self {
        let epoch = shared.life;
        let grant = |(partition, committed)| OwnershipChange::Granted { partition, epoch, committed };
        let positions = match of {
            Owned::Journal(journal) => shared.cursors.of(journal),
            Owned::Control => vec![(Partition(0), None)],
        };
        let grants = positions.into_iter().map(grant).collect();
        Self { of, shared, grants }
    }
}

impl Ownership for EmbeddedOwnership {
    async fn next(&mut self) -> OwnershipChange {
        match self.grants.pop_front() {
            Some(grant) => grant,
            None => pending().await,
        }
    }

    fn commit(
        &self,
        partition: Partition,
        epoch: Epoch,
        offset: Offset,
        metadata: Bytes,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static {
        let journal = self.of.positioned();
        check_partition(journal.as_str(), partition, self.shared.counts.of_journal(journal));
        check_metadata(&metadata);
        let queue = self.shared.log_writer.clone();
        let (acknowledge, committed) = oneshot::channel();
        let commit = CommitCommand { journal, partition, epoch, offset, metadata, acknowledge };
        async move {
            queue.accept(Command::Commit(commit)).await.map_err(|_| CommitError::Closed)?;
            committed.await.unwrap_or(Err(CommitError::Retry))
        }
    }

    /// Nothing is ever revoked: nobody else could want it.
    fn let_go(&self, _partition: Partition, _epoch: Epoch) {}
}
