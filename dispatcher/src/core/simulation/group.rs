//! The group of the simulated world: gives partitions to processes, moves them, takes them away; and what else
//! happens to processes.

use std::time::Duration;

use hookline_event_log::{Epoch, JournalName, OwnershipChange};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhook;
use rand::Rng;

use super::super::{ByHand, Input, RequestKey};
use super::log::{Key, Ownership, partitions};
use super::process::Process;
use super::receivers::{DELETED, WEBHOOKS};
use super::world::{Fault, Happening, Pending, World};
use crate::shell::holdings::Grant;

/// After this the next owner gets a partition that is not let go.
const EVICTION: u64 = 5_000;

impl World {
    pub(super) fn assign(&mut self, key: Key, to: usize) {
        let Grant { journal, partition, epoch, committed } = self.log.assign(key, to);
        self.tell(to, journal, OwnershipChange::Granted { partition, epoch, committed }, 1);
    }

    pub(super) fn assign_to_anybody(&mut self, key: Key, preferred: Option<usize>) {
        let willing: Vec<_> =
            self.up().filter(|(_, process)| !process.is_stopping).map(|(index, _)| index).collect();
        let preferred = preferred.filter(|process| willing.contains(process));
        match preferred.or_else(|| self.pick(&willing)) {
            Some(process) => self.assign(key, process),
            None => {
                let epoch = self.log.owner(key).map_or(Epoch(0), |owner| owner.epoch);
                self.after(1_000, Pending::Reassign(key, epoch));
            }
        }
    }

    pub(super) fn tell(&mut self, process: usize, journal: JournalName, change: OwnershipChange, delay: u64) {
        let partition = match change {
            OwnershipChange::Granted { partition, .. }
            | OwnershipChange::Revoking { partition }
            | OwnershipChange::Lost { partition } => partition,
        };
        let told = self.told_at.entry((process, (journal, partition))).or_insert(Timestamp(0));
        *told = self.now.after(Duration::from_millis(delay)).max(*told);
        let wait = told.since(self.now).as_millis();
        let wait = u64::try_from(wait).expect("a short time");
        self.after_for(process, wait, Happening::Ownership(journal, change));
    }

    /// Begins to move a partition; its owner drains it first.
    pub(super) fn move_to(&mut self, key: Key, to: usize) {
        let Some(ownership) = self.log.owner(key) else { return };
        let Some(owner) = ownership.owner.filter(|owner| *owner != to && ownership.next.is_none()) else {
            return;
        };
        self.log.owners.insert(key, Ownership { next: Some(to), ..ownership });
        self.tell(owner, key.0, OwnershipChange::Revoking { partition: key.1 }, 1);
        self.after(EVICTION, Pending::Evict(key, ownership.epoch));
    }

    pub(super) fn evict(&mut self, key: Key, epoch: Epoch) {
        let Some(ownership) = self.log.owner(key).filter(|owner| owner.epoch == epoch) else { return };
        self.take_from(key, ownership.owner);
        self.assign_to_anybody(key, ownership.next);
    }

    /// The former owner learns of it sooner or later.
    pub(super) fn take_from(&mut self, key: Key, owner: Option<usize>) {
        let delay = if self.random.random() { 10 } else { self.random.random_range(10..20_000) };
        if let Some(owner) = owner {
            self.tell(owner, key.0, OwnershipChange::Lost { partition: key.1 }, delay);
        }
    }

    pub(super) fn let_go(&mut self, process: usize, key: Key, epoch: Epoch) {
        let Some(ownership) = self.log.owner(key) else { return };
        let waits = ownership.next.is_some() || self.processes[process].is_stopping;
        if ownership.epoch == epoch && ownership.owner == Some(process) && waits {
            self.witness.let_go(key);
            self.assign_to_anybody(key, ownership.next);
        }
    }

    pub(super) fn fail(&mut self, fault: Fault) {
        if let Fault::Start(process) = fault {
            return self.start(process);
        }
        let up: Vec<_> = self.up().map(|(index, _)| index).collect();
        let keys: Vec<_> = partitions().collect();
        let (Some(process), Some(key)) = (self.pick(&up), self.pick(&keys)) else { return };
        match fault {
            Fault::Crash => {
                self.trace.push((self.now.0, process, "crash"));
                self.end(process, 500..8_000);
            }
            Fault::Shutdown => {
                self.trace.push((self.now.0, process, "shutdown"));
                self.processes[process].is_stopping = true;
                self.after_for(process, 6_000, Happening::Stop);
                self.step(process, Input::DrainRequested);
            }
            Fault::Start(_) => {}
            Fault::Operator => self.operate(process),
            Fault::LookAfter => self.look_after(),
            Fault::Delete => self.delete_webhook(&WebhookId::new(DELETED)),
            Fault::Move => self.move_to(key, process),
            Fault::Lose => self.lose(key, process),
            Fault::LoseThis(key) => self.lose(key, process),
        }
    }

