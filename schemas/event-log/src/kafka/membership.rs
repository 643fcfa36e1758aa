//! Membership in a consumer group: which partitions are ours, and the commits under that ownership.
//!
//! The member fetches nothing; it listens to the group and holds partitions. Commits are made beside it, one
//! request at a time, because one waits for as long as the coordinator is away. The coordinator refuses those of
//! a member that it has given up; one that is late all the same may rewind position and epoch, never skip. A
//! grant begins with a commit of its epoch, which is at least the wall time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::metrics::Gauge;
use bytes::Bytes;
use hookline_schemas::time::Clock;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::{mpsc, oneshot, watch};

use super::client;
use super::commit_words::Stored;
use crate::{CommitError, Committed, Epoch, LogFailure, Offset, OwnershipChange, Partition};

/// How often the group is listened to while no command comes.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Between two attempts to grant.
const GRANT_AGAIN: Duration = Duration::from_millis(500);
/// For the committed positions of the partitions that are to be granted.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the owner asks for.
#[derive(Debug)]
pub(super) enum Command {
    /// Commit a position.
    Commit(CommitCommand),
    /// The commits that were handed over have been made, or not.
    Committed,
    /// A partition that is being revoked is not worked on any more.
    LetGo(Partition, Epoch),
    /// Leave the group.
    Leave,
}

/// A position to commit.
#[derive(Debug)]
pub(super) struct CommitCommand {
    pub(super) partition: Partition,
    pub(super) epoch: Epoch,
    pub(super) offset: Offset,
    pub(super) metadata: Bytes,
    pub(super) acknowledge: oneshot::Sender<Result<(), CommitError>>,
}

/// How a partition is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Ours; its owner does not know yet.
    Assigned,
    /// Granted under this epoch.
    Granted(Epoch),
    /// The same, and to be let go of.
    Revoking(Epoch),
}

impl Held {
    fn is_under(self, epoch: Epoch) -> bool {
        matches!(self, Self::Granted(held) | Self::Revoking(held) if held == epoch)
    }
}

/// A member of a group; also the context of its consumer.
pub(super) struct Member {
    pub(super) topic: Arc<str>,
    pub(super) commands: Mutex<Receiver<Command>>,
    pub(super) changes: mpsc::Sender<OwnershipChange>,
    pub(super) clock: Clock,
    pub(super) drain_timeout: Duration,
    pub(super) owned: Gauge,
    pub(super) log_is_closed: watch::Receiver<bool>,
    /// Makes the commits; none once the member is leaving.
    pub(super) committer: Mutex<Option<SyncSender<Vec<CommitCommand>>>>,
    /// The committer is at work.
    pub(super) is_committing: AtomicBool,
    /// Where it is told that the log can't go on.
    pub(super) failure: watch::Sender<Option<LogFailure>>,
    pub(super) state: Mutex<State>,
}

/// What the member holds.
#[derive(Debug, Default)]
pub(super) struct State {
    held: BTreeMap<Partition, Held>,
    queued: Vec<CommitCommand>,
    /// After a grant that failed, not before then.
    grant_again_at: Duration,
    leaving: bool,
}

