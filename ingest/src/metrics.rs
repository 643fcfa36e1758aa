//! The metrics of the edge: one table holds names, help and labels; the handles are made once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hookline_schemas::notification::NotificationType;
use hookline_telemetry::Metric;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::admission::Admission;
use crate::answer::{Accepted, Refusal};
use crate::check::CheckCode;
use crate::gateway_metrics::{GATEWAY_LAST_NOTIFICATION, GATEWAY_NOTIFICATIONS};

const NOTIFICATIONS: &str = "hookline_ingest_notifications_total";
const ANSWERS: &str = "hookline_ingest_answers_total";
const CHECKS: &str = "hookline_ingest_checks_total";
const CONFLICTS: &str = "hookline_ingest_type_conflicts_total";
const ANSWER_SECONDS: &str = "hookline_ingest_answer_seconds";
const CONNECTIONS: &str = "hookline_ingest_connections";
const CONNECTIONS_MAX: &str = "hookline_ingest_connections_max";
const APPEND_WAIT_SECONDS: &str = "hookline_ingest_append_wait_seconds";
const APPEND_SECONDS: &str = "hookline_ingest_append_seconds";
const PERMITS_IN_USE: &str = "hookline_ingest_permits_in_use";
const PERMITS: &str = "hookline_ingest_permits";
const GATEWAYS: &str = "hookline_ingest_gateways";
const DIRECTORY_ENTRIES: &str = "hookline_ingest_directory_entries";
const HANDSHAKE_FAILURES: &str = "hookline_ingest_tls_handshake_failures_total";
const CERTIFICATE_EXPIRY: &str = "hookline_ingest_tls_certificate_expiry_timestamp_seconds";

/// In the order in which [`Admission::usage`] tells them.
const PERMIT_KINDS: [&str; 3] = ["requests", "checks", "bytes"];

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        NOTIFICATIONS,
        &["type", "outcome"],
        "Verified notifications, by type and outcome: appended, quarantined, check, or the refusal",
    ),
    Metric::counter(
        ANSWERS,
        &["outcome"],
        "Answers, by outcome: appended, quarantined, check, or the refusal",
    ),
    Metric::counter(CHECKS, &["code"], "Answered Checks, by code"),
    Metric::counter(CONFLICTS, &[], "Checks that held the fields of a made payment"),
    Metric::histogram(
        ANSWER_SECONDS,
        &["path"],
        "From the head of a request to its answer, by path: check or append",
    ),
    Metric::gauge(CONNECTIONS, &[], "Open connections"),
    Metric::gauge(CONNECTIONS_MAX, &[], "Open connections that there may be: ingest.max_connections"),
    Metric::histogram(
        APPEND_WAIT_SECONDS,
        &[],
        "From an event's beginning until the log had taken it: longer than a moment is backpressure. What it did not \
         take in ingest.answer_timeout is not in here, but among the answers",
    ),
    Metric::histogram(
        APPEND_SECONDS,
        &[],
        "From there until the event was durable, and answered; of those alone that were appended",
    ),
    Metric::gauge(
        PERMITS_IN_USE,
        &["kind"],
        "Permits in use, by kind: requests (all but Checks), checks (theirs alone) and bytes of bodies",
    ),
    Metric::gauge(PERMITS, &["kind"], "Permits that there are, by kind as above"),
    Metric::gauge(GATEWAYS, &[], "Gateways that notifications are taken for"),
    Metric::gauge(DIRECTORY_ENTRIES, &["table"], "What Check compares with, by table: clients or top_ups"),
    GATEWAY_NOTIFICATIONS,
    GATEWAY_LAST_NOTIFICATION,
    Metric::counter(HANDSHAKE_FAILURES, &[], "Connections on which no TLS was agreed on"),
    Metric::gauge(
        CERTIFICATE_EXPIRY,
        &[],
        "Unix time at which the edge's certificate ends; only where it speaks TLS",
    ),
];

/// Until when the certificate is good. Not among the others: without one it would say 1970.
pub(crate) fn certificate_expiry() -> Gauge {
    gauge!(CERTIFICATE_EXPIRY)
}

fn notifications(kind: NotificationType, outcome: &'static str) -> Counter {
    counter!(NOTIFICATIONS, "type" => kind.as_str(), "outcome" => outcome)
}

/// A count that requests pay one addition for; the recorder is told of it at each look.
#[derive(Debug)]
struct Count {
    count: AtomicU64,
    told: Counter,
}

impl Count {
    const fn new(told: Counter) -> Self {
        Self { count: AtomicU64::new(0), told }
    }

