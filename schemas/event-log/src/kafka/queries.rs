//! Reads that are asked for one by one: bounds, and stretches from an offset on. They block, so threads of
//! their own make them; each has a consumer that goes where the question is.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hookline_schemas::time::{Clock, Timestamp};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, TopicPartitionList};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::client::{Voice, is_of_connection};
use super::followers::{offset_of, position};
use crate::{Batch, Bounds, Offset, OpenError, Partition, ReadError, ReadLimit, Record};

/// How many questions are answered at a time.
const THREADS: usize = 2;
/// The most questions that wait for a thread; whoever comes then waits to ask.
const QUESTIONS: usize = 64;
/// The most records that one question looks at, matching or not: others wait behind it.
const LOOK: usize = 16 * 1024;
/// For one answer of a broker.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// For the next record of a stretch.
const RECORD_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two warnings that the cluster does not answer.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// Between two attempts at a question that the cluster could not answer.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// A stretch of a partition.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) topic: String,
    pub(super) partition: Partition,
    pub(super) from: Offset,
    pub(super) filter: Option<Bytes>,
    pub(super) limit: ReadLimit,
}

/// What was found in a stretch.
#[derive(Debug)]
struct Found {
    batch: Batch,
    /// Nothing more was there.
    is_end: bool,
}

/// Why a question was not answered, for who asked it.
#[derive(Debug)]
enum Unanswered {
    /// It may be the next time.
    Transient,
    /// It will not be.
    Final(ReadError),
}

/// The same, with what the client said.
#[derive(Debug)]
enum NoAnswer {
    Transient(KafkaError),
    Final(ReadError),
}

/// Where the answer goes, and the asker's place among those who wait.
struct Reply<T> {
    answer: oneshot::Sender<Result<T, Unanswered>>,
    _place: OwnedSemaphorePermit,
}

enum Question {
    Stretch(Stretch, Reply<Found>),
    Bounds(String, Partition, Reply<Bounds>),
    Close,
}

/// Where to ask. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Queries {
    questions: SyncSender<Question>,
    waiting: Arc<tokio::sync::Semaphore>,
}

impl Queries {
    /// Starts the threads.
    pub(super) fn start(
        config: &ClientConfig,
        clock: Clock,
    ) -> Result<(Self, Vec<JoinHandle<()>>), OpenError> {
        let settings = |reason: String| OpenError::Settings { reason };
        // One place more for each thread's word to close.
        let (sender, receiver) = sync_channel(QUESTIONS + THREADS);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::with_capacity(THREADS);
        for number in 0..THREADS {
            let consumer = config.create_with_context(Voice).map_err(|error| settings(error.to_string()))?;
            let inquirer = Inquirer { consumer, config: config.clone(), clock, at: None, warned_at: None };
            let receiver = Arc::clone(&receiver);
            let thread = std::thread::Builder::new().name(format!("kafka-query-{number}"));
            let thread = thread.spawn(move || inquirer.serve(&receiver));
            threads.push(thread.map_err(|error| settings(error.to_string()))?);
        }
        let waiting = Arc::new(tokio::sync::Semaphore::new(QUESTIONS));
        Ok((Self { questions: sender, waiting }, threads))
    }

    /// Reads a stretch, once the cluster lets it be read: in as many questions as it takes to find something.
    pub(super) async fn stretch(&self, mut asked: Stretch) -> Result<Batch, ReadError> {
        loop {
            let Found { batch, is_end } = self.ask(|reply| Question::Stretch(asked.clone(), reply)).await?;
            if is_end || !batch.records.is_empty() {
                return Ok(batch);
            }
            asked.from = batch.next;
        }
    }

    /// Reads the bounds of a partition, once the cluster knows them.
    pub(super) async fn bounds(&self, topic: &str, partition: Partition) -> Result<Bounds, ReadError> {
        self.ask(|reply| Question::Bounds(topic.to_owned(), partition, reply)).await
    }

    async fn ask<T>(&self, question: impl Fn(Reply<T>) -> Question) -> Result<T, ReadError> {
        loop {
            let place = Arc::clone(&self.waiting).acquire_owned().await.map_err(|_| ReadError::Closed)?;
            let (answer, answered) = oneshot::channel();
            // There is room for everybody who has a place.
            let sent = self.questions.try_send(question(Reply { answer, _place: place }));
            sent.map_err(|_| ReadError::Closed)?;
            match answered.await.map_err(|_| ReadError::Closed)? {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Final(error)) => return Err(error),
                // The thread has waited already.
                Err(Unanswered::Transient) => {}
            }
        }
    }

    /// Lets the threads end once they have answered what was asked.
    pub(super) fn close(&self) {
        self.waiting.close();
        for _ in 0..THREADS {
            // An error means that they have ended already.
            let _ = self.questions.try_send(Question::Close);
        }
    }
}

/// One thread with its consumer.
struct Inquirer {
    consumer: BaseConsumer<Voice>,
    config: ClientConfig,
    clock: Clock,
    /// Where the consumer stands: the next question may go on from there.
    at: Option<(String, Partition, Offset)>,
    warned_at: Option<Duration>,
}

impl Inquirer {
    fn serve(mut self, questions: &Mutex<Receiver<Question>>) {
        loop {
            let question = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match question {
                // Nobody waits for the answer any more.
                Ok(Question::Stretch(_, reply)) if reply.answer.is_closed() => {}
                Ok(Question::Bounds(_, _, reply)) if reply.answer.is_closed() => {}
                Ok(Question::Stretch(asked, reply)) => {
                    let answer = self.stretch(&asked);
                    let _ = reply.answer.send(self.told(answer));
                }
                Ok(Question::Bounds(topic, partition, reply)) => {
                    let answer = self.bounds(&topic, partition);
                    let _ = reply.answer.send(self.told(answer));
                }
                Ok(Question::Close) | Err(_) => return,
            }
        }
    }

