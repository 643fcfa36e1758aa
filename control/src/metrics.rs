//! The metrics of the control plane: one table holds names and help.

use hookline_telemetry::Metric;
use metrics::{counter, gauge};

const REQUESTS: &str = "hookline_control_requests_total";
const RECONCILIATIONS: &str = "hookline_control_reconciliations_total";
const MISSING: &str = "hookline_control_missing_payments_total";
const SOCKETS: &str = "hookline_control_sockets";
const SOCKETS_ENDED: &str = "hookline_control_sockets_ended_total";

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
