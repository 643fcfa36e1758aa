//! One process of the simulated world: a core, with what the shell keeps beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hookline_event_log::{Change, Epoch, Offset};
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::{Webhook, Webhooks};

use super::super::{Core, Input};
use super::log::{Key, LANE_PARTITIONS};
use super::settings;
use crate::shell::holdings::Holdings;
use crate::shell::watched::WatchedLanes;

#[derive(Debug)]
pub(super) struct Process {
    pub(super) core: Core,
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
    pub(super) fn start(seed: u64, life: u32, now: Timestamp, webhooks: &[Webhook]) -> Self {
        let mut core = Core::new(settings(), LANE_PARTITIONS, seed, now);
        let webhooks: Webhooks = webhooks.iter().cloned().collect();
        core.step(Input::Webhooks(Arc::new(webhooks)), now, &mut Vec::new());
        Self {
            core,
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

    /// What the watch says of lanes that are not its own.
    pub(super) fn watch(&mut self, change: Change) -> Vec<Input> {
        self.watched.take(change, |partition| self.core.owns_lanes(partition))
    }
}
