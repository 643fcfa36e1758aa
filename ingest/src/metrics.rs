//! The metrics of the edge: one table holds names, help and labels; the handles are made once.

use std::collections::HashMap;
use std::time::Duration;

use hookline_schemas::notification::NotificationType;
use hookline_telemetry::Metric;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::answer::{Accepted, Refusal};
use crate::check::CheckCode;

const VERIFIED: &str = "hookline_ingest_notifications_total";
const ANSWERS: &str = "hookline_ingest_answers_total";
const CHECKS: &str = "hookline_ingest_checks_total";
const CONFLICTS: &str = "hookline_ingest_type_conflicts_total";
const ANSWER_SECONDS: &str = "hookline_ingest_answer_seconds";
const CONNECTIONS: &str = "hookline_ingest_connections";

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[
    Metric::counter(VERIFIED, &["type"], "Verified notifications, by type"),
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
];

/// The handles.
#[derive(Debug)]
pub(crate) struct EdgeMetrics {
    verified: HashMap<NotificationType, Counter>,
    refused: HashMap<&'static str, Counter>,
    checks: HashMap<CheckCode, Counter>,
    appended: Counter,
    quarantined: Counter,
    checked: Counter,
    conflicts: Counter,
    check_seconds: Histogram,
    append_seconds: Histogram,
    /// Open connections.
    pub(crate) connections: Gauge,
}

impl EdgeMetrics {
    pub(crate) fn new() -> Self {
        let of_type = |kind: NotificationType| (kind, counter!(VERIFIED, "type" => kind.as_str()));
        let of_refusal =
            |refusal: Refusal| (refusal.label(), counter!(ANSWERS, "outcome" => refusal.label()));
        let of_code = |code: CheckCode| (code, counter!(CHECKS, "code" => code.label()));
        Self {
            verified: NotificationType::ALL.into_iter().map(of_type).collect(),
            refused: Refusal::ALL.into_iter().map(of_refusal).collect(),
            checks: CheckCode::ALL.into_iter().map(of_code).collect(),
            appended: counter!(ANSWERS, "outcome" => "appended"),
            quarantined: counter!(ANSWERS, "outcome" => "quarantined"),
            checked: counter!(ANSWERS, "outcome" => "check"),
            conflicts: counter!(CONFLICTS),
            check_seconds: histogram!(ANSWER_SECONDS, "path" => "check"),
            append_seconds: histogram!(ANSWER_SECONDS, "path" => "append"),
            connections: gauge!(CONNECTIONS),
        }
    }

    /// A notification was verified.
    pub(crate) fn verified(&self, kind: NotificationType) {
        if let Some(counter) = self.verified.get(&kind) {
            counter.increment(1);
        }
    }

    /// A Check held the fields of a made payment.
    pub(crate) fn type_conflict(&self) {
        self.conflicts.increment(1);
    }

    /// A request was answered, that long after its head was there.
    pub(crate) fn answered(&self, outcome: Result<Accepted, Refusal>, took: Duration) {
        match outcome {
            Ok(Accepted::Check(code)) => {
                self.checked.increment(1);
                self.check_seconds.record(took);
                if let Some(counter) = self.checks.get(&code) {
                    counter.increment(1);
                }
            }
            Ok(Accepted::Appended) => {
                self.appended.increment(1);
                self.append_seconds.record(took);
            }
            Ok(Accepted::Quarantined) => self.quarantined.increment(1),
            Err(refusal) => {
                if let Some(counter) = self.refused.get(refusal.label()) {
                    counter.increment(1);
                }
            }
        }
    }
}