    /// What the asker is told. A client may keep what it learned of partitions while they had no leader, and
    /// believe it for ever: after a question that was not answered, and a moment, another client asks.
    fn told<T>(&mut self, answer: Result<T, NoAnswer>) -> Result<T, Unanswered> {
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(NoAnswer::Final(error)) => return Err(Unanswered::Final(error)),
            Err(NoAnswer::Transient(error)) => error,
        };
        let now = self.clock.elapsed();
        if self.warned_at.is_none_or(|at| now >= at + WARN_INTERVAL) {
            self.warned_at = Some(now);
            tracing::warn!(%error, "Kafka does not answer a read, trying again");
        }
        std::thread::sleep(ASK_AGAIN);
        match self.config.create_with_context(Voice) {
            Ok(consumer) => (self.consumer, self.at) = (consumer, None),
            Err(error) => tracing::error!(%error, "failed to make a client for reads"),
        }
        Err(Unanswered::Transient)
    }

    fn bounds(&self, topic: &str, partition: Partition) -> Result<Bounds, NoAnswer> {
        let asked = self.consumer.fetch_watermarks(topic, i32::from(partition.0), ANSWER_TIMEOUT);
        let (first, end) = asked.map_err(NoAnswer::of)?;
        let offset = |offset: i64| Offset(u64::try_from(offset).unwrap_or(0));
        Ok(Bounds { first: offset(first), end: offset(end) })
    }

    fn stretch(&mut self, asked: &Stretch) -> Result<Found, NoAnswer> {
        let bounds = self.bounds(&asked.topic, asked.partition)?;
        let from = if asked.from == Offset::START { bounds.first } else { asked.from };
        if from < bounds.first {
            return Err(asked.expired(bounds.first));
        }
        let mut batch = Batch { records: Vec::new(), next: asked.from };
        if from >= bounds.end {
            return Ok(Found { batch, is_end: true });
        }
        self.go_to(asked, from)?;
        let read = self.read(asked, bounds.end, &mut batch);
        let is_end = batch.next >= bounds.end;
        if read.is_err() || is_end {
            // There it would go on fetching what nobody asks for.
            self.rest();
        }
        read.map(|()| Found { batch, is_end })
    }

    fn go_to(&mut self, asked: &Stretch, from: Offset) -> Result<(), NoAnswer> {
        let place = (asked.topic.clone(), asked.partition, from);
        if self.at.as_ref() == Some(&place) {
            return Ok(());
        }
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&asked.topic, i32::from(asked.partition.0), position(from))
            .and_then(|()| self.consumer.assign(&assignment))
            .map_err(NoAnswer::of)?;
        self.at = Some(place);
        Ok(())
    }

    fn rest(&mut self) {
        self.at = None;
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "a partition was let go of already");
        }
    }

    /// Reads until a limit or the end; the consumer then stands where the batch says to go on.
    fn read(&mut self, asked: &Stretch, end: Offset, batch: &mut Batch) -> Result<(), NoAnswer> {
        let (mut bytes, mut looked) = (0, 0);
        let mut patience = self.clock.elapsed() + RECORD_TIMEOUT;
        while batch.next < end && batch.records.len() < asked.limit.records && looked < LOOK {
            let Some(polled) = self.consumer.poll(Duration::from_millis(100)) else {
                if self.clock.elapsed() >= patience {
                    let late = RDKafkaErrorCode::OperationTimedOut;
                    return Err(NoAnswer::Transient(KafkaError::MessageConsumption(late)));
                }
                continue;
            };
            let message = match polled {
                Ok(message) => message,
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    let bounds = self.bounds(&asked.topic, asked.partition)?;
                    return Err(asked.expired(bounds.first));
                }
                // Of any broker, now or a while ago; the patience ends what it concerns.
                Err(error) if is_of_connection(&error) => continue,
                Err(error) => return Err(NoAnswer::of(error)),
            };
            if message.topic() != asked.topic || message.partition() != i32::from(asked.partition.0) {
                continue;
            }
            let offset = offset_of(&message);
            let size = message.key_len() + message.payload_len();
            if !batch.records.is_empty() && bytes + size > asked.limit.bytes {
                batch.next = offset;
                drop(message);
                self.rest();
                return Ok(());
            }
            batch.next = offset.next();
            looked += 1;
            patience = self.clock.elapsed() + RECORD_TIMEOUT;
            if asked.filter.as_deref().is_none_or(|key| message.key() == Some(key)) {
                bytes += size;
                batch.records.push(record(&message));
            }
        }
        self.at = Some((asked.topic.clone(), asked.partition, batch.next));
        Ok(())
    }
}

impl Stretch {
    fn expired(&self, first: Offset) -> NoAnswer {
        NoAnswer::Final(ReadError::Expired { partition: self.partition, asked: self.from, first })
    }
}

impl NoAnswer {
    fn of(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::BadMessage,
            ) => Self::Final(ReadError::Backend(error.to_string())),
            _ => Self::Transient(error),
        }
    }
}

/// Copied out at once: a message holds its whole fetch response in memory.
pub(super) fn record(message: &impl Message) -> Record {
    let bytes = |slice: Option<&[u8]>| Bytes::copy_from_slice(slice.unwrap_or_default());
    let millis = message.timestamp().to_millis().unwrap_or(0);
    Record {
        offset: offset_of(message),
        key: bytes(message.key()),
        value: bytes(message.payload()),
        appended_at: Timestamp(u64::try_from(millis).unwrap_or(0)),
    }
}