impl Member {
    /// Not leaving yet?
    fn stays(&self) -> bool {
        !self.state().leaving && !*self.log_is_closed.borrow()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock can be left half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the owner; where nobody listens any more the member is about to leave.
    fn tell(&self, change: OwnershipChange) {
        let _ = self.changes.blocking_send(change);
    }

    fn set_held(&self, partition: Partition, held: Option<Held>) {
        let mut state = self.state();
        match held {
            Some(held) => state.held.insert(partition, held),
            None => state.held.remove(&partition),
        };
        let count = state.held.values().filter(|held| **held != Held::Assigned).count();
        self.owned.set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    fn held(&self, partition: Partition) -> Option<Held> {
        self.state().held.get(&partition).copied()
    }

    fn are_revoking(&self) -> bool {
        self.state().held.values().any(|held| matches!(held, Held::Revoking(_)))
    }

    /// The next commands: all that are there, or the first that comes within this time.
    fn next_commands(&self, within: Duration) -> Vec<Command> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        match commands.recv_timeout(within) {
            Ok(first) => std::iter::once(first).chain(commands.try_iter()).collect(),
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => vec![Command::Leave],
        }
    }
}

/// Commits what it is given, all in one request, and waits for the answers: the member meanwhile listens to the
/// group, or we would not hear that we are taken for dead while the coordinator is away.
fn commit_all(
    consumer: &BaseConsumer<Member>,
    batches: &Receiver<Vec<CommitCommand>>,
    done: &SyncSender<Command>,
) {
    while let Ok(commits) = batches.recv() {
        let member = consumer.context();
        let commits = member.without_fenced(commits);
        if !commits.is_empty() {
            let result = member.store(consumer, &positions(&commits)).map_err(|error| {
                // While members come and go that is how it is; whoever commits does so again.
                tracing::debug!(topic = %member.topic, %error, "a commit was not made");
                CommitError::Retry
            });
            for commit in commits {
                let _ = commit.acknowledge.send(result);
            }
        }
        member.is_committing.store(false, Ordering::Release);
        // Where there is no room, the member looks again soon.
        let _ = done.try_send(Command::Committed);
    }
}

/// Takes part in the group until told to leave.
pub(super) fn take_part(
    consumer: BaseConsumer<Member>,
    batches: Receiver<Vec<CommitCommand>>,
    done: SyncSender<Command>,
) {
    let member = Arc::clone(consumer.context());
    if let Err(error) = consumer.subscribe(&[&member.topic]) {
        return member.fail(&format!("failed to join the group of {}: {error}", member.topic));
    }
    std::thread::scope(|threads| {
        let committing = &consumer;
        threads.spawn(move || commit_all(committing, &batches, &done));
        while member.stays() {
            if let Some(Err(error)) = consumer.poll(Duration::ZERO)
                && !client::is_of_connection(&error)
            {
                tracing::warn!(topic = %member.topic, %error, "the group");
            }
            member.grant_assigned(&consumer);
            member.work(POLL_INTERVAL);
        }
        member.finish_commits();
    });
    // Dropping the consumer leaves the group: the partitions go to others at once.
}

impl Member {
    /// Does what it is told, and waits at most this long for it.
    fn work(&self, within: Duration) {
        let commands = self.next_commands(within);
        self.obey(commands);
        self.commit_queued();
    }

    /// The last commits; then the committer ends.
    fn finish_commits(&self) {
        let deadline = self.clock.elapsed() + self.drain_timeout;
        self.commit_queued();
        while self.is_committing() && self.clock.elapsed() < deadline {
            self.work(POLL_INTERVAL);
        }
        drop(self.committer().take());
    }

