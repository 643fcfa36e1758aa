//! The log past one machine: Kafka behind the ports.
//!
//! A topic per journal and table. What is appended goes through `producers.rs` and is acknowledged by the
//! replicas in sync; partitions are followed in `followers.rs`, asked about in `queries.rs`, and owned by
//! members of consumer groups in `membership.rs`. The topics are made and checked in `topics.rs`.
//!
//! What an acknowledged append has survived is what the topics' settings say ([`Durability`]).

mod client;
mod cluster;
mod commit_words;
mod counts;
mod followers;
mod journal;
mod membership;
mod options;
mod ownership;
mod producers;
mod queries;
mod statistics;
mod table;
mod topics;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hookline_schemas::time::Clock;
use tokio::sync::watch;

pub use self::journal::{KafkaJournal, KafkaReader};
pub use self::options::{KafkaOptions, KafkaProperties, KafkaSasl, KafkaSecurity, KafkaTls, SaslMechanism};
pub use self::ownership::KafkaOwnership;
pub use self::table::{KafkaTable, KafkaWatch};

use self::client::Clients;
use self::cluster::Inquiry;
use self::followers::Followers;
use self::producers::Producers;
use self::queries::Queries;
use self::statistics::ReaderLag;
use self::topics::Topics;
use crate::{
    Durability, JournalName, Log, LogFailure, OpenError, Owned, PartitionCounts, ReadError, TableName,
};
use crate::{ending, metrics};

/// The least that may be pending: some records of the largest size.
const LEAST_PENDING: u64 = 4 * 1024 * 1024;

/// The Kafka log, open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KafkaLog {
    shared: Arc<Shared>,
}

/// What journals, tables and ownerships have in common.
struct Shared {
    counts: PartitionCounts,
    durability: Durability,
    drain_timeout: Duration,
    clock: Clock,
    clients: Clients,
    topics: Topics,
    producers: Arc<Producers>,
    followers: Followers,
    /// Started by the first question: an edge asks few, and some processes none.
    queries: OnceLock<Queries>,
    inquiry: Inquiry,
    failure: watch::Sender<Option<LogFailure>>,
    is_closed: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Shared {{ {:?}, {:?} }}", self.topics, self.durability)
    }
}

impl Shared {
    /// Where to ask, from the first question on.
    fn queries(&self) -> Result<Queries, ReadError> {
        if *self.is_closed.borrow() {
            return Err(ReadError::Closed);
        }
        if let Some(queries) = self.queries.get() {
            return Ok(queries.clone());
        }
        // Held over the start: it happens once.
        let mut threads = self.threads();
        if let Some(queries) = self.queries.get() {
            return Ok(queries.clone());
        }
        let (queries, started) = Queries::start(&self.clients.reader(), self.clock)
            .map_err(|error| ReadError::Backend(error.to_string()))?;
        threads.extend(started);
        Ok(self.queries.get_or_init(|| queries).clone())
    }

    /// Resolves once the log has been closed.
    async fn closed(&self) {
        // An error would mean that the sender is gone, and it is here.
        let _ = self.is_closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// The log can't go on.
    fn fail(&self, reason: String) {
        self.failure.send_replace(Some(LogFailure { reason }));
    }

    fn start_member(&self, of: Owned, take_part: impl FnOnce() + Send + 'static) {
        let builder = std::thread::Builder::new().name(format!("kafka-group-{}", of.as_str()));
        match builder.spawn(take_part) {
            Ok(thread) => self.threads().push(thread),
            Err(error) => self.fail(format!("failed to start a thread: {error}")),
        }
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        // Nothing between lock and unlock can be left half-done.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the threads to end.
    fn close(&self) {
        self.is_closed.send_replace(true);
        self.producers.close();
        self.inquiry.close();
        self.followers.close();
        if let Some(queries) = self.queries.get() {
            queries.close();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

impl KafkaLog {
    /// Finds the cluster, makes the topics that are missing and checks all of them. Blocks while it does so.
    pub fn open(options: KafkaOptions, clock: Clock) -> Result<Self, OpenError> {
        let settings = |reason: String| OpenError::Settings { reason };
        if options.max_pending < LEAST_PENDING {
            return Err(settings(format!("max_pending is below {LEAST_PENDING} bytes")));
        }
        let clients = Clients::new(&options)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| settings(error.to_string()))?;
        let durability = runtime.block_on(topics::prepare(&options, &clients, &clock))?;
        let (producers, supervisor) = Producers::start(clients.producer(), options.max_pending, clock)?;
        let topics = Topics::new(&options);
        let asked = Inquiry::start(Arc::clone(&producers), topics.names(), options.min_insync_replicas);
        let inquiry = asked.map_err(|error| settings(error.to_string()))?;
        metrics::tell_retention(&options.retention);
        let log = Self {
            shared: Arc::new(Shared {
                counts: options.partitions,
                durability,
                drain_timeout: options.drain_timeout,
                clock,
                followers: Followers::new(clients.follower(), ReaderLag::new(&options.topic_prefix)),
                clients,
                topics,
                producers,
                queries: OnceLock::new(),
                inquiry,
                failure: watch::Sender::new(None),
                is_closed: watch::Sender::new(false),
                threads: Mutex::new(vec![supervisor]),
            }),
        };
        let checked = runtime.block_on(async {
            tokio::time::timeout(options.open_timeout, counts::check(&log, options.partitions)).await
        });
        checked.unwrap_or_else(|_| {
            let servers = options.bootstrap_servers.join(",");
            Err(OpenError::Unreachable { servers, reason: "the partition counts can't be read".to_owned() })
        })?;
        Ok(log)
    }

    /// Waits for what was accepted to be acknowledged, refuses everything later, and leaves the groups.
    pub async fn close(&self) {
        self.shared.close();
        let mut threads = std::mem::take(&mut *self.shared.threads());
        threads.extend(self.shared.followers.take_threads());
        ending::join(threads).await;
    }
}

impl Log for KafkaLog {
    type Journal = KafkaJournal;
    type Table = KafkaTable;
    type Ownership = KafkaOwnership;

    fn journal(&self, name: JournalName) -> KafkaJournal {
        KafkaJournal::new(name, Arc::clone(&self.shared))
    }

    fn table(&self, name: TableName) -> KafkaTable {
        KafkaTable::new(name, Arc::clone(&self.shared))
    }

    fn ownership(&self, of: impl Into<Owned>) -> KafkaOwnership {
        KafkaOwnership::new(of.into(), Arc::clone(&self.shared))
    }

    fn durability(&self) -> Durability {
        self.shared.durability
    }

    async fn failed(&self) -> LogFailure {
        ending::failure(self.shared.failure.subscribe()).await
    }
}
