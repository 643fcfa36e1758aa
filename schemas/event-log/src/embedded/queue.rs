//! The way to a writer: commands over one bounded channel, and a budget of bytes beside it. Waiting for
//! either is the point of backpressure; what has passed both is accepted and will be answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hookline_schemas::time::Clock;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{AppendError, CommitError, Epoch, JournalName, Offset, Partition, TableName};

/// The most commands that wait for a writer.
const COMMANDS: usize = 8192;
/// The most bytes that wait for a writer, those of the commit under way included.
const BUDGET: usize = 64 * 1024 * 1024;
/// What a command costs beside its key and value.
const OVERHEAD: usize = 128;

/// Tells whoever appended or put.
pub(super) type Acknowledge = oneshot::Sender<Result<Offset, AppendError>>;

/// A record on its way into a journal.
#[derive(Debug)]
pub(super) struct AppendCommand {
    pub(super) journal: JournalName,
    pub(super) partition: Partition,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) acknowledge: Acknowledge,
}

/// An entry on its way into a table.
#[derive(Debug)]
pub(super) struct PutCommand {
    pub(super) table: TableName,
    pub(super) partition: Partition,
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
    pub(super) epoch: Epoch,
    pub(super) acknowledge: Acknowledge,
}

/// A position on its way into the cursors.
#[derive(Debug)]
pub(super) struct CommitCommand {
    pub(super) journal: JournalName,
    pub(super) partition: Partition,
    pub(super) epoch: Epoch,
    pub(super) offset: Offset,
    pub(super) metadata: Bytes,
    pub(super) acknowledge: oneshot::Sender<Result<(), CommitError>>,
}

/// What a writer is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Append a record.
    Append(AppendCommand),
    /// Put an entry.
    Put(PutCommand),
    /// Commit a position.
    Commit(CommitCommand),
    /// Accept nothing more, write what was accepted, end.
    Close,
}

impl Command {
    /// How much of the budget it takes.
    pub(super) fn bytes(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Append(append) => append.key.len() + append.value.len(),
                Self::Put(put) => put.key.len() + put.value.as_ref().map_or(0, Bytes::len),
                Self::Commit(commit) => commit.metadata.len(),
                Self::Close => 0,
            }
    }

    /// What of the reserve it may use.
    pub(super) const fn claim(&self) -> Claim {
        match self {
            Self::Append(append) => match append.journal {
                JournalName::Parked | JournalName::DeadLetters => Claim::Delivery,
                JournalName::Events | JournalName::Attempts | JournalName::Quarantine => Claim::NewData,
            },
            Self::Put(put) => match put.table {
                TableName::Lanes => Claim::Essential,
                TableName::Control | TableName::Clients | TableName::TopUps | TableName::Payments => {
                    Claim::NewData
                }
            },
            Self::Commit(_) | Self::Close => Claim::Essential,
        }
    }
}

/// What a command may use of the reserve when everything else is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nothing: it is refused first.
    NewData,
    /// The first half: what has been accepted must be able to leave the window, or one endpoint that is down
    /// would stop delivery to all.
    Delivery,
    /// All of it: without positions and lane records no space comes back.
    Essential,
}

/// A command with its share of the budget, which comes back when this is dropped: after the commit.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) command: Command,
    /// When it was accepted, of one command between two batches.
    pub(super) accepted_at: Option<Duration>,
    _share: OwnedSemaphorePermit,
}

/// The sending side. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct WriteQueue {
    commands: mpsc::Sender<Accepted>,
    budget: Arc<Semaphore>,
    is_sampled: Arc<AtomicBool>,
    clock: Clock,
}

