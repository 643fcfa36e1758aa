//! Looking at the log beside the core: how far it reaches behind what is committed, and how old is what retention must
//! not take yet. Every few seconds, a few partitions at a time; nothing waits for the answers. A partition that does not
//! answer (over Kafka, one without a leader) keeps nobody else waiting, and what was known of it stands: not to know is
//! not *all is well*.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use hookline_event_log::{Journal, JournalName, Offset, Partition, ReadError, ReadLimit};
use hookline_schemas::time::Timestamp;

use crate::core::Position;

/// From the end of one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// So long a partition may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// So many are asked at a time.
const AT_ONCE: usize = 16;

/// One record tells.
const LIMIT: ReadLimit = ReadLimit { records: 1, bytes: 1 };

/// What was found in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// From here on it is needed.
    needed_from: Offset,
    /// How far it reaches behind that.
    lag: u64,
    /// When the first record that is needed was appended, if there is one.
    oldest: Option<Timestamp>,
}

/// What a look has found.
pub(super) type Looked = BTreeMap<(JournalName, Partition), Found>;

/// What the latest look has found, and when the next one is due.
#[derive(Debug, Default)]
pub(super) struct Looking {
    is_under_way: bool,
    /// How many partitions were looked at.
    partitions: usize,
    due: Timestamp,
    found: Looked,
}

impl Looking {
    /// Begins a look at so many partitions, if it is time or there were others; with what is known already.
    pub(super) fn begin(&mut self, partitions: usize, now: Timestamp) -> Option<Looked> {
        if self.is_under_way || (now < self.due && partitions == self.partitions) {
            return None;
        }
        self.is_under_way = true;
        self.partitions = partitions;
        Some(self.found.clone())
    }

    /// A look has ended.
    pub(super) fn end(&mut self, looked: Looked, now: Timestamp) {
        self.found = looked;
        self.is_under_way = false;
        self.due = now.after(LOOK_INTERVAL);
    }

    /// How many records of each partition of `events` stand behind what is committed.
    pub(super) fn lags(&self) -> impl Iterator<Item = (Partition, u64)> {
        let events = self.found.iter().filter(|((journal, _), _)| *journal == JournalName::Events);
        events.map(|((_, partition), found)| (*partition, found.lag))
    }

    /// When the first record of each journal that is needed was appended, where there is one.
    pub(super) fn oldest(&self) -> [(JournalName, Option<Timestamp>); 2] {
        [JournalName::Events, JournalName::Parked].map(|journal| {
            let found = self.found.iter().filter(|((of, _), _)| *of == journal);
            (journal, found.filter_map(|(_, found)| found.oldest).min())
        })
    }
}

