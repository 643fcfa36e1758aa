//! The metrics of the log: one table holds their names, help and labels, and the handles are made from it
//! once, so that no record pays for a look-up.

use ::metrics::{Counter, Gauge, Histogram, Unit};

use crate::{JournalName, TableName};

/// How a metric is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric of this crate, as the document of metrics prints it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it is measured.
    pub kind: Kind,
    /// In what.
    pub unit: Unit,
    /// What it says.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// How long a commit took, its sync included.
pub const COMMIT_SECONDS: &str = "hookline_log_commit_seconds";
/// How many commands one commit carried.
pub const BATCH_RECORDS: &str = "hookline_log_batch_records";
/// Records and entries that were acknowledged.
pub const APPENDED_RECORDS: &str = "hookline_log_appended_records_total";
/// Records and entries that were not.
pub const REFUSED_RECORDS: &str = "hookline_log_refused_records_total";
/// Bytes in use.
pub const USED_BYTES: &str = "hookline_log_used_bytes";
/// Records deleted by retention.
pub const EXPIRED_RECORDS: &str = "hookline_log_expired_records_total";

/// Bytes handed to Kafka's producers and not acknowledged.
pub const PENDING_BYTES: &str = "hookline_log_pending_bytes";
/// Producers that failed for good and were replaced.
pub const PRODUCERS_REPLACED: &str = "hookline_log_producers_replaced_total";
/// Errors that a client of Kafka reported beside its records.
pub const BROKER_ERRORS: &str = "hookline_log_broker_errors_total";
/// Partitions of a journal that this process owns.
pub const OWNED_PARTITIONS: &str = "hookline_log_owned_partitions";

/// Every metric of this crate.
pub const ALL: [Metric; 10] = [
    Metric {
        name: COMMIT_SECONDS,
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        help: "Time of one commit of the embedded log, its sync included",
        labels: &["environment"],
    },
    Metric {
        name: BATCH_RECORDS,
        kind: Kind::Histogram,
        unit: Unit::Count,
        help: "Appends, puts and cursor commits written by one commit of the embedded log",
        labels: &["environment"],
    },
    Metric {
        name: APPENDED_RECORDS,
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Records (of a table: entries) acknowledged as durable",
        labels: &["journal"],
    },
    Metric {
        name: REFUSED_RECORDS,
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Records (of a table: entries) refused after they were accepted: no_space, closed or unknown",
        labels: &["journal", "reason"],
    },
    Metric {
        name: USED_BYTES,
        kind: Kind::Gauge,
        unit: Unit::Bytes,
        help: "Bytes of the embedded log's file that hold live pages; the rest is free for reuse",
        labels: &["environment"],
    },
    Metric {
        name: EXPIRED_RECORDS,
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Records deleted by retention",
        labels: &["journal"],
    },
    Metric {
        name: PENDING_BYTES,
        kind: Kind::Gauge,
        unit: Unit::Bytes,
        help: "Bytes handed to the producers of the Kafka log and not acknowledged",
        labels: &[],
    },
    Metric {
        name: PRODUCERS_REPLACED,
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Producers of the Kafka log that failed for good and were replaced",
        labels: &[],
    },
    Metric {
        name: BROKER_ERRORS,
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Errors of the Kafka log's clients beside those of single records",
        labels: &["error"],
    },
    Metric {
        name: OWNED_PARTITIONS,
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "Partitions of a journal that this process owns in the Kafka log",
        labels: &["journal"],
    },
];

/// Tells the recorder of this process the help and unit of each metric.
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => ::metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => ::metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => ::metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

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
