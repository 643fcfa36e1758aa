//! The page of `/metrics`: what the recorder has, and what is written out at each look.

use metrics_exporter_prometheus::PrometheusHandle;
use metrics_process::Collector;

use super::lines::Dropped;
use super::process;

/// Writes out families whose series come and go, or brings gauges up to date that only a look can tell; then it is empty.
type Extra = Box<dyn Fn() -> String + Send + Sync>;

/// All metrics of the process.
pub(crate) struct Metrics {
    recorded: PrometheusHandle,
    process: Collector,
    lines_dropped: Dropped,
    extras: Vec<Extra>,
}

impl Metrics {
    /// What was recorded, without extras so far.
    pub(crate) fn new(recorded: PrometheusHandle, lines_dropped: Dropped) -> Self {
        Self { recorded, process: Collector::default(), lines_dropped, extras: Vec::new() }
    }

    /// Adds what is asked at each look.
    pub(crate) fn add(&mut self, extra: impl Fn() -> String + Send + Sync + 'static) {
        self.extras.push(Box::new(extra));
    }

    /// Takes up the samples of histograms, so that they do not pile up between two looks.
    pub(crate) fn upkeep(&self) {
        self.recorded.run_upkeep();
    }

    /// The page, as Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        self.process.collect();
        process::tell_lines_dropped(self.lines_dropped.count());
        // First, because some of them bring gauges up to date.
        let extras: String = self.extras.iter().map(|extra| extra()).collect();
        self.recorded.render() + &extras
    }
}
