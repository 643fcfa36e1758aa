//! `[log]`: from what is written to the options of the backend that was chosen.
//!
//! Both backends' sections are read; the rules of the one that is not used are not applied.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use hookline_event_log::embedded::EmbeddedOptions;
use hookline_event_log::kafka::KafkaOptions;
use hookline_event_log::{PartitionCounts, Retention};
use serde::Deserialize;

use super::kafka::KafkaConfig;

/// The log that was asked for.
#[derive(Debug, Clone)]
pub(crate) enum LogOptions {
    /// In a directory of this machine, owned by one process.
    Embedded(EmbeddedOptions),
    /// On a Kafka cluster, shared by as many processes as one likes.
    Kafka(Box<KafkaOptions>),
}

/// `[log]` as it is written; `hookline.default.toml` explains each member.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogConfig {
    backend: Backend,
    event_partitions: u16,
    lane_partitions: u16,
    retention: RetentionConfig,
    embedded: EmbeddedConfig,
    kafka: KafkaConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Backend {
    Embedded,
    Kafka,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionConfig {
    #[serde(with = "humantime_serde")]
    events: Duration,
    #[serde(with = "humantime_serde")]
    parked: Duration,
    #[serde(with = "humantime_serde")]
    dead_letters: Duration,
    #[serde(with = "humantime_serde")]
    attempts: Duration,
    #[serde(with = "humantime_serde")]
    quarantine: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbeddedConfig {
    map_size: ByteSize,
    reserve: ByteSize,
    allow_page_cache: bool,
}

impl LogConfig {
    /// How long parked deliveries are kept.
    pub(super) const fn parked(&self) -> Duration {
        self.retention.parked
    }

    /// The options of the backend in use. They are of use only if this added no problem.
    pub(super) fn check(
        self,
        data_dir: PathBuf,
        problems: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) -> LogOptions {
        let counts = [("event_partitions", self.event_partitions), ("lane_partitions", self.lane_partitions)];
        let none = counts.iter().filter(|(_, count)| *count == 0);
        problems.extend(none.map(|(name, _)| format!("log.{name} is 0")));
        let partitions = PartitionCounts { events: self.event_partitions, lanes: self.lane_partitions };
        let retention = self.retention.into();
        match self.backend {
            Backend::Embedded => {
                problems.extend(self.embedded.problem());
                warnings.extend(self.kafka.warning_if_unused());
                LogOptions::Embedded(self.embedded.into_options(data_dir, partitions, retention))
            }
            Backend::Kafka => {
                LogOptions::Kafka(Box::new(self.kafka.check(partitions, retention, problems, warnings)))
            }
        }
    }
}

impl LogOptions {
    /// The edge gives up waiting before the log gives up trying: what it could still wait for must not end
    /// unknown.
    pub(super) fn problem_beside_ingest(&self, answer_timeout: Duration) -> Option<String> {
        let Self::Kafka(kafka) = self else { return None };
        (kafka.message_timeout < answer_timeout).then(|| {
            "log.kafka.message_timeout is below ingest.answer_timeout: an append would be given up that the \
             edge still waits for"
                .to_owned()
        })
    }

    /// The dispatcher lets go of a partition before it is taken from it.
    pub(super) fn problem_beside_dispatcher(&self, revoke_timeout: Duration) -> Option<String> {
        let Self::Kafka(kafka) = self else { return None };
        (kafka.drain_timeout <= revoke_timeout).then(|| {
            "log.kafka.drain_timeout is not above dispatcher.revoke_timeout: a partition would be taken away \
             while it is still being settled"
                .to_owned()
        })
    }
}

impl EmbeddedConfig {
    fn problem(&self) -> Option<String> {
        (self.map_size.as_u64() / 2 < self.reserve.as_u64()).then(|| {
            "log.embedded.reserve is above half of log.embedded.map_size: too little would be left for records"
                .to_owned()
        })
    }

    fn into_options(
        self,
        data_dir: PathBuf,
        partitions: PartitionCounts,
        retention: Retention,
    ) -> EmbeddedOptions {
        EmbeddedOptions {
            partitions,
            map_size: self.map_size.as_u64(),
            reserve: self.reserve.as_u64(),
            allow_page_cache: self.allow_page_cache,
            retention,
            ..EmbeddedOptions::new(data_dir)
        }
    }
}

impl From<RetentionConfig> for Retention {
    fn from(config: RetentionConfig) -> Self {
        Self {
            events: config.events,
            parked: config.parked,
            dead_letters: config.dead_letters,
            attempts: config.attempts,
            quarantine: config.quarantine,
        }
    }
}
