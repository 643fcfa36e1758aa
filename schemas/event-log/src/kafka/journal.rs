//! The journals of the Kafka log: a topic each.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::Shared;
use super::followers::{Fed, Feed};
use super::producers::Outgoing;
use super::queries::{self, Stretch};
use super::topics::Topic;
use crate::limits::{check_lengths, check_partition};
use crate::{
    AppendError, Appending, Batch, Bounds, Journal, JournalName, Offset, Partition, ReadError, ReadLimit,
    Reader, Record,
};

/// A journal of the Kafka log.
#[derive(Debug, Clone)]
pub struct KafkaJournal {
    name: JournalName,
    topic: Topic,
    shared: Arc<Shared>,
}

impl KafkaJournal {
    pub(super) fn new(name: JournalName, shared: Arc<Shared>) -> Self {
        Self { name, topic: shared.topics.journal(name).clone(), shared }
    }

    fn check(&self, partition: Partition) {
        check_partition(self.name.as_str(), partition, self.partitions());
    }
}

impl Journal for KafkaJournal {
    type Reader = KafkaReader;

    fn partitions(&self) -> u16 {
        self.shared.counts.of_journal(self.name)
    }

    async fn append(&self, partition: Partition, key: Bytes, value: Bytes) -> Result<Appending, AppendError> {
        self.check(partition);
        check_lengths(&key, &value)?;
        let outgoing =
            Outgoing { topic: &self.topic, partition, key: &key, value: Some(&value), headers: None };
        self.shared.producers.append(outgoing).await
    }

    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        filter: Option<Bytes>,
        limit: ReadLimit,
    ) -> Result<Batch, ReadError> {
        self.check(partition);
        let stretch = Stretch { topic: self.topic.name.to_string(), partition, from, filter, limit };
        self.shared.queries()?.stretch(stretch).await
    }

    fn follow(&self, partition: Partition, from: Offset) -> KafkaReader {
        self.check(partition);
        let wake = Arc::new(Notify::new());
        KafkaReader {
            journal: self.clone(),
            partition,
            position: from,
            wake,
            feed: None,
            finding: None,
            carried: None,
        }
    }

    async fn bounds(&self, partition: Partition) -> Result<Bounds, ReadError> {
        self.check(partition);
        self.shared.queries()?.bounds(&self.topic.name, partition).await
    }

    /// Nothing: the topic's retention alone decides.
    fn release(&self, _partition: Partition, _below: Offset) {}
}

type Finding = Pin<Box<dyn Future<Output = Result<Bounds, ReadError>> + Send>>;

/// Follows a partition of the Kafka log.
pub struct KafkaReader {
    journal: KafkaJournal,
    partition: Partition,
    position: Offset,
    wake: Arc<Notify>,
    /// Made by the first read.
    feed: Option<Feed>,
    /// Asks for the bounds that the position is outside of. Kept, because a wait that is given up time and again
    /// would never end.
    finding: Option<Finding>,
    /// Taken from the feed, and too large for the last batch.
    carried: Option<Record>,
}

impl Reader for KafkaReader {
    async fn next(&mut self, limit: ReadLimit) -> Result<Batch, ReadError> {
        loop {
            if let Some(finding) = &mut self.finding {
                let found = finding.await;
                self.finding = None;
                self.judge(found?)?;
            }
            // No wait between here and the return: a future that is dropped has taken nothing.
            let records = self.take(limit)?;
            if let Some(last) = records.last() {
                self.position = last.offset.next();
                return Ok(Batch { records, next: self.position });
            }
            if self.finding.is_some() {
                continue;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.journal.shared.closed() => return Err(ReadError::Closed),
            }
        }
    }
}

impl KafkaReader {
    /// What is there now, up to the limit.
    fn take(&mut self, limit: ReadLimit) -> Result<Vec<Record>, ReadError> {
        let feed = match &self.feed {
            Some(feed) => feed,
            None => {
                let wake = Arc::clone(&self.wake);
                let followers = &self.journal.shared.followers;
                let feed = followers.follow(&self.journal.topic.name, self.partition, self.position, wake)?;
                self.feed.insert(feed)
            }
        };
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < limit.records.max(1) {
            let record = match self.carried.take() {
                Some(record) => record,
                None => match feed.poll(|message| queries::record(message)) {
                    Ok(Fed::Message(record)) => record,
                    Ok(Fed::Nothing) => break,
                    // What was taken before comes first; then the partition is followed again from behind it.
                    Err(error) => {
                        self.feed = None;
                        return if records.is_empty() { Err(error) } else { Ok(records) };
                    }
                    Ok(Fed::OutOfRange) => {
                        self.feed = None;
                        let (journal, partition) = (self.journal.clone(), self.partition);
                        self.finding = Some(Box::pin(async move { journal.bounds(partition).await }));
                        break;
                    }
                },
            };
            bytes += record.key.len() + record.value.len();
            if !records.is_empty() && bytes > limit.bytes {
                self.carried = Some(record);
                break;
            }
            records.push(record);
        }
        Ok(records)
    }

    /// The position was outside of what the partition holds: below it, or the cluster has lost records.
    fn judge(&self, Bounds { first, end }: Bounds) -> Result<(), ReadError> {
        if self.position < first && self.position != Offset::START {
            return Err(ReadError::Expired { partition: self.partition, asked: self.position, first });
        }
        if self.position > end {
            let (topic, partition, position) = (&self.journal.topic.name, self.partition.0, self.position.0);
            return Err(ReadError::Backend(format!(
                "{topic}/{partition} ends at {}, and {position} has been read before: the cluster has lost \
                 records",
                end.0
            )));
        }
        Ok(())
    }
}
