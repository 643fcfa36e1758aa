//! The tables of the Kafka log: a compacted topic each. The epoch of an entry stands in a header, because a
//! tombstone has no value.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use tokio::sync::Notify;

use super::Shared;
use super::counts::COUNTS_KEY;
use super::followers::{Fed, Feed, offset_of};
use super::producers::Outgoing;
use super::topics::Topic;
use crate::limits::{check_lengths, check_partition};
use crate::{
    AppendError, Appending, Change, Entry, Epoch, Offset, Partition, ReadError, Table, TableName, TableWatch,
};

/// The header that carries the epoch: eight bytes, big-endian.
const EPOCH_HEADER: &str = "epoch";

/// A table of the Kafka log.
#[derive(Debug, Clone)]
pub struct KafkaTable {
    name: TableName,
    topic: Topic,
    shared: Arc<Shared>,
}

impl KafkaTable {
    pub(super) fn new(name: TableName, shared: Arc<Shared>) -> Self {
        Self { name, topic: shared.topics.table(name).clone(), shared }
    }

    fn check(&self, partition: Partition) {
        check_partition(self.name.as_str(), partition, self.partitions());
    }
}

impl Table for KafkaTable {
    type Watch = KafkaWatch;

    fn partitions(&self) -> u16 {
        self.shared.counts.of_table(self.name)
    }

    async fn put(
        &self,
        partition: Partition,
        key: Bytes,
        value: Option<Bytes>,
        epoch: Epoch,
    ) -> Result<Appending, AppendError> {
        self.check(partition);
        check_lengths(&key, value.as_deref().unwrap_or_default())?;
        let header = Header { key: EPOCH_HEADER, value: Some(&epoch.0.to_be_bytes()) };
        let outgoing = Outgoing {
            topic: &self.topic,
            partition,
            key: &key,
            value: value.as_deref(),
            headers: Some(OwnedHeaders::new_with_capacity(1).insert(header)),
        };
        self.shared.producers.append(outgoing).await
    }

    fn watch(&self, partitions: &[Partition]) -> KafkaWatch {
        for partition in partitions {
            self.check(*partition);
        }
        let watched = |partition: &Partition| Watched {
            partition: *partition,
            feed: None,
            position: Offset::START,
            end: None,
        };
        KafkaWatch {
            table: self.clone(),
            watched: partitions.iter().map(watched).collect(),
            finding: Some(Box::pin(ends(self.clone(), partitions.to_vec()))),
            turn: 0,
            wake: Arc::new(Notify::new()),
            is_exhausted: false,
            said_loaded: false,
        }
    }
}

/// Reports the entries of a table of the Kafka log: a partition is loaded once what it held when the watch
/// began has been read.
pub struct KafkaWatch {
    table: KafkaTable,
    watched: Vec<Watched>,
    /// Asks where the partitions end. Kept, because a wait that is given up time and again would never end.
    finding: Option<Finding>,
    /// Whose turn it is.
    turn: usize,
    wake: Arc<Notify>,
    /// No partition had anything when it was asked last. Whoever waits for many things at once asks often, and
    /// each asking of all partitions costs.
    is_exhausted: bool,
    said_loaded: bool,
}

type Finding = Pin<Box<dyn Future<Output = Result<Vec<Offset>, ReadError>> + Send>>;

/// How far the watch has come in a partition.
struct Watched {
    partition: Partition,
    feed: Option<Feed>,
    position: Offset,
    /// Where the partition ended when the watch began.
    end: Option<Offset>,
}

impl Watched {
    fn is_loaded(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }
}

impl TableWatch for KafkaWatch {
    async fn next(&mut self) -> Result<Change, ReadError> {
        if let Some(finding) = &mut self.finding {
            let found = finding.await;
            self.take_ends(found)?;
        }
        loop {
            if self.is_exhausted {
                tokio::select! {
                    () = self.wake.notified() => self.is_exhausted = false,
                    () = self.table.shared.closed() => return Err(ReadError::Closed),
                }
            }
            // No wait between here and the return: a future that is dropped has taken nothing.
            if let Some(entry) = self.take()? {
                return Ok(Change::Entry(entry));
            }
            if !self.said_loaded && self.watched.iter().all(Watched::is_loaded) {
                self.said_loaded = true;
                return Ok(Change::Loaded);
            }
            self.is_exhausted = true;
        }
    }
}

impl KafkaWatch {
    fn take_ends(&mut self, found: Result<Vec<Offset>, ReadError>) -> Result<(), ReadError> {
        let partitions = self.watched.iter().map(|watched| watched.partition).collect();
        // Where it failed, the next call asks again.
        self.finding = found.is_err().then(|| -> Finding { Box::pin(ends(self.table.clone(), partitions)) });
        for (watched, end) in self.watched.iter_mut().zip(found?) {
            watched.end = Some(end);
        }
        Ok(())
    }

    /// The next entry of any partition: of one, until it has no more, then of the next.
    fn take(&mut self) -> Result<Option<Entry>, ReadError> {
        for _ in 0..self.watched.len() {
            if let Some(entry) = self.take_from(self.turn)? {
                return Ok(Some(entry));
            }
            self.turn = (self.turn + 1) % self.watched.len();
        }
        Ok(None)
    }

    fn take_from(&mut self, turn: usize) -> Result<Option<Entry>, ReadError> {
        let Some(watched) = self.watched.get_mut(turn) else { return Ok(None) };
        loop {
            let feed = match &watched.feed {
                Some(feed) => feed,
                None => {
                    let wake = Arc::clone(&self.wake);
                    let followers = &self.table.shared.followers;
                    let topic = &self.table.topic.name;
                    watched.feed.insert(followers.follow(topic, watched.partition, watched.position, wake)?)
                }
            };
            match feed.poll(|message| entry(message, watched.partition))? {
                Fed::Message(entry) => {
                    watched.position = entry.version.next();
                    // The log's own entry is nobody else's.
                    if entry.key != COUNTS_KEY {
                        return Ok(Some(entry));
                    }
                }
                Fed::Nothing => return Ok(None),
                // Retention has overtaken the watch: what is left is what counts.
                Fed::OutOfRange => {
                    watched.feed = None;
                    watched.position = Offset::START;
                }
            }
        }
    }
}

/// Where each partition ends; the start where nothing is left to load.
async fn ends(table: KafkaTable, partitions: Vec<Partition>) -> Result<Vec<Offset>, ReadError> {
    let mut ends = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let bounds = table.shared.queries()?.bounds(&table.topic.name, partition).await?;
        ends.push(if bounds.first == bounds.end { Offset::START } else { bounds.end });
    }
    Ok(ends)
}

fn entry(message: &BorrowedMessage<'_>, partition: Partition) -> Entry {
    let epoch = message.headers().and_then(|headers| {
        let header = headers.iter().find(|header| header.key == EPOCH_HEADER)?;
        Some(u64::from_be_bytes(header.value?.try_into().ok()?))
    });
    Entry {
        partition,
        key: Bytes::copy_from_slice(message.key().unwrap_or_default()),
        value: message.payload().map(Bytes::copy_from_slice),
        epoch: Epoch(epoch.unwrap_or(0)),
        version: offset_of(message),
    }
}
