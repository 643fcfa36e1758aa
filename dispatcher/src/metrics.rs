//! The metrics of the dispatcher: one table holds names, help and labels; the handles are made once.
//! Two families, of the endpoints with the oldest deliveries, are rendered here and not by the recorder.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hookline_event_log::{JournalName, Partition};
use hookline_schemas::delivery::{AttemptOutcome, LaneCounts};
use hookline_schemas::time::Timestamp;
use hookline_telemetry::{Metric, Page};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::core::{Core, Counts, Gauges, Totals, Waiting, Way};

const ATTEMPTS: &str = "hookline_dispatcher_attempts_total";
const ATTEMPT_SECONDS: &str = "hookline_dispatcher_attempt_seconds";
const DELIVERY_SECONDS: &str = "hookline_dispatcher_delivery_seconds";
const FIRST_ATTEMPT_SECONDS: &str = "hookline_dispatcher_first_attempt_seconds";
const OBJECTIVE: &str = "hookline_dispatcher_objective_deliveries_total";
const EVENTS: &str = "hookline_dispatcher_events_total";
const WINDOW: &str = "hookline_dispatcher_window_deliveries_total";
const LANES: &str = "hookline_dispatcher_lane_deliveries_total";
const DEAD_LETTERS: &str = "hookline_dispatcher_dead_letters_total";
const PARKED: &str = "hookline_dispatcher_parked_total";
const UNACCOUNTED: &str = "hookline_dispatcher_unaccounted_deliveries";
const ENDPOINTS: &str = "hookline_dispatcher_endpoints";
const PERMITS: &str = "hookline_dispatcher_permits";
const OLDEST: &str = "hookline_dispatcher_oldest_undelivered_seconds";
const ENDPOINT_OLDEST: Metric = Metric::gauge(
    "hookline_dispatcher_endpoint_oldest_undelivered_seconds",
    &["webhook"],
    "The same of each of the 20 endpoints whose oldest delivery in its lane has waited longest; the others are not there",
);
const ENDPOINT_BACKLOG: Metric = Metric::gauge(
    "hookline_dispatcher_endpoint_backlog",
    &["webhook"],
    "Deliveries in the lanes of the same 20 endpoints",
);
const LAG: &str = "hookline_dispatcher_lag_records";
const OLDEST_UNSETTLED: &str = "hookline_dispatcher_oldest_unsettled_seconds";
const BACKLOGGED: &str = "hookline_dispatcher_lanes_with_backlog";
const IN_FLIGHT: &str = "hookline_dispatcher_attempts_in_flight";
const BACKLOG: &str = "hookline_dispatcher_lane_backlog";
const RECORDS: &str = "hookline_dispatcher_records_total";
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
    Metric::histogram(
        FIRST_ATTEMPT_SECONDS,
        &[],
        "From the acceptance of an event to the begin of a delivery's first attempt",
    ),
    Metric::histogram(
        DELIVERY_SECONDS,
        &["way"],
        "From the acceptance of an event to its 2xx, by the way of the attempt: window (straight), or lane",
    ),
    Metric::counter(
        OBJECTIVE,
        &["outcome"],
        "Deliveries to healthy endpoints (breaker closed, lane caught up where the event comes in time, neither \
         paused nor disabled, no attempt \
         failed by the receiver's fault, not held back by the webhook's own rate limit): in_time, a 2xx within 5 s of \
         the event's acceptance; late, a later one, or none before the delivery left the window for a lane, because the \
         event was fetched more than 4 s after its acceptance or this machine failed. What only the receiver's slowness \
         made late is not counted, nor an attempt that began late because this process was too busy",
    ),
    Metric::counter(
        EVENTS,
        &["outcome"],
        "Events, by what they were: fetched, repeated, conflicting, unreadable",
    ),
    Metric::counter(WINDOW, &["outcome"], "Deliveries below the watermark: planned, and settled by outcome"),
    Metric::counter(LANES, &["outcome"], "Parked deliveries: registered, and settled by outcome"),
    Metric::counter(
        PARKED,
        &["reason"],
        "Deliveries put into a lane, by reason: lane (others wait there), down (the breaker is not closed), halted \
         (paused or disabled), failed (an attempt did), local (this machine's own fault), permit and queue_full (the \
         endpoint takes no more at once), budget (5 s in the window), window_full, handover (to another process, or to \
         the next one), and exceptions_full (from a lane to its end)",
    ),
    Metric::counter(DEAD_LETTERS, &["reason"], "Deliveries given up, by reason: rejected, deadline"),
    Metric::gauge(
        UNACCOUNTED,
        &["journal", "partition"],
        "By how many the counts of a partition are wrong: always 0. Of events, below the watermark: planned - \
         (delivered + parked + dead + cancelled). Of parked, in each lane: registered - (delivered + dead + cancelled \
         + parked again + expired + backlog)",
    ),
    Metric::gauge(
        ENDPOINTS,
        &["state"],
        "Endpoints, by state: healthy, half_open (coming back), down (probed), paused, disabled",
    ),
    Metric::gauge(
        PERMITS,
        &[],
        "Attempts that the endpoints that are healthy or coming back may have in flight in all",
    ),
    Metric::gauge(
        OLDEST,
        &[],
        "How long the oldest delivery of this process has waited, since its event's acceptance, or the wish for its \
         redelivery; 0 if none waits",
    ),
    ENDPOINT_OLDEST,
    ENDPOINT_BACKLOG,
    Metric::gauge(LAG, &["partition"], "Records of events behind the committed position"),
    Metric::gauge(
        OLDEST_UNSETTLED,
        &["journal"],
        "How old the oldest record is that retention must not take yet, of events and of parked; 0 if there is none",
    ),
    Metric::gauge(BACKLOGGED, &[], "Lanes that are not drained"),
    Metric::gauge(BACKLOG, &[], "Deliveries in lanes that are not settled"),
    Metric::gauge(IN_FLIGHT, &[], "Attempts in flight"),
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

