//! What a metric is. Each crate has one table of these, [`Metric`] by [`Metric`]; the recorder is told of them from it,
//! and the document of metrics is made from it.
//!
//! Names are `hookline_<role>_<what>_<unit>[_total]`, in base units. Labels are bounded: never a URL, a payment or a
//! client. Nothing is measured here.

mod page;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub use page::Page;

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

impl Kind {
    /// As Prometheus names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric, as the document of metrics prints it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name; the end says the unit.
    pub name: &'static str,
    /// How it is measured.
    pub kind: Kind,
    /// What it says, and what its labels may say.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

impl Metric {
    /// A metric that only grows.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, help, labels }
    }

    /// A metric that goes up and down.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, help, labels }
    }

    /// A distribution.
    pub const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, help, labels }
    }

    /// In what it is measured, as its name says.
    pub fn unit(&self) -> Unit {
        let name = self.name.trim_end_matches("_total");
        if name.ends_with("_seconds") {
            Unit::Seconds
        } else if name.ends_with("_bytes") {
            Unit::Bytes
        } else {
            Unit::Count
        }
    }
}

/// Tells the recorder of this process the help and unit of each metric.
pub fn describe(metrics: &[Metric]) {
    for metric in metrics {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit(), metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit(), metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.unit(), metric.help),
        }
    }
}
