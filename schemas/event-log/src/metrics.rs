//! The metrics of the log: one table holds their names, help and labels, and the handles are made from it
//! once, so that no record pays for a look-up.

use ::metrics::{Counter, Gauge, Histogram};
use hookline_telemetry::Metric;

use crate::{JournalName, Retention, TableName};

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

/// How long records waited for their commit to begin.
pub(crate) const QUEUE_SECONDS: &str = "hookline_log_queue_seconds";
/// The most that an environment may take.
pub(crate) const CAPACITY_BYTES: &str = "hookline_log_capacity_bytes";
/// What the disk has left.
pub(crate) const DISK_FREE_BYTES: &str = "hookline_log_disk_free_bytes";
/// What is kept for positions and retention.
pub(crate) const RESERVE_BYTES: &str = "hookline_log_reserve_bytes";
/// How long a journal keeps its records.
pub(crate) const RETENTION_SECONDS: &str = "hookline_log_retention_seconds";

/// How long Kafka took to acknowledge a record.
pub(crate) const ACKNOWLEDGE_SECONDS: &str = "hookline_log_acknowledge_seconds";
/// Brokers by whether the cluster has them.
pub(crate) const KAFKA_BROKERS: &str = "hookline_log_kafka_brokers";
/// How long a broker takes to answer.
pub(crate) const KAFKA_ROUND_TRIP_SECONDS: &str = "hookline_log_kafka_round_trip_seconds";
/// Records in the producers.
pub(crate) const KAFKA_QUEUE_RECORDS: &str = "hookline_log_kafka_queue_records";
/// Partitions by how safe they are.
pub(crate) const KAFKA_PARTITIONS: &str = "hookline_log_kafka_partitions";
/// What followers have not read yet.
pub(crate) const KAFKA_READER_LAG_RECORDS: &str = "hookline_log_kafka_reader_lag_records";

/// The gauge that declares what an acknowledged append has survived: 1, under the label `durability`. Whoever opens the
/// log sets it.
pub const DURABILITY_METRIC: &str = "hookline_log_durability";
/// The counter of records that were deleted before a reader had come to them, under the label `journal`. Readers count
/// it.
pub const EXPIRED_UNREAD_METRIC: &str = "hookline_log_expired_unread_total";

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
    Metric::gauge(
        DURABILITY_METRIC,
        &["durability"],
        "1 for what an acknowledged append has survived: fsync, replicated-N or page-cache",
    ),
    Metric::counter(
        EXPIRED_UNREAD_METRIC,
        &["journal"],
        "Offsets that a reader found to be deleted by retention before it had read them: lost",
    ),
    Metric::histogram(
        QUEUE_SECONDS,
        &["environment"],
        "From the append of a record to the begin of its commit; one record of each commit",
    ),
    Metric::gauge(CAPACITY_BYTES, &["environment"], "The most that the embedded log's file may hold"),
    Metric::gauge(DISK_FREE_BYTES, &["environment"], "What the disk of the embedded log has left"),
    Metric::gauge(
        RESERVE_BYTES,
        &[],
        "What the embedded log keeps for positions and retention: below it new events are refused",
    ),
    Metric::gauge(RETENTION_SECONDS, &["journal"], "How long a journal keeps its records, as configured"),
    Metric::histogram(
        ACKNOWLEDGE_SECONDS,
        &[],
        "From handing a record to a producer of the Kafka log to its acknowledgement",
    ),
    Metric::gauge(
        KAFKA_BROKERS,
        &["state"],
        "Brokers that the Kafka log stands on, by state: up, or down (missing in the cluster, or nobody answers)",
    ),
    Metric::gauge(
        KAFKA_ROUND_TRIP_SECONDS,
        &["broker"],
        "What a broker took to answer the Kafka log's producers, on average over the last seconds; by its number",
    ),
    Metric::gauge(
        KAFKA_QUEUE_RECORDS,
        &[],
        "Records handed to the producers of the Kafka log and not acknowledged",
    ),
    Metric::gauge(
        KAFKA_PARTITIONS,
        &["state"],
        "Partitions of hookline's topics, by the worst that holds: leaderless, under_min_isr, under_replicated, in_sync",
    ),
    Metric::gauge(
        KAFKA_READER_LAG_RECORDS,
        &["journal"],
        "What this process' readers of the Kafka log have not read yet, by journal or table",
    ),
];

/// Tells how long the journals are kept.
#[expect(clippy::cast_precision_loss, reason = "a gauge; 52 bits are enough")]
pub(crate) fn tell_retention(retention: &Retention) {
    for journal in JournalName::ALL {
        let seconds = retention.of(journal).as_secs();
        ::metrics::gauge!(RETENTION_SECONDS, "journal" => journal.as_str()).set(seconds as f64);
    }
}

/// Tells how much is kept when the disk is full.
#[expect(clippy::cast_precision_loss, reason = "a gauge; 52 bits are enough")]
pub(crate) fn tell_reserve(bytes: u64) {
    ::metrics::gauge!(RESERVE_BYTES).set(bytes as f64);
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
    pub(crate) queue_seconds: Histogram,
    pub(crate) disk_free_bytes: Gauge,
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
            queue_seconds: ::metrics::histogram!(QUEUE_SECONDS, "environment" => environment),
            disk_free_bytes: ::metrics::gauge!(DISK_FREE_BYTES, "environment" => environment),
            journals: JournalName::ALL.map(|name| RecordCounters::of(name.as_str())),
            tables: TableName::ALL.map(|name| RecordCounters::of(name.as_str())),
        }
    }

    /// What does not change, and what the disk has left for now.
    #[expect(clippy::cast_precision_loss, reason = "gauges; 52 bits are enough")]
    pub(crate) fn opened(&self, environment: &'static str, capacity: u64, disk_free: Option<u64>) {
        ::metrics::gauge!(CAPACITY_BYTES, "environment" => environment).set(capacity as f64);
        if let Some(free) = disk_free {
            self.disk_free_bytes.set(free as f64);
        }
    }

    pub(crate) fn journal(&self, name: JournalName) -> &RecordCounters {
        self.journals.get(name as usize).expect("there is a set of counters for every journal")
    }

    pub(crate) fn table(&self, name: TableName) -> &RecordCounters {
        self.tables.get(name as usize).expect("there is a set of counters for every table")
    }
}