/// Looks at these partitions of the log. Of one that does not answer in time what was known stands; it is left out only
/// where nothing was.
pub(super) async fn look<J: Journal>(
    journal: impl Fn(JournalName) -> J,
    positions: Vec<Position>,
    known: Looked,
    patience: Duration,
) -> Looked {
    let looking = positions.into_iter().map(|position| {
        let of = (position.journal, position.partition);
        let (journal, known) = (journal(position.journal), known.get(&of).copied());
        async move {
            let answer = tokio::time::timeout(patience, look_at(&journal, position, known)).await;
            let found = answer.ok().flatten().or_else(|| carried_over(position, known));
            found.map(|found| (of, found))
        }
    });
    futures::stream::iter(looking).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

/// None where it can't be looked at.
async fn look_at<J: Journal>(journal: &J, position: Position, known: Option<Found>) -> Option<Found> {
    let Position { partition, offset, .. } = position;
    let bounds = journal.bounds(partition).await.ok()?;
    let needed_from = offset.max(bounds.first);
    let lag = bounds.end.0.saturating_sub(needed_from.0);
    let known = known.filter(|found| found.needed_from == needed_from);
    let oldest = match known.and_then(|found| found.oldest).or(position.accepted_at) {
        _ if lag == 0 => None,
        Some(oldest) => Some(oldest),
        None => appended_at(journal, partition, needed_from).await.ok()?,
    };
    Some(Found { needed_from, lag, oldest })
}

/// When the first record from an offset on was appended.
async fn appended_at<J: Journal>(
    journal: &J,
    partition: Partition,
    from: Offset,
) -> Result<Option<Timestamp>, ReadError> {
    let batch = journal.read(partition, from, None, LIMIT).await?;
    Ok(batch.records.first().map(|record| record.appended_at))
}

/// What can be said of a partition that does not answer: it ends no earlier than it did, and an event that has been
/// fetched stands there.
fn carried_over(position: Position, known: Option<Found>) -> Option<Found> {
    let Position { offset, accepted_at, .. } = position;
    let fetched = u64::from(accepted_at.is_some());
    let Some(known) = known else {
        let found = Found { needed_from: offset, lag: fetched, oldest: accepted_at };
        return accepted_at.map(|_| found);
    };
    let needed_from = offset.max(known.needed_from);
    let lag = (known.needed_from.0 + known.lag).saturating_sub(needed_from.0).max(fetched);
    // Of a record that has been settled since, where nothing else is known: too old, and not for long.
    let oldest = if needed_from == known.needed_from {
        known.oldest.or(accepted_at)
    } else {
        accepted_at.or(known.oldest)
    };
    Some(Found { needed_from, lag, oldest: oldest.filter(|_| lag > 0) })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
    use hookline_event_log::{AppendError, Appending, Batch, Bounds, Log, PartitionCounts, Reader};
    use hookline_schemas::time::Clock;

    use super::*;

    /// Each partition has 10 records; what it is not to answer never ends, or fails.
    #[derive(Clone)]
    struct Silent {
        bounds_of: Option<Partition>,
        reads_of: Option<Partition>,
        fails: bool,
    }

    impl Silent {
        async fn answer(&self, is_silent: bool) -> Result<(), ReadError> {
            match (is_silent, self.fails) {
                (false, _) => Ok(()),
                (true, true) => Err(ReadError::Closed),
                (true, false) => std::future::pending().await,
            }
        }
    }

    impl Journal for Silent {
        type Reader = NoReader;

        fn partitions(&self) -> u16 {
            3
        }

        async fn append(&self, _: Partition, _: Bytes, _: Bytes) -> Result<Appending, AppendError> {
            unreachable!("a look appends nothing")
        }

        async fn read(
            &self,
            partition: Partition,
            from: Offset,
            _: Option<Bytes>,
            _: ReadLimit,
        ) -> Result<Batch, ReadError> {
            self.answer(self.reads_of == Some(partition)).await?;
            Ok(Batch { records: Vec::new(), next: from })
        }

        fn follow(&self, _: Partition, _: Offset) -> NoReader {
            NoReader
        }

        async fn bounds(&self, partition: Partition) -> Result<Bounds, ReadError> {
            self.answer(self.bounds_of == Some(partition)).await?;
            Ok(Bounds { first: Offset(0), end: Offset(10) })
        }

        fn release(&self, _: Partition, _: Offset) {}
    }

    struct NoReader;

    impl Reader for NoReader {
        async fn next(&mut self, _: ReadLimit) -> Result<Batch, ReadError> {
            unreachable!("a look follows nothing")
        }
    }

    #[tokio::test]
    async fn a_partition_that_does_not_answer_is_what_was_known_of_it_and_stops_nobody() {
        let of = |partition| (JournalName::Events, Partition(partition));
        let found = |needed_from, lag, oldest: Option<u64>| Found {
            needed_from: Offset(needed_from),
            lag,
            oldest: oldest.map(Timestamp),
        };
        let asked = |accepted_at: Option<u64>| {
            let accepted_at = accepted_at.map(Timestamp);
            [0, 1, 2].map(|partition| {
                let (journal, partition) = of(partition);
                Position { journal, partition, offset: Offset(4), accepted_at }
            })
        };
        let one = Some(Partition(1));
        let table = [
            // Of the record that it was, of one that came later, of none that is known to be there.
            (one, None, Some(found(4, 3, Some(50))), None, Some(found(4, 3, Some(50)))),
            (one, None, Some(found(2, 5, Some(50))), Some(70), Some(found(4, 3, Some(70)))),
            (one, None, Some(found(2, 5, Some(50))), None, Some(found(4, 3, Some(50)))),
            (one, None, Some(found(2, 2, Some(50))), None, Some(found(4, 0, None))),
            (one, None, Some(found(4, 0, None)), Some(70), Some(found(4, 1, Some(70)))),
            // Nothing was known.
            (one, None, None, Some(70), Some(found(4, 1, Some(70)))),
            (one, None, None, None, None),
            // It says how far it reaches, and does not let itself be read.
            (None, one, Some(found(2, 5, Some(50))), None, Some(found(4, 3, Some(50)))),
        ];
        for (number, (bounds_of, reads_of, known, accepted_at, expected)) in table.into_iter().enumerate() {
            for fails in [false, true] {
                let silent = Silent { bounds_of, reads_of, fails };
                let known = known.into_iter().map(|known| (of(1), known)).collect();
                let looking =
                    look(|_| silent.clone(), asked(accepted_at).into(), known, Duration::from_millis(20));
                let looked = tokio::time::timeout(PATIENCE, looking).await.expect("it ends");
                assert_eq!(looked.get(&of(1)).copied(), expected, "{number}");
                let others = [0, 2].map(|other| looked.get(&of(other)).map(|found| found.lag));
                assert_eq!(others, [Some(6), Some(6)], "{number}: the others have answered");
            }
        }
    }

    const EVENTS: (JournalName, Partition) = (JournalName::Events, Partition(0));

    fn at(offset: Offset, accepted_at: Option<Timestamp>) -> Vec<Position> {
        let (journal, partition) = EVENTS;
        vec![Position { journal, partition, offset, accepted_at }]
    }

    #[tokio::test]
    async fn what_is_behind_the_position_is_counted_and_its_first_record_tells_the_age() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = EmbeddedOptions {
            partitions: PartitionCounts { events: 1, lanes: 1 },
            map_size: 1 << 26,
            reserve: 1 << 20,
            allow_page_cache: true,
            ..EmbeddedOptions::new(directory.path())
        };
        let log = EmbeddedLog::open(options, Clock::start()).expect("a log");
        let (journal, value) = (log.journal(JournalName::Events), Bytes::from_static(b"an event"));
        let mut ends = Vec::new();
        for _ in 0..3 {
            let accepted =
                journal.append(Partition(0), value.clone(), value.clone()).await.expect("accepted");
            ends.push(accepted.await.expect("durable"));
        }
        let look = async |positions, known| {
            look(|name| log.journal(name), positions, known, PATIENCE).await.get(&EVENTS).copied()
        };
        let appended = journal.read(Partition(0), Offset::START, None, LIMIT).await.expect("a batch");
        let appended = appended.records.first().map(|record| record.appended_at);

        let all = look(at(Offset::START, None), Looked::new()).await.expect("found");
        assert_eq!((all.lag, all.oldest), (3, appended));
        let last = *ends.last().expect("three");
        let one = look(at(last, Some(Timestamp(7))), Looked::new()).await.expect("found");
        assert_eq!((one.lag, one.oldest), (1, Some(Timestamp(7))), "what is known is not read");
        let known = Looked::from([(EVENTS, Found { oldest: Some(Timestamp(5)), ..one })]);
        let again = look(at(last, Some(Timestamp(7))), known.clone()).await.expect("found");
        assert_eq!(again.oldest, Some(Timestamp(5)), "nor what was read");
        let moved = look(at(Offset::START, None), known).await.expect("found");
        assert_eq!(moved.oldest, appended, "but of another record it says nothing");
        let none = look(at(last.next(), Some(Timestamp(7))), Looked::new()).await.expect("found");
        assert_eq!((none.lag, none.oldest), (0, None));
        log.close().await;
    }

    #[test]
    fn one_look_at_a_time_and_a_while_between_them() {
        let mut looking = Looking::default();
        let key = |journal, partition| (journal, Partition(partition));
        let found = |lag, oldest| Found { needed_from: Offset(1), lag, oldest };
        assert_eq!(looking.begin(3, Timestamp(100)), Some(Looked::new()));
        assert_eq!(looking.begin(3, Timestamp(90_000)), None, "it is under way");
        let looked = Looked::from([
            (key(JournalName::Events, 0), found(4, Some(Timestamp(70)))),
            (key(JournalName::Events, 1), found(2, Some(Timestamp(50)))),
            (key(JournalName::Parked, 0), found(0, None)),
        ]);
        looking.end(looked.clone(), Timestamp(90_000));
        assert_eq!(looking.begin(3, Timestamp(94_999)), None);
        assert_eq!(looking.begin(3, Timestamp(95_000)), Some(looked.clone()));
        looking.end(looked.clone(), Timestamp(95_000));
        assert_eq!(looking.begin(4, Timestamp(95_001)), Some(looked), "one more is ours");
        assert_eq!(looking.lags().collect::<Vec<_>>(), [(Partition(0), 4), (Partition(1), 2)]);
        let oldest = [(JournalName::Events, Some(Timestamp(50))), (JournalName::Parked, None)];
        assert_eq!(looking.oldest(), oldest);
    }
}
