//! What is ours: partitions are granted, asked back and lost.

use futures::FutureExt;
use hookline_event_log::{JournalName, Log, Ownership, OwnershipChange, Partition};

use super::Shell;
use super::holdings::{Grant, Revoked};
use crate::core::Input;

impl<L: Log> Shell<L> {
    /// What is ours from the start is known before anything is begun.
    pub(super) fn take_first_grants(&mut self) {
        while let Some(change) = self.performer.lanes.next().now_or_never() {
            self.change_ownership(JournalName::Parked, change);
        }
        while let Some(change) = self.performer.events.next().now_or_never() {
            self.change_ownership(JournalName::Events, change);
        }
    }

    pub(super) fn change_ownership(&mut self, journal: JournalName, change: OwnershipChange) {
        match change {
            OwnershipChange::Granted { partition, epoch, committed } => {
                if self.holdings.grant(Grant { journal, partition, epoch, committed }) {
                    self.stop_working_on(journal, partition);
                }
            }
            OwnershipChange::Revoking { partition } => match self.holdings.revoke(journal, partition) {
                Revoked::Drain => {
                    self.readers.remove(journal, partition);
                    self.give_up_redeliveries(journal, partition);
                    self.step(Input::Revoking { journal, partition });
                }
                Revoked::LetGo(epoch) => self.performer.let_go(journal, partition, epoch),
                Revoked::Wait => {}
            },
            OwnershipChange::Lost { partition } => {
                tracing::info!(journal = journal.as_str(), partition = partition.0, "lost a partition");
                self.holdings.forget(journal, partition);
                self.stop_working_on(journal, partition);
            }
        }
    }

    /// The partition is somebody else's already.
    fn stop_working_on(&mut self, journal: JournalName, partition: Partition) {
        self.give_up_redeliveries(journal, partition);
        self.readers.remove(journal, partition);
        self.step(Input::Lost { journal, partition });
        self.show_lanes(journal, partition);
    }

    /// Whoever has the partition next goes on with them.
    pub(super) fn give_up_redeliveries(&mut self, journal: JournalName, partition: Partition) {
        if journal == JournalName::Parked {
            self.redeliveries.lose(partition);
        }
    }

    /// Lanes that are ours no more are what is written down of them.
    pub(super) fn show_lanes(&mut self, journal: JournalName, partition: Partition) {
        if journal == JournalName::Parked && self.watched.is_loaded() {
            for input in self.watched.of_partition(partition) {
                self.step(input);
            }
        }
    }
}
