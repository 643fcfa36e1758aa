//! The world around the cores: a clock, what is going to happen, and what becomes of their actions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hookline_event_log::{Epoch, JournalName, Offset, OwnershipChange, Partition};
use hookline_schemas::delivery::{AttemptOutcome, LaneRecord};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhook;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::super::{Action, AttemptKey, Committing, EndpointKey, Input, Totals};
use super::checks::Witness;
use super::faults::Faults;
use super::log::{EVENT_PARTITIONS, Key, Log, Ownership, partitions};
use super::process::Process;
use super::receivers::{HEALED, WEBHOOKS, event, webhook};
use super::{identities, limits};
use crate::shell::holdings::Grant;

/// Events that come while things fail.
pub(super) const EVENTS: u64 = 400;
/// Events of one payment, in one partition.
const EVENTS_PER_PAYMENT: u64 = 4;
const PAYMENTS: u64 = EVENTS / EVENTS_PER_PAYMENT;
/// Wall clocks are ahead of the world's time by as much as this, in milliseconds: ten minutes apart.
const CLOCKS: std::ops::Range<u64> = 0..600_000;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Pending {
    /// To a process, unless it has died meanwhile.
    To(usize, u32, Happening),
    /// A put of a lane record reaches the table, perhaps after its writer has died or been deposed.
    PutLands {
        partition: Partition,
        epoch: Epoch,
        record: LaneRecord,
    },
    Fault(Fault),
    /// The drain of a partition has taken too long.
    Evict(Key, Epoch),
    /// The owner has died.
    Reassign(Key, Epoch),
}

/// What happens to one process.
#[derive(Debug)]
pub(super) enum Happening {
    Input(Input),
    /// A request has been answered.
    Answered {
        attempt: AttemptKey,
        event: u64,
        webhook: WebhookId,
        outcome: AttemptOutcome,
    },
    Ownership(JournalName, OwnershipChange),
    TakenOver(Grant),
    Read(Key, Epoch),
    Watch,
    PutEnds {
        endpoint: EndpointKey,
        epoch: Epoch,
        record: LaneRecord,
        acknowledged: bool,
    },
    Commit {
        journal: JournalName,
        committing: Committing,
        totals: Totals,
        needed_from: Offset,
        counted_to: Offset,
    },
    WebhooksChanged,
    /// It has had the time to stop.
    Stop,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Crash,
    Shutdown,
    Start(usize),
    Move,
    Lose,
    LoseThis(Key),
    Operator,
    /// An operator looks after what is disabled, for as long as there is something.
    LookAfter,
    Delete,
}