    /// The partition is somebody else's at once.
    fn lose(&mut self, key: Key, to: usize) {
        let owner = self.log.owner(key).and_then(|owner| owner.owner);
        self.take_from(key, owner);
        self.assign_to_anybody(key, Some(to));
    }

    /// An operator does something to a webhook.
    fn operate(&mut self, process: usize) {
        let webhook = WebhookId::new(self.pick(&WEBHOOKS[1..]).expect("a webhook"));
        let now = self.now;
        match self.random.random_range(0..7) {
            0 => self.want(process, &webhook, ByHand::Probe),
            1 => self.want(process, &webhook, ByHand::Enable),
            2 | 3 => self.change_webhook(&webhook, |webhook| webhook.paused = !webhook.paused),
            4 => self.change_webhook(&webhook, |webhook| webhook.probed_at = Some(now)),
            5 => self.change_webhook(&webhook, |webhook| webhook.enabled_at = Some(now)),
            _ => {
                let url = format!("https://example.com/{}", self.now.0);
                self.change_webhook(&webhook, |webhook| webhook.url = url.parse().expect("a URL"));
            }
        }
    }

    /// Resumes what is paused and asks for what is disabled to be enabled, until its owner has done it.
    fn look_after(&mut self) {
        let (now, mut again) = (self.now, false);
        for webhook in WEBHOOKS.map(WebhookId::new) {
            if self.webhooks.iter().any(|known| known.id == webhook && known.paused) {
                self.change_webhook(&webhook, |webhook| webhook.paused = false);
            }
            let lane = self.log.believed_lane(&webhook).filter(|_| !self.is_deleted(&webhook));
            if lane.is_some_and(|lane| lane.disabled.is_some()) {
                again = true;
                self.change_webhook(&webhook, |webhook| webhook.enabled_at = Some(now));
            }
        }
        if again {
            self.after(60_000, Pending::Fault(Fault::LookAfter));
        }
    }

    fn want(&mut self, process: usize, webhook: &WebhookId, wanted: ByHand) {
        if self.processes[process].is_up {
            let (request, webhook) = (RequestKey(0), webhook.clone());
            self.step(process, Input::ByHand { request, webhook, wanted });
        }
    }

    fn change_webhook(&mut self, id: &WebhookId, change: impl FnOnce(&mut Webhook)) {
        let Some(webhook) = self.webhooks.iter_mut().find(|webhook| webhook.id == *id) else { return };
        change(webhook);
        self.tell_of_webhooks();
    }

    fn delete_webhook(&mut self, id: &WebhookId) {
        self.webhooks.retain(|webhook| webhook.id != *id);
        self.tell_of_webhooks();
    }

    pub(super) fn is_deleted(&self, id: &WebhookId) -> bool {
        !self.webhooks.iter().any(|webhook| webhook.id == *id)
    }

    /// Every process learns of it in its time.
    fn tell_of_webhooks(&mut self) {
        for process in 0..self.processes.len() {
            let delay = self.random.random_range(1..1_000);
            self.after_for(process, delay, Happening::WebhooksChanged);
        }
    }

    pub(super) fn start(&mut self, process: usize) {
        let life = self.processes[process].life + 1;
        let (seed, clock) = (self.random.random(), self.wall_clock());
        self.processes[process] = Process::start(seed, life, self.now, clock, &self.webhooks);
        self.look_at_lanes(process, 5);
    }

    /// The process is no more; the others get what was its own after a while.
    pub(super) fn end(&mut self, process: usize, unnoticed: std::ops::Range<u64>) {
        self.processes[process].is_up = false;
        let owned: Vec<_> = self
            .log
            .owners
            .iter()
            .filter(|(_, owner)| owner.owner == Some(process))
            .map(|(key, owner)| (*key, owner.epoch))
            .collect();
        let unnoticed = self.random.random_range(unnoticed);
        for (key, epoch) in owned {
            self.after(unnoticed, Pending::Reassign(key, epoch));
        }
        let pause = self.random.random_range(500..20_000);
        self.after(pause, Pending::Fault(Fault::Start(process)));
    }

    pub(super) fn stop(&mut self, process: usize) {
        if self.processes[process].is_stopping && self.processes[process].is_up {
            self.end(process, 1..100);
        }
    }
}
