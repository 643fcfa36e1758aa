//! A lane: the ordered backlog of one endpoint. Pure bookkeeping; who may send when is decided elsewhere.
//!
//! Everything of the lane below the cursor is settled, except the exceptions. Records between the cursor and
//! the tail stand in `parked`; a bounded head of them is in memory (`ready`), the rest is loaded when it is
//! needed. At any time `registered = settled + backlog`, where the backlog is what the lane holds.

mod settled;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;

use hookline_event_log::Offset;
use hookline_schemas::delivery::{LaneCounts, ParkedDelivery};
use hookline_schemas::time::Timestamp;

use super::defect::{self, Defect};
pub(crate) use settled::LaneSettled;
pub(crate) use written::Written;

/// Exceptions that a lane holds at most.
pub(crate) const MAX_EXCEPTIONS: usize = 512;

/// Records in memory while the endpoint takes deliveries, and while it does not.
pub(crate) const READY_WHILE_SENDING: usize = 128;
/// See [`READY_WHILE_SENDING`].
pub(crate) const READY_WHILE_DOWN: usize = 2;

/// A parked delivery in memory.
#[derive(Debug, Clone)]
pub(crate) struct LaneDelivery {
    /// As it stands in the log, with the tries made since.
    pub(crate) parked: Arc<ParkedDelivery>,
    /// Attempts made so far.
    pub(crate) tries: u32,
}

/// A delivery that failed while its neighbours passed; it has left its place in the order.
#[derive(Debug, Clone)]
pub(crate) struct Exception {
    /// Attempts made so far.
    pub(crate) tries: u32,
    /// When it is tried again.
    pub(crate) due: Timestamp,
    /// Given up from here on.
    pub(crate) deadline: Timestamp,
    /// Being loaded from the log.
    pub(crate) loading: bool,
}

/// The lane of one endpoint.
#[derive(Debug)]
pub(crate) struct Lane {
    ready: BTreeMap<Offset, LaneDelivery>,
    exceptions: BTreeMap<Offset, Exception>,
    /// In flight, or on their way to the dead letters or to a new place, with their deadlines; not settled.
    busy: BTreeMap<Offset, Timestamp>,
    /// Settled above the cursor: out of order, or by a late 2xx before they were registered or loaded.
    struck: BTreeMap<Offset, LaneSettled>,
    /// What became of everything below the tail.
    counts: LaneCounts,
    /// The counts as they were taken over.
    counts_before: LaneCounts,
    /// How many records are not settled and stand in the log alone.
    unloaded: u64,
    next_load: Offset,
    tail: Offset,
    /// Loading is under way.
    pub(crate) loading: bool,
    /// How it is written down.
    pub(crate) written: Written,
    /// A put of the lane's record is under way.
    writing: bool,
    /// Something changed since the latest put began.
    pub(crate) dirty: bool,
    /// Nothing changed since but that more was registered.
    pub(crate) grown: bool,
    /// When the latest put began.
    pub(crate) put_at: Timestamp,
    /// Deliveries settled since the latest put began.
    pub(crate) settled_since_put: u32,
    /// The lowest offset that the acknowledged record still needs; `None` where it needs none.
    pub(crate) needed_from: Option<Offset>,
    /// The tail of the acknowledged record: what stands behind it is not counted there.
    counted_to: Offset,
}

impl Lane {
    /// A lane without a backlog; records from `start` on will be registered.
    pub(crate) fn empty(start: Offset) -> Self {
        Self {
            ready: BTreeMap::new(),
            exceptions: BTreeMap::new(),
            busy: BTreeMap::new(),
            struck: BTreeMap::new(),
            counts: LaneCounts::default(),
            counts_before: LaneCounts::default(),
            unloaded: 0,
            next_load: start,
            tail: start,
            loading: false,
            written: Written::Drained,
            writing: false,
            dirty: false,
            grown: false,
            put_at: Timestamp(0),
            settled_since_put: 0,
            needed_from: None,
            counted_to: start,
        }
    }

    /// How many deliveries are not settled, as the lane holds them.
    pub(crate) fn backlog(&self) -> u64 {
        let in_place = self.busy.keys().filter(|offset| !self.exceptions.contains_key(offset)).count();
        self.unloaded + (self.ready.len() + in_place + self.exceptions.len()) as u64
    }

