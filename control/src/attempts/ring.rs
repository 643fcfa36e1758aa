//! The ring of compact entries: which attempts there were, without their texts. Pure.
//!
//! It holds a fixed number of entries in the order in which they came, and forgets the oldest. Webhooks are kept by
//! number, and an event by a hash of its id, so whoever reads the record behind an entry compares the id itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use hookline_event_log::{Offset, Partition};
use hookline_schemas::ids::{EventId, WebhookId};
use hookline_schemas::time::Timestamp;

/// Where an attempt stands among all of them, by when it began; no two stand at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// Of its record in `attempts`.
    pub(crate) partition: Partition,
    /// Of its record in `attempts`.
    pub(crate) offset: Offset,
}

/// What is kept of an attempt beside its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting<'a> {
    /// For whom.
    pub(crate) webhook: &'a WebhookId,
    /// [`event_hash`] of what.
    pub(crate) event: u64,
    /// Whether it was a 2xx.
    pub(crate) is_delivered: bool,
}

/// One attempt, in 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    started_at: Timestamp,
    offset: Offset,
    event: u64,
    webhook: u32,
    partition: Partition,
    is_delivered: bool,
}

/// Which attempts are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Of these webhooks.
    pub(crate) webhooks: &'a [WebhookId],
    /// Of this event.
    pub(crate) event: Option<&'a EventId>,
    /// Those that were a 2xx, or those that were none.
    pub(crate) is_delivered: Option<bool>,
    /// Those that stand before this place.
    pub(crate) before: Option<Place>,
}

/// An attempt at an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AtEvent {
    /// For whom.
    pub(crate) webhook: WebhookId,
    /// Where it stands.
    pub(crate) place: Place,
    /// Whether it was a 2xx.
    pub(crate) is_delivered: bool,
}

/// The latest attempts.
#[derive(Debug)]
pub(crate) struct Ring {
    entries: VecDeque<Entry>,
    capacity: usize,
    webhooks: Numbers,
    since: Option<Timestamp>,
    /// Where partitions begin, as far as retention is known to have taken something of them.
    firsts: BTreeMap<Partition, Offset>,
}

/// What stands for an event in an entry. Of this process alone: it is written nowhere.
pub(crate) fn event_hash(event: &EventId) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.hash(&mut hasher);
    hasher.finish()
}

impl Entry {
    const fn place(&self) -> Place {
        Place { started_at: self.started_at, partition: self.partition, offset: self.offset }
    }
}

