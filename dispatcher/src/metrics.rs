//! The metrics of the dispatcher: one table holds names, help and labels; the handles are made once.

use std::time::Duration;

use hookline_schemas::delivery::AttemptOutcome;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::core::{Counts, Totals};

const ATTEMPTS: &str = "hookline_dispatcher_attempts_total";
const ATTEMPT_SECONDS: &str = "hookline_dispatcher_attempt_seconds";
const DELIVERY_SECONDS: &str = "hookline_dispatcher_delivery_seconds";
const EVENTS: &str = "hookline_dispatcher_events_total";
const WINDOW: &str = "hookline_dispatcher_window_deliveries_total";
const LANES: &str = "hookline_dispatcher_lane_deliveries_total";
const DOWN: &str = "hookline_dispatcher_endpoints_down";
const BACKLOGGED: &str = "hookline_dispatcher_lanes_with_backlog";
const IN_FLIGHT: &str = "hookline_dispatcher_attempts_in_flight";
const UNRECORDED: &str = "hookline_dispatcher_attempts_unrecorded_total";

/// Describes the metrics to the recorder.
pub fn describe() {
    describe_counter!(ATTEMPTS, "Attempts, by outcome: delivered, or the reason of the failure.");
    describe_histogram!(ATTEMPT_SECONDS, "How long attempts take.");
    describe_histogram!(DELIVERY_SECONDS, "From the acceptance of an event to its 2xx.");
    describe_counter!(EVENTS, "Events, by what they were: fetched, repeated, conflicting, unreadable.");
    describe_counter!(WINDOW, "Deliveries below the watermark: planned, and settled by outcome.");
    describe_counter!(LANES, "Parked deliveries: registered, and settled by outcome.");
    describe_gauge!(DOWN, "Endpoints whose breaker is open.");
    describe_gauge!(BACKLOGGED, "Lanes that are not drained.");
    describe_gauge!(IN_FLIGHT, "Attempts in flight.");
    describe_counter!(UNRECORDED, "Attempts left out of the attempts journal because it was busy.");
}

/// The handles that are used often; the rest is set at each report.
#[derive(Debug)]
pub(crate) struct DispatcherMetrics {
    attempt_seconds: Histogram,
    delivery_seconds: Histogram,
    delivered: Counter,
    unrecorded: Counter,
    down: Gauge,
    backlogged: Gauge,
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
            backlogged: gauge!(BACKLOGGED),
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
    pub(crate) fn report(&self, counts: Counts, totals: Totals, gauges: (usize, usize, usize)) {
        for (name, label, value) in [
            (EVENTS, "fetched", counts.fetched),
            (EVENTS, "repeated", totals.repeated),
            (EVENTS, "conflicting", counts.conflicting),
            (EVENTS, "unreadable", counts.unreadable),
            (WINDOW, "planned", totals.planned),
            (WINDOW, "delivered", totals.delivered),
            (WINDOW, "parked", totals.parked),
            (WINDOW, "dead", totals.dead),
            (WINDOW, "cancelled", totals.cancelled),
            (LANES, "registered", counts.registered),
            (LANES, "delivered", counts.lane_delivered),
            (LANES, "dead", counts.lane_dead),
            (LANES, "cancelled", counts.lane_cancelled),
            (LANES, "parked_again", counts.reparked),
            (LANES, "expired", counts.expired),
        ] {
            counter!(name, "outcome" => label).absolute(value);
        }
        let (down, backlogged, in_flight) = gauges;
        for (gauge, value) in
            [(&self.down, down), (&self.backlogged, backlogged), (&self.in_flight, in_flight)]
        {
            gauge.set(f64::from(u32::try_from(value).unwrap_or(u32::MAX)));
        }
    }
}
