//! The window of one partition of `events`: what has been fetched and is not settled, and the watermark.

use std::collections::VecDeque;

use hookline_event_log::{Epoch, Offset};
use hookline_schemas::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::EndpointKey;
use super::defect::{self, Defect};
use super::repeats::RepeatMemory;
use super::tally::Tally;

/// The window may be longer than what is not settled in it by so much: a slot without deliveries is small.
const SETTLED_PER_UNSETTLED: usize = 64;

/// How deliveries of the window are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// A 2xx.
    Delivered,
    /// In `parked`.
    Parked,
    /// In `dead_letters`.
    Dead,
    /// Its webhook is no more.
    Cancelled,
    /// Nothing was planned, because the event was there already.
    Repeated,
}

/// What became of everything below the watermark; committed with it. At any time
/// `planned = delivered + parked + dead + cancelled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Deliveries planned.
    pub(crate) planned: u64,
    /// Settled by a 2xx.
    pub(crate) delivered: u64,
    /// Settled in `parked`.
    pub(crate) parked: u64,
    /// Settled in `dead_letters`.
    pub(crate) dead: u64,
    /// Settled because the webhook is no more.
    pub(crate) cancelled: u64,
    /// Events that were there already; they plan nothing.
    pub(crate) repeated: u64,
}

/// A fetched event with deliveries that are not settled.
#[derive(Debug)]
struct Slot {
    offset: Offset,
    /// When its event was accepted; of one that can't be read, when it was fetched.
    since: Timestamp,
    /// Of an event of a later version nothing is known, not even when it was accepted.
    is_readable: bool,
    outstanding: usize,
    bytes: usize,
    totals: Totals,
    /// Whose deliveries are settled, and how.
    settled: Vec<(EndpointKey, Settled)>,
}

/// What the partition's owner knows.
#[derive(Debug)]
pub(crate) struct Window {
    /// Under which the watermark is committed.
    pub(crate) epoch: Epoch,
    /// Which events were there already.
    pub(crate) repeats: RepeatMemory,
    slots: VecDeque<Slot>,
    /// How many events are not settled, with their bytes: one that waits must not make the others wait that
    /// stand behind it and are done.
    unsettled: usize,
    bytes: usize,
    fetched_to: Offset,
    committed: Offset,
    committing: bool,
    totals: Totals,
    /// The totals as they were taken over.
    totals_before: Totals,
    /// What became of each webhook's deliveries below the watermark.
    pub(crate) tally: Tally,
}

impl Window {
    /// A window that goes on where the last commit says.
    pub(crate) fn new(epoch: Epoch, committed: Offset, totals: Totals, repeat_memory: usize) -> Self {
        Self {
            epoch,
            repeats: RepeatMemory::new(repeat_memory),
            slots: VecDeque::new(),
            unsettled: 0,
            bytes: 0,
            fetched_to: committed,
            committed,
            committing: false,
            totals,
            totals_before: totals,
            tally: Tally::default(),
        }
    }

    /// Whether more may be fetched.
    pub(crate) fn has_room(&self, max_events: usize, max_bytes: usize) -> bool {
        let is_short = self.slots.len() < max_events.saturating_mul(SETTLED_PER_UNSETTLED);
        self.unsettled < max_events && self.bytes < max_bytes && is_short
    }

    /// Whether hardly anything more may be fetched.
    pub(crate) fn is_tight(&self, max_events: usize) -> bool {
        self.unsettled * 4 >= max_events * 3
    }

    /// Takes an event with this many deliveries.
    pub(crate) fn open(&mut self, offset: Offset, deliveries: usize, bytes: usize, accepted_at: Timestamp) {
        let planned = Totals { planned: deliveries as u64, ..Totals::default() };
        let settled = Vec::with_capacity(deliveries);
        let (since, outstanding) = (accepted_at, deliveries);
        self.push(Slot { offset, since, is_readable: true, outstanding, bytes, totals: planned, settled });
    }

    /// Takes an event that can't be read: nothing settles it.
    pub(crate) fn open_unreadable(&mut self, offset: Offset, now: Timestamp) {
        let (totals, settled) = (Totals { planned: 1, ..Totals::default() }, Vec::new());
        let is_readable = false;
        self.push(Slot { offset, since: now, is_readable, outstanding: 1, bytes: 0, totals, settled });
    }

