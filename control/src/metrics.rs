//! The metrics of the control plane: one table holds names and help.

use std::time::Duration;

use hookline_telemetry::Metric;
use metrics::{counter, gauge, histogram};

const REQUESTS: &str = "hookline_control_requests_total";
const RECONCILIATIONS: &str = "hookline_control_reconciliations_total";
const MISSING: &str = "hookline_control_missing_payments_total";
const SOCKETS: &str = "hookline_control_sockets";
const SOCKETS_ENDED: &str = "hookline_control_sockets_ended_total";
const REQUEST_SECONDS: &str = "hookline_control_request_seconds";
const ACTIVE: &str = "hookline_control_active";
const ACQUIRER_REQUESTS: &str = "hookline_control_acquirer_requests_total";
const ACQUIRER_REQUEST_SECONDS: &str = "hookline_control_acquirer_request_seconds";
const OPEN_REFUNDS: &str = "hookline_control_open_refunds";
const OLDEST_OPEN_REFUND_SECONDS: &str = "hookline_control_oldest_open_refund_seconds";

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        REQUESTS,
        &["outcome"],
        "Requests, by outcome: ok, errors (GraphQL's), or why none was executed",
    ),
    Metric::counter(
        RECONCILIATIONS,
        &["outcome"],
        "Comparisons of a gateway's payments with CloudPayments', by outcome",
    ),
    Metric::counter(
        MISSING,
        &["outcome"],
        "What CloudPayments had and no notification had told of, by outcome: repaired or reported",
    ),
    Metric::gauge(SOCKETS, &[], "WebSockets of subscriptions that are open"),
    Metric::counter(
        SOCKETS_ENDED,
        &["outcome"],
        "WebSockets of subscriptions that were closed, by outcome: why",
    ),
    Metric::histogram(REQUEST_SECONDS, &[], "From a request's head to its answer"),
    Metric::gauge(ACTIVE, &[], "1, if this control is the one that writes; the others stand by"),
    Metric::counter(
        ACQUIRER_REQUESTS,
        &["operation", "outcome"],
        "Questions to CloudPayments' API, by outcome: answered (also with a no), invalid_credentials or unavailable",
    ),
    Metric::histogram(
        ACQUIRER_REQUEST_SECONDS,
        &["operation"],
        "Time of one question to CloudPayments' API, with the wait for a place and for what was put off",
    ),
    Metric::gauge(OPEN_REFUNDS, &[], "Refunds that are not settled, where this control is the active one"),
    Metric::gauge(
        OLDEST_OPEN_REFUND_SECONDS,
        &[],
        "For how long the oldest of them has been so; 0, if there is none",
    ),
];

/// A gateway's payments were compared; the outcome is one of a few words.
pub(crate) fn reconciled(outcome: &'static str) {
    counter!(RECONCILIATIONS, "outcome" => outcome).increment(1);
}

/// So much was missing, and so much of it is not any more.
pub(crate) fn missing_payments(missing: usize, repaired: usize) {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    counter!(MISSING, "outcome" => "repaired").increment(count(repaired));
    counter!(MISSING, "outcome" => "reported").increment(count(missing.saturating_sub(repaired)));
}

/// Whether this control is the one that writes.
pub(crate) fn tell_active(is_active: bool) {
    gauge!(ACTIVE).set(f64::from(u8::from(is_active)));
}

/// CloudPayments was asked something; operation and outcome are of a few words each.
pub(crate) fn acquirer_asked(operation: &'static str, outcome: &'static str, took: Duration) {
    counter!(ACQUIRER_REQUESTS, "operation" => operation, "outcome" => outcome).increment(1);
    histogram!(ACQUIRER_REQUEST_SECONDS, "operation" => operation).record(took);
}

/// So many refunds are not settled, the oldest for so long.
pub(crate) fn tell_open_refunds(count: u32, oldest: Duration) {
    gauge!(OPEN_REFUNDS).set(f64::from(count));
    gauge!(OLDEST_OPEN_REFUND_SECONDS).set(oldest.as_secs_f64());
}

/// Counts requests and sockets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrontMetrics;

impl FrontMetrics {
    pub(crate) const fn new() -> Self {
        Self
    }

    /// A request was answered; the outcome is one of a few words.
    pub(crate) fn answered(&self, outcome: &'static str) {
        counter!(REQUESTS, "outcome" => outcome).increment(1);
    }

    /// A request took this long.
    pub(crate) fn took(&self, time: Duration) {
        histogram!(REQUEST_SECONDS).record(time);
    }

    /// A socket has its place.
    pub(crate) fn socket_opened(&self) {
        gauge!(SOCKETS).increment(1.0);
    }

    /// A socket has given its place back.
    pub(crate) fn socket_closed(&self) {
        gauge!(SOCKETS).decrement(1.0);
    }

    /// A socket has ended; the outcome is one of a few words.
    pub(crate) fn socket_ended(&self, outcome: &'static str) {
        counter!(SOCKETS_ENDED, "outcome" => outcome).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn requests_are_counted_by_outcome() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            hookline_telemetry::describe(METRICS);
            ["ok", "errors", "ok"].into_iter().for_each(|outcome| FrontMetrics::new().answered(outcome));
        });
        let told = recorder.handle().render();
        for line in ["# HELP hookline_control_requests_total", "{outcome=\"ok\"} 2", "{outcome=\"errors\"} 1"]
        {
            assert!(told.contains(line), "{line} in {told}");
        }
    }
}
