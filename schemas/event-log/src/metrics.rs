//! The metrics of the log: one table holds their names, help and labels, and the handles are made from it
//! once, so that no record pays for a look-up.

use ::metrics::{Counter, Gauge, Histogram};
use hookline_telemetry::Metric;

use crate::{JournalName, TableName};

/// How long a commit took, its sync included.
pub(crate) const COMMIT_SECONDS: &str = "hookline_log_commit_seconds";
/// How many commands one commit carried.
pub(crate) const BATCH_RECORDS: &str = "hookline_log_batch_records";
/// Records and entries that were acknowledged.
pub(crate) const APPENDED_RECORDS: &str = "hookline_log_appended_records_total";
/// Records and entries that were not.
pub(crate) const REFUSED_RECORDS: &str = "hookline_log_refused_records_total";
/// Bytes in use.
pub(crate) const USED_BYTES: &str = "hookline_log_used_bytes";
/// Records deleted by retention.
pub(crate) const EXPIRED_RECORDS: &str = "hookline_log_expired_records_total";

/// Bytes handed to Kafka's producers and not acknowledged.
pub(crate) const PENDING_BYTES: &str = "hookline_log_pending_bytes";
/// Producers that failed for good and were replaced.
pub(crate) const PRODUCERS_REPLACED: &str = "hookline_log_producers_replaced_total";
/// Errors that a client of Kafka reported beside its records.
pub(crate) const BROKER_ERRORS: &str = "hookline_log_broker_errors_total";
/// Partitions of a journal that this process owns.
pub(crate) const OWNED_PARTITIONS: &str = "hookline_log_owned_partitions";

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[
    Metric::histogram(
        COMMIT_SECONDS,
        &["environment"],
        "Time of one commit of the embedded log, its sync included",
    ),
    Metric::histogram(
        BATCH_RECORDS,
        &["environment"],
        "Appends, puts and cursor commits written by one commit of the embedded log",
    ),
    Metric::counter(APPENDED_RECORDS, &["journal"], "Records (of a table: entries) acknowledged as durable"),
    Metric::counter(
        REFUSED_RECORDS,
        &["journal", "reason"],
        "Records (of a table: entries) refused after they were accepted: no_space, closed or unknown",
    ),
    Metric::gauge(
        USED_BYTES,
        &["environment"],
        "Bytes of the embedded log's file that hold live pages; the rest is free for reuse",
    ),
    Metric::counter(EXPIRED_RECORDS, &["journal"], "Records deleted by retention"),
    Metric::gauge(PENDING_BYTES, &[], "Bytes handed to the producers of the Kafka log and not acknowledged"),
    Metric::counter(
        PRODUCERS_REPLACED,
        &[],
        "Producers of the Kafka log that failed for good and were replaced",
    ),
    Metric::counter(
        BROKER_ERRORS,
        &["error"],
        "Errors of the Kafka log's clients beside those of single records",
    ),
    Metric::gauge(
        OWNED_PARTITIONS,
        &["journal"],
        "Partitions of a journal that this process owns in the Kafka log",
    ),
];

/// The counters of one journal or table.
#[derive(Debug)]
pub(crate) struct RecordCounters {
    pub(crate) appended: Counter,
    pub(crate) no_space: Counter,
    pub(crate) closed: Counter,
    pub(crate) unknown: Counter,
    pub(crate) expired: Counter,
}

impl RecordCounters {
    pub(crate) fn of(name: &'static str) -> Self {
        let refused = |reason: &'static str| ::metrics::counter!(REFUSED_RECORDS, "journal" => name, "reason" => reason);
        Self {
            appended: ::metrics::counter!(APPENDED_RECORDS, "journal" => name),
            no_space: refused("no_space"),
            closed: refused("closed"),
            unknown: refused("unknown"),
            expired: ::metrics::counter!(EXPIRED_RECORDS, "journal" => name),
        }
    }
}

/// What one writer counts and measures.
#[derive(Debug)]
pub(crate) struct WriterMetrics {
    pub(crate) commit_seconds: Histogram,
    pub(crate) batch_records: Histogram,
    pub(crate) used_bytes: Gauge,
    journals: [RecordCounters; JournalName::ALL.len()],
    tables: [RecordCounters; TableName::ALL.len()],
}

impl WriterMetrics {
    /// The handles of one environment's writer.
    pub(crate) fn of(environment: &'static str) -> Self {
        Self {
            commit_seconds: ::metrics::histogram!(COMMIT_SECONDS, "environment" => environment),
            batch_records: ::metrics::histogram!(BATCH_RECORDS, "environment" => environment),
            used_bytes: ::metrics::gauge!(USED_BYTES, "environment" => environment),
            journals: JournalName::ALL.map(|name| RecordCounters::of(name.as_str())),
            tables: TableName::ALL.map(|name| RecordCounters::of(name.as_str())),
        }
    }

    pub(crate) fn journal(&self, name: JournalName) -> &RecordCounters {
        self.journals.get(name as usize).expect("there is a set of counters for every journal")
    }

    pub(crate) fn table(&self, name: TableName) -> &RecordCounters {
        self.tables.get(name as usize).expect("there is a set of counters for every table")
    }
}
