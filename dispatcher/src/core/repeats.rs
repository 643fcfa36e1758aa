//! The repeat memory: the latest events of a partition, by id and fingerprint.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

/// What tells an event from others: its id, kept as a 64-bit hash, and the fingerprint of its body. One is taken for a
/// repetition only if both match, 128 bits in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    id: u64,
    fingerprint: u64,
}

impl Identity {
    pub(crate) fn new(id: &str, fingerprint: u64) -> Self {
        Self { id: xxh3_64(id.as_bytes()), fingerprint }
    }
}

/// The latest events; the oldest are forgotten first.
#[derive(Debug)]
pub(crate) struct RepeatMemory {
    /// The fingerprint of each id.
    fingerprints: FxHashMap<u64, u64>,
    /// The further ones of an id that has more than one, the oldest first; few have.
    further: FxHashMap<u64, VecDeque<u64>>,
    order: VecDeque<Identity>,
    capacity: usize,
}

/// What the memory says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not in memory.
    New,
    /// The same id with the same body.
    Repeated,
    /// The same id with another body.
    Conflicting,
}

impl RepeatMemory {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            fingerprints: FxHashMap::default(),
            further: FxHashMap::default(),
            order: VecDeque::new(),
        }
    }

    /// So many more will come at once: room is made for them alone, and once.
    pub(crate) fn expect(&mut self, events: usize) {
        let events = events.min(self.capacity);
        self.fingerprints.reserve(events);
        self.order.reserve(events);
    }

    /// Judges an event and remembers it.
    pub(crate) fn meet(&mut self, event: Identity) -> Seen {
        let Identity { id, fingerprint } = event;
        let seen = match self.fingerprints.entry(id) {
            Entry::Vacant(place) => {
                place.insert(fingerprint);
                Seen::New
            }
            Entry::Occupied(known) if *known.get() == fingerprint => return Seen::Repeated,
            Entry::Occupied(_) => {
                let further = self.further.entry(id).or_default();
                if further.contains(&fingerprint) {
                    return Seen::Repeated;
                }
                further.push_back(fingerprint);
                Seen::Conflicting
            }
        };
        self.order.push_back(event);
        if self.order.len() > self.capacity {
            self.forget_oldest();
        }
        seen
    }

    /// Of one id the oldest is that which came first.
    fn forget_oldest(&mut self) {
        let Some(Identity { id, .. }) = self.order.pop_front() else { return };
        let Entry::Occupied(mut further) = self.further.entry(id) else {
            self.fingerprints.remove(&id);
            return;
        };
        self.fingerprints.extend(further.get_mut().pop_front().map(|next| (id, next)));
        if further.get().is_empty() {
            further.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_repetitions_from_conflicts_and_forgets_the_oldest() {
        let mut memory = RepeatMemory::new(3);
        let (a, b, c) = ("a", "b", "c");
        for (id, fingerprint, expected) in [
            (a, 1, Seen::New),
            (a, 1, Seen::Repeated),
            (a, 2, Seen::Conflicting),
            (a, 1, Seen::Repeated),
            (a, 2, Seen::Repeated),
            (b, 1, Seen::New),
            // Forgets (a, 1), and with it neither (a, 2) nor that a is known.
            (c, 1, Seen::New),
            (a, 2, Seen::Repeated),
            // Forgets (a, 2), then (b, 1).
            (a, 3, Seen::Conflicting),
            (a, 1, Seen::Conflicting),
            (b, 1, Seen::New),
        ] {
            assert_eq!(memory.meet(Identity::new(id, fingerprint)), expected, "{id} {fingerprint}");
        }
        assert_eq!((memory.fingerprints.len(), memory.further.len(), memory.order.len()), (2, 1, 3));
    }
}
