//! What an outage has to show, and what it may have cost.

use std::collections::HashMap;
use std::time::Duration;

use hookline_schemas::ids::EventId;

use super::super::rate::busiest_second;
use super::super::{lateness, per_second};
use super::course::{Sample, Seen};
use super::drain::{self, Request};
use super::standstill::{self, Positions};
use super::{ENDPOINT_CONCURRENCY, Options, ROUND_TRIP, patient};
use crate::checker::Disturbance;
use crate::receiver::Delivery;
use crate::report::{Report, rounded};
use crate::simulator::Ledger;

/// One parked record for each delivery, and one lane record for so many that they hardly count.
const MOST_RECORDS: f64 = 1.05;
/// Failures until the endpoint counts as down, their quick retries, and probes while it is.
const MOST_REQUESTS_BEYOND_FLIGHT: u64 = 20;
/// No delivery of the others may take longer: the budget of the window.
const MOST_LATENESS: Duration = Duration::from_secs(5);
/// Within this time every committed position has to move: the budget of the window, the interval of commits, and
/// that of looks.
const MOST_STANDSTILL: Duration = Duration::from_secs(6);
/// Clocks, and the way to the endpoint.
const RATE_TOLERANCE: f64 = 1.05;
/// The part of a second's deliveries that may come at once.
const BURST_SHARE: f64 = 0.1;
/// A lane record is written after so many deliveries, or after a second.
const DELIVERIES_BY_LANE_RECORD: u32 = 1_000;
/// Of the backlog that must be there: appends may be under way, and failing attempts.
const LEAST_BACKLOG: f64 = 0.99;

/// Adds the figures, and the demands beyond those of every scenario.
pub(super) fn add(
    report: &mut Report,
    options: &Options,
    seen: &Seen,
    ledger: &Ledger,
    deliveries: &[Delivery],
) {
    report.figure("seed", options.seed);
    report.figure("posts", ledger.posts);
    let down_seconds = seen.up_at.saturating_sub(seen.down_at).as_secs_f64();
    report.figure("down_seconds", rounded(down_seconds));
    let most_rss_anon = seen.samples.iter().map(|sample| sample.rss_anon_bytes).max();
    report.figure("rss_anon_bytes", most_rss_anon.unwrap_or_default());
    add_backlog(report, options, seen);
    add_requests_while_down(report, seen, deliveries);
    add_rate(report, options, seen, deliveries);
    add_others(report, options, seen, ledger, deliveries);
    if options.is_killed {
        add_lane_copies(report, options, seen, deliveries);
        report.figure("kills", seen.disturbances.len());
        report.figure(
            "not_judged",
            "records, the slow start, standing still, and the others' lateness, because hookline was killed",
        );
    } else {
        add_records(report, seen, ledger);
        add_ramp(report, seen, deliveries);
        add_standstill(report, &seen.samples);
    }
}

fn add_backlog(report: &mut Report, options: &Options, seen: &Seen) {
    let (down, after) = (seen.down.backlog, seen.after.backlog);
    report.figure("backlog", down);
    let least = per_second(options.events, 1.0) * LEAST_BACKLOG;
    report.require(per_second(down, 1.0) >= least, || {
        format!("hookline told of a backlog of {down} when {} had piled up", options.events)
    });
    report.figure("backlog_after", after);
    report.require(after == 0, || format!("hookline told of a backlog of {after} in the end"));
    let drained = seen.after.at.saturating_sub(seen.up_at).as_secs_f64();
    report.figure("drained_within_seconds", rounded(drained));
}

fn add_requests_while_down(report: &mut Report, seen: &Seen, deliveries: &[Delivery]) {
    let while_down = |delivery: &&Delivery| {
        delivery.webhook == patient() && (seen.down_at..seen.up_at).contains(&delivery.received_at)
    };
    let requests = count(deliveries.iter().filter(while_down));
    let most = seen.before.in_flight + MOST_REQUESTS_BEYOND_FLIGHT;
    report.figure("in_flight_when_it_died", seen.before.in_flight);
    report.figure("requests_while_down", requests);
    report.require(requests <= most, || format!("{requests} requests while it was down, and not {most}"));
}

/// In no second more than the limit and one burst. A process begins with a burst of its own, so a second in which
/// hookline was killed is not looked at.
fn add_rate(report: &mut Report, options: &Options, seen: &Seen, deliveries: &[Delivery]) {
    let drained = drained(seen, deliveries);
    let busiest = between(&seen.disturbances, &drained).map(|times| busiest_second(&times));
    let busiest = count_of(busiest.max().unwrap_or_default());
    let rate = f64::from(options.drain_rate);
    let most = (rate + (rate * BURST_SHARE).max(1.0)) * RATE_TOLERANCE;
    report.figure("busiest_second", busiest);
    report.require(per_second(busiest, 1.0) <= most, || {
        format!("{busiest} requests within one second, and not {most:.0}")
    });
    let last = drained.iter().map(|request| request.received).max().unwrap_or_default();
    let first = drained.iter().map(|request| request.received).min().unwrap_or_default();
    let seconds = last.saturating_sub(first).as_secs_f64();
    report.figure("drained_per_second", rounded(per_second(count_of(drained.len()), seconds)));
    report.figure("first_success_after_seconds", rounded(first.saturating_sub(seen.up_at).as_secs_f64()));
}

