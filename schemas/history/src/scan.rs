//! Reading a stretch of a journal, and finding where a time begins in it.

use bytes::Bytes;
use hookline_event_log::{Bounds, Journal, Offset, Partition, ReadError, ReadLimit, Record};
use hookline_schemas::time::Timestamp;

/// What one read takes at most.
const LIMIT: ReadLimit = ReadLimit { records: 4096, bytes: 4 * 1024 * 1024 };

/// The clocks of those who append may differ by this much, in milliseconds.
const CLOCKS: u64 = 60_000;

/// Reads a partition from an offset to its present end, piece by piece.
#[derive(Debug)]
pub struct Scan<'journal, J: Journal> {
    journal: &'journal J,
    partition: Partition,
    key: Option<Bytes>,
    /// Where it goes on.
    pub next: Offset,
    end: Offset,
}

impl<'journal, J: Journal> Scan<'journal, J> {
    /// Everything in the partition, or everything with this key.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn all(
        journal: &'journal J,
        partition: Partition,
        key: Option<Bytes>,
    ) -> Result<Self, ReadError> {
        Self::from(journal, partition, key, Offset::START).await
    }

    /// From an offset on.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn from(
        journal: &'journal J,
        partition: Partition,
        key: Option<Bytes>,
        from: Offset,
    ) -> Result<Self, ReadError> {
        let bounds = journal.bounds(partition).await?;
        Ok(Self { journal, partition, key, next: from.max(bounds.first), end: bounds.end })
    }

    /// What was appended then or later.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn since(
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
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>, ReadError> {
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
    let one = ReadLimit { records: 1, bytes: 1 };
    let first_from = |from: Offset| async move {
        match journal.read(partition, from, None, one).await {
            Ok(batch) => Ok(batch.records.first().map(|record| (record.offset, record.appended_at))),
            // Retention has taken what stood there: it was older.
            Err(ReadError::Expired { first, .. }) if first > from => Ok(Some((first, Timestamp(0)))),
            Err(error) => Err(error),
        }
    };
    search(bounds, since, first_from).await
}

/// The first offset from which on no record is older. `first_from`: the first record at or behind an offset, with
/// its time.
async fn search<E, F: Future<Output = Result<Option<(Offset, Timestamp)>, E>>>(
    bounds: Bounds,
    since: Timestamp,
    first_from: impl Fn(Offset) -> F,
) -> Result<Offset, E> {
    let (mut low, mut high) = (bounds.first, bounds.end);
    while low < high {
        let middle = Offset(low.0 + (high.0 - low.0) / 2);
        match first_from(middle).await? {
            Some((offset, appended_at)) if appended_at < since => low = offset.next(),
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Records at these offsets, with gaps, each appended at ten times its offset.
    #[tokio::test]
    async fn finds_where_a_time_begins() {
        let offsets = [3, 4, 9, 10, 11, 30];
        let bounds = Bounds { first: Offset(3), end: Offset(31) };
        for since in 0..320 {
            let first_from = |from: Offset| {
                let found = offsets.into_iter().find(|offset| *offset >= from.0);
                let found = found.map(|offset| (Offset(offset), Timestamp(offset * 10)));
                std::future::ready(Ok::<_, Infallible>(found))
            };
            let from = search(bounds, Timestamp(since), first_from).await.unwrap_or(Offset::START);
            let kept: Vec<u64> = offsets.into_iter().filter(|offset| *offset >= from.0).collect();
            let young: Vec<u64> = offsets.into_iter().filter(|offset| offset * 10 >= since).collect();
            assert_eq!(kept, young, "since {since}, from {from:?}");
        }
    }
}
