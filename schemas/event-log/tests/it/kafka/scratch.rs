//! Logs of their own on the cluster that the tests share: each has its own topics and groups.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hookline_event_log::kafka::{KafkaLog, KafkaOptions};
use hookline_event_log::{OpenError, PartitionCounts};
use hookline_local_kafka::LocalKafka;
use hookline_schemas::time::Clock;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;

/// A place on the cluster for one test.
pub(crate) struct Scratch {
    pub(crate) options: KafkaOptions,
}

impl Scratch {
    /// `None` where there is no Java or no Maven.
    pub(crate) fn new(test: &str) -> Option<Self> {
        hookline_local_kafka::for_test(test).map(Self::on)
    }

    pub(crate) fn on(cluster: &LocalKafka) -> Self {
        Self::at(cluster.bootstrap_servers())
    }

    pub(crate) fn at(servers: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let servers = servers.split(',').map(str::to_owned).collect();
        let options = KafkaOptions {
            topic_prefix: format!("test{number}."),
            group: format!("test{number}"),
            partitions: PartitionCounts { events: 2, lanes: 3 },
            replication_factor: 1,
            min_insync_replicas: 1,
            allow_page_cache: true,
            session_timeout: Duration::from_secs(3),
            drain_timeout: Duration::from_secs(2),
            ..KafkaOptions::new(servers)
        };
        Self { options }
    }

    pub(crate) async fn try_open(&self) -> Result<KafkaLog, OpenError> {
        let options = self.options.clone();
        let opened = tokio::task::spawn_blocking(move || KafkaLog::open(options, Clock::start()));
        opened.await.expect("opening does not panic")
    }

    pub(crate) async fn open(&self) -> KafkaLog {
        self.try_open().await.expect("the log opens")
    }

    /// What an operator does to the cluster.
    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        let servers = self.options.bootstrap_servers.join(",");
        ClientConfig::new().set("bootstrap.servers", servers).create().expect("an admin client")
    }

    /// The name of a topic.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.options.topic_prefix)
    }
}
