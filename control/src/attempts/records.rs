//! Reading the records behind places: neighbours in one read.

use std::collections::HashMap;

use futures::future::try_join_all;
use hookline_event_log::{Journal, Log, Offset, Partition, ReadError, ReadLimit};
use hookline_schemas::delivery::{AttemptRecord, decode};

use super::{Attempts, Place};

/// Records that stand so near to each other are read together.
const NEAR: u64 = 256;

/// Of one read.
const LIMIT: ReadLimit = ReadLimit { records: 256, bytes: 1024 * 1024 };

impl<L: Log> Attempts<L> {
    /// The records at these places, in their order. What retention has taken is left out, and remembered as gone.
    pub(super) async fn records(&self, places: &[Place]) -> Result<Vec<AttemptRecord>, ReadError> {
        let mut positions: Vec<_> = places.iter().map(|place| (place.partition, place.offset)).collect();
        positions.sort_unstable();
        let is_near = |one: &(Partition, Offset), other: &(Partition, Offset)| {
            one.0 == other.0 && other.1.0 - one.1.0 <= NEAR
        };
        let reads = positions.chunk_by(is_near).map(|positions| self.read(positions));
        let read = try_join_all(reads).await?;
        let mut records: HashMap<_, _> = read.into_iter().flatten().collect();
        let in_order = places.iter().filter_map(|place| records.remove(&(place.partition, place.offset)));
        Ok(in_order.collect())
    }

    /// What is there at these positions of one partition, which ascend.
    async fn read(
        &self,
        positions: &[(Partition, Offset)],
    ) -> Result<Vec<((Partition, Offset), AttemptRecord)>, ReadError> {
        let mut found = Vec::with_capacity(positions.len());
        let mut left = positions;
        while let Some((partition, from)) = left.first().copied() {
            let batch = match self.journal.read(partition, from, None, LIMIT).await {
                Ok(batch) => batch,
                Err(ReadError::Expired { first, .. }) if first > from => {
                    self.known_mut().ring.expire(partition, first);
                    left = from_on(left, first);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let wanted =
                batch.records.iter().filter(|record| left.binary_search(&(partition, record.offset)).is_ok());
            found.extend(wanted.filter_map(|record| {
                Some(((partition, record.offset), decode::<AttemptRecord>(&record.value).ok()?))
            }));
            // Nothing more is there, where it does not go on.
            left = from_on(left, batch.next.max(from.next()));
        }
        Ok(found)
    }
}

fn from_on(positions: &[(Partition, Offset)], from: Offset) -> &[(Partition, Offset)] {
    let at = positions.partition_point(|(_, offset)| *offset < from);
    positions.get(at..).unwrap_or_default()
}
