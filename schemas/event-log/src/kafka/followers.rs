//! Following partitions: consumers that are told what to read and from where.
//!
//! One consumer serves many partitions, each through a queue of its own that its reader polls when it has
//! room: not polling is the backpressure, and no prefetch is thrown away. A consumer can hold a partition
//! once; a second reader of the same partition gets another consumer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientContext, Message, TopicPartitionList};
use tokio::sync::Notify;

use super::client;
use super::statistics::ReaderLag;
use crate::{Offset, Partition, ReadError};

/// How long one look for events of a consumer may take.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The consumers that follow, as many as it takes.
#[derive(Debug)]
pub(super) struct Followers {
    config: ClientConfig,
    consumers: Mutex<Vec<Arc<Follower>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    closed: Arc<AtomicBool>,
    lag: Arc<ReaderLag>,
}

/// Hears of one consumer.
struct Listener {
    number: usize,
    lag: Arc<ReaderLag>,
}

/// One consumer and what it holds.
struct Follower {
    consumer: Arc<BaseConsumer<Listener>>,
    held: Mutex<BTreeSet<(String, Partition)>>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Follower {{ {:?} }}", self.held)
    }
}

/// What a feed brings.
#[derive(Debug)]
pub(super) enum Fed<T> {
    /// A message.
    Message(T),
    /// The position is outside of what the partition holds.
    OutOfRange,
    /// Nothing yet; the waker will be told.
    Nothing,
}

/// A partition, followed from an offset on. Dropping it lets go of the partition.
pub(super) struct Feed {
    /// None while it is dropped.
    queue: Option<PartitionQueue<Listener>>,
    follower: Arc<Follower>,
    topic: String,
    partition: Partition,
}

impl Followers {
    pub(super) fn new(config: ClientConfig, lag: ReaderLag) -> Self {
        Self {
            config,
            consumers: Mutex::new(Vec::new()),
            threads: Mutex::new(Vec::new()),
            closed: Arc::new(AtomicBool::new(false)),
            lag: Arc::new(lag),
        }
    }

    /// Follows a partition. `wake` is notified whenever there is something to poll after there was nothing.
    pub(super) fn follow(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
        wake: Arc<Notify>,
    ) -> Result<Feed, ReadError> {
        let follower = self.follower_for(topic, partition)?;
        let feed = follower.assign(topic, partition, from, wake);
        if feed.is_err() {
            follower.let_go(topic, partition);
        }
        feed
    }

    /// A consumer that does not hold the partition; it does now.
    fn follower_for(&self, topic: &str, partition: Partition) -> Result<Arc<Follower>, ReadError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ReadError::Closed);
        }
        let mut consumers = lock(&self.consumers);
        let place = (topic.to_owned(), partition);
        if let Some(free) = consumers.iter().find(|follower| lock(&follower.held).insert(place.clone())) {
            return Ok(Arc::clone(free));
        }
        let listener = Listener { number: consumers.len(), lag: Arc::clone(&self.lag) };
        let consumer: BaseConsumer<Listener> = self.config.create_with_context(listener).map_err(backend)?;
        let follower = Follower { consumer: Arc::new(consumer), held: Mutex::new(BTreeSet::from([place])) };
        let follower = Arc::new(follower);
        let (events, closed) = (Arc::clone(&follower.consumer), Arc::clone(&self.closed));
        let thread = std::thread::Builder::new()
            .name("kafka-follower".to_owned())
            .spawn(move || serve_events(&events, &closed))
            .map_err(|error| ReadError::Backend(error.to_string()))?;
        lock(&self.threads).push(thread);
        consumers.push(Arc::clone(&follower));
        Ok(follower)
    }

    /// What is known of how far they are behind.
    #[cfg(test)]
    pub(super) fn lag(&self) -> &ReaderLag {
        &self.lag
    }

    /// Lets the threads end.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.consumers).clear();
    }

    /// The threads, to be waited for.
    pub(super) fn take_threads(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *lock(&self.threads))
    }
}

/// Errors, logs and the like; records come through the queues.
fn serve_events(consumer: &BaseConsumer<Listener>, closed: &AtomicBool) {
    while !closed.load(Ordering::Acquire) {
        if let Some(Err(error)) = consumer.poll(POLL_INTERVAL) {
            tracing::debug!(%error, "a follower reports");
        }
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::tell(&error, reason);
    }

    fn stats_raw(&self, told: &[u8]) {
        self.lag.take(self.number, told);
    }
}

impl ConsumerContext for Listener {
    fn commit_callback(&self, _result: rdkafka::error::KafkaResult<()>, _offsets: &TopicPartitionList) {}
}

impl Follower {
    fn assign(
        self: &Arc<Self>,
        topic: &str,
        partition: Partition,
        from: Offset,
        wake: Arc<Notify>,
    ) -> Result<Feed, ReadError> {
        let number = i32::from(partition.0);
        // Before the assignment: afterwards records could already be on their way to the common queue.
        let queue = self.consumer.split_partition_queue(topic, number);
        let mut queue = queue.ok_or_else(|| ReadError::Backend(format!("there is no {topic}/{number}")))?;
        queue.set_nonempty_callback(move || wake.notify_one());
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, number, position(from)).map_err(backend)?;
        self.consumer.incremental_assign(&assignment).map_err(backend)?;
        Ok(Feed { queue: Some(queue), follower: Arc::clone(self), topic: topic.to_owned(), partition })
    }

    fn let_go(&self, topic: &str, partition: Partition) {
        lock(&self.held).remove(&(topic.to_owned(), partition));
    }
}

impl Feed {
    /// The next message that is there, made into what the caller keeps of it.
    pub(super) fn poll<T>(&self, keep: impl FnOnce(&BorrowedMessage<'_>) -> T) -> Result<Fed<T>, ReadError> {
        let Some(queue) = &self.queue else { return Ok(Fed::Nothing) };
        loop {
            match queue.poll(Duration::ZERO) {
                None => return Ok(Fed::Nothing),
                Some(Ok(message)) => return Ok(Fed::Message(keep(&message))),
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::AutoOffsetReset) => return Ok(Fed::OutOfRange),
                    Some(
                        RDKafkaErrorCode::TopicAuthorizationFailed
                        | RDKafkaErrorCode::ClusterAuthorizationFailed
                        | RDKafkaErrorCode::BadMessage,
                    ) => return Err(backend(error)),
                    // The client tries again by itself.
                    _ => {
                        tracing::warn!(topic = self.topic, partition = self.partition.0, %error, "following")
                    }
                },
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition(&self.topic, i32::from(self.partition.0));
        if let Err(error) = self.follower.consumer.incremental_unassign(&assignment) {
            tracing::debug!(%error, "a partition was let go of already");
        }
        // Before anybody else can follow it: they would share the queue's waker.
        self.queue = None;
        self.follower.let_go(&self.topic, self.partition);
    }
}

/// Where a reader begins; the start is the first record that is left.
pub(super) fn position(from: Offset) -> rdkafka::Offset {
    match i64::try_from(from.0) {
        Ok(0) => rdkafka::Offset::Beginning,
        Ok(offset) => rdkafka::Offset::Offset(offset),
        Err(_) => rdkafka::Offset::End,
    }
}

/// The offset of a message.
pub(super) fn offset_of(message: &impl Message) -> Offset {
    Offset(u64::try_from(message.offset()).unwrap_or(0))
}

pub(super) fn backend(error: impl std::borrow::Borrow<KafkaError>) -> ReadError {
    ReadError::Backend(error.borrow().to_string())
}

/// Nothing between lock and unlock can be left half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