/// The receiving side, which a writer owns. Blocks its thread while it waits.
#[derive(Debug)]
pub(super) struct Intake {
    commands: mpsc::Receiver<Accepted>,
    is_sampled: Arc<AtomicBool>,
    timer: tokio::runtime::Runtime,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Taken {
    /// A command.
    Command(Accepted),
    /// None within the time.
    Nothing,
    /// None ever again.
    Ended,
}

/// A queue of its fixed capacity, both ends.
pub(super) fn bounded(clock: Clock) -> std::io::Result<(WriteQueue, Intake)> {
    let (sender, receiver) = mpsc::channel(COMMANDS);
    // A channel of tokio can't be waited on for a limited time without its timer; this runtime has no
    // thread of its own and runs only while the writer waits.
    let timer = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let is_sampled = Arc::new(AtomicBool::new(true));
    let queue = WriteQueue {
        commands: sender,
        budget: Arc::new(Semaphore::new(BUDGET)),
        is_sampled: Arc::clone(&is_sampled),
        clock,
    };
    Ok((queue, Intake { commands: receiver, is_sampled, timer }))
}

impl WriteQueue {
    /// Waits for room and hands the command over. Nothing is written if this is dropped before it returns.
    pub(super) async fn accept(&self, command: Command) -> Result<(), AppendError> {
        let bytes = u32::try_from(command.bytes()).expect("lengths were checked against the limits");
        let budget = Arc::clone(&self.budget);
        let share = budget.acquire_many_owned(bytes).await.map_err(|_| AppendError::Closed)?;
        let slot = self.commands.reserve().await.map_err(|_| AppendError::Closed)?;
        slot.send(Accepted { command, accepted_at: self.sample(), _share: share });
        Ok(())
    }

    /// The time, if the writer wants to know how long this command waits: no more than one reading per commit.
    fn sample(&self) -> Option<Duration> {
        let is_wanted =
            self.is_sampled.load(Ordering::Relaxed) && self.is_sampled.swap(false, Ordering::Relaxed);
        is_wanted.then(|| self.clock.elapsed())
    }
}

impl Intake {
    /// The next command; waits at most this long.
    pub(super) fn take(&mut self, wait: Duration) -> Taken {
        match self.commands.try_recv() {
            Ok(accepted) => return Taken::Command(accepted),
            Err(TryRecvError::Disconnected) => return Taken::Ended,
            Err(TryRecvError::Empty) if wait.is_zero() => return Taken::Nothing,
            Err(TryRecvError::Empty) => {}
        }
        let Self { commands, timer, .. } = self;
        match timer.block_on(async { tokio::time::timeout(wait, commands.recv()).await }) {
            Ok(Some(accepted)) => Taken::Command(accepted),
            Ok(None) => Taken::Ended,
            Err(_) => Taken::Nothing,
        }
    }

    /// Has the next command tell when it was accepted.
    pub(super) fn sample_next(&self) {
        self.is_sampled.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more is let in.
    pub(super) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Lets nothing more in; what was accepted can still be taken.
    pub(super) fn close(&mut self) {
        self.commands.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::VALUE_LIMIT;

    fn append(value: usize) -> Command {
        let (acknowledge, _) = crate::Appending::new();
        Command::Append(AppendCommand {
            journal: JournalName::Events,
            partition: Partition(0),
            key: Bytes::new(),
            value: Bytes::from(vec![0; value]),
            acknowledge,
        })
    }

    #[test]
    fn accepting_waits_for_the_budget_and_ends_with_the_intake() {
        let (queue, mut intake) = bounded(Clock::start()).expect("a queue");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let accept = |command| {
            let queue = queue.clone();
            let moment = Duration::from_millis(20);
            runtime.block_on(async move { tokio::time::timeout(moment, queue.accept(command)).await })
        };
        for _ in 0..63 {
            assert_eq!(accept(append(VALUE_LIMIT)), Ok(Ok(())));
        }
        assert!(accept(append(VALUE_LIMIT)).is_err(), "the budget is spent");
        assert!(matches!(intake.take(Duration::ZERO), Taken::Command(_)));
        assert_eq!(accept(append(VALUE_LIMIT)), Ok(Ok(())));
        intake.close();
        assert_eq!(accept(append(1)), Ok(Err(AppendError::Closed)));
        for _ in 0..63 {
            assert!(matches!(intake.take(Duration::ZERO), Taken::Command(_)));
        }
        assert!(matches!(intake.take(Duration::ZERO), Taken::Ended));
    }

    #[test]
    fn one_command_between_two_batches_tells_when_it_was_accepted() {
        let (queue, mut intake) = bounded(Clock::start()).expect("a queue");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut are_sampled = |count: usize| -> Vec<bool> {
            for _ in 0..count {
                runtime.block_on(queue.accept(append(1))).expect("there is room");
            }
            let taken = (0..count).map(|_| match intake.take(Duration::ZERO) {
                Taken::Command(accepted) => accepted.accepted_at.is_some(),
                other => panic!("{other:?}"),
            });
            let taken = taken.collect();
            intake.sample_next();
            taken
        };
        assert_eq!(are_sampled(3), [true, false, false]);
        assert_eq!(are_sampled(2), [true, false]);
    }
}
