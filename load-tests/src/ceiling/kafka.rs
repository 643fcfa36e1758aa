//! librdkafka's own producer on the same records: two producers with the settings that hookline's have, each with half
//! of the partitions, and nothing before or behind them.
//!
//! The one place of these tests that knows rdkafka: as what hookline's log is compared with, never as a way to hookline.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use hookline_schemas::time::Clock;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::asking::{Asking, ask};
use super::measured::Measured;
use crate::load::EventRecord;

/// hookline's default.
const PARTITIONS: u16 = 16;
/// For making the topic, and for what is in flight at the end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells who waits for it that a record was acknowledged.
struct Reports;

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<oneshot::Sender<bool>>;

    fn delivery(&self, report: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        // Who has stopped waiting has dropped the other half.
        let _ = waiting.send(report.is_ok());
    }
}

/// The producers, and where they produce to.
struct Producers {
    shards: [ThreadedProducer<Reports>; 2],
    topic: String,
    records: Arc<[EventRecord]>,
}

impl Producers {
    fn new(config: &ClientConfig, topic: String, records: Arc<[EventRecord]>) -> anyhow::Result<Self> {
        let shard = || ThreadedProducer::from_config_and_context(config, Reports);
        Ok(Self { shards: [shard()?, shard()?], topic, records })
    }

    /// The record with this number was acknowledged when this returns.
    async fn append(self: Arc<Self>, number: usize) -> anyhow::Result<()> {
        let record = self.records.get(number % self.records.len()).context("there are no records")?;
        let partition = number % usize::from(PARTITIONS);
        let shard = self.shards.get(partition % self.shards.len()).context("there are no producers")?;
        let (acknowledge, acknowledged) = oneshot::channel();
        let outgoing = BaseRecord::with_opaque_to(&self.topic, Box::new(acknowledge))
            .partition(i32::try_from(partition)?)
            .key(record.key.as_ref())
            .payload(record.value.as_ref());
        shard.send(outgoing).map_err(|(error, _)| anyhow!(error))?;
        ensure!(acknowledged.await?, "a record was not acknowledged");
        Ok(())
    }
}

/// Produces these records again and again to a topic of its own, and tells how fast they were acknowledged.
pub(super) async fn measure(
    bootstrap_servers: &str,
    asking: Asking,
    records: Arc<[EventRecord]>,
    clock: Clock,
) -> anyhow::Result<Measured> {
    let config = settings(bootstrap_servers);
    let topic = format!("ceiling-{:08x}", rand::random::<u32>());
    make(&config, &topic).await.with_context(|| format!("failed to make the topic {topic}"))?;
    let producers = Arc::new(Producers::new(&config, topic, records)?);
    let asked = Arc::clone(&producers);
    let measured = ask(asking, clock, move |number| Arc::clone(&asked).append(number)).await?;
    for shard in &producers.shards {
        shard.flush(PATIENCE)?;
    }
    Ok(measured)
}

/// Those of hookline's producers.
fn settings(bootstrap_servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", bootstrap_servers),
        ("socket.keepalive.enable", "true"),
        ("socket.timeout.ms", "6000"),
        ("reconnect.backoff.max.ms", "2000"),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("linger.ms", "0"),
        ("message.timeout.ms", "60000"),
        ("request.timeout.ms", "5000"),
        ("message.max.bytes", "1048576"),
        ("queue.buffering.max.messages", "0"),
        ("queue.buffering.max.kbytes", "2147483647"),
    ] {
        config.set(name, value);
    }
    config
}

/// As hookline makes its journals: the broker puts its own time on each record, for one.
async fn make(config: &ClientConfig, topic: &str) -> anyhow::Result<()> {
    let mut of_admin = ClientConfig::new();
    of_admin.set("bootstrap.servers", config.get("bootstrap.servers").context("no servers")?);
    let admin: AdminClient<DefaultClientContext> = of_admin.create()?;
    let new = NewTopic::new(topic, i32::from(PARTITIONS), TopicReplication::Fixed(1))
        .set("message.timestamp.type", "LogAppendTime")
        .set("min.insync.replicas", "1")
        .set("max.message.bytes", "1048576");
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for made in admin.create_topics([&new], &options).await? {
        made.map_err(|(topic, error)| anyhow!("{topic}: {error}"))?;
    }
    Ok(())
}
