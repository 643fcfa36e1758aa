//! The clients of librdkafka: how each kind is configured, and where what they say goes.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, TopicPartitionList};

use super::options::{KafkaOptions, SaslMechanism};
use super::statistics;
use crate::{OpenError, metrics};

/// The largest record: 1 MiB of value, a key, and what a batch adds.
pub(super) const MAX_MESSAGE_BYTES: &str = "1200000";

/// Properties that a promise rests on, or that have a setting of their own.
const RESERVED: [&str; 24] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "request.required.acks",
    "sasl.password",
    "security.protocol",
    "session.timeout.ms",
    "transactional.id",
];

/// The configurations of all clients.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    base: ClientConfig,
    group: String,
    message_timeout: String,
    session_timeout: String,
}

impl Clients {
    /// Checks what can be checked without a cluster.
    pub(super) fn new(options: &KafkaOptions) -> Result<Self, OpenError> {
        if options.bootstrap_servers.is_empty() {
            return Err(OpenError::Settings { reason: "no bootstrap servers are named".to_owned() });
        }
        if let Some(name) = options.properties.0.keys().find(|name| RESERVED.contains(&name.as_str())) {
            let reason = format!("{name} can't be set: hookline's promises rest on its value");
            return Err(OpenError::Settings { reason });
        }
        Ok(Self {
            base: base(options),
            group: options.group.clone(),
            message_timeout: options.message_timeout.as_millis().to_string(),
            session_timeout: options.session_timeout.as_millis().to_string(),
        })
    }

    /// For topics and their settings.
    pub(super) fn admin(&self) -> ClientConfig {
        self.base.clone()
    }

    /// Acknowledged by all replicas in sync, in order and once per send. It has no limits of its own: the
    /// admission before it has.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.base.clone();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.timeout.ms", &self.message_timeout)
            .set("request.timeout.ms", "5000")
            .set("message.max.bytes", MAX_MESSAGE_BYTES)
            .set("statistics.interval.ms", statistics::INTERVAL_MILLISECONDS)
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "2147483647");
        config
    }

    /// Follows partitions that it is told, and tells how far it has come.
    pub(super) fn follower(&self) -> ClientConfig {
        let mut config = self.reader();
        config.set("statistics.interval.ms", statistics::INTERVAL_MILLISECONDS);
        config
    }

    /// Reads partitions that it is told. It needs a group's name, and joins none.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.consumer("readers");
        config
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "20")
            .set("max.partition.fetch.bytes", "262144")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "512");
        config
    }

    /// Takes part in a group, and fetches nothing.
    pub(super) fn member(&self, journal: &str) -> ClientConfig {
        let mut config = self.consumer(journal);
        config
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", &self.session_timeout)
            .set("heartbeat.interval.ms", "1000");
        config
    }

    fn consumer(&self, suffix: &str) -> ClientConfig {
        let mut config = self.base.clone();
        config.set("group.id", format!("{}.{suffix}", self.group)).set("enable.auto.commit", "false");
        config
    }
}

fn base(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", options.bootstrap_servers.join(","))
        .set("client.id", "hookline")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", "6000")
        .set("reconnect.backoff.max.ms", "2000")
        .set_log_level(RDKafkaLogLevel::Info);
    for (name, value) in &options.properties.0 {
        config.set(name, value);
    }
    let security = &options.security;
    config.set(
        "security.protocol",
        match (&security.tls, &security.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        },
    );
    if let Some(tls) = &security.tls {
        // The OpenSSL that is built in knows no directory of this system's certificates.
        let ca = tls.ca_file.as_ref().map_or_else(|| "probe".into(), |file| file.display().to_string());
        config.set("ssl.ca.location", ca);
        if let Some((certificate, key)) = &tls.certificate {
            config.set("ssl.certificate.location", certificate.display().to_string());
            config.set("ssl.key.location", key.display().to_string());
        }
    }
    if let Some(sasl) = &security.sasl {
        let mechanism = match sasl.mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        config.set("sasl.mechanism", mechanism);
        config.set("sasl.username", &sasl.username);
        config.set("sasl.password", &sasl.password);
    }
    config
}

/// Where a client's log lines and errors go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice;

impl ClientContext for Voice {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tell(&error, reason);
    }
}

impl ConsumerContext for Voice {
    fn commit_callback(&self, _result: rdkafka::error::KafkaResult<()>, _offsets: &TopicPartitionList) {}
}

/// A log line of librdkafka. Its connections come and go in any outage: that is for whoever looks closer.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning if facility != "FAIL" => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// Whether the error is that of a connection, which the client makes again by itself.
pub(super) fn is_of_connection(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
        )
    )
}

/// An error that belongs to no record.
pub(super) fn tell(error: &KafkaError, reason: &str) {
    let code = error.rdkafka_error_code();
    let label = match code {
        Some(RDKafkaErrorCode::AllBrokersDown) => "all_brokers_down",
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) => "connection",
        Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
            "authentication"
        }
        Some(RDKafkaErrorCode::Fatal) => "fatal",
        _ => "other",
    };
    ::metrics::counter!(metrics::BROKER_ERRORS, "error" => label).increment(1);
    // Every client says so at every attempt.
    if is_of_connection(error) {
        tracing::debug!(%error, reason, "Kafka");
    } else {
        tracing::warn!(%error, reason, "Kafka");
    }
}
