//! Tables for what an outage has to show: each demand fails by itself.

use std::collections::{BTreeMap, BTreeSet};

use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::notification::NotificationType;

use super::super::course::Records;
use super::*;
use crate::checker::Verdict;
use crate::simulator::{Entry, Pace};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn options(is_killed: bool) -> Options {
    Options { events: 100, pace: Pace::Closed, drain_rate: 10, status: None, seed: 1, is_killed }
}

/// A second's look at an outage from 10 s to 20 s that was drained at 30 s.
fn sample(second: u64) -> Sample {
    let position = per_second(second, 1.0);
    let parked = if second < 10 { 0.0 } else { 100.0 };
    Sample {
        at: seconds(second),
        in_flight: 2,
        backlog: if (10..30).contains(&second) { 100 } else { 0 },
        others_parked: 0,
        others_backlog: 0,
        records: Records { parked, lane: 1.0, dead_letter: 0.0 },
        committed: BTreeMap::from([("0".to_owned(), position)]),
        rss_anon_bytes: 1,
    }
}

fn seen() -> Seen {
    Seen {
        before: sample(9),
        down_at: seconds(10),
        down: sample(20),
        up_at: seconds(20),
        after: sample(30),
        samples: (0..=30).map(sample).collect(),
        disturbances: Vec::new(),
    }
}

fn delivery(webhook: u16, id: &str, millis: u64, status: u16) -> Delivery {
    Delivery {
        webhook: super::super::sites::webhook(webhook),
        event_id: EventId::new(id),
        event_type: Some(EventType::PaymentReceived),
        transaction: None,
        received_at: Duration::from_millis(millis),
        answered_at: Duration::from_millis(millis) + ROUND_TRIP,
        fault: None,
        status,
    }
}

/// A hundred events for the endpoint while it is down, and one for another.
fn ledger() -> Ledger {
    let mut ledger = Ledger::new();
    let mut add = |id: String, webhook: &WebhookId, at: u64| {
        let entry = Entry {
            kind: NotificationType::Pay,
            event_type: EventType::PaymentReceived,
            transaction_id: 7,
            payment: 1,
            addressee: Some(webhook.clone()),
            posted: 1,
            bodies: BTreeSet::from([1]),
            first_posted: seconds(at),
            answered: Some(seconds(at)),
        };
        ledger.entries.insert(EventId::new(id), entry);
    };
    (0..100).for_each(|number| add(format!("evt_{number}"), &patient(), 15));
    add("evt_other".to_owned(), &super::super::sites::webhook(1), 15);
    ledger
}

/// All drained, one after the other, ten a second.
fn deliveries() -> Vec<Delivery> {
    let drained = (0..100).map(|number| delivery(0, &format!("evt_{number}"), 20_000 + number * 100, 200));
    drained.chain([delivery(1, "evt_other", 15_010, 200)]).collect()
}

fn failures(options: &Options, seen: &Seen, deliveries: &[Delivery]) -> Vec<String> {
    let mut report = Report::new("outage", &Verdict { pass: true, ..Verdict::default() });
    add(&mut report, options, seen, &ledger(), deliveries);
    assert_eq!(report.pass, report.failures.is_empty());
    report.failures
}

#[test]
fn an_outage_that_cost_what_it_may_passes() {
    for is_killed in [false, true] {
        assert_eq!(failures(&options(is_killed), &seen(), &deliveries()), Vec::<String>::new());
    }
}

/// Holds a partition's position in some of the looks.
fn hold(seen: &mut Seen, partition: &str, holds: fn(&Sample) -> bool) {
    for look in seen.samples.iter_mut().filter(|look| holds(look)) {
        look.committed.insert(partition.to_owned(), 20.0);
    }
}

