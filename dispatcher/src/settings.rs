//! The settings of the dispatcher; `hookline.default.toml` explains each.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::Deserialize;

/// The section `[dispatcher]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Networks that webhooks may be sent to although they are not public.
    #[serde(default)]
    pub allow_addresses: Vec<IpNet>,
    /// Whether a webhook's URL may be `http`.
    pub allow_http: bool,
    /// Certificates (PEM) that are trusted beside the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// For a whole attempt: connect, TLS, headers and body.
    #[serde(with = "humantime_serde")]
    pub attempt_timeout: Duration,
    /// From the fetch of an event until a delivery that is not settled is parked.
    #[serde(with = "humantime_serde")]
    pub budget: Duration,
    /// How often positions are committed.
    #[serde(with = "humantime_serde")]
    pub commit_interval: Duration,
    /// How often lane records are written, beside every 1,000 deliveries.
    #[serde(with = "humantime_serde")]
    pub lane_interval: Duration,
    /// Attempts in flight per endpoint, of each dispatcher.
    pub endpoint_concurrency: usize,
    /// Attempts in flight over all endpoints, of each dispatcher.
    pub max_attempts: usize,
    /// Deliveries that wait for a permit of their endpoint.
    pub endpoint_queue: usize,
    /// Events in flight per partition.
    pub window_events: usize,
    /// Bytes of events in flight per partition.
    pub window_bytes: ByteSize,
    /// Events per partition whose repetitions are recognized.
    pub repeat_memory: usize,
    /// Failures in a row after which an endpoint counts as down.
    pub breaker_failures: u32,
    /// An endpoint that was down for so long is disabled.
    #[serde(with = "humantime_serde")]
    pub disable_after: Duration,
    /// Delays between attempts of an event that fails while its neighbours pass; the last repeats.
    #[serde(with = "durations")]
    pub retry_schedule: Vec<Duration>,
    /// Delays between probes of an endpoint that is down; the last repeats.
    #[serde(with = "durations")]
    pub probe_schedule: Vec<Duration>,
    /// From acceptance until a delivery is given up.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// How long attempts in flight may take when the process stops.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// How long what is in flight may take when a partition goes to another process.
    #[serde(with = "humantime_serde")]
    pub revoke_timeout: Duration,
}

/// Lists of durations, each written as humans do (`"5s"`, `"30 min"`).
pub mod durations {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Written(#[serde(with = "humantime_serde")] Duration);

    /// Reads the list.
    ///
    /// # Errors
    ///
    /// If one of them is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        Ok(Vec::<Written>::deserialize(deserializer)?.into_iter().map(|Written(duration)| duration).collect())
    }
}
