//! Reading a stretch of a journal, and finding where a time begins in it.

use bytes::Bytes;
use hookline_event_log::{Bounds, Journal, Offset, Partition, ReadError, ReadLimit, Record};
use hookline_schemas::time::Timestamp;

/// What one read takes at most.
const LIMIT: ReadLimit = ReadLimit { records: 4096, bytes: 4 * 1024 * 1024 };

/// One record, however long it is.
const ONE: ReadLimit = ReadLimit { records: 1, bytes: 1 };

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

/// The record at this very offset; `None`, where there is none, or retention has taken it. No other is read.
///
/// # Errors
///
/// If the log can't be read.
pub async fn record_at<J: Journal>(
    journal: &J,
    partition: Partition,
    offset: Offset,
) -> Result<Option<Record>, ReadError> {
    match journal.read(partition, offset, None, ONE).await {
        Ok(batch) => Ok(batch.records.into_iter().find(|record| record.offset == offset)),
        Err(ReadError::Expired { .. }) => Ok(None),
        Err(error) => Err(error),
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
    let first_from = |from: Offset| async move {
        match journal.read(partition, from, None, ONE).await {
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
    use std::sync::{Arc, Mutex};

    use hookline_event_log::{AppendError, Appending, Batch, Reader};

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

    /// A journal of one partition that notes what is asked of it: records at these offsets, the first at 3.
    #[derive(Debug, Clone, Default)]
    struct Noting(Arc<Mutex<Vec<(Offset, ReadLimit)>>>);

    impl Reader for Noting {
        async fn next(&mut self, _: ReadLimit) -> Result<Batch, ReadError> {
            Err(ReadError::Closed)
        }
    }

    impl Journal for Noting {
        type Reader = Self;

        fn partitions(&self) -> u16 {
            1
        }

        async fn append(&self, _: Partition, _: Bytes, _: Bytes) -> Result<Appending, AppendError> {
            Err(AppendError::Closed)
        }

        async fn read(
            &self,
            partition: Partition,
            from: Offset,
            _: Option<Bytes>,
            limit: ReadLimit,
        ) -> Result<Batch, ReadError> {
            self.0.lock().expect("nobody has panicked").push((from, limit));
            if from < Offset(3) {
                return Err(ReadError::Expired { partition, asked: from, first: Offset(3) });
            }
            let offsets = [3, 4, 9].into_iter().filter(|offset| *offset >= from.0).take(limit.records);
            let record = |offset| Record {
                offset: Offset(offset),
                key: Bytes::new(),
                value: Bytes::new(),
                appended_at: Timestamp(offset),
            };
            let records: Vec<_> = offsets.map(record).collect();
            let next = records.last().map_or(from, |record| record.offset.next());
            Ok(Batch { records, next })
        }

        fn follow(&self, _: Partition, _: Offset) -> Self {
            self.clone()
        }

        async fn bounds(&self, _: Partition) -> Result<Bounds, ReadError> {
            Ok(Bounds { first: Offset(3), end: Offset(10) })
        }

        fn release(&self, _: Partition, _: Offset) {}
    }

    #[tokio::test]
    async fn a_record_is_read_at_its_offset_and_none_beside_it() {
        for (offset, is_there) in
            [(0, false), (2, false), (3, true), (4, true), (5, false), (9, true), (10, false)]
        {
            let journal = Noting::default();
            let found = record_at(&journal, Partition(0), Offset(offset)).await.expect("read");
            assert_eq!(found.map(|record| record.offset.0), is_there.then_some(offset));
            let asked = journal.0.lock().expect("nobody has panicked").clone();
            let asked: Vec<_> =
                asked.iter().map(|(from, limit)| (from.0, limit.records, limit.bytes)).collect();
            assert_eq!(asked, [(offset, 1, 1)]);
        }
    }
}