    /// How many of them wait in order.
    pub(crate) fn waiting(&self) -> u64 {
        self.backlog() - self.exceptions.len() as u64
    }

    /// What became of everything below the tail.
    pub(crate) fn counts(&self) -> LaneCounts {
        self.counts
    }

    /// What has been counted since the lane was taken over.
    pub(crate) fn gained(&self) -> LaneCounts {
        self.counts.since(&self.counts_before)
    }

    /// Whether every record is accounted for.
    pub(crate) fn adds_up(&self) -> bool {
        self.counts.registered == self.counts.settled() + self.backlog()
    }

    /// Whether it holds nothing, at a glance.
    pub(crate) fn is_empty(&self) -> bool {
        let holds_none = self.ready.is_empty() && self.exceptions.is_empty() && self.busy.is_empty();
        holds_none && self.unloaded == 0 && self.next_load >= self.tail
    }

    /// The deadline of what has waited longest, by where it stands; of what stands in the log alone it says nothing,
    /// because something that waits before it is in memory.
    pub(crate) fn oldest_deadline(&self) -> Option<Timestamp> {
        let exception = self.exceptions.values().next().map(|exception| exception.deadline);
        let busy = self.busy.values().next().copied();
        let ready = self.ready.values().next().map(|delivery| delivery.parked.deadline);
        [exception, busy, ready].into_iter().flatten().min()
    }

    /// Everything below is settled, except the exceptions.
    pub(crate) fn cursor(&self) -> Offset {
        let unloaded = (self.next_load < self.tail).then_some(self.next_load);
        let in_place = self.busy.keys().find(|offset| !self.exceptions.contains_key(offset)).copied();
        let ready = self.ready.keys().next().copied();
        [unloaded, in_place, ready].into_iter().flatten().min().unwrap_or(self.tail)
    }

    /// Whether nothing at all is unsettled.
    pub(crate) fn is_drained(&self) -> bool {
        self.exceptions.is_empty() && self.is_caught_up()
    }

    /// Whether the record that has been acknowledged is up to date.
    pub(crate) fn is_written_down(&self) -> bool {
        !self.writing && !self.dirty && !self.grown
    }

