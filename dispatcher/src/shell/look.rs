//! Looking at the log beside the core: how far it reaches behind what is committed, and how old is what retention must
//! not take yet. Every few seconds, one question after the other; nothing waits for the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use hookline_event_log::{Journal, JournalName, Log, Offset, Partition, ReadLimit};
use hookline_schemas::time::Timestamp;

use crate::core::Position;

/// From the end of one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

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

/// Looks at these partitions. One that can't be looked at is left out.
pub(super) async fn look<L: Log>(log: L, positions: Vec<Position>, known: Looked) -> Looked {
    let mut looked = Looked::new();
    for position in positions {
        let Position { journal, partition, offset, .. } = position;
        let Ok(bounds) = log.journal(journal).bounds(partition).await else { continue };
        let needed_from = offset.max(bounds.first);
        let lag = bounds.end.0.saturating_sub(needed_from.0);
        let known = known.get(&(journal, partition)).filter(|found| found.needed_from == needed_from);
        let oldest = match known.and_then(|found| found.oldest).or(position.accepted_at) {
            _ if lag == 0 => None,
            Some(oldest) => Some(oldest),
            None => appended_at(&log.journal(journal), partition, needed_from).await,
        };
        looked.insert((journal, partition), Found { needed_from, lag, oldest });
    }
    looked
}

/// When the first record from an offset on was appended.
async fn appended_at<J: Journal>(journal: &J, partition: Partition, from: Offset) -> Option<Timestamp> {
    let batch = journal.read(partition, from, None, LIMIT).await.ok()?;
    batch.records.first().map(|record| record.appended_at)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
    use hookline_event_log::{Offset, PartitionCounts};
    use hookline_schemas::time::Clock;

    use super::*;

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
        let look = async |positions, known| look(log.clone(), positions, known).await.get(&EVENTS).copied();
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
