//! What becomes of the actions of the cores in the simulated world.

use hookline_event_log::{AppendError, CommitError, Epoch, JournalName, Offset, Partition};
use hookline_schemas::delivery::{LaneRecord, ParkedDelivery};
use hookline_schemas::event::Event;
use hookline_schemas::time::Timestamp;
use rand::Rng;

use super::super::{Action, AppendKey, Committing, EndpointKey, Input, Totals};
use super::receivers::{HEALED, answer, number_of};
use super::world::{Fault, Happening, Pending, World};
use super::{checks, limits};

/// Until then partitions are lost at bad moments.
const LOSSES_UNTIL: Timestamp = Timestamp(150_000);

impl World {
    pub(super) fn perform(&mut self, process: usize, action: Action) {
        match action {
            Action::Attempt { attempt, webhook, event, .. } => {
                let event = number_of(&event.event);
                assert!(!webhook.paused, "nothing goes to {} while it is paused", webhook.id);
                checks::attempt(self, event, &webhook.id);
                limits::attempt(self, process, attempt, &webhook.id);
                let (outcome, took) = answer(&webhook.id, event, self.now, self.faults, &mut self.random);
                let webhook = webhook.id.clone();
                self.after_for(process, took, Happening::Answered { attempt, event, webhook, outcome });
            }
            Action::Park { append, partition, parked, .. } => {
                let result = self.park(partition, &parked);
                let took = self.random.random_range(1..40);
                self.after_for(process, took, Happening::Input(Input::Appended { append, result }));
            }
            Action::Bury { append, letter, .. } => {
                let result =
                    if self.refuses() { Err(AppendError::NoSpace) } else { Ok(self.log.next_offset(1)) };
                if result.is_ok() {
                    self.witness.dead(number_of(&letter.event), &letter.webhook);
                }
                self.after_for(process, 5, Happening::Input(Input::Appended { append, result }));
            }
            Action::Announce { append, event } => self.announce(process, append, &event),
            Action::Answer { .. } | Action::Cancelled { .. } => {}
            Action::PutTally { epoch, record } => {
                let (partition, piece, acknowledged) =
                    (Partition(record.partition), record.piece, !self.refuses());
                if acknowledged {
                    self.log.tallies.insert((partition, piece), record);
                }
                let put = Input::TallyPut { partition, epoch, piece, acknowledged };
                self.after_for(process, 5, Happening::Input(put));
            }
            Action::Load { endpoint, webhook, partition, epoch, load, limit } => {
                let (records, next) = self.log.load(partition, webhook.as_str(), load, limit);
                let loaded = Input::Loaded { endpoint, epoch, load, records, next };
                self.after_for(process, 3, Happening::Input(loaded));
            }
            Action::PutLane { endpoint, partition, epoch, record } => {
                self.begin_put(process, endpoint, partition, epoch, record);
            }
            Action::CommitWatermark { committing, totals } => {
                let (journal, needed_from) = (JournalName::Events, committing.offset);
                let counted_to = Offset::START;
                let commit = Happening::Commit { journal, committing, totals, needed_from, counted_to };
                self.after_for(process, 4, commit);
            }
            Action::CommitRegistered { committing, words, needed_from } => {
                let (journal, totals) = (JournalName::Parked, Totals::default());
                let counted_to = Offset(words.counted_to);
                let commit = Happening::Commit { journal, committing, totals, needed_from, counted_to };
                self.after_for(process, 4, commit);
            }
            Action::LetGo { journal, partition, epoch } => {
                let gone = &mut self.processes[process];
                gone.holdings.forget(journal, partition);
                gone.readers.remove(&(journal, partition));
                self.let_go(process, (journal, partition), epoch);
                self.show_lanes(process, (journal, partition));
            }
        }
    }

    fn begin_put(
        &mut self,
        process: usize,
        endpoint: EndpointKey,
        partition: Partition,
        epoch: Epoch,
        record: LaneRecord,
    ) {
        // Written and not acknowledged, or neither, or both; some take their time.
        let acknowledged = !self.refuses();
        let is_slow = self.faults.losses && self.random.random_range(0..4) == 0;
        let took = self.random.random_range(if is_slow { 100..4_000 } else { 1..30 });
        if is_slow && self.now < LOSSES_UNTIL && self.random.random() {
            // The worst moment: what is on its way will be believed of another owner's lane.
            self.after(took / 4, Pending::Fault(Fault::LoseThis((JournalName::Parked, partition))));
        }
        if acknowledged || self.random.random() {
            let record = record.clone();
            self.after(took, Pending::PutLands { partition, epoch, record });
        }
        self.after_for(process, took + 1, Happening::PutEnds { endpoint, epoch, record, acknowledged });
    }

    fn announce(&mut self, process: usize, append: AppendKey, event: &Event) {
        let result = if self.refuses() { Err(AppendError::NoSpace) } else { Ok(self.log.next_offset(1)) };
        if result.is_ok() {
            self.witness.announced.insert(event.id.clone());
        }
        self.after_for(process, 5, Happening::Input(Input::Appended { append, result }));
    }

    /// An append may be refused, or end unknown: written or not.
    fn park(&mut self, partition: Partition, parked: &ParkedDelivery) -> Result<Offset, AppendError> {
        let refused = self.refuses();
        if refused && self.random.random() {
            return Err(AppendError::NoSpace);
        }
        let gap = self.random.random_range(1..3);
        let offset = self.log.next_offset(gap);
        self.log.append_parked(partition, offset, parked.clone());
        self.witness.parked(number_of(&parked.event), &parked.webhook);
        for reader in 0..self.processes.len() {
            self.read_soon(reader, (JournalName::Parked, partition), 20);
        }
        if refused { Err(AppendError::Unknown) } else { Ok(offset) }
    }

    pub(super) fn put_lane(&mut self, partition: Partition, epoch: Epoch, record: &LaneRecord) {
        self.log.put_lane(partition, record, epoch);
        if let Some(registered) = self.log.registered.get(&partition) {
            checks::registered(self, partition, *registered);
        }
        self.lanes_have_changed();
    }

    pub(super) fn commit(
        &mut self,
        journal: JournalName,
        committing: Committing,
        totals: Totals,
        needed_from: Offset,
    ) -> Result<(), CommitError> {
        if self.refuses() {
            return Err(CommitError::Retry);
        }
        self.log.commit(journal, committing, totals)?;
        match journal {
            JournalName::Events => checks::watermark(self, committing.partition, committing.offset),
            _ => {
                checks::registered(self, committing.partition, committing.offset);
                checks::needed(self, committing.partition, needed_from);
            }
        }
        Ok(())
    }

    fn refuses(&mut self) -> bool {
        self.faults.appends && self.now < HEALED && self.random.random_range(0..5) == 0
    }
}
