//! What one commit carries, and how each command of it is answered.

use std::time::Duration;

use super::queue::{Accepted, Claim, Command};
use super::reserve::Need;
use super::transaction::Outcome;
use crate::metrics::WriterMetrics;
use crate::{AppendError, CommitError};

/// Commands that are written together, in the order in which they were accepted.
#[derive(Debug, Default)]
pub(super) struct Batch {
    commands: Vec<Accepted>,
    bytes: usize,
    accepted_at: Option<Duration>,
}

/// Why a command was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The disk or the map is full.
    NoSpace,
    /// The writer has ended.
    Closed,
    /// The commit failed half-way.
    Unknown,
}

impl Batch {
    /// Adds a command.
    pub(super) fn push(&mut self, accepted: Accepted) {
        self.bytes += accepted.command.bytes();
        self.accepted_at = self.accepted_at.or(accepted.accepted_at);
        self.commands.push(accepted);
    }

    /// How many commands there are.
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first of those that tell it was accepted.
    pub(super) fn accepted_at(&self) -> Option<Duration> {
        self.accepted_at
    }

    /// Is there nothing to write?
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The commands in order.
    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter().map(|accepted| &accepted.command)
    }

    /// What it takes of the file, beside what is essential.
    pub(super) fn need(&self) -> Need {
        let mut need = Need::default();
        for command in self.commands().filter(|command| command.claim() != Claim::Essential) {
            need.add(command.bytes());
        }
        need
    }

    /// Is there anything with this claim in it?
    pub(super) fn has(&self, claim: Claim) -> bool {
        self.commands().any(|command| command.claim() == claim)
    }

    /// Takes out what has this claim.
    pub(super) fn split_off(&mut self, claim: Claim) -> Self {
        let all = std::mem::take(self);
        let mut split = Self::default();
        for accepted in all.commands {
            if accepted.command.claim() == claim { split.push(accepted) } else { self.push(accepted) }
        }
        split
    }

    /// Acknowledges every command with what it has come to. After the commit and at no other time.
    pub(super) fn acknowledge(self, outcomes: &[Outcome], metrics: &WriterMetrics) {
        assert_eq!(self.commands.len(), outcomes.len(), "every command has an outcome");
        // Whoever does not wait for the answer any more has dropped the other half: that is no error.
        for (accepted, outcome) in self.commands.into_iter().zip(outcomes) {
            match (accepted.command, outcome) {
                (Command::Append(append), Outcome::Written(offset)) => {
                    metrics.journal(append.journal).appended.increment(1);
                    let _ = append.acknowledge.send(Ok(*offset));
                }
                (Command::Put(put), Outcome::Written(version)) => {
                    metrics.table(put.table).appended.increment(1);
                    let _ = put.acknowledge.send(Ok(*version));
                }
                (Command::Commit(commit), Outcome::Committed) => {
                    let _ = commit.acknowledge.send(Ok(()));
                }
                (Command::Commit(commit), Outcome::Fenced) => {
                    let _ = commit.acknowledge.send(Err(CommitError::Fenced));
                }
                (command, outcome) => unreachable!("{command:?} can't come to {outcome:?}"),
            }
        }
    }

    /// Tells every command that it was not written, or is not known to be.
    pub(super) fn refuse(self, refusal: Refusal, metrics: &WriterMetrics) {
        let (append_error, commit_error) = match refusal {
            Refusal::NoSpace => (AppendError::NoSpace, CommitError::Retry),
            Refusal::Closed => (AppendError::Closed, CommitError::Closed),
            Refusal::Unknown => (AppendError::Unknown, CommitError::Closed),
        };
        for accepted in self.commands {
            let (acknowledge, counters) = match accepted.command {
                Command::Append(append) => (append.acknowledge, metrics.journal(append.journal)),
                Command::Put(put) => (put.acknowledge, metrics.table(put.table)),
                Command::Commit(commit) => {
                    let _ = commit.acknowledge.send(Err(commit_error));
                    continue;
                }
                Command::Close => continue,
            };
            let counter = match refusal {
                Refusal::NoSpace => &counters.no_space,
                Refusal::Closed => &counters.closed,
                Refusal::Unknown => &counters.unknown,
            };
            counter.increment(1);
            let _ = acknowledge.send(Err(append_error));
        }
    }
}
