//! Reading a stretch of a journal, and finding where a time begins in it.

use bytes::Bytes;
use hookline_event_log::{Bounds, Journal, Offset, Partition, ReadError, ReadLimit, Record};
use hookline_schemas::time::Timestamp;

/// What one read takes at most.
const LIMIT: ReadLimit = ReadLimit { records: 4096, bytes: 4 * 1024 * 1024 };

/// The clocks of those who append may differ by this much, in milliseconds.
const CLOCKS: u64 = 60_000;

/// Reads a partition from an offset to its present end, piece by piece.
pub(crate) struct Scan<'journal, J: Journal> {
    journal: &'journal J,
    partition: Partition,
    key: Option<Bytes>,
    /// Where it goes on.
    pub(crate) next: Offset,
    end: Offset,
}

impl<'journal, J: Journal> Scan<'journal, J> {
    /// Everything in the partition, or everything with this key.
    pub(crate) async fn all(
        journal: &'journal J,
        partition: Partition,
        key: Option<Bytes>,
    ) -> Result<Self, ReadError> {
        Self::from(journal, partition, key, Offset::START).await
    }

    /// From an offset on.
    pub(crate) async fn from(
        journal: &'journal J,
        partition: Partition,
        key: Option<Bytes>,
        from: Offset,
    ) -> Result<Self, ReadError> {
        let bounds = journal.bounds(partition).await?;
        Ok(Self { journal, partition, key, next: from.max(bounds.first), end: bounds.end })
    }

    /// What was appended then or later.
    pub(crate) async fn since(
        journal: &'journal J,
        partition: Partition,
        key: Option<Bytes>,
        since: Timestamp,
    ) -> Result<Self, ReadError> {
        let bounds = journal.bounds(partition).await?;
        let next = first_since(journal, partition, bounds, since).await?;
        Ok(Self { journal, partition, key, next, end: bounds.end })
    }

    /// The next piece; `None` at the end. What retention takes meanwhile is passed by.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Record>>, ReadError> {
        while self.next < self.end {
            match self.journal.read(self.partition, self.next, self.key.clone(), LIMIT).await {
                Ok(batch) if batch.next <= self.next => return Ok(None),
                Ok(batch) => {
                    self.next = batch.next;
                    let records = batch.records.into_iter().filter(|record| record.offset < self.end);
                    return Ok(Some(records.collect()));
                }
                Err(ReadError::Expired { first, .. }) if first > self.next => self.next = first,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// At or below the first record that was appended at this time or later: offsets ascend as times do, but for what
/// the clocks differ.
async fn first_since<J: Journal>(
    journal: &J,
    partition: Partition,
    bounds: Bounds,
    since: Timestamp,
) -> Result<Offset, ReadError> {
    let since = Timestamp(since.0.saturating_sub(CLOCKS));
    let (mut low, mut high) = (bounds.first, bounds.end);
    while low < high {
        let middle = Offset(low.0 + (high.0 - low.0) / 2);
        let one = ReadLimit { records: 1, bytes: 1 };
        let found = match journal.read(partition, middle, None, one).await {
            Ok(batch) => batch.records.into_iter().next(),
            Err(ReadError::Expired { first, .. }) if first > middle => {
                low = first;
                continue;
            }
            Err(error) => return Err(error),
        };
        match found {
            Some(record) if record.appended_at < since => low = record.offset.next(),
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}
