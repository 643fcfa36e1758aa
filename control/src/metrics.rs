//! The metrics of the control plane: one table holds names and help.

use metrics::{counter, describe_counter};

const REQUESTS: &str = "hookline_control_requests_total";

/// Describes the metrics to the recorder.
pub fn describe() {
    describe_counter!(REQUESTS, "Requests, by outcome: ok, errors (GraphQL's), or why none was executed.");
}

/// Counts requests.
#[derive(Debug)]
pub(crate) struct FrontMetrics;

impl FrontMetrics {
    pub(crate) const fn new() -> Self {
        Self
    }

    /// A request was answered; the outcome is one of a few words.
    pub(crate) fn answered(&self, outcome: &'static str) {
        counter!(REQUESTS, "outcome" => outcome).increment(1);
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
            describe();
            ["ok", "errors", "ok"].into_iter().for_each(|outcome| FrontMetrics::new().answered(outcome));
        });
        let told = recorder.handle().render();
        for line in ["# HELP hookline_control_requests_total", "{outcome=\"ok\"} 2", "{outcome=\"errors\"} 1"]
        {
            assert!(told.contains(line), "{line} in {told}");
        }
    }
}
