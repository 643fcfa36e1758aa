//! The readers: one per partition that is followed, reading while the core has room.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use hookline_event_log::{
    Batch, Journal, JournalName, Log, Offset, Partition, ReadError, ReadLimit, Reader, Record,
};
use hookline_schemas::delivery::{ParkedDelivery, decode};
use hookline_schemas::event::Event;

use crate::core::{Core, FetchedEvent, Input};

/// What one read takes at most.
const LIMIT: ReadLimit = ReadLimit { records: 256, bytes: 1024 * 1024 };

/// A partition that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) journal: JournalName,
    pub(super) partition: Partition,
    pub(super) from: Offset,
}

type JournalReader<L> = <<L as Log>::Journal as Journal>::Reader;
type Read<L> = (JournalName, Partition, JournalReader<L>, Result<Batch, ReadError>);

/// All readers: those that wait for records, and those that wait for room.
pub(super) struct Readers<L: Log> {
    log: L,
    idle: BTreeMap<(JournalName, Partition), JournalReader<L>>,
    reading: FuturesUnordered<LocalBoxFuture<'static, Read<L>>>,
    follow_events: bool,
}

impl<L: Log> Readers<L> {
    pub(super) fn new(log: &L) -> Self {
        Self {
            log: log.clone(),
            idle: BTreeMap::new(),
            reading: FuturesUnordered::new(),
            follow_events: false,
        }
    }

    /// Follows a partition.
    pub(super) fn add(&mut self, source: Source) {
        let reader = self.log.journal(source.journal).follow(source.partition, source.from);
        self.idle.insert((source.journal, source.partition), reader);
        self.follow_events |= source.journal == JournalName::Events;
    }

    /// Whether any partition of `events` is followed.
    pub(super) fn follow_events(&self) -> bool {
        self.follow_events
    }

    /// Whether there is anything to wait for.
    pub(super) fn are_reading(&self) -> bool {
        !self.reading.is_empty()
    }

    /// Starts the readers that the core has room for.
    pub(super) fn start_where_there_is_room(&mut self, core: &Core) {
        if self.idle.is_empty() {
            return;
        }
        let startable = |key: &(JournalName, Partition)| match key.0 {
            JournalName::Events => core.has_room(key.1),
            _ => core.follows_lanes(),
        };
        let keys: Vec<_> = self.idle.keys().filter(|key| startable(key)).copied().collect();
        for key in keys {
            if let Some(mut reader) = self.idle.remove(&key) {
                self.reading.push(Box::pin(async move {
                    let batch = reader.next(LIMIT).await;
                    (key.0, key.1, reader, batch)
                }));
            }
        }
    }

    /// The next records, as inputs.
    pub(super) async fn next(&mut self) -> Result<Vec<Input>, ReadError> {
        let Some((journal, partition, reader, batch)) = self.reading.next().await else {
            return Ok(Vec::new());
        };
        match batch {
            Ok(batch) => {
                self.idle.insert((journal, partition), reader);
                Ok(vec![input(journal, partition, batch)?])
            }
            // Retention overtook the reader: what is missing is lost, and said so; the rest goes on.
            Err(ReadError::Expired { first, asked, .. }) => {
                let lost = first.0.saturating_sub(asked.0);
                tracing::error!(
                    journal = journal.as_str(),
                    partition = partition.0,
                    lost,
                    "records expired unread"
                );
                metrics::counter!("hookline_log_expired_unread_total", "journal" => journal.as_str())
                    .increment(lost);
                self.add(Source { journal, partition, from: first });
                Ok(Vec::new())
            }
            Err(ReadError::Closed) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn input(journal: JournalName, partition: Partition, batch: Batch) -> Result<Input, ReadError> {
    Ok(match journal {
        JournalName::Events => {
            Input::Fetched { partition, events: batch.records.iter().map(fetched_event).collect() }
        }
        _ => {
            let records = batch.records.iter().map(parked_delivery).collect::<Result<_, _>>()?;
            Input::Followed { partition, records }
        }
    })
}

fn fetched_event(record: &Record) -> FetchedEvent {
    let event = Event::decode(&record.value);
    if let Err(error) = &event {
        tracing::error!(offset = record.offset.0, %error, "an event can't be read");
    }
    FetchedEvent { offset: record.offset, event: event.ok(), bytes: record.value.len() }
}

/// A parked delivery that can't be read was written by a later version: this one must not pass it by, and
/// does not know whose it is.
fn parked_delivery(record: &Record) -> Result<(Offset, ParkedDelivery), ReadError> {
    let parked = decode(&record.value);
    let parked = parked.map_err(|error| {
        ReadError::Backend(format!(
            "the parked delivery at offset {} can't be read, run the version that wrote it: {error}",
            record.offset.0
        ))
    })?;
    Ok((record.offset, parked))
}
