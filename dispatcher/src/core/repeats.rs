//! The repeat memory: the latest events of a partition, by id and fingerprint.

use std::collections::{HashMap, HashSet, VecDeque};

use hookline_schemas::ids::EventId;
use xxhash_rust::xxh3::xxh3_64;

/// The latest pairs of id and fingerprint; the oldest are forgotten first. Ids are kept as 64-bit hashes: an
/// event is taken for a repetition only if its fingerprint matches too, 128 bits in all.
#[derive(Debug)]
pub(crate) struct RepeatMemory {
    pairs: HashSet<(u64, u64)>,
    /// How many pairs an id has, where it has more than one; few have.
    further: HashMap<u64, u32>,
    ids: HashSet<u64>,
    order: VecDeque<(u64, u64)>,
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
        let (pairs, further, ids) = (HashSet::new(), HashMap::new(), HashSet::new());
        Self { pairs, further, ids, order: VecDeque::new(), capacity }
    }

    /// Judges an event and remembers it.
    pub(crate) fn meet(&mut self, id: &EventId, fingerprint: u64) -> Seen {
        let id = xxh3_64(id.as_str().as_bytes());
        if !self.pairs.insert((id, fingerprint)) {
            return Seen::Repeated;
        }
        let is_new = self.ids.insert(id);
        if !is_new {
            *self.further.entry(id).or_default() += 1;
        }
        self.order.push_back((id, fingerprint));
        if self.order.len() > self.capacity {
            self.forget_oldest();
        }
        if is_new { Seen::New } else { Seen::Conflicting }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        self.pairs.remove(&oldest);
        match self.further.get_mut(&oldest.0) {
            None => drop(self.ids.remove(&oldest.0)),
            Some(1) => drop(self.further.remove(&oldest.0)),
            Some(further) => *further -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_repetitions_from_conflicts_and_forgets_the_oldest() {
        let mut memory = RepeatMemory::new(3);
        let (a, b, c) = (EventId::new("a"), EventId::new("b"), EventId::new("c"));
        for (id, fingerprint, expected) in [
            (&a, 1, Seen::New),
            (&a, 1, Seen::Repeated),
            (&a, 2, Seen::Conflicting),
            (&a, 1, Seen::Repeated),
            (&a, 2, Seen::Repeated),
            (&b, 1, Seen::New),
            // Forgets (a, 1), and with it neither (a, 2) nor that a is known.
            (&c, 1, Seen::New),
            (&a, 2, Seen::Repeated),
            // Forgets (a, 2), then (b, 1).
            (&a, 3, Seen::Conflicting),
            (&a, 1, Seen::Conflicting),
            (&b, 1, Seen::New),
        ] {
            assert_eq!(memory.meet(id, fingerprint), expected, "{id} {fingerprint}");
        }
    }
}
