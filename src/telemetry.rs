//! Logs, metrics and signals of the process.

#[cfg(test)]
mod document;
mod filter;
mod lines;
mod page;
pub(crate) mod process;
mod signals;

use anyhow::Context;
use hookline_telemetry::{Metric, describe};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

pub(crate) use filter::{LogFilter, problem_of_filter};
#[cfg(test)]
pub(crate) use lines::Dropped;
pub(crate) use lines::Lines;
pub(crate) use page::Metrics;
pub(crate) use signals::Signals;

/// Buckets in seconds, from well under a millisecond to a day.
const SECONDS: [f64; 22] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 300.0, 3_600.0, 14_400.0, 86_400.0,
];

/// Buckets in records.
const RECORDS: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0];

/// The metrics of one crate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    #[cfg_attr(not(test), expect(dead_code, reason = "for the document"))]
    pub(crate) title: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the document"))]
    pub(crate) about: &'static str,
    pub(crate) metrics: &'static [Metric],
}

/// Installs the recorder and describes every role's metrics.
pub(crate) fn init_metrics(lines: &Lines) -> anyhow::Result<Metrics> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), &RECORDS))
        .and_then(PrometheusBuilder::install_recorder)
        .context("failed to set up metrics")?;
    tables().for_each(|table| describe(table.metrics));
    process::tell_build();
    Ok(Metrics::new(handle, lines.dropped.clone()))
}

/// The table of each crate, in the order of the document.
fn tables() -> impl Iterator<Item = Table> {
    [
        Table {
            title: "The edge",
            about: "What CloudPayments posts, how it is answered, and what that waits for.",
            metrics: hookline_ingest::METRICS,
        },
        Table {
            title: "The dispatcher",
            about: "What goes out, to whom not, since when, and whether everything is accounted for.",
            metrics: hookline_dispatcher::METRICS,
        },
        Table {
            title: "The control plane",
            about: "What organizations ask for, and what CloudPayments' API is asked.",
            metrics: hookline_control::METRICS,
        },
        Table {
            title: "The log",
            about: "What everything else waits for. Those of commits, files and disks are the embedded log's; those \
                    of producers, brokers, partitions and readers are Kafka's.",
            metrics: hookline_event_log::METRICS,
        },
        Table {
            title: "The process",
            about: "The same for every role.",
            metrics: process::METRICS,
        },
    ]
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_objective_has_a_bucket_at_its_border() {
        for (border, objective) in [(0.1, "Checks"), (5.0, "deliveries")] {
            assert!(SECONDS.iter().any(|bucket| bucket.total_cmp(&border).is_eq()), "{objective}");
        }
        assert!(SECONDS.is_sorted_by(|one, next| one < next));
    }
}