/// An attempt that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempted {
    /// How long it took.
    pub(crate) took: Duration,
    /// From the acceptance of its event to its begin, if it was the first.
    pub(crate) waited: Option<Duration>,
    /// Since the acceptance of its event.
    pub(crate) age: Duration,
    /// By which way it was come to.
    pub(crate) way: Way,
}

/// The handles that are used often; the rest is set at each report.
#[derive(Debug)]
pub(crate) struct DispatcherMetrics {
    attempt_seconds: Histogram,
    first_attempt_seconds: Histogram,
    window_seconds: Histogram,
    lane_seconds: Histogram,
    delivered: Counter,
    unrecorded: Counter,
    backlogged: Gauge,
    backlog: Gauge,
    in_flight: Gauge,
    permits: Gauge,
    oldest: Gauge,
    unaccounted: PerPartition<(JournalName, Partition)>,
    lag: PerPartition<Partition>,
}

impl DispatcherMetrics {
    pub(crate) fn new() -> Self {
        Self {
            attempt_seconds: histogram!(ATTEMPT_SECONDS),
            first_attempt_seconds: histogram!(FIRST_ATTEMPT_SECONDS),
            window_seconds: histogram!(DELIVERY_SECONDS, "way" => Way::Window.label()),
            lane_seconds: histogram!(DELIVERY_SECONDS, "way" => Way::Lane.label()),
            delivered: counter!(ATTEMPTS, "outcome" => "delivered"),
            unrecorded: counter!(UNRECORDED),
            backlogged: gauge!(BACKLOGGED),
            backlog: gauge!(BACKLOG),
            in_flight: gauge!(IN_FLIGHT),
            permits: gauge!(PERMITS),
            oldest: gauge!(OLDEST),
            unaccounted: PerPartition::new(|(journal, partition)| {
                let partition = partition.0.to_string();
                gauge!(UNACCOUNTED, "journal" => journal.as_str(), "partition" => partition)
            }),
            lag: PerPartition::new(|partition| gauge!(LAG, "partition" => partition.0.to_string())),
        }
    }

    /// An attempt ended.
    pub(crate) fn attempted(&self, outcome: &AttemptOutcome, attempt: &Attempted) {
        self.attempt_seconds.record(attempt.took);
        if let Some(waited) = attempt.waited {
            self.first_attempt_seconds.record(waited);
        }
        match outcome.failure() {
            None => {
                self.delivered.increment(1);
                match attempt.way {
                    Way::Window => self.window_seconds.record(attempt.age),
                    Way::Lane => self.lane_seconds.record(attempt.age),
                }
            }
            Some(reason) => counter!(ATTEMPTS, "outcome" => reason.label()).increment(1),
        }
    }

    /// An attempt was left out of its journal.
    pub(crate) fn left_unrecorded(&self) {
        self.unrecorded.increment(1);
    }

    /// Reports what the core has counted, and how things stand. Returns the endpoints with the oldest deliveries.
    pub(crate) fn report(&mut self, core: &Core, now: Timestamp) -> Vec<Waiting> {
        let gauges = core.gauges();
        report_counts(&core.counts());
        report_deliveries(&core.totals(), &gauges.lanes);
        self.report_gauges(&gauges, now);
        for (partition, offset) in core.committed() {
            gauge!(COMMITTED, "partition" => partition.0.to_string()).set(exact(offset.0));
        }
        gauges.oldest_lanes
    }

