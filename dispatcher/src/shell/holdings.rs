//! Which partitions are ours: waiting to be taken over, being taken over, or followed. Bookkeeping alone; it
//! does not decide what becomes of a delivery.

use std::collections::BTreeMap;

use hookline_event_log::{Committed, Epoch, JournalName, Partition};

/// A partition that may be taken over now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) journal: JournalName,
    pub(crate) partition: Partition,
    pub(crate) epoch: Epoch,
    pub(crate) committed: Option<Committed>,
}

/// What becomes of a partition whose takeover has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakenOver {
    /// It is followed from now on.
    Held,
    /// It was revoked meanwhile: the next owner may have it.
    Revoked,
    /// It was lost meanwhile, or granted anew.
    Outdated,
}

/// What is to be done for a partition that is being revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revoked {
    /// It is worked on: it has to be drained.
    Drain,
    /// Nothing was done for it yet.
    LetGo(Epoch),
    /// Its takeover has to end first, or it is not ours.
    Wait,
}

#[derive(Debug)]
enum Stage {
    Waiting(Option<Committed>),
    TakingOver,
    /// Being taken over, and revoked meanwhile.
    TakingOverInVain,
    Held,
}

/// The partitions that were granted and not taken back.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    partitions: BTreeMap<(JournalName, Partition), (Epoch, Stage)>,
}

impl Holdings {
    /// A partition is granted. Returns whether an earlier grant of it is still worked on, and so was lost.
    pub(crate) fn grant(&mut self, grant: Grant) -> bool {
        let Grant { journal, partition, epoch, committed } = grant;
        let before = self.partitions.insert((journal, partition), (epoch, Stage::Waiting(committed)));
        matches!(before, Some((_, Stage::Held)))
    }

    /// The next partition to take over. Those of `events` wait for those of `parked`, and until the lanes of
    /// other owners are known: what is down is to be known before it is sent to.
    pub(crate) fn next_takeover(&mut self, lanes_are_known: bool) -> Option<Grant> {
        let is_ready = |journal: JournalName| match journal {
            JournalName::Events => lanes_are_known && !self.is_pending(JournalName::Parked),
            _ => true,
        };
        let waiting = self
            .partitions
            .iter()
            .find(|((journal, _), (_, stage))| matches!(stage, Stage::Waiting(_)) && is_ready(*journal));
        let (journal, partition) = *waiting?.0;
        let (epoch, stage) = self.partitions.get_mut(&(journal, partition))?;
        let Stage::Waiting(committed) = std::mem::replace(stage, Stage::TakingOver) else { return None };
        Some(Grant { journal, partition, epoch: *epoch, committed })
    }

    /// A takeover has ended.
    pub(crate) fn finish(&mut self, journal: JournalName, partition: Partition, epoch: Epoch) -> TakenOver {
        match self.partitions.get_mut(&(journal, partition)) {
            Some((current, stage @ Stage::TakingOver)) if *current == epoch => {
                *stage = Stage::Held;
                TakenOver::Held
            }
            Some((current, Stage::TakingOverInVain)) if *current == epoch => {
                self.partitions.remove(&(journal, partition));
                TakenOver::Revoked
            }
            _ => TakenOver::Outdated,
        }
    }

    /// Another owner waits for a partition.
    pub(crate) fn revoke(&mut self, journal: JournalName, partition: Partition) -> Revoked {
        let Some((epoch, stage)) = self.partitions.get_mut(&(journal, partition)) else {
            return Revoked::Wait;
        };
        match stage {
            Stage::Held => Revoked::Drain,
            Stage::TakingOver | Stage::TakingOverInVain => {
                *stage = Stage::TakingOverInVain;
                Revoked::Wait
            }
            Stage::Waiting(_) => {
                let epoch = *epoch;
                self.forget(journal, partition);
                Revoked::LetGo(epoch)
            }
        }
    }

    /// Under which epoch a partition is worked on here.
    pub(crate) fn epoch_of(&self, journal: JournalName, partition: Partition) -> Option<Epoch> {
        match self.partitions.get(&(journal, partition))? {
            (epoch, Stage::Held) => Some(*epoch),
            _ => None,
        }
    }