impl Ring {
    /// An empty one for so many entries.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a ring holds something");
        let (entries, webhooks) = (VecDeque::new(), Numbers::default());
        Self { entries, capacity, webhooks, since: None, firsts: BTreeMap::new() }
    }

    /// Takes an attempt as the newest; beyond the capacity the oldest falls out.
    pub(crate) fn push(&mut self, place: Place, seen: Sighting<'_>) {
        if self.entries.len() == self.capacity
            && let Some(oldest) = self.entries.pop_front()
        {
            self.webhooks.leave(oldest.webhook);
            self.is_cut_before(Timestamp(oldest.started_at.0.saturating_add(1)));
        }
        let Place { started_at, partition, offset } = place;
        let Sighting { webhook, event, is_delivered } = seen;
        let webhook = self.webhooks.enter(webhook);
        self.entries.push_back(Entry { started_at, offset, event, webhook, partition, is_delivered });
    }

    /// Puts everything in order, after partitions were read one behind the other.
    pub(crate) fn sort(&mut self) {
        self.entries.make_contiguous().sort_unstable_by_key(Entry::place);
    }

    /// Attempts that began earlier than this may be missing.
    pub(crate) fn is_cut_before(&mut self, since: Timestamp) {
        self.since = self.since.max(Some(since));
    }

    /// From when on no attempt is missing; `None`, if there is none that was left out.
    pub(crate) const fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Retention has taken what stood before this offset of the partition.
    pub(crate) fn expire(&mut self, partition: Partition, first: Offset) {
        let known = self.firsts.entry(partition).or_insert(first);
        *known = first.max(*known);
    }

    /// The places of the newest that are wanted, the newest first.
    pub(crate) fn newest(&self, wanted: Wanted<'_>, most: usize) -> Vec<Place> {
        let mut kept = BinaryHeap::with_capacity(most);
        // Newest last, as good as: what is found later seldom stands before what was found.
        for place in self.wanted(wanted).rev().map(Entry::place) {
            if kept.len() < most {
                kept.push(Reverse(place));
            } else if let Some(mut oldest) = kept.peek_mut()
                && oldest.0 < place
            {
                *oldest = Reverse(place);
            }
        }
        kept.into_sorted_vec().into_iter().map(|Reverse(place)| place).collect()
    }

    /// Every attempt at an event at these webhooks, in no order.
    pub(crate) fn at_event(&self, webhooks: &[WebhookId], event: &EventId) -> Vec<AtEvent> {
        let wanted = Wanted { webhooks, event: Some(event), is_delivered: None, before: None };
        let at_event = |entry: &Entry| {
            let (webhook, is_delivered) = (self.webhooks.name(entry.webhook)?.clone(), entry.is_delivered);
            Some(AtEvent { webhook, place: entry.place(), is_delivered })
        };
        self.wanted(wanted).filter_map(at_event).collect()
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn wanted<'a>(&'a self, wanted: Wanted<'a>) -> impl DoubleEndedIterator<Item = &'a Entry> {
        let mut webhooks = vec![false; self.webhooks.slots.len()];
        for number in wanted.webhooks.iter().filter_map(|webhook| self.webhooks.by_name.get(webhook)) {
            if let Some(is_wanted) = usize::try_from(*number).ok().and_then(|number| webhooks.get_mut(number))
            {
                *is_wanted = true;
            }
        }
        let is_of_webhook = move |entry: &Entry| {
            let number = usize::try_from(entry.webhook).ok();
            number.and_then(|number| webhooks.get(number)).is_some_and(|is_wanted| *is_wanted)
        };
        let event = wanted.event.map(event_hash);
        let is_there =
            |entry: &Entry| self.firsts.get(&entry.partition).is_none_or(|first| *first <= entry.offset);
        self.entries.iter().filter(move |entry| {
            event.is_none_or(|event| event == entry.event)
                && wanted.is_delivered.is_none_or(|is_delivered| is_delivered == entry.is_delivered)
                && is_of_webhook(entry)
                && wanted.before.is_none_or(|before| entry.place() < before)
                && is_there(entry)
        })
    }
}

/// Numbers for the webhooks of which there are entries. A number is given again once its last entry has gone.
#[derive(Debug, Default)]
struct Numbers {
    slots: Vec<Slot>,
    by_name: HashMap<WebhookId, u32>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    name: WebhookId,
    entries: u32,
}

impl Numbers {
    /// The number of a webhook that has one entry more.
    fn enter(&mut self, name: &WebhookId) -> u32 {
        let number = match self.by_name.get(name) {
            Some(number) => *number,
            None => self.give(name),
        };
        if let Some(slot) = self.slot_mut(number) {
            slot.entries += 1;
        }
        number
    }

    fn give(&mut self, name: &WebhookId) -> u32 {
        let slot = Slot { name: name.clone(), entries: 0 };
        let number = if let Some(number) = self.free.pop() {
            if let Some(free) = self.slot_mut(number) {
                *free = slot;
            }
            number
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).expect("there are no more webhooks than entries")
        };
        self.by_name.insert(name.clone(), number);
        number
    }

    /// One entry less.
    fn leave(&mut self, number: u32) {
        let slot = self.slot_mut(number).expect("an entry's webhook has a number");
        slot.entries -= 1;
        if slot.entries == 0 {
            let name = slot.name.clone();
            self.by_name.remove(&name);
            self.free.push(number);
        }
    }

    fn name(&self, number: u32) -> Option<&WebhookId> {
        self.slots.get(usize::try_from(number).ok()?).map(|slot| &slot.name)
    }

    fn slot_mut(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(number).ok()?)
    }
}

#[cfg(test)]
mod tests;
