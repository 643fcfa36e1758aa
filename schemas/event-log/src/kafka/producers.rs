//! The producers: two of them, each with its share of the partitions, so that a hot topic has two
//! connections to send on.
//!
//! What is appended and not acknowledged is admitted first, by its bytes: the producers' own queues have no
//! limit and never get full. A producer that fails for good is replaced by the supervisor; what it had not
//! got acknowledged ends `Unknown`, as does what is not acknowledged within the message time-out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};
use hookline_schemas::time::Clock;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedHeaders};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig, ThreadedProducer,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::client;
use super::statistics::ProducerFigures;
use super::topics::Topic;
use crate::metrics::{self, RecordCounters};
use crate::{AppendError, Appending, Offset, OpenError, Partition};

/// How many producers there are.
const SHARDS: usize = 2;
/// What a record costs beside its bytes: it bounds the count of small ones.
const RECORD_OVERHEAD: usize = 512;
/// How long to wait before a producer that would not take a record is asked again.
const SEND_AGAIN: Duration = Duration::from_millis(10);
/// How often the supervisor reports what is pending.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How long closing waits for what each producer accepted to be acknowledged.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// The most replacements that wait to be made.
const REPLACEMENTS: usize = 64;

/// One record on its way.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a Topic,
    pub(super) partition: Partition,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Option<OwnedHeaders>,
}

/// A record that a producer has and has not reported on.
#[derive(Debug)]
struct Pending {
    acknowledge: oneshot::Sender<Result<Offset, AppendError>>,
    counters: Arc<RecordCounters>,
    handed_over: Duration,
    _admission: OwnedSemaphorePermit,
}

/// Hears what became of the records of one producer.
#[derive(Debug)]
struct Reports {
    shard: usize,
    /// Which producer of this shard, counted from 0.
    life: u64,
    common: Common,
    /// No broker has answered since.
    is_cut_off: AtomicBool,
}

/// What all producers are given alike.
#[derive(Debug, Clone)]
struct Common {
    failed: SyncSender<Supervision>,
    figures: Arc<ProducerFigures<SHARDS>>,
    acknowledge_seconds: Histogram,
    clock: Clock,
}

/// What the supervisor is told.
#[derive(Debug)]
enum Supervision {
    /// This producer has failed for good.
    Failed { shard: usize, life: u64 },
    /// No more records will come.
    Close,
}

type Sender = ThreadedProducer<Reports>;

struct Shard {
    producer: RwLock<Option<Arc<Sender>>>,
    life: AtomicU64,
}

/// All producers of a log.
pub(super) struct Producers {
    shards: [Shard; SHARDS],
    admission: Arc<Semaphore>,
    max_pending: usize,
    config: ClientConfig,
    common: Common,
    pending_bytes: Gauge,
    replaced: Counter,
}

impl Producers {
    /// Starts the producers and the thread that looks after them.
    pub(super) fn start(
        config: ClientConfig,
        max_pending: u64,
        clock: Clock,
    ) -> Result<(Arc<Self>, JoinHandle<()>), OpenError> {
        let (failed, supervision) = sync_channel(REPLACEMENTS);
        let common = Common {
            failed,
            figures: Arc::new(ProducerFigures::new()),
            acknowledge_seconds: ::metrics::histogram!(metrics::ACKNOWLEDGE_SECONDS),
            clock,
        };
        let settings = |reason: String| OpenError::Settings { reason };
        let max_pending = usize::try_from(max_pending).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let shard = |number| {
            let producer =
                producer(&config, number, 0, &common).map_err(|error| settings(error.to_string()))?;
            Ok(Shard { producer: RwLock::new(Some(Arc::new(producer))), life: AtomicU64::new(0) })
        };
        let producers = Arc::new(Self {
            shards: [shard(0)?, shard(1)?],
            admission: Arc::new(Semaphore::new(max_pending)),
            max_pending,
            config,
            common,
            pending_bytes: ::metrics::gauge!(metrics::PENDING_BYTES),
            replaced: ::metrics::counter!(metrics::PRODUCERS_REPLACED),
        });
        let supervisor = Arc::clone(&producers);
        let thread = std::thread::Builder::new()
            .name("kafka-producers".to_owned())
            .spawn(move || supervisor.supervise(&supervision))
            .map_err(|error| settings(error.to_string()))?;
        Ok((producers, thread))
    }

