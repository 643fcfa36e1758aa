//! Judges late writers of a table: a put by an owner that has been deposed may still be acknowledged, and
//! readers tell it by the owner's marker that stands before it.
//!
//! Pure: it is fed the markers of each partition. What a marker looks like is
//! the business of whoever writes the table.

use std::collections::HashMap;

use crate::{Entry, Epoch, Offset, Partition};

/// What an entry is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Written by an owner that had not been deposed at the time.
    Current,
    /// Written after a later owner's marker under an earlier epoch: the writer did not know yet.
    LateForeign,
}

/// The owner markers seen so far, all of them: a late record may have been written between two, and only the
/// earlier one tells.
#[derive(Debug, Clone, Default)]
pub struct Fence {
    markers: HashMap<Partition, Vec<Marker>>,
}

#[derive(Debug, Clone, Copy)]
struct Marker {
    epoch: Epoch,
    version: Offset,
}

impl Fence {
    /// A fence that has seen no marker: everything is current.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of an owner's marker, in any order.
    pub fn owner(&mut self, partition: Partition, epoch: Epoch, version: Offset) {
        self.markers.entry(partition).or_default().push(Marker { epoch, version });
    }

    /// Judges an entry against the markers of its partition.
    pub fn judge(&self, entry: &Entry) -> Verdict {
        let markers = self.markers.get(&entry.partition).map(Vec::as_slice).unwrap_or_default();
        let deposed = |marker: &Marker| marker.epoch > entry.epoch && marker.version < entry.version;
        if markers.iter().any(deposed) { Verdict::LateForeign } else { Verdict::Current }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(partition: u16, epoch: u64, version: u64) -> Entry {
        Entry {
            partition: Partition(partition),
            key: Bytes::from_static(b"lane"),
            value: Some(Bytes::from_static(b"drained")),
            epoch: Epoch(epoch),
            version: Offset(version),
        }
    }

    #[test]
    fn an_earlier_epoch_behind_the_marker_is_late_and_nothing_else() {
        let mut fence = Fence::new();
        fence.owner(Partition(1), Epoch(7), Offset(100));
        let cases = [
            (entry(1, 6, 99), Verdict::Current),
            (entry(1, 6, 100), Verdict::Current),
            (entry(1, 6, 101), Verdict::LateForeign),
            (entry(1, 7, 101), Verdict::Current),
            (entry(1, 7, 99), Verdict::Current),
            (entry(1, 8, 101), Verdict::Current),
            (entry(2, 1, 500), Verdict::Current),
        ];
        for (entry, expected) in cases {
            assert_eq!(fence.judge(&entry), expected, "{entry:?}");
        }
    }

    #[test]
    fn a_record_between_two_markers_is_late_by_the_earlier_one() {
        let mut fence = Fence::new();
        fence.owner(Partition(0), Epoch(9), Offset(300));
        fence.owner(Partition(0), Epoch(8), Offset(200));
        assert_eq!(fence.judge(&entry(0, 7, 250)), Verdict::LateForeign);
        assert_eq!(fence.judge(&entry(0, 8, 250)), Verdict::Current);
        assert_eq!(fence.judge(&entry(0, 7, 150)), Verdict::Current);
    }
}