pub(super) struct World {
    pub(super) faults: Faults,
    /// Whether partitions were lost at any time: what a deposed owner did not know better is believed for good.
    pub(super) has_losses: bool,
    pub(super) random: SmallRng,
    pub(super) now: Timestamp,
    pub(super) log: Log,
    pub(super) processes: Vec<Process>,
    /// How far the clocks of the edges are ahead.
    edges: [Duration; 2],
    came_at: HashMap<u64, Timestamp>,
    /// As they are configured.
    pub(super) webhooks: Vec<Webhook>,
    pending: BTreeMap<(Timestamp, u64), Pending>,
    sequence: u64,
    /// A process learns of the changes of one partition in their order.
    pub(super) told_at: HashMap<(usize, Key), Timestamp>,
    pub(super) witness: Witness,
    /// When, who, what.
    pub(super) trace: Vec<(u64, usize, &'static str)>,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let mut world = Self {
            faults,
            has_losses: faults.losses,
            random: SmallRng::seed_from_u64(seed),
            now: Timestamp(0),
            log: Log::default(),
            processes: Vec::new(),
            edges: [Duration::ZERO; 2],
            came_at: HashMap::new(),
            webhooks: WEBHOOKS.map(|id| webhook(id, faults)).to_vec(),
            pending: BTreeMap::new(),
            sequence: 0,
            told_at: HashMap::new(),
            witness: Witness::default(),
            trace: Vec::new(),
        };
        world.edges = [world.wall_clock(), world.wall_clock()];
        world.append_first_events();
        for process in 0..faults.processes {
            let (seed, clock) = (world.random.random(), world.wall_clock());
            world.processes.push(Process::start(seed, 0, Timestamp(0), clock, &world.webhooks));
            world.look_at_lanes(process, 0);
        }
        for (number, key) in partitions().enumerate() {
            world.assign(key, number % faults.processes);
        }
        world.plan_faults();
        world
    }

    /// How far the wall clock of something that starts now is ahead.
    pub(super) fn wall_clock(&mut self) -> Duration {
        let ahead = if self.faults.clocks { self.random.random_range(CLOCKS) } else { 0 };
        Duration::from_millis(ahead)
    }

    fn edge_of(&self, event: u64) -> Duration {
        self.edges[usize::from(event % 2 == 1)]
    }

    /// When it came, whatever the clock of its edge said.
    pub(super) fn came_at(&self, event: u64) -> Timestamp {
        self.came_at[&event]
    }

    fn append_event(&mut self, number: u64, at: Timestamp, gap: u64) {
        let offset = self.log.next_offset(gap);
        self.came_at.insert(number, at);
        let event = event(number, at.after(self.edge_of(number)));
        self.log.append_event(partition_of_event(number), offset, event);
    }

    /// Half of them in a burst, the others over two minutes.
    fn append_first_events(&mut self) {
        for number in 0..EVENTS {
            let burst = EVENTS / 2;
            let at = 1_000 + number * 10 + number.saturating_sub(burst) * 590;
            let gap = self.random.random_range(1..4);
            self.append_event(number, Timestamp(at), gap);
        }
    }

    fn plan_faults(&mut self) {
        let Faults { moves, losses, crashes, operators, .. } = self.faults;
        let kinds = [
            (moves, Fault::Move, 12),
            (losses, Fault::Lose, 16),
            (crashes, Fault::Crash, 4),
            (crashes, Fault::Shutdown, 2),
            (operators, Fault::Operator, 30),
        ];
        for (_, fault, times) in kinds.into_iter().filter(|(happens, ..)| *happens) {
            for time in 0..times {
                let latest = if time % 3 == 0 { 900_000 } else { 130_000 };
                let at = self.random.random_range(1_000..latest);
                self.after(at, Pending::Fault(fault));
            }
        }
        if self.faults.deletes {
            let at = self.random.random_range(1_000..150_000);
            self.after(at, Pending::Fault(Fault::Delete));
        }
        if operators || self.faults.gone {
            self.after(HEALED.0, Pending::Fault(Fault::LookAfter));
        }
    }

    /// Until nothing is left to do, or for too long.
    pub(super) fn run(&mut self) {
        for _ in 0..600_000 {
            if self.is_over() {
                return;
            }
            self.advance();
        }
        let gauges: Vec<_> = self.processes.iter().map(|process| process.core.gauges()).collect();
        let latest: Vec<_> = self.trace.iter().rev().take(20).collect();
        panic!("the world did not come to an end: {gauges:?}, {:?}\n{latest:?}", self.log.owners);
    }

    fn next_time(&self) -> Timestamp {
        let due = self.up().filter_map(|(_, process)| process.next_due());
        let next = self.pending.keys().next().map(|(at, _)| *at);
        due.chain(next).min().expect("timers never end")
    }

    fn advance(&mut self) {
        self.now = self.now.max(self.next_time());
        let is_first = |key: &(Timestamp, u64)| key.0 <= self.now;
        match self.pending.first_entry().filter(|entry| is_first(entry.key())).map(|entry| entry.remove()) {
            Some(pending) => self.happen(pending),
            None => {
                let now = self.now;
                let due = |process: &Process| process.next_due().is_some_and(|due| due <= now);
                let process = self.up().find(|(_, process)| due(process)).map(|(index, _)| index);
                self.step(process.expect("somebody's timer is due"), Input::TimerFired);
            }
        }
    }

    pub(super) fn up(&self) -> impl Iterator<Item = (usize, &Process)> {
        self.processes.iter().enumerate().filter(|(_, process)| process.is_up)
    }

    fn is_over(&self) -> bool {
        let is_fault = |pending: &Pending| !matches!(pending, Pending::To(..));
        let is_quiet = |process: &Process| {
            let gauges = process.core.gauges();
            gauges.backlogged == 0 && gauges.in_flight == 0 && process.is_up
        };
        let is_worked_on = |(key, ownership): (&Key, &Ownership)| {
            let owner = ownership.owner.and_then(|owner| self.processes.get(owner));
            owner.is_some_and(|owner| owner.core.epoch_of(key.0, key.1) == Some(ownership.epoch))
        };
        self.log.is_committed_to_the_end()
            && self.processes.iter().all(is_quiet)
            && self.log.owners.iter().all(is_worked_on)
            && !self.pending.values().any(is_fault)
    }

    fn happen(&mut self, pending: Pending) {
        match pending {
            Pending::To(process, life, happening) => {
                let is_alive = self.processes[process].is_up && self.processes[process].life == life;
                match happening {
                    // A request that was under way when its sender died was received, or was not.
                    happening if is_alive => self.happen_to(process, happening),
                    Happening::Answered { event, webhook, outcome, .. }
                        if outcome.is_delivered() && self.random.random() =>
                    {
                        self.witness.delivered(event, &webhook);
                    }
                    _ => {}
                }
            }
            Pending::PutLands { partition, epoch, record } => self.put_lane(partition, epoch, &record),
            Pending::Fault(fault) => self.fail(fault),
            Pending::Evict(key, epoch) => self.evict(key, epoch),
            Pending::Reassign(key, epoch) => {
                if self.log.owner(key).is_some_and(|owner| owner.epoch == epoch) {
                    self.assign_to_anybody(key, None);
                }
            }
        }
    }

    fn happen_to(&mut self, process: usize, happening: Happening) {
        match happening {
            Happening::Input(input) => self.step(process, input),
            Happening::Answered { attempt, event, webhook, outcome } => {
                if outcome.is_delivered() {
                    self.witness.delivered(event, &webhook);
                    limits::delivered(self, event, &webhook);
                }
                self.step(process, Input::AttemptFinished { attempt, outcome });
            }
            Happening::Ownership(journal, change) => self.change_ownership(process, journal, change),
            Happening::TakenOver(grant) => self.finish_takeover(process, grant),
            Happening::Read(key, epoch) => self.read(process, key, epoch),
            Happening::Watch => self.watch(process),
            Happening::PutEnds { endpoint, epoch, record, acknowledged } => {
                self.step(process, Input::LanePut { endpoint, epoch, record, acknowledged });
            }
            Happening::Commit { journal, committing, totals, needed_from, counted_to } => {
                let result = self.commit(journal, committing, totals, needed_from);
                if journal == JournalName::Parked && result.is_ok() {
                    self.log.counted_to.insert(committing.partition, counted_to);
                }
                self.step(process, Input::Committed { journal, committing, result });
            }
            Happening::WebhooksChanged => {
                let webhooks = self.webhooks.iter().cloned().collect();
                self.step(process, Input::Webhooks(Arc::new(webhooks)));
            }
            Happening::Stop => self.stop(process),
        }
    }

    pub(super) fn step(&mut self, process: usize, input: Input) {
        let stepped = &mut self.processes[process];
        let keys = stepped.core.next_key;
        let actions = stepped.step(input, self.now);
        identities::of_process(self, process);
        limits::stepped(self, process, keys);
        for action in actions {
            self.trace.push((self.now.0, process, name_of(&action)));
            self.perform(process, action);
        }
        let stepped = &self.processes[process];
        if stepped.is_stopping && stepped.core.is_drained() {
            self.stop(process);
        }
    }

    /// More events, one after the other, at this pace.
    pub(super) fn append_more(&mut self, numbers: std::ops::Range<u64>, pace: u64) {
        for (place, number) in numbers.enumerate() {
            let at = self.now.after(Duration::from_millis(pace * (place as u64 + 1)));
            self.append_event(number, at, 1);
        }
        for process in 0..self.processes.len() {
            for (journal, partition) in partitions().filter(|(journal, _)| *journal == JournalName::Events) {
                self.read_soon(process, (journal, partition), 1);
            }
        }
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let index = self.random.random_range(0..from.len().max(1));
        from.get(index).copied()
    }

    pub(super) fn after_for(&mut self, process: usize, milliseconds: u64, happening: Happening) {
        let life = self.processes[process].life;
        self.after(milliseconds, Pending::To(process, life, happening));
    }

    pub(super) fn after(&mut self, milliseconds: u64, pending: Pending) {
        self.sequence += 1;
        self.pending.insert((self.now.after(Duration::from_millis(milliseconds)), self.sequence), pending);
    }
}

/// The events of a payment stand in one partition.
fn partition_of_event(number: u64) -> Partition {
    let payment = u16::try_from(payment_of(number)).expect("few payments");
    Partition(payment % EVENT_PARTITIONS)
}

pub(super) fn payment_of(event: u64) -> u64 {
    event % PAYMENTS
}

fn name_of(action: &Action) -> &'static str {
    match action {
        Action::Attempt { .. } => "attempt",
        Action::Park { .. } => "park",
        Action::Bury { .. } => "bury",
        Action::Announce { .. } => "announce",
        Action::Cancelled { .. } => "cancelled",
        Action::Answer { .. } => "answer",
        Action::PutTally { .. } => "put tally",
        Action::Load { .. } => "load",
        Action::PutLane { .. } => "put lane",
        Action::CommitWatermark { .. } => "commit watermark",
        Action::CommitRegistered { .. } => "commit R",
        Action::LetGo { .. } => "let go",
    }
}