    /// Takes an event that was there already, with those whom it concerns.
    pub(crate) fn repeat(&mut self, offset: Offset, endpoints: impl Iterator<Item = EndpointKey>) {
        let repeated = Totals { repeated: 1, ..Totals::default() };
        let settled = endpoints.map(|endpoint| (endpoint, Settled::Repeated)).collect();
        let since = Timestamp(0);
        let is_readable = true;
        self.push(Slot { offset, since, is_readable, outstanding: 0, bytes: 0, totals: repeated, settled });
    }

    fn push(&mut self, slot: Slot) {
        assert!(slot.offset >= self.fetched_to, "events are fetched in order");
        self.fetched_to = slot.offset.next();
        if slot.outstanding > 0 {
            self.unsettled += 1;
            self.bytes += slot.bytes;
        }
        self.slots.push_back(slot);
        self.pass_settled();
    }

    /// One delivery of the event is settled.
    pub(crate) fn settle(&mut self, offset: Offset, endpoint: EndpointKey, how: Settled) {
        let found = self.slots.binary_search_by_key(&offset, |slot| slot.offset);
        let slot = found.ok().and_then(|index| self.slots.get_mut(index));
        let Some(slot) = slot else { panic!("{offset:?} is in the window until it is settled") };
        assert!(slot.outstanding > 0, "no delivery is settled twice");
        slot.outstanding -= 1;
        if slot.outstanding == 0 {
            self.unsettled -= 1;
            self.bytes -= slot.bytes;
        }
        slot.totals.count(how);
        slot.settled.push((endpoint, how));
        self.pass_settled();
    }

    fn pass_settled(&mut self) {
        while let Some(front) = self.slots.front()
            && front.outstanding == 0
        {
            self.totals.add(&front.totals);
            front.settled.iter().for_each(|(endpoint, how)| self.tally.count(*endpoint, front.offset, *how));
            self.slots.pop_front();
        }
    }

    /// The lowest event that is not settled: what may be committed.
    pub(crate) fn watermark(&self) -> Offset {
        let too_far = u64::from(defect::is(Defect::WatermarkTooFar));
        self.slots.front().map_or(self.fetched_to, |front| Offset(front.offset.0 + too_far))
    }

    /// Since when the event at the watermark waits, as far as is known; none, where everything that was fetched is
    /// settled.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.slots.front().map(|front| front.since)
    }

    /// When the event at the watermark was accepted. None where it can't be read, too: only the log knows how long it
    /// has stood there, whatever restarts there were.
    pub(crate) fn accepted_at(&self) -> Option<Timestamp> {
        self.slots.front().filter(|front| front.is_readable).map(|front| front.since)
    }

    /// What became of everything below the watermark.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// What became of it since the partition was taken over.
    pub(crate) fn gained(&self) -> Totals {
        self.totals.since(&self.totals_before)
    }

    /// Whether no commit is under way or due.
    pub(crate) fn is_committed(&self) -> bool {
        !self.committing && self.watermark() == self.committed
    }

    /// The position that has been committed.
    pub(crate) fn committed(&self) -> Offset {
        self.committed
    }

    /// The position to commit, if it has moved and no commit is under way.
    pub(crate) fn begin_commit(&mut self) -> Option<Offset> {
        if self.is_committed() || self.committing {
            return None;
        }
        self.committing = true;
        Some(self.watermark())
    }

    /// A commit has ended.
    pub(crate) fn end_commit(&mut self, offset: Offset, succeeded: bool) {
        self.committing = false;
        if succeeded {
            self.committed = self.committed.max(offset);
        }
    }
}

