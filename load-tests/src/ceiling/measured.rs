//! What a server or a log did under load: the raw figures, beside which every ratio stands in the report.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::load::as_float;
use crate::process::Usage;
use crate::report::rounded;

/// Of one arm, measured once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Requests answered, or records acknowledged.
    pub answered: u64,
    /// From the first to the last.
    pub seconds: f64,
    /// Per second of that.
    pub per_second: f64,
    /// The median latency, in milliseconds.
    pub p50_ms: f64,
    /// What one in a hundred exceeds.
    pub p99_ms: f64,
    /// What one in a thousand exceeds.
    pub p999_ms: f64,
    /// User and system time of the process under test, in seconds per million answers.
    pub cpu_per_million: f64,
    /// Its anonymous memory at the end.
    pub rss_anon_bytes: u64,
    /// How much of the time the generator was busy; nothing where the process asked itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_busy: Option<f64>,
    /// What one request in a hundred was sent later than it was due, by the generator's fault; in milliseconds. In open
    /// loop alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_late_p99_ms: Option<f64>,
}

impl Measured {
    /// Latencies in microseconds, one of each answer, and what the process had used before the first and after the last.
    pub fn new(micros: &Histogram<u64>, lasted: Duration, before: Usage, after: Usage) -> Self {
        let answered = micros.len();
        let seconds = lasted.as_secs_f64();
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        Self {
            answered,
            seconds: rounded(seconds),
            per_second: rounded(as_float(answered) / seconds),
            p50_ms: percentile(micros, 0.5),
            p99_ms: percentile(micros, 0.99),
            p999_ms: percentile(micros, 0.999),
            cpu_per_million: rounded(cpu * 1e6 / as_float(answered)),
            rss_anon_bytes: after.rss_anon_bytes,
            generator_busy: None,
            generator_late_p99_ms: None,
        }
    }
}

/// Of a histogram of microseconds, in milliseconds.
pub(crate) fn percentile(micros: &Histogram<u64>, quantile: f64) -> f64 {
    rounded(as_float(micros.value_at_quantile(quantile)) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::histogram;

    #[test]
    fn figures_are_per_second_per_million_and_in_milliseconds() {
        let mut micros = histogram();
        (1..=1000).for_each(|micro| micros.saturating_record(micro * 10));
        let usage = |millis, bytes| Usage {
            cpu: Duration::from_millis(millis),
            rss_anon_bytes: bytes,
            open_files: 9,
        };
        let measured = Measured::new(&micros, Duration::from_secs(2), usage(100, 1), usage(120, 7));
        assert_eq!((measured.answered, measured.rss_anon_bytes), (1000, 7));
        for (figure, expected) in [
            (measured.per_second, 500.0),
            (measured.cpu_per_million, 20.0),
            (measured.p50_ms, 5.0),
            (measured.p99_ms, 9.9),
        ] {
            assert!((figure - expected).abs() < expected * 0.002, "{figure} {expected}");
        }
    }
}
