//! Ownership in the Kafka log: a consumer group per journal, and one for `control`.

use std::future::{Future, pending};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::membership::{Command, CommitCommand, Member, take_part};
use crate::limits::{check_metadata, check_partition};
use crate::{CommitError, Epoch, Offset, Owned, Ownership, OwnershipChange, Partition, TableName, metrics};

/// The most commands that wait for the member: a commit of every partition several times over.
const COMMANDS: usize = 4096;
/// The most changes that wait for the owner.
const CHANGES: usize = 1024;

/// The ownership of the partitions of a journal, or of `control`. Dropping it leaves the group.
#[derive(Debug)]
pub struct KafkaOwnership {
    of: Owned,
    commands: SyncSender<Command>,
    changes: mpsc::Receiver<OwnershipChange>,
    shared: Arc<Shared>,
}

impl KafkaOwnership {
    pub(super) fn new(of: Owned, shared: Arc<Shared>) -> Self {
        let (commands, received) = sync_channel(COMMANDS);
        let (tell, changes) = mpsc::channel(CHANGES);
        let (committer, batches) = sync_channel(1);
        let topic = match of {
            Owned::Journal(journal) => shared.topics.journal(journal),
            Owned::Control => shared.topics.table(TableName::Control),
        };
        let member = Member {
            topic: Arc::clone(&topic.name),
            commands: Mutex::new(received),
            changes: tell,
            clock: shared.clock,
            drain_timeout: shared.drain_timeout,
            owned: ::metrics::gauge!(metrics::OWNED_PARTITIONS, "journal" => of.as_str()),
            log_is_closed: shared.is_closed.subscribe(),
            committer: Mutex::new(Some(committer)),
            is_committing: AtomicBool::new(false),
            failure: shared.failure.clone(),
            state: Mutex::default(),
        };
        let config = shared.clients.member(of.as_str());
        let consumer: Result<BaseConsumer<Member>, KafkaError> =
            BaseConsumer::from_config_and_context(&config, member);
        match consumer {
            Ok(consumer) => {
                let done = commands.clone();
                shared.start_member(of, move || take_part(consumer, batches, done));
            }
            Err(error) => shared.fail(format!("failed to make a group's member: {error}")),
        }
        Self { of, commands, changes, shared }
    }
}

impl Ownership for KafkaOwnership {
    async fn next(&mut self) -> OwnershipChange {
        match self.changes.recv().await {
            Some(change) => change,
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
        let (acknowledge, committed) = oneshot::channel();
        let commit = CommitCommand { partition, epoch, offset, metadata, acknowledge };
        let sent = self.commands.try_send(Command::Commit(commit));
        async move {
            match sent {
                Ok(()) => committed.await.unwrap_or(Err(CommitError::Closed)),
                Err(TrySendError::Full(_)) => Err(CommitError::Retry),
                Err(TrySendError::Disconnected(_)) => Err(CommitError::Closed),
            }
        }
    }

    fn let_go(&self, partition: Partition, epoch: Epoch) {
        // Without it the drain's time-out lets go.
        let _ = self.commands.try_send(Command::LetGo(partition, epoch));
    }
}

impl Drop for KafkaOwnership {
    fn drop(&mut self) {
        // Full or not: the member leaves when nobody can send any more.
        let _ = self.commands.try_send(Command::Leave);
    }
}