    /// Whether nothing waits in order; exceptions may.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.cursor() == self.tail
    }

    /// Whether nothing is left in order but what is in flight.
    pub(crate) fn is_nearly_caught_up(&self) -> bool {
        self.ready.is_empty() && self.next_load >= self.tail
    }

    /// Whether the delivery has left its place in the order.
    pub(crate) fn is_exception(&self, offset: Offset) -> bool {
        self.exceptions.contains_key(&offset)
    }

    /// Whether there is a place for another exception.
    pub(crate) fn takes_exceptions(&self) -> bool {
        self.exceptions.len() < MAX_EXCEPTIONS
    }

    /// Up to where records are registered.
    pub(crate) fn tail(&self) -> Offset {
        self.tail
    }

    /// Registers a record behind all others; `limit` bounds what is kept in memory.
    pub(crate) fn register(&mut self, offset: Offset, parked: ParkedDelivery, place: Place, limit: usize) {
        assert!(offset >= self.tail, "records are registered in order");
        self.forget_below_cursor();
        let contiguous = self.next_load >= self.tail;
        self.tail = offset.next();
        self.grown = true;
        self.counts.registered += 1;
        match place {
            // By a late 2xx, before it was registered.
            _ if self.struck.contains_key(&offset) => {
                self.counts.delivered += 1;
                self.dirty = true;
            }
            Place::Exception { due } => {
                let (tries, deadline) = (parked.tries, parked.deadline);
                self.exceptions.insert(offset, Exception { tries, due, deadline, loading: false });
                self.dirty = true;
            }
            Place::InOrder if contiguous && self.ready.len() < limit => {
                let tries = parked.tries;
                self.ready.insert(offset, LaneDelivery { parked: Arc::new(parked), tries });
            }
            // Not kept in memory: the loader will find it from where it stopped.
            Place::InOrder => {
                self.unloaded += 1;
                if contiguous {
                    self.next_load = offset;
                }
                return;
            }
        }
        if contiguous {
            self.next_load = self.tail;
        }
    }

    /// Whether the loader should fetch more, and the range that it should look at.
    pub(crate) fn wants_loading(&self, limit: usize) -> Option<(Offset, Offset)> {
        let wanted = !self.loading && self.next_load < self.tail && self.ready.len() < limit.div_ceil(2);
        wanted.then_some((self.next_load, self.tail))
    }

    /// Takes what was loaded in order from an offset on. If the lane was shrunk meanwhile, there would be a
    /// gap before it: it is dropped, and loaded again in its turn.
    pub(crate) fn take_loaded(&mut self, from: Offset, records: Vec<(Offset, ParkedDelivery)>, next: Offset) {
        self.loading = false;
        if from != self.next_load {
            return;
        }
        for (offset, parked) in records {
            let known = self.exceptions.contains_key(&offset)
                || self.busy.contains_key(&offset)
                || self.ready.contains_key(&offset);
            if offset >= self.tail || known || self.struck.contains_key(&offset) {
                continue;
            }
            let tries = parked.tries;
            self.ready.insert(offset, LaneDelivery { parked: Arc::new(parked), tries });
            if self.unloaded > 0 {
                self.unloaded -= 1;
            } else {
                // More than a deposed owner's late record knew of.
                self.counts.registered += 1;
            }
        }
        self.next_load = self.next_load.max(next.min(self.tail));
        self.expect_nothing_behind_the_end();
        self.forget_below_cursor();
    }

    /// Everything has been loaded: what was expected and did not come is lost.
    fn expect_nothing_behind_the_end(&mut self) {
        if self.next_load >= self.tail {
            self.counts.expired += std::mem::take(&mut self.unloaded);
        }
    }

    /// Drops from memory what does not fit while the endpoint is down; it will be loaded again.
    pub(crate) fn shrink(&mut self, limit: usize) {
        let Some(first_dropped) = self.ready.keys().nth(limit).copied() else { return };
        self.unloaded += self.ready.split_off(&first_dropped).len() as u64;
        // What was put back may stand above records that are still to be loaded.
        self.next_load = self.next_load.min(first_dropped);
    }

    /// Takes the n-th delivery in order (0: the head; the last there is where there are fewer) to be
    /// attempted.
    pub(crate) fn take_ready(&mut self, nth: usize) -> Option<(Offset, LaneDelivery)> {
        let offset = self.ready.keys().nth(nth).or_else(|| self.ready.keys().next_back()).copied()?;
        let delivery = self.ready.remove(&offset)?;
        self.busy.insert(offset, delivery.parked.deadline);
        Some((offset, delivery))
    }

    /// Whether there is a delivery to try an endpoint with that is down: an exception only where nothing waits
    /// in order.
    pub(crate) fn has_something_to_probe_with(&self) -> bool {
        !self.ready.is_empty() || (self.is_caught_up() && self.first_due_exception().is_some())
    }

    /// The head, without taking it.
    pub(crate) fn head(&self) -> Option<(Offset, &LaneDelivery)> {
        self.ready.iter().next().map(|(offset, delivery)| (*offset, delivery))
    }

    /// The exception that is due first and is not being worked on.
    pub(crate) fn first_due_exception(&self) -> Option<(Offset, Timestamp)> {
        self.first_exception_by(|exception| exception.due.min(exception.deadline))
    }

    /// The exception that is given up first and is not being worked on.
    pub(crate) fn first_dying_exception(&self) -> Option<(Offset, Timestamp)> {
        self.first_exception_by(|exception| exception.deadline)
    }

    fn first_exception_by(&self, time: impl Fn(&Exception) -> Timestamp) -> Option<(Offset, Timestamp)> {
        let idle = self
            .exceptions
            .iter()
            .filter(|(offset, exception)| !exception.loading && !self.busy.contains_key(offset));
        idle.map(|(offset, exception)| (*offset, time(exception))).min_by_key(|(_, at)| *at)
    }

    /// The exception that would be due first is due now.
    pub(crate) fn hurry_exception(&mut self, now: Timestamp) {
        if let Some((offset, _)) = self.first_due_exception()
            && let Some(exception) = self.exceptions.get_mut(&offset)
        {
            exception.due = exception.due.min(now);
        }
    }

    /// Marks an exception as being loaded.
    pub(crate) fn begin_loading_exception(&mut self, offset: Offset) {
        if let Some(exception) = self.exceptions.get_mut(&offset) {
            exception.loading = true;
        }
    }

    /// An exception was loaded and is now busy; `None` if it has been settled meanwhile.
    pub(crate) fn take_exception(&mut self, offset: Offset) -> Option<u32> {
        let exception = self.exceptions.get_mut(&offset)?;
        exception.loading = false;
        self.busy.insert(offset, exception.deadline);
        Some(exception.tries)
    }

    /// An attempt that says nothing about the delivery itself: back to its place.
    pub(crate) fn put_back(&mut self, offset: Offset, delivery: LaneDelivery) {
        self.busy.remove(&offset);
        if !self.exceptions.contains_key(&offset) {
            self.ready.insert(offset, delivery);
        }
    }

    /// The delivery failed while its neighbours passed. `false`: there is no place for another exception, the
    /// delivery stays busy and has to be appended again.
    pub(crate) fn except(&mut self, offset: Offset, tries: u32, due: Timestamp, deadline: Timestamp) -> bool {
        if !self.exceptions.contains_key(&offset) && self.exceptions.len() >= MAX_EXCEPTIONS {
            return false;
        }
        self.busy.remove(&offset);
        self.exceptions.insert(offset, Exception { tries, due, deadline, loading: false });
        self.dirty = true;
        true
    }

    /// The delivery is settled.
    pub(crate) fn settle(&mut self, offset: Offset, how: LaneSettled) {
        self.busy.remove(&offset);
        self.exceptions.remove(&offset);
        // Settled before its turn: should the loader come by here again, it must not find it unsettled.
        if offset > self.cursor() {
            self.struck.insert(offset, how);
        }
        *how.count_in(&mut self.counts) += u64::from(!defect::is(Defect::DeliveryUncounted));
        self.dirty = true;
        self.settled_since_put += 1;
    }

    /// A late 2xx reached the receiver although the delivery had been parked: the copy need not go out.
    /// One that is in flight goes out all the same.
    pub(crate) fn strike(&mut self, offset: Offset) {
        if self.busy.contains_key(&offset) || self.struck.contains_key(&offset) {
            return;
        }
        if self.ready.remove(&offset).is_some() || self.exceptions.contains_key(&offset) {
            self.settle(offset, LaneSettled::Delivered);
        } else if offset >= self.tail {
            self.struck.insert(offset, LaneSettled::Delivered);
        } else if offset >= self.next_load {
            if self.unloaded > 0 {
                self.unloaded -= 1;
            } else {
                self.counts.registered += 1;
            }
            self.struck.insert(offset, LaneSettled::Delivered);
            self.counts.delivered += 1;
            self.dirty = true;
        }
    }

    /// Everything but what is in flight is given up because the webhook is no more. Returns how much that is.
    pub(crate) fn cancel(&mut self) -> u64 {
        self.exceptions.retain(|offset, _| self.busy.contains_key(offset));
        let kept = self.exceptions.len() as u64;
        let in_place = self.busy.keys().filter(|offset| !self.exceptions.contains_key(offset)).count() as u64;
        self.ready.clear();
        self.struck.clear();
        self.unloaded = 0;
        self.next_load = self.tail;
        let otherwise = self.counts.settled() - self.counts.cancelled;
        let cancelled = self.counts.registered - otherwise - kept - in_place;
        self.dirty = true;
        cancelled.saturating_sub(std::mem::replace(&mut self.counts.cancelled, cancelled))
    }

    fn forget_below_cursor(&mut self) {
        if !self.struck.is_empty() {
            self.struck = self.struck.split_off(&self.cursor());
        }
    }
}

/// Where a record that is registered takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the end of the order.
    InOrder,
    /// Among the exceptions, because it has failed already or its attempt is still under way.
    Exception {
        /// When it is tried.
        due: Timestamp,
    },
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests;
