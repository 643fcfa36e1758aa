//! What the Kafka backend can be told: the cluster, the topics, how much may be under way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::{PartitionCounts, Retention};

/// How the Kafka log is set up.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// `host:port` of some brokers; the others are learned from them. At least one.
    pub bootstrap_servers: Vec<String>,
    /// How to speak to them.
    pub security: KafkaSecurity,
    /// Stands before the name of every topic.
    pub topic_prefix: String,
    /// Stands before the names of the consumer groups, `.events`, `.parked` and `.readers`.
    pub group: String,
    /// Fixed once the topics exist.
    pub partitions: PartitionCounts,
    /// How long the journals keep their records.
    pub retention: Retention,
    /// Create topics that do not exist.
    pub create_topics: bool,
    /// On how many brokers each record stands; of topics that exist, the least that is accepted.
    pub replication_factor: u16,
    /// How many replicas must have a record before it is acknowledged.
    pub min_insync_replicas: u16,
    /// Accept acknowledgements that stand in the page cache of a single broker.
    pub allow_page_cache: bool,
    /// Bytes that are appended and not acknowledged, at most; more waits.
    pub max_pending: u64,
    /// After this an append that was not acknowledged ends [`Unknown`](crate::AppendError::Unknown).
    pub message_timeout: Duration,
    /// After this a dispatcher that is not heard of loses its partitions.
    pub session_timeout: Duration,
    /// How long an owner may keep a partition that is to move, to settle what is in flight.
    pub drain_timeout: Duration,
    /// How long to look for the cluster at the start.
    pub open_timeout: Duration,
    /// Further settings of librdkafka, for all clients. The ones that a promise rests on are refused; a client's own
    /// settings stand above them.
    pub properties: KafkaProperties,
}

/// How to speak to the brokers.
#[derive(Debug, Clone, Default)]
pub struct KafkaSecurity {
    /// TLS; without it the network can read everything.
    pub tls: Option<KafkaTls>,
    /// Who we are.
    pub sasl: Option<KafkaSasl>,
}

/// TLS to the brokers.
#[derive(Debug, Clone, Default)]
pub struct KafkaTls {
    /// Certificates (PEM) that sign the brokers'; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate (PEM) and its key, where the brokers ask for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// A user and a password.
#[derive(Clone)]
pub struct KafkaSasl {
    /// How the password is shown.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for KafkaSasl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "KafkaSasl {{ {:?}, {:?} }}", self.mechanism, self.username)
    }
}

/// How a password is shown to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// In clear: over TLS only.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
}

/// Settings of librdkafka by their names. Printed without their values, which may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaProperties(pub BTreeMap<String, String>);

impl std::fmt::Debug for KafkaProperties {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl KafkaOptions {
    /// The defaults, for a cluster.
    pub fn new(bootstrap_servers: Vec<String>) -> Self {
        Self {
            bootstrap_servers,
            security: KafkaSecurity::default(),
            topic_prefix: "hookline.".to_owned(),
            group: "hookline".to_owned(),
            partitions: PartitionCounts::default(),
            retention: Retention::default(),
            create_topics: true,
            replication_factor: 3,
            min_insync_replicas: 2,
            allow_page_cache: false,
            max_pending: 64 * 1024 * 1024,
            message_timeout: Duration::from_secs(60),
            session_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
            open_timeout: Duration::from_secs(60),
            properties: KafkaProperties::default(),
        }
    }
}