#[test]
fn each_demand_fails_by_itself() {
    let changed = |change: fn(&mut Seen)| {
        let mut seen = seen();
        change(&mut seen);
        failures(&options(false), &seen, &deliveries())
    };
    for (failures, expected) in [
        (changed(|seen| seen.down.backlog = 98), "a backlog of 98 when 100"),
        (changed(|seen| seen.after.backlog = 1), "a backlog of 1 in the end"),
        (changed(|seen| seen.samples.iter_mut().for_each(|look| look.others_parked = 3)), "3 deliveries of"),
        (changed(|seen| seen.samples.iter_mut().for_each(|look| look.others_backlog = 4)), "backlog of 4"),
        (changed(|seen| seen.after.records.lane = 7.0), "1.060 records"),
        (changed(|seen| seen.after.records.dead_letter = 6.0), "1.060 records"),
        (changed(|seen| seen.down.records.parked = 0.0), "no record was counted"),
        (changed(|seen| hold(seen, "0", |look| (20..27).contains(&look.at.as_secs()))), "stood still"),
        (changed(|seen| hold(seen, "1", |_| true)), "stood still"),
    ] {
        assert!(
            failures.first().is_some_and(|failure| failure.contains(expected)),
            "{expected}: {failures:?}"
        );
    }
}

#[test]
fn what_the_endpoint_saw_fails_as_well() {
    let with = |more: Vec<Delivery>| {
        let all: Vec<_> = deliveries().into_iter().chain(more).collect();
        failures(&options(false), &seen(), &all)
    };
    let refused = |count: u64| (0..count).map(|at| delivery(0, "evt_1", 10_000 + at, 0)).collect::<Vec<_>>();
    let others = |millis| vec![delivery(2, "evt_other", millis, 200)];
    assert_eq!(with(refused(22)), Vec::<String>::new());
    assert_eq!(with(others(19_900)), Vec::<String>::new());
    for (failures, expected) in [
        (with(refused(23)), "23 requests while it was down"),
        (with(others(20_000)), "a delivery of the others took"),
        (with((0..2).map(|at| delivery(0, "evt_1", 25_050 + at * 30, 200)).collect()), "12 requests within"),
        (with(vec![delivery(0, "evt_1", 20_005, 200)]), "too fast"),
    ] {
        assert!(
            failures.first().is_some_and(|failure| failure.contains(expected)),
            "{expected}: {failures:?}"
        );
    }
}

#[test]
fn more_copies_of_the_drain_than_a_lane_record_leaves_fail() {
    let kill = Disturbance { at: seconds(25), until: seconds(26) };
    let seen = Seen { disturbances: vec![kill], ..seen() };
    for (copies, expected) in [(1_064, 0), (1_065, 1)] {
        let mut report = Report::new("outage", &Verdict { pass: true, ..Verdict::default() });
        let twice = (0..copies).flat_map(|number| {
            let event = format!("evt_{number}");
            [24_000, 27_000].map(|millis| delivery(0, &event, millis, 200))
        });
        add_lane_copies(&mut report, &options(true), &seen, &twice.collect::<Vec<_>>());
        assert_eq!(report.failures.len(), expected, "{copies}: {:?}", report.failures);
    }
}

#[test]
fn copies_of_the_drain_are_those_that_came_on_both_sides_of_the_kill() {
    let kill = Disturbance { at: seconds(25), until: seconds(26) };
    let copies = |second: &[Delivery]| {
        let all: Vec<_> = deliveries().into_iter().chain(second.iter().cloned()).collect();
        copies_across(kill, &all)
    };
    for (case, second, expected) in [
        ("none", vec![], 0),
        ("before and after", vec![delivery(0, "evt_49", 27_000, 200), delivery(0, "evt_49", 28_000, 200)], 1),
        ("twice after", vec![delivery(0, "evt_70", 29_000, 200)], 0),
        ("refused", vec![delivery(0, "evt_49", 27_000, 500)], 0),
        ("at another endpoint", vec![delivery(1, "evt_49", 27_000, 200)], 0),
    ] {
        assert_eq!(copies(&second), expected, "{case}");
    }
}

#[test]
fn a_second_is_looked_at_between_kills_alone() {
    let request = |at| Request { received: seconds(at), answered: seconds(at) };
    let requests: Vec<Request> = (0..10).map(request).collect();
    let kill = |at, until| Disturbance { at: seconds(at), until: seconds(until) };
    for (kills, expected) in
        [(vec![], vec![10]), (vec![kill(3, 5)], vec![4, 5]), (vec![kill(3, 5), kill(8, 12)], vec![4, 4, 0])]
    {
        let found: Vec<usize> = between(&kills, &requests).map(|requests| requests.len()).collect();
        assert_eq!(found, expected);
    }
}
