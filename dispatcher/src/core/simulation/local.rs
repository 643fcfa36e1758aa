//! Faults of our own: this machine has no descriptors, no ports, no route. The endpoints are not to blame.

use std::time::Duration;

use hookline_event_log::Offset;
use hookline_schemas::delivery::{AttemptOutcome, FailureReason};

use super::super::Input;
use super::one_lane::{DELIVERED, FAILED, OneLane};
use super::settings;
use crate::endpoints::EndpointState;
use crate::settings::Settings;

const LOCAL: AttemptOutcome = AttemptOutcome::Retryable { reason: FailureReason::Local, retry_after: None };

fn state(one: &OneLane) -> (EndpointState, Option<&'static str>, usize) {
    let statuses = one.core.statuses();
    let status = statuses.first().expect("an endpoint");
    (status.state, status.last_failure, status.concurrency)
}

/// Answers everything so for this time; how many attempts there were.
fn answer_for(one: &mut OneLane, seconds: u64, outcome: &AttemptOutcome) -> usize {
    let mut attempts = 0;
    for _ in 0..seconds {
        attempts += one.in_flight.len();
        one.answer_all(outcome);
        one.wait(1);
    }
    attempts
}

#[test]
fn what_waits_keeps_its_place_and_is_tried_at_the_pace_of_probes() {
    let mut one = OneLane::new(settings());
    one.park(700);
    let attempts = answer_for(&mut one, 3_600, &LOCAL);
    assert_eq!(state(&one), (EndpointState::Active, Some("local"), 4));
    let (backlog, again) = (one.core.gauges().backlog, one.core.counts().parked_records);
    assert_eq!((backlog, again, one.disabled()), (700, 0, None));
    let lane = one.owned().expect("a lane");
    assert!((0..700).all(|offset| !lane.is_exception(Offset(offset))), "nobody has passed them");
    // Up to four at once, after up to five seconds each time.
    assert!((3_600 * 4 / 6..3_600 * 4).contains(&attempts), "{attempts} attempts in an hour");
    let mut delivered = Vec::new();
    for _ in 0..1_000 {
        delivered.extend(one.in_flight.iter().map(|(_, event)| *event));
        one.answer_all(&DELIVERED);
        one.wait(1);
    }
    assert_eq!(delivered, (0..700).collect::<Vec<_>>(), "in order, each once");
}

#[test]
fn what_can_not_be_sent_directly_is_parked_at_once_and_goes_on_by_itself() {
    let mut one = OneLane::new(settings());
    one.fetch(0);
    one.answer(&LOCAL);
    one.fetch(1);
    one.follow();
    assert_eq!((one.in_flight.len(), one.core.gauges().backlog), (0, 2), "no quick retry, and nothing new");
    let mut delivered = Vec::new();
    for _ in 0..8 {
        one.wait(1);
        delivered.extend(one.in_flight.iter().map(|(_, event)| *event));
        one.answer_all(&DELIVERED);
    }
    assert_eq!((delivered, one.core.gauges().backlog), (vec![0, 1], 0));
    one.fetch(2);
    assert_eq!(one.in_flight.len(), 1, "directly again");
}

#[test]
fn a_probe_that_could_not_be_made_is_neither_success_nor_failure() {
    let mut one = OneLane::down(Settings { disable_after: Duration::from_secs(600), ..settings() }, 5);
    let probes = answer_for(&mut one, 7_200, &LOCAL);
    assert_eq!((state(&one).0, one.disabled()), (EndpointState::Down, None));
    assert!((7_200 / 6..7_200).contains(&probes), "{probes} probes in two hours");
    // The endpoint's own time begins where it was left.
    let at_least = 300;
    answer_for(&mut one, at_least, &FAILED);
    assert_eq!(one.disabled(), None, "it has failed for less than ten minutes");
    answer_for(&mut one, 1_200, &FAILED);
    assert!(one.disabled().is_some());
}

#[test]
fn one_that_comes_back_is_not_thrown_back() {
    let mut one = OneLane::down(settings(), 300);
    while one.in_flight.is_empty() {
        one.wait(1);
    }
    one.answer(&DELIVERED);
    assert_eq!(state(&one).0, EndpointState::Recovering);
    let limit = state(&one).2;
    one.answer_all(&LOCAL);
    assert_eq!((state(&one).0, state(&one).2), (EndpointState::Recovering, limit));
    answer_for(&mut one, 400, &DELIVERED);
    assert_eq!((state(&one).0, one.core.gauges().backlog), (EndpointState::Active, 0));
}

#[test]
fn an_exception_is_tried_again_after_the_rest_and_not_by_its_own_schedule() {
    let hour = Duration::from_secs(3_600);
    let seconds = Duration::from_secs(1);
    let mut one = OneLane::new(Settings { retry_schedule: vec![seconds, hour], ..settings() });
    one.park(2);
    one.answer(&FAILED);
    one.answer(&DELIVERED);
    one.wait(2);
    assert_eq!(one.in_flight.len(), 1);
    one.answer(&LOCAL);
    one.wait(6);
    assert_eq!(one.in_flight.len(), 1, "within the first delay of the probes");
    one.answer(&DELIVERED);
    assert_eq!(one.core.gauges().backlog, 0);
}

#[test]
fn nobody_looks_again_and_again_at_what_is_due_while_it_rests() {
    let seconds = Duration::from_secs(1);
    let mut one = OneLane::new(Settings { retry_schedule: vec![seconds], ..settings() });
    one.park(20);
    while !one.in_flight.is_empty() {
        one.answer(&FAILED);
        one.answer(&DELIVERED);
    }
    // Some of the others are due while it rests.
    one.wait(1);
    one.answer(&LOCAL);
    let (until, mut looks) = (one.now.after(seconds * 5), 0);
    while let Some(due) = one.core.next_due().filter(|due| *due <= until) {
        one.now = one.now.max(due);
        one.step(Input::TimerFired);
        looks += 1;
        one.answer_all(&LOCAL);
    }
    assert!(looks < 100, "{looks} looks in five seconds");
}
