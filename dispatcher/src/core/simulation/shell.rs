//! What the shell does, in the simulated world: takes partitions over and gives them up, reads, watches.

use hookline_event_log::{Change, Epoch, JournalName, Offset, OwnershipChange};
use rand::Rng;

use super::super::{FetchedEvent, Identity, Input};
use super::log::Key;
use super::process::Reader;
use super::receivers::number_of;
use super::world::{Happening, World};
use crate::shell::holdings::{Grant, Revoked, TakenOver};

impl World {
    pub(super) fn change_ownership(&mut self, process: usize, journal: JournalName, change: OwnershipChange) {
        let holdings = &mut self.processes[process].holdings;
        match change {
            OwnershipChange::Granted { partition, epoch, committed } => {
                if holdings.grant(Grant { journal, partition, epoch, committed }) {
                    self.stop_working_on(process, (journal, partition));
                }
                self.take_over_waiting(process);
            }
            OwnershipChange::Revoking { partition } => match holdings.revoke(journal, partition) {
                Revoked::Drain => {
                    self.processes[process].readers.remove(&(journal, partition));
                    self.step(process, Input::Revoking { journal, partition });
                }
                Revoked::LetGo(epoch) => self.let_go(process, (journal, partition), epoch),
                Revoked::Wait => {}
            },
            OwnershipChange::Lost { partition } => {
                holdings.forget(journal, partition);
                self.stop_working_on(process, (journal, partition));
                self.take_over_waiting(process);
            }
        }
    }

    pub(super) fn stop_working_on(&mut self, process: usize, key: Key) {
        self.processes[process].readers.remove(&key);
        self.step(process, Input::Lost { journal: key.0, partition: key.1 });
        self.show_lanes(process, key);
    }

    pub(super) fn show_lanes(&mut self, process: usize, (journal, partition): Key) {
        if journal == JournalName::Parked {
            for input in self.processes[process].watched.of_partition(partition) {
                self.step(process, input);
            }
        }
    }

    pub(super) fn take_over_waiting(&mut self, process: usize) {
        let is_loaded = self.processes[process].watched.is_loaded();
        if self.processes[process].is_stopping {
            return;
        }
        while let Some(grant) = self.processes[process].holdings.next_takeover(is_loaded) {
            if grant.journal == JournalName::Parked {
                self.log.put_marker(grant.partition, grant.epoch, process);
                self.lanes_have_changed();
            }
            let took =
                if self.random.random_range(0..5) == 0 { 3_000 } else { self.random.random_range(5..50) };
            self.after_for(process, took, Happening::TakenOver(grant));
        }
    }

    pub(super) fn finish_takeover(&mut self, process: usize, grant: Grant) {
        let Grant { journal, partition, epoch, committed } = grant;
        // Whatever becomes of it, it has written what it writes.
        let from = committed.as_ref().map_or(Offset::START, |committed| committed.offset);
        let lanes = match journal {
            JournalName::Parked => self.log.take_over_lanes(partition, epoch, from),
            _ => Vec::new(),
        };
        self.lanes_have_changed();
        match self.processes[process].holdings.finish(journal, partition, epoch) {
            TakenOver::Held => {}
            TakenOver::Revoked => return self.let_go(process, (journal, partition), epoch),
            TakenOver::Outdated => return,
        }
        let reader = Reader { epoch, next: from, is_reading: false };
        self.processes[process].readers.insert((journal, partition), reader);
        if journal == JournalName::Parked {
            self.step(process, Input::LanesGranted { partition, epoch, registered: from, lanes });
        } else {
            let totals = committed.and_then(|committed| serde_json::from_slice(&committed.metadata).ok());
            let totals = totals.unwrap_or_default();
            self.step(process, Input::EventsGranted { partition, epoch, committed: from, totals });
            let tallies = self.log.tallies.range((partition, 0)..=(partition, u64::MAX));
            let records = tallies.map(|(_, record)| record.clone()).collect();
            self.step(process, Input::Tallied { partition, records });
            let events = self.log.events.get(&partition).map(Vec::as_slice).unwrap_or_default();
            let before = events.iter().filter(|(offset, _)| *offset < from);
            let events =
                before.map(|(_, event)| Identity::new(event.id.as_str(), event.fingerprint)).collect();
            self.step(process, Input::Remembered { partition, events });
        }
        self.read_soon(process, (journal, partition), 1);
        self.take_over_waiting(process);
    }