    fn report_gauges(&mut self, gauges: &Gauges, now: Timestamp) {
        for (state, endpoints) in [
            ("healthy", gauges.healthy),
            ("half_open", gauges.half_open),
            ("down", gauges.down),
            ("paused", gauges.paused),
            ("disabled", gauges.disabled),
        ] {
            gauge!(ENDPOINTS, "state" => state).set(count(endpoints));
        }
        self.permits.set(count(gauges.permits));
        self.backlogged.set(count(gauges.backlogged));
        self.backlog.set(exact(gauges.backlog));
        self.in_flight.set(count(gauges.in_flight));
        self.oldest.set(gauges.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()));
        self.unaccounted.set(gauges.unaccounted.iter().map(|(of, wrong)| (*of, exact(*wrong))));
    }

    /// Reports how far the log reaches behind what is committed: the lag of each partition of `events`, and the time
    /// from which on each journal is needed, by the wall clock.
    pub(crate) fn report_look(
        &mut self,
        lags: impl Iterator<Item = (Partition, u64)>,
        oldest: [(JournalName, Option<Timestamp>); 2],
        wall: Timestamp,
    ) {
        self.lag.set(lags.map(|(partition, lag)| (partition, exact(lag))));
        for (journal, oldest) in oldest {
            let age = oldest.map_or(0.0, |oldest| wall.since(oldest).as_secs_f64());
            gauge!(OLDEST_UNSETTLED, "journal" => journal.as_str()).set(age);
        }
    }
}

fn report_counts(counts: &Counts) {
    for (name, label, value) in [
        (EVENTS, ("outcome", "fetched"), counts.fetched),
        (EVENTS, ("outcome", "conflicting"), counts.conflicting),
        (EVENTS, ("outcome", "unreadable"), counts.unreadable),
        (RECORDS, ("kind", "parked"), counts.parked_records),
        (RECORDS, ("kind", "lane"), counts.lane_records),
        (RECORDS, ("kind", "dead_letter"), counts.dead_rejected + counts.dead_deadline),
        (DEAD_LETTERS, ("reason", "rejected"), counts.dead_rejected),
        (DEAD_LETTERS, ("reason", "deadline"), counts.dead_deadline),
        (DISABLINGS, ("reason", "gone"), counts.disabled_gone),
        (DISABLINGS, ("reason", "failing"), counts.disabled_failing),
        (OBJECTIVE, ("outcome", "in_time"), counts.in_time),
        (OBJECTIVE, ("outcome", "late"), counts.late),
    ] {
        counter!(name, label.0 => label.1).absolute(value);
    }
    for (reason, parked) in counts.parked.each() {
        counter!(PARKED, "reason" => reason.label()).absolute(parked);
    }
}

fn report_deliveries(totals: &Totals, lanes: &LaneCounts) {
    counter!(EVENTS, "outcome" => "repeated").absolute(totals.repeated);
    for (name, outcome, value) in [
        (WINDOW, "planned", totals.planned),
        (WINDOW, "delivered", totals.delivered),
        (WINDOW, "parked", totals.parked),
        (WINDOW, "dead", totals.dead),
        (WINDOW, "cancelled", totals.cancelled),
        (LANES, "registered", lanes.registered),
        (LANES, "delivered", lanes.delivered),
        (LANES, "dead", lanes.dead),
        (LANES, "cancelled", lanes.cancelled),
        (LANES, "parked_again", lanes.parked_again),
        (LANES, "expired", lanes.expired),
    ] {
        counter!(name, "outcome" => outcome).absolute(value);
    }
}

/// A gauge per partition that is ours. Of one that is ours no more it says 0: a recorder forgets nothing.
#[derive(Debug)]
struct PerPartition<K> {
    gauges: BTreeMap<K, Gauge>,
    of: fn(K) -> Gauge,
}

impl<K: Ord + Copy> PerPartition<K> {
    fn new(of: fn(K) -> Gauge) -> Self {
        Self { gauges: BTreeMap::new(), of }
    }

    fn set(&mut self, values: impl Iterator<Item = (K, f64)>) {
        let mut ours = BTreeSet::new();
        for (key, value) in values {
            ours.insert(key);
            self.gauges.entry(key).or_insert_with(|| (self.of)(key)).set(value);
        }
        self.gauges.iter().filter(|(key, _)| !ours.contains(key)).for_each(|(_, gauge)| gauge.set(0.0));
    }
}

/// The families of the endpoints with the oldest deliveries, as text for Prometheus.
pub(crate) fn of_oldest(oldest: &[Waiting], now: Timestamp) -> String {
    let mut page = Page::default();
    page.family(&ENDPOINT_OLDEST);
    for waiting in oldest {
        page.sample(&ENDPOINT_OLDEST, &[waiting.webhook.as_str()], now.since(waiting.since).as_secs_f64());
    }
    page.family(&ENDPOINT_BACKLOG);
    for waiting in oldest {
        page.sample(&ENDPOINT_BACKLOG, &[waiting.webhook.as_str()], waiting.backlog);
    }
    page.into_text()
}

fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn exact(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hookline_event_log::{Epoch, Offset};
    use hookline_schemas::ids::WebhookId;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::core::Input;
    use crate::core::simulation::settings;

    #[test]
    fn what_a_webhook_is_called_breaks_no_line() {
        let webhook = WebhookId::new("a\"b\\c\nd");
        let oldest = [Waiting { webhook, since: Timestamp(1_000), backlog: 7 }];
        let text = of_oldest(&oldest, Timestamp(3_500));
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            r#"hookline_dispatcher_endpoint_oldest_undelivered_seconds{webhook="a\"b\\c\nd"} 2.5"#,
            r#"hookline_dispatcher_endpoint_backlog{webhook="a\"b\\c\nd"} 7"#,
        ];
        assert_eq!(samples, expected);
        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE ")).count(), 2);
        assert!(of_oldest(&[], Timestamp(0)).lines().all(|line| line.starts_with('#')));
    }

    /// What a recorder renders of what is done with it, as the names of its series and their values.
    fn rendered(report: impl FnOnce()) -> BTreeMap<String, String> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        ::metrics::with_local_recorder(&recorder, report);
        let text = handle.render();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.filter_map(|line| line.rsplit_once(' '));
        samples.map(|(series, value)| (series.to_owned(), value.to_owned())).collect()
    }

    fn core_with(partitions: std::ops::Range<u16>) -> Core {
        let mut core = Core::new(settings(), 4, 1, Timestamp(0));
        let mut inputs = vec![Input::Webhooks(Arc::default())];
        for partition in partitions.map(Partition) {
            let (epoch, lanes) = (Epoch(1), Vec::new());
            inputs.push(Input::LanesGranted { partition, epoch, registered: Offset::START, lanes });
            let (committed, totals) = (Offset::START, Totals::default());
            inputs.push(Input::EventsGranted { partition, epoch, committed, totals });
        }
        inputs.into_iter().for_each(|input| core.step(input, Timestamp(0), &mut Vec::new()));
        core
    }

    #[test]
    fn what_is_reported_stands_in_the_table_with_its_labels() {
        let told = rendered(|| {
            let mut metrics = DispatcherMetrics::new();
            metrics.report(&core_with(0..2), Timestamp(0));
            let oldest = [(JournalName::Events, Some(Timestamp(0))), (JournalName::Parked, None)];
            metrics.report_look([(Partition(0), 3)].into_iter(), oldest, Timestamp(2_500));
            metrics.left_unrecorded();
            redelivered();
            let waited = Some(Duration::from_secs(3));
            let attempt =
                |way, waited| Attempted { took: Duration::ZERO, waited, age: Duration::from_secs(7), way };
            metrics.attempted(&AttemptOutcome::Delivered { status: 200 }, &attempt(Way::Window, waited));
            metrics.attempted(&AttemptOutcome::Delivered { status: 200 }, &attempt(Way::Lane, None));
        });
        let labels_of =
            |name: &str| METRICS.iter().find(|metric| metric.name == name).map(|metric| metric.labels);
        for series in told.keys() {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let stem = ["_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .filter(|_| labels_of(name).is_none());
            let stands = labels_of(stem.unwrap_or(name));
            let named: Vec<_> =
                labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0)).collect();
            let named: Vec<_> = named.into_iter().filter(|label| *label != "quantile").collect();
            assert_eq!(stands, Some(&named[..]), "{series}");
        }
        for (series, expected) in [
            ("hookline_dispatcher_lag_records{partition=\"0\"}", "3"),
            ("hookline_dispatcher_oldest_unsettled_seconds{journal=\"events\"}", "2.5"),
            ("hookline_dispatcher_oldest_unsettled_seconds{journal=\"parked\"}", "0"),
            ("hookline_dispatcher_delivery_seconds_count{way=\"window\"}", "1"),
            ("hookline_dispatcher_delivery_seconds_count{way=\"lane\"}", "1"),
            ("hookline_dispatcher_first_attempt_seconds_sum", "3"),
            ("hookline_dispatcher_first_attempt_seconds_count", "1"),
        ] {
            assert_eq!(told.get(series).map(String::as_str), Some(expected), "{series}");
        }
    }

    #[test]
    fn a_partition_that_is_ours_no_more_says_nothing_bad_any_more() {
        let told = rendered(|| {
            let mut metrics = DispatcherMetrics::new();
            for lags in [vec![(Partition(0), 7), (Partition(1), 8)], vec![(Partition(1), 9)]] {
                metrics.report_look(lags.into_iter(), [(JournalName::Events, None); 2], Timestamp(0));
            }
        });
        let lag =
            |partition: u16| told.get(&format!("{LAG}{{partition=\"{partition}\"}}")).map(String::as_str);
        assert_eq!((lag(0), lag(1)), (Some("0"), Some("9")));
    }
}
