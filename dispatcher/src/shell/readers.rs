//! The readers: one per partition that is followed, reading while the core has room. What was written by
//! newer webhooks than ours they hold back until we have these as well.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::future::{AbortHandle, Aborted, LocalBoxFuture, abortable};
use futures::stream::FuturesUnordered;
use hookline_event_log::{
    Batch, EXPIRED_UNREAD_METRIC, Epoch, Journal, JournalName, Log, Offset, Partition, ReadError, ReadLimit,
    Reader, Record,
};
use hookline_schemas::delivery::{ParkedDelivery, decode};
use hookline_schemas::event::Event;

use super::versions::{Known, come_to};
use crate::core::{Core, FetchedEvent, Input};

/// What one read takes at most.
const LIMIT: ReadLimit = ReadLimit { records: 32, bytes: 1024 * 1024 };

/// So many deliveries are in hand at most while the thread is the bottleneck, but for those of the reads under way.
const IN_HAND: usize = 4096;

/// A partition that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) journal: JournalName,
    pub(super) partition: Partition,
    pub(super) epoch: Epoch,
    pub(super) from: Offset,
}

type JournalReader<L> = <<L as Log>::Journal as Journal>::Reader;
/// What a reader found; none, if its partition was given up meanwhile.
type Read<L> = Result<(Followed<L>, Result<Input, ReadError>), Aborted>;

/// A partition that is followed, with its reader.
struct Followed<L: Log> {
    source: Source,
    reader: JournalReader<L>,
}

impl<L: Log> Followed<L> {
    /// The next records, once the webhooks are known by which they were written: then one that is not among them has
    /// been deleted. The others' partitions go on meanwhile.
    async fn next(&mut self, webhooks: Known) -> Result<Input, ReadError> {
        let input = input(self.source, self.reader.next(LIMIT).await?)?;
        match &input {
            Input::Followed { records, .. } => {
                let versions = records.iter().map(|(_, parked)| parked.webhooks_version);
                come_to(webhooks, versions.max().unwrap_or(0), "parked deliveries").await;
            }
            Input::Fetched { events, .. } => {
                let versions =
                    events.iter().filter_map(|fetched| Some(fetched.event.as_ref()?.webhooks_version));
                come_to(webhooks, versions.max().unwrap_or(0), "tests of webhooks").await;
            }
            _ => {}
        }
        Ok(input)
    }
}

/// All readers: those that wait for records, and those that wait for room.
pub(super) struct Readers<L: Log> {
    log: L,
    webhooks: Known,
    idle: BTreeMap<(JournalName, Partition), Followed<L>>,
    reading: FuturesUnordered<LocalBoxFuture<'static, Read<L>>>,
    stops: BTreeMap<(JournalName, Partition), AbortHandle>,
}

impl<L: Log> Readers<L> {
    pub(super) fn new(log: &L, webhooks: Known) -> Self {
        Self {
            log: log.clone(),
            webhooks,
            idle: BTreeMap::new(),
            reading: FuturesUnordered::new(),
            stops: BTreeMap::new(),
        }
    }

    /// Follows a partition.
    pub(super) fn add(&mut self, source: Source) {
        let reader = self.log.journal(source.journal).follow(source.partition, source.from);
        self.idle.insert((source.journal, source.partition), Followed { source, reader });
    }

    /// Follows a partition no more. What was about to be read is read by its next owner.
    pub(super) fn remove(&mut self, journal: JournalName, partition: Partition) {
        self.idle.remove(&(journal, partition));
        if let Some(stop) = self.stops.remove(&(journal, partition)) {
            stop.abort();
        }
    }

    /// Whether there is anything to wait for.
    pub(super) fn are_reading(&self) -> bool {
        !self.reading.is_empty()
    }

    /// Starts the readers that the core has room for. While this thread is the bottleneck there is less: events wait in
    /// the log.
    pub(super) fn start_where_there_is_room(&mut self, core: &Core, is_bottleneck: bool) {
        if self.idle.is_empty() {
            return;
        }
        let takes_events = !is_bottleneck || core.in_hand() < IN_HAND;
        let startable = |key: &(JournalName, Partition)| match key.0 {
            JournalName::Events => takes_events && core.has_room(key.1),
            _ => core.follows_lanes(key.1),
        };
        let keys: Vec<_> = self.idle.keys().filter(|key| startable(key)).copied().collect();
        for key in keys {
            if let Some(mut followed) = self.idle.remove(&key) {
                let webhooks = self.webhooks.clone();
                let (read, stop) = abortable(async move {
                    let input = followed.next(webhooks).await;
                    (followed, input)
                });
                self.stops.insert(key, stop);
                self.reading.push(Box::pin(read));
            }
        }
    }

    /// The next records.
    pub(super) async fn next(&mut self) -> Result<Option<Input>, ReadError> {
        let Some(Ok((followed, input))) = self.reading.next().await else { return Ok(None) };
        let source = followed.source;
        let Source { journal, partition, .. } = source;
        self.stops.remove(&(journal, partition));
        match input {
            Ok(input) => {
                self.idle.insert((journal, partition), followed);
                Ok(Some(input))
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
                metrics::counter!(EXPIRED_UNREAD_METRIC, "journal" => journal.as_str()).increment(lost);
                self.add(Source { from: first, ..source });
                Ok(None)
            }
            Err(ReadError::Closed) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn input(source: Source, batch: Batch) -> Result<Input, ReadError> {
    let Source { journal, partition, epoch, .. } = source;
    Ok(match journal {
        JournalName::Events => {
            Input::Fetched { partition, epoch, events: batch.records.iter().map(fetched_event).collect() }
        }
        _ => {
            let records = batch.records.iter().map(parked_delivery).collect::<Result<_, _>>()?;
            Input::Followed { partition, epoch, records }
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