    /// A partition is ours no more.
    pub(crate) fn forget(&mut self, journal: JournalName, partition: Partition) {
        self.partitions.remove(&(journal, partition));
    }

    /// Whether everything that was granted has been taken over.
    pub(crate) fn are_taken_over(&self) -> bool {
        !self.is_pending(JournalName::Parked) && !self.is_pending(JournalName::Events)
    }

    fn is_pending(&self, journal: JournalName) -> bool {
        let mut stages = self.partitions.iter().filter(|((of, _), _)| *of == journal);
        stages.any(|(_, (_, stage))| matches!(stage, Stage::Waiting(_) | Stage::TakingOver))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: JournalName = JournalName::Events;
    const PARKED: JournalName = JournalName::Parked;
    const FIRST: Partition = Partition(0);

    fn grant(journal: JournalName, partition: u16, epoch: u64) -> Grant {
        Grant { journal, partition: Partition(partition), epoch: Epoch(epoch), committed: None }
    }

    #[test]
    fn events_wait_for_every_lane() {
        let mut holdings = Holdings::default();
        for grant in [grant(EVENTS, 0, 1), grant(PARKED, 0, 1), grant(PARKED, 1, 1)] {
            assert!(!holdings.grant(grant));
        }
        assert_eq!(holdings.next_takeover(true), Some(grant(PARKED, 0, 1)));
        assert_eq!(holdings.next_takeover(true), Some(grant(PARKED, 1, 1)));
        assert_eq!(holdings.finish(PARKED, FIRST, Epoch(1)), TakenOver::Held);
        assert_eq!(holdings.next_takeover(true), None);
        // One that is being taken over in vain is waited for by nobody.
        assert_eq!(holdings.revoke(PARKED, Partition(1)), Revoked::Wait);
        assert_eq!(holdings.next_takeover(false), None, "the lanes of others are not known yet");
        assert_eq!(holdings.next_takeover(true), Some(grant(EVENTS, 0, 1)));
        assert!(!holdings.are_taken_over());
        assert_eq!(holdings.finish(EVENTS, FIRST, Epoch(1)), TakenOver::Held);
        assert!(holdings.are_taken_over());
    }

    #[test]
    fn a_takeover_that_was_overtaken_counts_for_nothing() {
        let mut holdings = Holdings::default();
        holdings.grant(grant(PARKED, 0, 1));
        holdings.next_takeover(true);
        assert!(!holdings.grant(grant(PARKED, 0, 2)), "nothing was worked on yet");
        assert_eq!(holdings.next_takeover(true), Some(grant(PARKED, 0, 2)));
        assert_eq!(holdings.finish(PARKED, FIRST, Epoch(1)), TakenOver::Outdated);
        assert_eq!(holdings.finish(PARKED, FIRST, Epoch(2)), TakenOver::Held);
        assert_eq!(holdings.finish(PARKED, FIRST, Epoch(2)), TakenOver::Outdated, "never twice");
        assert!(holdings.grant(grant(PARKED, 0, 3)), "the second is worked on, and was lost");
        holdings.next_takeover(true);
        holdings.forget(PARKED, FIRST);
        assert_eq!(holdings.finish(PARKED, FIRST, Epoch(3)), TakenOver::Outdated);
        assert!(holdings.are_taken_over());
    }

    #[test]
    fn what_is_revoked_is_let_go_at_every_stage() {
        let mut holdings = Holdings::default();
        assert_eq!(holdings.revoke(EVENTS, FIRST), Revoked::Wait, "not ours");
        holdings.grant(grant(EVENTS, 0, 1));
        assert_eq!(holdings.revoke(EVENTS, FIRST), Revoked::LetGo(Epoch(1)));
        assert_eq!(holdings.next_takeover(true), None);
        holdings.grant(grant(EVENTS, 0, 2));
        holdings.next_takeover(true);
        assert_eq!(holdings.revoke(EVENTS, FIRST), Revoked::Wait);
        assert_eq!(holdings.finish(EVENTS, FIRST, Epoch(2)), TakenOver::Revoked);
        holdings.grant(grant(EVENTS, 0, 3));
        holdings.next_takeover(true);
        holdings.finish(EVENTS, FIRST, Epoch(3));
        assert_eq!(holdings.revoke(EVENTS, FIRST), Revoked::Drain);
    }
}
