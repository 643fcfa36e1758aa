//! The repeat memory: the latest events of a partition, by id and fingerprint.

use std::collections::{HashMap, VecDeque};

use hookline_schemas::ids::EventId;
use xxhash_rust::xxh3::xxh3_64;

/// Bounded; the oldest are forgotten first. Ids are kept as 64-bit hashes: an event is taken for a repetition
/// only if its fingerprint matches too, 128 bits in all.
#[derive(Debug)]
pub(crate) struct RepeatMemory {
    fingerprints: HashMap<u64, u64>,
    order: VecDeque<u64>,
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
        Self { fingerprints: HashMap::new(), order: VecDeque::new(), capacity }
    }

    /// Judges an event and remembers it.
    pub(crate) fn meet(&mut self, id: &EventId, fingerprint: u64) -> Seen {
        let id = xxh3_64(id.as_str().as_bytes());
        match self.fingerprints.insert(id, fingerprint) {
            Some(known) if known == fingerprint => Seen::Repeated,
            Some(_) => Seen::Conflicting,
            None => {
                self.order.push_back(id);
                if self.order.len() > self.capacity
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.fingerprints.remove(&oldest);
                }
                Seen::New
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_repetitions_from_conflicts_and_forgets_the_oldest() {
        let mut memory = RepeatMemory::new(2);
        let (a, b, c) = (EventId::new("a"), EventId::new("b"), EventId::new("c"));
        assert_eq!(memory.meet(&a, 1), Seen::New);
        assert_eq!(memory.meet(&a, 1), Seen::Repeated);
        assert_eq!(memory.meet(&a, 2), Seen::Conflicting);
        assert_eq!(memory.meet(&a, 2), Seen::Repeated);
        assert_eq!(memory.meet(&b, 1), Seen::New);
        assert_eq!(memory.meet(&c, 1), Seen::New);
        assert_eq!(memory.meet(&a, 2), Seen::New);
    }
}