    /// Admits a record and hands it to its producer.
    pub(super) async fn append(&self, mut outgoing: Outgoing<'_>) -> Result<Appending, AppendError> {
        let size = outgoing.key.len() + outgoing.value.map_or(0, <[u8]>::len) + RECORD_OVERHEAD;
        let permits = u32::try_from(size).map_err(|_| AppendError::TooLarge(size))?;
        let admitted = Arc::clone(&self.admission).acquire_many_owned(permits).await;
        let admission = admitted.map_err(|_| AppendError::Closed)?;
        let (acknowledge, appending) = Appending::new();
        let counters = Arc::clone(&outgoing.topic.counters);
        let mut pending = Box::new(Pending {
            acknowledge,
            counters,
            handed_over: self.common.clock.elapsed(),
            _admission: admission,
        });
        loop {
            match self.send(&mut outgoing, pending) {
                Ok(()) => return Ok(appending),
                Err((AppendError::Unknown, refused)) => pending = refused,
                Err((error, _)) => return Err(error),
            }
            tokio::time::sleep(SEND_AGAIN).await;
        }
    }

    /// `Unknown`: not taken, try again.
    fn send(
        &self,
        outgoing: &mut Outgoing<'_>,
        pending: Box<Pending>,
    ) -> Result<(), (AppendError, Box<Pending>)> {
        let number = usize::from(outgoing.partition.0) % SHARDS;
        let shard = self.shards.get(number).expect("the number of shards divides it");
        let current = shard.producer.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(producer) = current else { return Err((AppendError::Closed, pending)) };
        let mut record = BaseRecord::with_opaque_to(&outgoing.topic.name, pending)
            .partition(i32::from(outgoing.partition.0))
            .key(outgoing.key);
        record.payload = outgoing.value;
        record.headers = outgoing.headers.take();
        let Err((error, record)) = producer.send(record) else { return Ok(()) };
        outgoing.headers = record.headers;
        let refused = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                AppendError::TooLarge(outgoing.value.map_or(0, <[u8]>::len))
            }
            Some(RDKafkaErrorCode::Fatal) => {
                producer.context().fail();
                AppendError::Unknown
            }
            _ => {
                tracing::warn!(topic = %outgoing.topic.name, %error, "the producer does not take a record");
                AppendError::Unknown
            }
        };
        Err((refused, record.delivery_opaque))
    }

    /// What the cluster says of itself and its topics, within this time; none, once the producers are closed. Blocks.
    pub(super) fn metadata(&self, topic: &str, timeout: Duration) -> Option<Result<Metadata, KafkaError>> {
        let [shard, ..] = &self.shards;
        let current = shard.producer.read().unwrap_or_else(PoisonError::into_inner).clone();
        current.map(|producer| producer.client().fetch_metadata(Some(topic), timeout))
    }

    /// Lets the supervisor end: it flushes what was accepted, then drops the producers.
    pub(super) fn close(&self) {
        self.admission.close();
        // An error means that it has ended already.
        let _ = self.common.failed.send(Supervision::Close);
    }

    fn supervise(&self, supervision: &Receiver<Supervision>) {
        loop {
            match supervision.recv_timeout(REPORT_INTERVAL) {
                Ok(Supervision::Failed { shard, life }) => self.replace(shard, life),
                Ok(Supervision::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.report();
        }
        for shard in &self.shards {
            let last = shard.producer.write().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(last) = last
                && let Err(error) = last.flush(FLUSH_TIMEOUT)
            {
                tracing::warn!(%error, "records were not acknowledged before the log was closed");
            }
        }
        self.report();
    }

    fn replace(&self, number: usize, life: u64) {
        let Some(shard) = self.shards.get(number) else { return };
        if shard.life.load(Ordering::Acquire) != life {
            return;
        }
        match producer(&self.config, number, life + 1, &self.common) {
            Ok(next) => {
                shard.life.store(life + 1, Ordering::Release);
                let next = Some(Arc::new(next));
                let failed = std::mem::replace(
                    &mut *shard.producer.write().unwrap_or_else(PoisonError::into_inner),
                    next,
                );
                // Those appends end `Unknown`.
                if let Some(failed) = failed {
                    failed.purge(PurgeConfig::default().queue().inflight());
                    // An error means that some are left, which end with the last of its threads.
                    let _ = failed.flush(FLUSH_TIMEOUT);
                }
                self.replaced.increment(1);
                tracing::warn!(producer = number, "a producer failed for good and was replaced");
            }
            Err(error) => tracing::error!(%error, "a producer failed for good and can't be replaced"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge; 52 bits are enough")]
    fn report(&self) {
        let free = self.admission.available_permits();
        self.pending_bytes.set(self.max_pending.saturating_sub(free) as f64);
    }
}

fn producer(config: &ClientConfig, shard: usize, life: u64, common: &Common) -> Result<Sender, KafkaError> {
    Sender::from_config_and_context(
        config,
        Reports { shard, life, common: common.clone(), is_cut_off: AtomicBool::new(false) },
    )
}

impl Reports {
    fn fail(&self) {
        // Full: the supervisor knows of it, or will hear of it at the next record.
        let _ = self.common.failed.try_send(Supervision::Failed { shard: self.shard, life: self.life });
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::tell(&error, reason);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => self.fail(),
            Some(RDKafkaErrorCode::AllBrokersDown) if !self.is_cut_off.swap(true, Ordering::Relaxed) => {
                tracing::warn!(producer = self.shard, reason, "no broker answers, appends wait");
            }
            _ => {}
        }
    }

    fn stats_raw(&self, told: &[u8]) {
        self.common.figures.take(self.shard, told);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, report: &DeliveryResult<'_>, pending: Self::DeliveryOpaque) {
        let told = match report {
            Ok(message) => match u64::try_from(message.offset()) {
                Ok(offset) => Ok(Offset(offset)),
                // Written by an earlier request whose answer was lost: it is there, nobody knows where.
                Err(_) => Err(AppendError::Unknown),
            },
            Err((error, message)) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                    self.fail();
                }
                tracing::debug!(topic = message.topic(), %error, "a record was not acknowledged");
                Err(AppendError::Unknown)
            }
        };
        if told.is_ok() && self.is_cut_off.load(Ordering::Relaxed) {
            self.is_cut_off.store(false, Ordering::Relaxed);
            tracing::info!(producer = self.shard, "brokers answer again");
        }
        match told {
            Ok(_) => {
                let took = self.common.clock.elapsed().saturating_sub(pending.handed_over);
                self.common.acknowledge_seconds.record(took);
                pending.counters.appended.increment(1);
            }
            Err(_) => pending.counters.unknown.increment(1),
        }
        // Whoever has stopped waiting has dropped the other half: that is no error.
        let _ = pending.acknowledge.send(told);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    const TOPIC: &str = "events";
    const VALUE: usize = 1000;

    /// Producers over a simulated cluster of one broker.
    struct Simulated {
        cluster: MockCluster<'static, DefaultProducerContext>,
        producers: Arc<Producers>,
        supervisor: Option<JoinHandle<()>>,
        topic: Topic,
    }

    impl Simulated {
        /// Faults are injected before the producers start.
        fn new(
            message_timeout: &str,
            max_pending: u64,
            faults: impl FnOnce(&MockCluster<'_, DefaultProducerContext>),
        ) -> Self {
            let cluster = MockCluster::new(1).expect("a simulated cluster");
            cluster.create_topic(TOPIC, 4, 1).expect("a topic");
            faults(&cluster);
            let mut config = ClientConfig::new();
            config
                .set("bootstrap.servers", cluster.bootstrap_servers())
                .set("enable.idempotence", "true")
                .set("message.timeout.ms", message_timeout)
                .set("reconnect.backoff.max.ms", "500");
            let (producers, supervisor) =
                Producers::start(config, max_pending, Clock::start()).expect("producers");
            let topic = Topic::new("", TOPIC);
            Self { cluster, producers, supervisor: Some(supervisor), topic }
        }

        async fn append(&self, partition: u16) -> Result<Appending, AppendError> {
            let value = vec![b'x'; VALUE];
            let outgoing = Outgoing {
                topic: &self.topic,
                partition: Partition(partition),
                key: b"key",
                value: Some(&value),
                headers: None,
            };
            let append = self.producers.append(outgoing);
            tokio::time::timeout(Duration::from_secs(20), append).await.expect("admission")
        }
    }

    impl Simulated {
        /// As a caller does that tolerates duplicates.
        async fn append_until_known(&self, partition: u16) -> Result<Offset, AppendError> {
            loop {
                let outcome =
                    self.append(partition).await.expect("accepted by this producer or the next").await;
                if outcome != Err(AppendError::Unknown) {
                    return outcome;
                }
            }
        }
    }

    impl Drop for Simulated {
        fn drop(&mut self) {
            self.producers.close();
            self.supervisor.take().map(JoinHandle::join);
        }
    }

    #[tokio::test]
    async fn what_is_not_acknowledged_in_time_ends_unknown_and_the_next_goes_through() {
        let simulated = Simulated::new("1000", 1 << 20, |_| {});
        let before = simulated.append_until_known(0).await;
        assert!(before.is_ok(), "{before:?}");
        simulated.cluster.broker_down(1).expect("the broker goes down");
        let lost = simulated.append(0).await.expect("accepted while nobody answers").await;
        assert_eq!(lost, Err(AppendError::Unknown));
        simulated.cluster.broker_up(1).expect("the broker comes back");
        let after = simulated.append_until_known(0).await;
        assert!(after.is_ok_and(|after| before.is_ok_and(|before| after > before)), "{after:?}");
    }

    #[tokio::test]
    async fn no_more_is_admitted_than_may_be_pending() {
        let room = (VALUE + 3 + RECORD_OVERHEAD) as u64 * 3;
        let simulated = Simulated::new("3000", room, |cluster| {
            cluster.broker_down(1).expect("the broker goes down");
        });
        let mut admitted = Vec::new();
        for partition in 0..3 {
            admitted.push(simulated.append(partition).await.expect("there is room"));
        }
        let fourth = tokio::time::timeout(Duration::from_millis(200), simulated.append(3)).await;
        assert!(fourth.is_err(), "there is no room for a fourth");
        for appending in admitted {
            assert_eq!(appending.await, Err(AppendError::Unknown));
        }
        simulated.append(3).await.expect("what is given up makes room").await.expect_err("nobody answers");
    }

    #[tokio::test]
    async fn a_producer_that_fails_for_good_is_replaced() {
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
        let simulated = Simulated::new("10000", 1 << 20, |cluster| {
            // Twice, whoever asks: an idempotent producer does not survive it.
            cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refusal, refusal]);
        });
        for partition in 0..4 {
            let outcome = simulated.append_until_known(partition).await;
            assert!(outcome.is_ok(), "{outcome:?}");
        }
        let lives = simulated.producers.shards.iter().map(|shard| shard.life.load(Ordering::Acquire));
        assert_eq!(lives.sum::<u64>(), 2, "as often as one failed");
    }

    #[tokio::test]
    async fn closing_waits_for_what_was_accepted() {
        let simulated = Simulated::new("10000", 1 << 20, |_| {});
        let mut accepted = Vec::new();
        for number in 0..100 {
            accepted.push(simulated.append(number % 4).await.expect("accepted"));
        }
        simulated.producers.close();
        for appending in accepted {
            assert!(appending.await.is_ok(), "what was accepted is written");
        }
        assert_eq!(simulated.append(0).await.err(), Some(AppendError::Closed));
    }
}
