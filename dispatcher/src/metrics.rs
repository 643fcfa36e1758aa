//! The metrics of the dispatcher: one table holds names, help and labels; the handles are made once.

use std::time::Duration;

use hookline_schemas::delivery::AttemptOutcome;
use hookline_telemetry::Metric;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::core::{Core, Gauges};

const ATTEMPTS: &str = "hookline_dispatcher_attempts_total";
const ATTEMPT_SECONDS: &str = "hookline_dispatcher_attempt_seconds";
const DELIVERY_SECONDS: &str = "hookline_dispatcher_delivery_seconds";
const EVENTS: &str = "hookline_dispatcher_events_total";
const WINDOW: &str = "hookline_dispatcher_window_deliveries_total";
const LANES: &str = "hookline_dispatcher_lane_deliveries_total";
const DOWN: &str = "hookline_dispatcher_endpoints_down";
const BACKLOGGED: &str = "hookline_dispatcher_lanes_with_backlog";
const IN_FLIGHT: &str = "hookline_dispatcher_attempts_in_flight";
const BACKLOG: &str = "hookline_dispatcher_lane_backlog";
const RECORDS: &str = "hookline_dispatcher_records_total";
const DISABLED: &str = "hookline_dispatcher_webhooks_disabled";
const DISABLINGS: &str = "hookline_dispatcher_webhook_disablings_total";
const COMMITTED: &str = "hookline_dispatcher_committed";
const REDELIVERED: &str = "hookline_dispatcher_redelivered_total";
const UNRECORDED: &str = "hookline_dispatcher_attempts_unrecorded_total";

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        ATTEMPTS,
        &["outcome"],
        "Attempts, by outcome: delivered, or the reason of the failure (local: this machine's own)",
    ),
    Metric::histogram(ATTEMPT_SECONDS, &[], "How long attempts take"),
    Metric::histogram(DELIVERY_SECONDS, &[], "From the acceptance of an event to its 2xx"),
    Metric::counter(
        EVENTS,
        &["outcome"],
        "Events, by what they were: fetched, repeated, conflicting, unreadable",
    ),
    Metric::counter(WINDOW, &["outcome"], "Deliveries below the watermark: planned, and settled by outcome"),
    Metric::counter(LANES, &["outcome"], "Parked deliveries: registered, and settled by outcome"),
    Metric::gauge(DOWN, &[], "Endpoints whose breaker is open"),
    Metric::gauge(BACKLOGGED, &[], "Lanes that are not drained"),
    Metric::gauge(BACKLOG, &[], "Deliveries in lanes that are not settled"),
    Metric::gauge(IN_FLIGHT, &[], "Attempts in flight"),
    Metric::gauge(DISABLED, &[], "Webhooks that get nothing until they are enabled"),
    Metric::gauge(
        COMMITTED,
        &["partition"],
        "Offset below which every event of the partition is settled, as committed",
    ),
    Metric::counter(
        RECORDS,
        &["kind"],
        "Records written because a delivery could not be made at once, by kind",
    ),
    Metric::counter(DISABLINGS, &["reason"], "Webhooks disabled, by reason"),
    Metric::counter(REDELIVERED, &[], "Dead letters put into their lanes again"),
    Metric::counter(UNRECORDED, &[], "Attempts left out of the attempts journal because it was busy"),
];

/// A dead letter is put into its lane again.
pub(crate) fn redelivered() {
    counter!(REDELIVERED).increment(1);
}

/// The handles that are used often; the rest is set at each report.
#[derive(Debug)]
pub(crate) struct DispatcherMetrics {
    attempt_seconds: Histogram,
    delivery_seconds: Histogram,
    delivered: Counter,
    unrecorded: Counter,
    down: Gauge,
    disabled: Gauge,
    backlogged: Gauge,
    backlog: Gauge,
    in_flight: Gauge,
}

impl DispatcherMetrics {
    pub(crate) fn new() -> Self {
        Self {
            attempt_seconds: histogram!(ATTEMPT_SECONDS),
            delivery_seconds: histogram!(DELIVERY_SECONDS),
            delivered: counter!(ATTEMPTS, "outcome" => "delivered"),
            unrecorded: counter!(UNRECORDED),
            down: gauge!(DOWN),
            disabled: gauge!(DISABLED),
            backlogged: gauge!(BACKLOGGED),
            backlog: gauge!(BACKLOG),
            in_flight: gauge!(IN_FLIGHT),
        }
    }

    /// An attempt ended; `age`: since the event was accepted.
    pub(crate) fn attempted(&self, outcome: &AttemptOutcome, took: Duration, age: Duration) {
        self.attempt_seconds.record(took);
        match outcome.failure() {
            None => {
                self.delivered.increment(1);
                self.delivery_seconds.record(age);
            }
            Some(reason) => counter!(ATTEMPTS, "outcome" => reason.label()).increment(1),
        }
    }

    /// An attempt was left out of its journal.
    pub(crate) fn left_unrecorded(&self) {
        self.unrecorded.increment(1);
    }

    /// Reports what the core has counted.
    pub(crate) fn report(&self, core: &Core) {
        let (counts, totals, lanes) = (core.counts(), core.totals(), core.lane_counts());
        for (name, label, value) in [
            (EVENTS, ("outcome", "fetched"), counts.fetched),
            (EVENTS, ("outcome", "repeated"), totals.repeated),
            (EVENTS, ("outcome", "conflicting"), counts.conflicting),
            (EVENTS, ("outcome", "unreadable"), counts.unreadable),
            (WINDOW, ("outcome", "planned"), totals.planned),
            (WINDOW, ("outcome", "delivered"), totals.delivered),
            (WINDOW, ("outcome", "parked"), totals.parked),
            (WINDOW, ("outcome", "dead"), totals.dead),
            (WINDOW, ("outcome", "cancelled"), totals.cancelled),
            (LANES, ("outcome", "registered"), lanes.registered),
            (LANES, ("outcome", "delivered"), lanes.delivered),
            (LANES, ("outcome", "dead"), lanes.dead),
            (LANES, ("outcome", "cancelled"), lanes.cancelled),
            (LANES, ("outcome", "parked_again"), lanes.parked_again),
            (LANES, ("outcome", "expired"), lanes.expired),
            (RECORDS, ("kind", "parked"), counts.parked_records),
            (RECORDS, ("kind", "lane"), counts.lane_records),
            (RECORDS, ("kind", "dead_letter"), counts.dead_letters),
            (DISABLINGS, ("reason", "gone"), counts.disabled_gone),
            (DISABLINGS, ("reason", "failing"), counts.disabled_failing),
        ] {
            counter!(name, label.0 => label.1).absolute(value);
        }
        self.report_gauges(core);
    }

    fn report_gauges(&self, core: &Core) {
        let Gauges { down, disabled, backlogged, backlog, in_flight } = core.gauges();
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.down.set(count(down));
        self.disabled.set(count(disabled));
        self.backlogged.set(count(backlogged));
        self.backlog.set(exact(backlog));
        self.in_flight.set(count(in_flight));
        for (partition, offset) in core.committed() {
            gauge!(COMMITTED, "partition" => partition.0.to_string()).set(exact(offset.0));
        }
    }
}

/// Exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn exact(value: u64) -> f64 {
    value as f64
}