/// What the endpoint took since it was back.
fn drained(seen: &Seen, deliveries: &[Delivery]) -> Vec<Request> {
    let ours = deliveries.iter().filter(|delivery| delivery.webhook == patient() && delivery.is_accepted());
    let since = ours.filter(|delivery| delivery.received_at >= seen.up_at);
    since.map(|delivery| Request { received: delivery.received_at, answered: delivery.answered_at }).collect()
}

/// When requests came before, between and after these disturbances.
fn between(disturbances: &[Disturbance], requests: &[Request]) -> impl Iterator<Item = Vec<Duration>> {
    let begins = std::iter::once(Duration::ZERO).chain(disturbances.iter().map(|one| one.until));
    let ends = disturbances.iter().map(|one| one.at).chain(std::iter::once(Duration::MAX));
    let spans: Vec<_> = begins.zip(ends).collect();
    spans.into_iter().map(|(begin, end)| {
        let within = |received: &Duration| (begin..=end).contains(received);
        requests.iter().map(|request| request.received).filter(within).collect()
    })
}

fn add_others(report: &mut Report, options: &Options, seen: &Seen, ledger: &Ledger, deliveries: &[Delivery]) {
    let patient = patient();
    let late = lateness::of(ledger, deliveries, |_, delivery| delivery.webhook != patient);
    report.latency(["others_p50_ms", "others_p99_ms", "others_p999_ms"], &late);
    let most = Duration::from_micros(late.max());
    report.figure("others_most_ms", rounded(most.as_secs_f64() * 1000.0));
    let parked = seen.samples.iter().map(|sample| sample.others_parked).max().unwrap_or_default();
    let backlog = seen.samples.iter().map(|sample| sample.others_backlog).max().unwrap_or_default();
    report.figure("others_parked", parked);
    report.figure("others_backlog", backlog);
    if options.is_killed {
        return;
    }
    report.require(most < MOST_LATENESS, || format!("a delivery of the others took {most:?}"));
    report.require(parked == 0, || format!("{parked} deliveries of the others were parked"));
    report.require(backlog == 0, || format!("the others had a backlog of {backlog}"));
}

/// Records by delivery to the endpoint, from its death to the end; the others write none while they are healthy.
fn add_records(report: &mut Report, seen: &Seen, ledger: &Ledger) {
    let patient = patient();
    let planned = ledger.entries.values().filter(|entry| {
        entry.addressee.as_ref() == Some(&patient) && entry.answered.is_some_and(|at| at >= seen.down_at)
    });
    let planned = per_second(count(planned), 1.0);
    let (before, down, after) = (seen.before.records, seen.down.records, seen.after.records);
    report.figure("records_parked", after.parked - before.parked);
    report.figure("records_lane", after.lane - before.lane);
    report.figure("records_dead_letter", after.dead_letter - before.dead_letter);
    report.figure("records_by_delivery_while_down", rounded(down.since(before) / planned.max(1.0)));
    let by_delivery = after.since(before) / planned.max(1.0);
    report.figure("records_by_delivery", rounded(by_delivery));
    report.require(by_delivery <= MOST_RECORDS, || format!("{by_delivery:.3} records by delivery"));
    report.require(down.parked > before.parked, || "no record was counted".to_owned());
}

fn add_ramp(report: &mut Report, seen: &Seen, deliveries: &[Delivery]) {
    let cap = usize::from(ENDPOINT_CONCURRENCY);
    let (most, too_steep) = drain::ramp(&drained(seen, deliveries), ROUND_TRIP, cap);
    report.figure("most_in_flight", most);
    report.require(too_steep.is_none(), || format!("it came back too fast: {too_steep:?}"));
}

fn add_standstill(report: &mut Report, samples: &[Sample]) {
    let looks: Vec<Positions<'_>> = samples.iter().map(|sample| (sample.at, &sample.committed)).collect();
    report.figure("looks", looks.len());
    let partitions = looks.last().map(|(_, committed)| committed.len());
    report.figure("partitions", partitions.unwrap_or_default());
    if let Some(standstill) = standstill::first(&looks, MOST_STANDSTILL) {
        report.require(false, || format!("a committed position stood still: {standstill:?}"));
    }
}

/// The last kill was in the drain: what came before it and once more after it is what no lane record told of.
/// That is what was drained in a second, or a thousand deliveries, and what was in flight.
fn add_lane_copies(report: &mut Report, options: &Options, seen: &Seen, deliveries: &[Delivery]) {
    let Some(kill) = seen.disturbances.last() else { return };
    let copies = count_of(copies_across(*kill, deliveries));
    let since_record = options.drain_rate.max(DELIVERIES_BY_LANE_RECORD);
    let most = u64::from(since_record) + u64::from(ENDPOINT_CONCURRENCY);
    report.figure("copies_of_the_drain", copies);
    report.require(copies <= most, || format!("{copies} deliveries were drained twice, and not {most}"));
}

fn copies_across(kill: Disturbance, deliveries: &[Delivery]) -> usize {
    let patient = patient();
    let mut before_and_after: HashMap<&EventId, (bool, bool)> = HashMap::new();
    for delivery in deliveries.iter().filter(|delivery| delivery.webhook == patient && delivery.is_accepted())
    {
        let sides = before_and_after.entry(&delivery.event_id).or_default();
        if delivery.received_at <= kill.until {
            sides.0 = true;
        } else {
            sides.1 = true;
        }
    }
    before_and_after.values().filter(|(before, after)| *before && *after).count()
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    count_of(items.count())
}

fn count_of(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
