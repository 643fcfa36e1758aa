//! One process of the simulated world: a core, with what the shell keeps beside it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hookline_event_log::{Change, Epoch, Offset};
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::{Webhook, Webhooks};

use super::super::endpoint::Endpoint;
use super::super::{Action, Core, EndpointKey, Input, Load};
use super::log::{Key, LANE_PARTITIONS};
use super::settings;
use crate::settings::Settings;
use crate::shell::holdings::Holdings;
use crate::shell::watched::WatchedLanes;

#[derive(Debug)]
pub(super) struct Process {
    pub(super) core: Core,
    /// How far its wall clock is ahead of the world's time. It runs steadily: within a life time is monotonic.
    clock: Duration,
    /// Exceptions that are being loaded: each holds a permit of its endpoint.
    loads: HashMap<EndpointKey, usize>,
    pub(super) holdings: Holdings,
    pub(super) watched: WatchedLanes,
    /// How far the watch of `lanes` has come, and whether it is about to look again.
    pub(super) watched_to: Offset,
    pub(super) is_watching: bool,
    /// Where its readers stand, and whether one is about to read.
    pub(super) readers: BTreeMap<Key, Reader>,
    /// Which life this is; what belongs to an earlier one is forgotten.
    pub(super) life: u32,
    pub(super) is_up: bool,
    pub(super) is_stopping: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    pub(super) epoch: Epoch,
    pub(super) next: Offset,
    pub(super) is_reading: bool,
}

impl Process {
    /// A process that has started: it knows its webhooks, and all that is written down of lanes.
    pub(super) fn start(seed: u64, life: u32, now: Timestamp, clock: Duration, webhooks: &[Webhook]) -> Self {
        let now = now.after(clock);
        // In every other world there is hardly room for the attempts of two endpoints.
        let max_attempts = if seed.is_multiple_of(2) { 8 } else { settings().max_attempts };
        let mut core = Core::new(Settings { max_attempts, ..settings() }, LANE_PARTITIONS, seed, now);
        let webhooks: Webhooks = webhooks.iter().cloned().collect();
        core.step(Input::Webhooks(Arc::new(webhooks)), now, &mut Vec::new());
        Self {
            core,
            clock,
            loads: HashMap::new(),
            holdings: Holdings::default(),
            watched: WatchedLanes::default(),
            watched_to: Offset::START,
            is_watching: false,
            readers: BTreeMap::new(),
            life,
            is_up: true,
            is_stopping: false,
        }
    }

    /// Lets the core take a step.
    pub(super) fn step(&mut self, input: Input, now: Timestamp) -> Vec<Action> {
        if let Input::Loaded { endpoint, load: Load::Exception { .. }, .. } = &input {
            *self.loads.entry(*endpoint).or_default() -= 1;
        }
        let mut actions = Vec::new();
        self.core.step(input, self.wall_time(now), &mut actions);
        for action in &actions {
            if let Action::Load { endpoint, load: Load::Exception { .. }, .. } = action {
                *self.loads.entry(*endpoint).or_default() += 1;
            }
        }
        actions
    }

    /// How many permits of each endpoint are taken, and for how much.
    pub(super) fn permits(&self) -> impl Iterator<Item = (&Endpoint, usize)> {
        self.core.endpoints.iter().enumerate().map(|(index, endpoint)| {
            let key = EndpointKey(index as u64);
            let attempts = self.core.attempts.values().filter(|attempt| attempt.endpoint == key).count();
            (endpoint, attempts + self.loads.get(&key).copied().unwrap_or_default())
        })
    }

    /// What its clock shows.
    pub(super) fn wall_time(&self, now: Timestamp) -> Timestamp {
        now.after(self.clock)
    }

    /// When, in the world's time, something is due that no input will bring.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.core.next_due().map(|due| due.before(self.clock))
    }

    /// What the watch says of lanes that are not its own.
    pub(super) fn watch(&mut self, change: Change) -> Vec<Input> {
        self.watched.take(change, |partition| self.core.owns_lanes(partition))
    }
}