    pub(super) fn read_soon(&mut self, process: usize, key: Key, delay: u64) {
        let Some(reader) = self.processes[process].readers.get_mut(&key) else { return };
        if !std::mem::replace(&mut reader.is_reading, true) {
            let epoch = reader.epoch;
            self.after_for(process, delay, Happening::Read(key, epoch));
        }
    }

    pub(super) fn read(&mut self, process: usize, key: Key, epoch: Epoch) {
        let (journal, partition) = key;
        let now = self.now;
        let Some(reader) = self.processes[process].readers.get_mut(&key).filter(|one| one.epoch == epoch)
        else {
            return;
        };
        reader.is_reading = false;
        let from = reader.next;
        if journal == JournalName::Parked {
            let unread = self.log.parked_in(partition).iter().filter(|(offset, _)| *offset >= from);
            let records: Vec<_> = unread.take(20).cloned().collect();
            let Some((last, _)) = records.last() else { return };
            reader.next = last.next();
            self.step(process, Input::Followed { partition, epoch, records });
            return self.read_soon(process, key, 10);
        }
        if !self.processes[process].core.has_room(partition) {
            return self.read_soon(process, key, 50);
        }
        let events = self.log.events.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let unread = events.iter().filter(|(offset, _)| *offset >= from);
        let has_come = |(_, event): &&(_, _)| self.came_at(number_of(event)) <= now;
        let batch: Vec<_> = unread.clone().take_while(has_come).take(20).cloned().collect();
        let Some((last, _)) = batch.last() else {
            let next = unread.map(|(_, event)| self.came_at(number_of(event)).since(now).as_millis()).next();
            if let Some(wait) = next {
                self.read_soon(process, key, u64::try_from(wait).expect("a short time") + 1);
            }
            return;
        };
        if let Some(reader) = self.processes[process].readers.get_mut(&key) {
            reader.next = last.next();
        }
        batch.iter().for_each(|(_, event)| self.witness.fetched(number_of(event), epoch));
        let fetched = |(offset, event)| FetchedEvent { offset, event: Some(event), bytes: 700 };
        let events = batch.into_iter().map(fetched).collect();
        self.step(process, Input::Fetched { partition, epoch, events });
        self.read_soon(process, key, 20);
    }

    /// Somebody has written to `lanes`: the watches show it after a while.
    pub(super) fn lanes_have_changed(&mut self) {
        for process in 0..self.processes.len() {
            let delay = self.random.random_range(5..300);
            self.look_at_lanes(process, delay);
        }
    }

    pub(super) fn look_at_lanes(&mut self, process: usize, delay: u64) {
        if !std::mem::replace(&mut self.processes[process].is_watching, true) {
            self.after_for(process, delay, Happening::Watch);
        }
    }

    pub(super) fn watch(&mut self, process: usize) {
        let mut changes = self.log.changes_since(self.processes[process].watched_to);
        let seer = &mut self.processes[process];
        seer.watched_to = self.log.version();
        seer.is_watching = false;
        if !seer.watched.is_loaded() {
            changes.push(Change::Loaded);
        }
        for change in changes {
            for input in self.processes[process].watch(change) {
                self.step(process, input);
            }
        }
        let dispatchers = self.processes[process].watched.dispatchers();
        self.step(process, Input::Dispatchers(dispatchers));
        self.take_over_waiting(process);
    }
}