impl Totals {
    /// Adds what another window has settled.
    pub(crate) fn add(&mut self, other: &Self) {
        self.planned += other.planned;
        self.delivered += other.delivered;
        self.parked += other.parked;
        self.dead += other.dead;
        self.cancelled += other.cancelled;
        self.repeated += other.repeated;
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            planned: self.planned - earlier.planned,
            delivered: self.delivered - earlier.delivered,
            parked: self.parked - earlier.parked,
            dead: self.dead - earlier.dead,
            cancelled: self.cancelled - earlier.cancelled,
            repeated: self.repeated - earlier.repeated,
        }
    }

    /// One delivery is settled so.
    pub(crate) fn count(&mut self, how: Settled) {
        let uncounted = how == Settled::Delivered && defect::is(Defect::DeliveryUncounted);
        *match how {
            Settled::Delivered => &mut self.delivered,
            Settled::Parked => &mut self.parked,
            Settled::Dead => &mut self.dead,
            Settled::Cancelled => &mut self.cancelled,
            Settled::Repeated => &mut self.repeated,
        } += u64::from(!uncounted);
    }

    /// Whether every planned delivery is accounted for.
    pub(crate) fn add_up(&self) -> bool {
        self.unaccounted() == 0
    }

    /// By how many deliveries what was planned differs from what was settled: never by one.
    pub(crate) fn unaccounted(&self) -> u64 {
        self.planned.abs_diff(self.delivered + self.parked + self.dead + self.cancelled)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the naive model: a map of everything outstanding.
        #[test]
        fn the_watermark_is_the_lowest_event_that_is_not_settled(
            events in prop::collection::vec((1_u64..4, 0_usize..4), 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let mut window = Window::new(Epoch(1), Offset(0), Totals::default(), 10);
            let mut model: BTreeMap<Offset, usize> = BTreeMap::new();
            let mut offset = Offset(0);
            for (gap, deliveries) in events {
                offset = Offset(offset.0 + gap);
                window.open(offset, deliveries, 100, Timestamp(0));
                if deliveries > 0 {
                    model.insert(offset, deliveries);
                }
            }
            for index in order {
                if model.is_empty() {
                    break;
                }
                let settled = *model.keys().nth(index.index(model.len())).expect("not empty");
                window.settle(settled, EndpointKey(0), Settled::Parked);
                let left = model.get_mut(&settled).expect("outstanding");
                *left -= 1;
                if *left == 0 {
                    model.remove(&settled);
                }
                let lowest = model.keys().next().copied().unwrap_or(offset.next());
                prop_assert_eq!(window.watermark(), lowest);
                prop_assert!(window.totals().add_up());
            }
        }
    }

    #[test]
    fn commits_what_moved_and_again_what_failed() {
        let mut window = Window::new(Epoch(1), Offset(5), Totals::default(), 10);
        assert_eq!(window.begin_commit(), None);
        window.open(Offset(5), 1, 10, Timestamp(0));
        window.open(Offset(6), 0, 10, Timestamp(0));
        assert_eq!(window.begin_commit(), None);
        window.settle(Offset(5), EndpointKey(0), Settled::Delivered);
        assert_eq!(window.begin_commit(), Some(Offset(7)));
        assert_eq!(window.begin_commit(), None, "one at a time");
        window.end_commit(Offset(7), false);
        assert_eq!(window.begin_commit(), Some(Offset(7)));
        window.end_commit(Offset(7), true);
        assert!(window.is_committed());
        assert_eq!(window.totals(), Totals { planned: 1, delivered: 1, ..Totals::default() });
    }

    #[test]
    fn is_bounded_in_events_and_bytes() {
        let mut window = Window::new(Epoch(1), Offset(0), Totals::default(), 10);
        window.open(Offset(1), 1, 600, Timestamp(0));
        assert!(window.has_room(2, 1_000) && !window.has_room(1, 1_000) && !window.has_room(2, 600));
        (2..60).for_each(|offset| window.open(Offset(offset), 0, 600, Timestamp(0)));
        assert!(window.has_room(2, 1_000), "what is settled behind the first takes no room");
        (60..130).for_each(|offset| window.open(Offset(offset), 0, 600, Timestamp(0)));
        assert!(!window.has_room(2, 1_000), "and does not grow for ever");
    }

    #[test]
    fn only_the_log_knows_since_when_an_event_of_a_later_version_waits() {
        let mut window = Window::new(Epoch(1), Offset(0), Totals::default(), 10);
        window.open(Offset(0), 1, 100, Timestamp(5));
        window.open_unreadable(Offset(1), Timestamp(9));
        assert_eq!(window.accepted_at(), Some(Timestamp(5)));
        window.settle(Offset(0), EndpointKey(0), Settled::Delivered);
        assert_eq!((window.accepted_at(), window.oldest()), (None, Some(Timestamp(9))));
        assert_eq!(window.watermark(), Offset(1), "nothing settles it");
    }
}