    fn increment(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the recorder, and the caller.
    fn tell(&self) -> u64 {
        let count = self.count.load(Ordering::Relaxed);
        self.told.absolute(count);
        count
    }
}

/// What notifications of one type, but for Checks, have become.
#[derive(Debug)]
struct Taken {
    appended: Count,
    quarantined: Count,
}

impl Taken {
    fn new(kind: NotificationType) -> Self {
        let count = |outcome| Count::new(notifications(kind, outcome));
        Self { appended: count("appended"), quarantined: count("quarantined") }
    }
}

/// The handles.
#[derive(Debug)]
pub(crate) struct EdgeMetrics {
    /// In the order of the types, behind Check.
    taken: Vec<(NotificationType, Taken)>,
    refused: HashMap<&'static str, Counter>,
    /// In the order of the codes.
    checks: [Count; CheckCode::ALL.len()],
    /// Of the counts above, told at each look.
    appended: Counter,
    quarantined: Counter,
    checked: Counter,
    checks_notified: Counter,
    conflicts: Counter,
    check_seconds: Histogram,
    /// From the head to the answer.
    appended_seconds: Histogram,
    /// From an event's beginning until the log had taken it.
    pub(crate) append_wait_seconds: Histogram,
    append_seconds: Histogram,
    /// Open connections.
    pub(crate) connections: Gauge,
    /// In use, and in all, of each kind.
    permits: [(Gauge, Gauge); 3],
    clients: Gauge,
    top_ups: Gauge,
    gateways: Gauge,
    /// Connections on which no TLS was agreed on.
    pub(crate) handshake_failures: Counter,
}

impl EdgeMetrics {
    /// With so many connections at most.
    pub(crate) fn new(max_connections: usize) -> Self {
        gauge!(CONNECTIONS_MAX).set(as_value(max_connections as u64));
        let of_refusal =
            |refusal: Refusal| (refusal.label(), counter!(ANSWERS, "outcome" => refusal.label()));
        let of_code = |code: CheckCode| Count::new(counter!(CHECKS, "code" => code.label()));
        let all_but_checks =
            NotificationType::ALL.into_iter().filter(|kind| *kind != NotificationType::Check);
        Self {
            taken: all_but_checks.map(|kind| (kind, Taken::new(kind))).collect(),
            refused: Refusal::ALL.into_iter().map(of_refusal).collect(),
            checks: CheckCode::ALL.map(of_code),
            appended: counter!(ANSWERS, "outcome" => "appended"),
            quarantined: counter!(ANSWERS, "outcome" => "quarantined"),
            checked: counter!(ANSWERS, "outcome" => "check"),
            checks_notified: notifications(NotificationType::Check, "check"),
            conflicts: counter!(CONFLICTS),
            check_seconds: histogram!(ANSWER_SECONDS, "path" => "check"),
            appended_seconds: histogram!(ANSWER_SECONDS, "path" => "append"),
            append_wait_seconds: histogram!(APPEND_WAIT_SECONDS),
            append_seconds: histogram!(APPEND_SECONDS),
            connections: gauge!(CONNECTIONS),
            permits: PERMIT_KINDS
                .map(|kind| (gauge!(PERMITS_IN_USE, "kind" => kind), gauge!(PERMITS, "kind" => kind))),
            clients: gauge!(DIRECTORY_ENTRIES, "table" => "clients"),
            top_ups: gauge!(DIRECTORY_ENTRIES, "table" => "top_ups"),
            gateways: gauge!(GATEWAYS),
            handshake_failures: counter!(HANDSHAKE_FAILURES),
        }
    }

    /// A verified notification was answered so.
    pub(crate) fn notified(&self, kind: NotificationType, outcome: Result<Accepted, Refusal>) {
        match outcome {
            // Counted by its code, when it is answered.
            Ok(Accepted::Check(_)) => {}
            Ok(Accepted::Appended { .. }) => self.count(kind, |taken| &taken.appended),
            Ok(Accepted::Quarantined) => self.count(kind, |taken| &taken.quarantined),
            // Rare enough to be looked up.
            Err(refusal) => notifications(kind, refusal.label()).increment(1),
        }
    }

    fn count(&self, kind: NotificationType, which: impl FnOnce(&Taken) -> &Count) {
        if let Some((_, taken)) = self.taken.iter().find(|(of, _)| *of == kind) {
            which(taken).increment();
        }
    }

    /// A Check held the fields of a made payment.
    pub(crate) fn type_conflict(&self) {
        self.conflicts.increment(1);
    }

    /// What is measured when somebody looks: no request pays for it.
    pub(crate) fn observe(&self, admission: &Admission, (clients, top_ups): (usize, usize), gateways: usize) {
        self.tell_counts();
        for ((in_use, most), usage) in self.permits.iter().zip(admission.usage()) {
            in_use.set(as_value(usage.in_use));
            most.set(as_value(usage.most));
        }
        self.clients.set(as_value(clients as u64));
        self.top_ups.set(as_value(top_ups as u64));
        self.gateways.set(as_value(gateways as u64));
    }

    fn tell_counts(&self) {
        let checks = self.checks.iter().map(Count::tell).sum();
        self.checked.absolute(checks);
        self.checks_notified.absolute(checks);
        self.appended.absolute(self.taken.iter().map(|(_, taken)| taken.appended.tell()).sum());
        self.quarantined.absolute(self.taken.iter().map(|(_, taken)| taken.quarantined.tell()).sum());
    }

    /// A request whose head was there at `began` was answered at `ended`.
    pub(crate) fn answered(&self, outcome: Result<Accepted, Refusal>, began: Duration, ended: Duration) {
        let took = ended.saturating_sub(began);
        match outcome {
            Ok(Accepted::Check(code)) => {
                self.check_seconds.record(took);
                if let Some(count) = self.checks.get(code as usize) {
                    count.increment();
                }
            }
            Ok(Accepted::Appended { taken_at }) => {
                self.appended_seconds.record(took);
                self.append_seconds.record(ended.saturating_sub(taken_at));
            }
            Ok(Accepted::Quarantined) => {}
            Err(refusal) => {
                if let Some(counter) = self.refused.get(refusal.label()) {
                    counter.increment(1);
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; 52 bits are enough")]
const fn as_value(count: u64) -> f64 {
    count as f64
}