    fn committer(&self) -> MutexGuard<'_, Option<SyncSender<Vec<CommitCommand>>>> {
        self.committer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn obey(&self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Commit(commit) => self.state().queued.push(commit),
                // Only to look again.
                Command::Committed => {}
                Command::LetGo(partition, epoch) => {
                    if self.held(partition).is_some_and(|held| held.is_under(epoch)) {
                        self.set_held(partition, None);
                    }
                }
                Command::Leave => self.state().leaving = true,
            }
        }
    }

    /// Hands what is queued to the committer, unless it is at work: then it takes the rest later.
    fn commit_queued(&self) {
        if self.is_committing() {
            return;
        }
        let queued = std::mem::take(&mut self.state().queued);
        if let Some(committer) = &*self.committer()
            && !queued.is_empty()
        {
            self.is_committing.store(true, Ordering::Release);
            if committer.try_send(queued).is_err() {
                // The committer has ended; dropping the commits answers them.
                self.is_committing.store(false, Ordering::Release);
            }
        }
    }

    fn is_committing(&self) -> bool {
        self.is_committing.load(Ordering::Acquire)
    }

    fn fail(&self, reason: &str) {
        self.failure.send_replace(Some(LogFailure { reason: reason.to_owned() }));
    }

    /// Those of partitions that are held under the commit's epoch; the others are answered.
    fn without_fenced(&self, commits: Vec<CommitCommand>) -> Vec<CommitCommand> {
        let is_held = |commit: &CommitCommand| {
            self.held(commit.partition).is_some_and(|held| held.is_under(commit.epoch))
        };
        let (ours, fenced): (Vec<_>, Vec<_>) = commits.into_iter().partition(is_held);
        for commit in fenced {
            // Whoever has stopped waiting for the answer has dropped the other half: that is no error.
            let _ = commit.acknowledge.send(Err(CommitError::Fenced));
        }
        ours
    }

    fn store(
        &self,
        consumer: &BaseConsumer<Self>,
        positions: &BTreeMap<Partition, Stored>,
    ) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, stored) in positions {
            let (offset, words) = stored.to_commit();
            let mut element = list.add_partition(&self.topic, i32::from(partition.0));
            element.set_offset(rdkafka::Offset::Offset(offset))?;
            element.set_metadata(words);
        }
        consumer.commit(&list, CommitMode::Sync)
    }

    /// Grants what was assigned: reads what the last owner committed, and commits the new epoch. What can't
    /// be granted now is tried again.
    fn grant_assigned(&self, consumer: &BaseConsumer<Self>) {
        let assigned =
            |(partition, held): (&Partition, &Held)| (*held == Held::Assigned).then_some(*partition);
        let waiting: Vec<Partition> = self.state().held.iter().filter_map(assigned).collect();
        if waiting.is_empty() || self.clock.elapsed() < self.state().grant_again_at {
            return;
        }
        let granted = self.stored(consumer, &waiting).and_then(|mut positions| {
            let now = self.clock.now();
            for stored in positions.values_mut() {
                stored.epoch = stored.next_epoch(now);
            }
            self.store(consumer, &positions).map(|()| positions)
        });
        match granted {
            Ok(positions) => {
                for (partition, Stored { epoch, committed }) in positions {
                    self.set_held(partition, Some(Held::Granted(epoch)));
                    self.tell(OwnershipChange::Granted { partition, epoch, committed });
                }
            }
            Err(error) => {
                tracing::warn!(topic = %self.topic, %error, "partitions can't be granted yet, trying again");
                self.state().grant_again_at = self.clock.elapsed() + GRANT_AGAIN;
            }
        }
    }

    fn stored(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Stored>, KafkaError> {
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            asked.add_partition(&self.topic, i32::from(partition.0));
        }
        let answer = consumer.committed_offsets(asked, ANSWER_TIMEOUT)?;
        let mut positions = BTreeMap::new();
        for element in answer.elements() {
            element.error()?;
            let stored = Stored::parse(element.offset().to_raw(), element.metadata());
            positions.insert(Partition(u16::try_from(element.partition()).unwrap_or(u16::MAX)), stored);
        }
        Ok(positions)
    }

    /// Tells the owner, and gives it time: it settles, commits, and lets go.
    fn drain(&self, revoked: &[Partition]) {
        for partition in revoked {
            match self.held(*partition) {
                Some(Held::Granted(epoch)) => {
                    self.set_held(*partition, Some(Held::Revoking(epoch)));
                    self.tell(OwnershipChange::Revoking { partition: *partition });
                }
                Some(Held::Assigned) => self.set_held(*partition, None),
                Some(Held::Revoking(_)) | None => {}
            }
        }
        let deadline = self.clock.elapsed() + self.drain_timeout;
        let is_busy = || self.are_revoking() || self.is_committing();
        while is_busy() && self.stays() && self.clock.elapsed() < deadline {
            self.work(POLL_INTERVAL);
        }
    }

    /// Whatever is still held of these is somebody else's from now on.
    fn lose(&self, partitions: &[Partition]) {
        for partition in partitions {
            match self.held(*partition) {
                Some(Held::Granted(_) | Held::Revoking(_)) => {
                    self.set_held(*partition, None);
                    self.tell(OwnershipChange::Lost { partition: *partition });
                }
                Some(Held::Assigned) => self.set_held(*partition, None),
                None => {}
            }
        }
    }

    fn take(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let mut ours = list.clone();
        // From the end, and paused at once: what there is to read, a reader reads.
        ours.set_all_offsets(rdkafka::Offset::End)?;
        consumer.incremental_assign(&ours)?;
        consumer.pause(&ours)?;
        for partition in partitions(list) {
            self.set_held(partition, Some(Held::Assigned));
        }
        Ok(())
    }
}

/// Of one partition the last that was asked for.
fn positions(commits: &[CommitCommand]) -> BTreeMap<Partition, Stored> {
    let stored = |commit: &CommitCommand| {
        let committed = Committed { offset: commit.offset, metadata: commit.metadata.clone() };
        (commit.partition, Stored { epoch: commit.epoch, committed: Some(committed) })
    };
    commits.iter().map(stored).collect()
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let number = |partition: i32| u16::try_from(partition).ok().map(Partition);
    list.elements().iter().filter_map(|element| number(element.partition())).collect()
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::tell(&error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let changed = partitions(list);
        let count = changed.len();
        let done = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            tracing::info!(topic = %self.topic, count, "partitions were assigned");
            self.take(consumer, list)
        } else {
            let lost = consumer.assignment_lost();
            tracing::info!(topic = %self.topic, count, lost, "partitions are revoked");
            if !lost {
                self.drain(&changed);
            }
            self.lose(&changed);
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            // What the group takes for ours nobody would work on.
            self.fail(&format!("the assignment of {} can't be changed: {error}", self.topic));
        }
    }
}
