//! What the core tells of itself: why deliveries are parked, how they stand to the objective, the states of endpoints,
//! the oldest deliveries, and counts that are wrong.

use std::num::NonZeroU32;
use std::time::Duration;

use hookline_event_log::{Epoch, JournalName, Offset, Partition};
use hookline_schemas::delivery::{AttemptOutcome, FailureReason, ParkedDelivery};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;

use super::super::defect::{self, Defect};
use super::super::{Action, Cancelled, Gauges, Input, Position};
use super::alone::parked;
use super::faults::Faults;
use super::one_lane::{DELIVERED, FAILED, OneLane};
use super::receivers::webhook;
use super::settings;
use crate::settings::Settings;

const LOCAL: AttemptOutcome = AttemptOutcome::Retryable { reason: FailureReason::Local, retry_after: None };
const EVENTS: (JournalName, Partition) = (JournalName::Events, Partition(0));
const PARKED: (JournalName, Partition) = (JournalName::Parked, Partition(0));
/// Ten minutes, in milliseconds.
const LONG: u64 = 600_000;

type Course = (&'static str, fn(&mut OneLane));

fn run(with: Settings, course: fn(&mut OneLane)) -> OneLane {
    let mut one = OneLane::new(with);
    course(&mut one);
    one
}

fn narrow() -> Settings {
    Settings { endpoint_queue: 1, ..settings() }
}

fn tight() -> Settings {
    Settings { window_events: 1, ..settings() }
}

fn fetch_all(one: &mut OneLane, count: u64, late: u64) {
    (0..count).for_each(|number| one.fetch_late(number, late));
}

#[test]
fn each_way_into_a_lane_is_counted_under_its_reason() {
    let table: [(Settings, Course, u64); 10] = [
        (settings(), ("failed", fail_twice), 1),
        (settings(), ("halted", fetch_while_paused), 1),
        (settings(), ("down", fetch_while_down), 1),
        (settings(), ("local", fetch_while_resting), 2),
        (settings(), ("budget", |one| fetch_and_wait(one, 1, 6)), 1),
        (settings(), ("permit", |one| fetch_and_wait(one, 5, 2)), 1),
        (narrow(), ("queue_full", |one| fetch_all(one, 6, 0)), 2),
        (settings(), ("lane", fetch_behind_others), 1),
        (settings(), ("handover", fetch_and_hand_over), 1),
        (tight(), ("window_full", |one| fetch_and_wait(one, 1, 2)), 1),
    ];
    for (settings, (expected, course), count) in table {
        let one = run(settings, course);
        let counted: Vec<_> = one.core.counts().parked.each().filter(|(_, count)| *count > 0).collect();
        let counted: Vec<_> = counted.into_iter().map(|(why, count)| (why.label(), count)).collect();
        assert_eq!(counted, [(expected, count)]);
        assert_eq!(one.core.counts().parked_records, count, "{expected}");
    }
}

fn fail_twice(one: &mut OneLane) {
    one.fetch(0);
    one.answer(&FAILED);
    one.wait(1);
    one.answer(&FAILED);
}

fn fetch_while_paused(one: &mut OneLane) {
    one.change(|webhook| webhook.paused = true);
    one.fetch(0);
}

fn fetch_while_down(one: &mut OneLane) {
    *one = OneLane::down(settings(), 4);
    one.fetch(0);
}

fn fetch_while_resting(one: &mut OneLane) {
    one.fetch(0);
    one.answer(&LOCAL);
    one.fetch(1);
}

fn fetch_and_wait(one: &mut OneLane, count: u64, seconds: u64) {
    fetch_all(one, count, 0);
    one.wait(seconds);
}

fn fetch_behind_others(one: &mut OneLane) {
    one.park(200);
    one.fetch(0);
}

fn fetch_and_hand_over(one: &mut OneLane) {
    fetch_all(one, 5, 0);
    let (journal, partition) = EVENTS;
    one.step(Input::Revoking { journal, partition });
}

fn answer_with_rate(one: &mut OneLane) {
    one.change(|webhook| webhook.rate_limit = NonZeroU32::new(1));
    fetch_all(one, 3, 0);
    for _ in 0..4 {
        one.answer_all(&DELIVERED);
        one.wait(1);
    }
}

#[test]
fn what_is_late_by_our_doing_counts_against_the_objective_and_nothing_else_does() {
    let table: [(Settings, Course, (u64, u64)); 11] = [
        (settings(), ("sent straight", |one| fetch_and_answer(one, 1, 0)), (1, 0)),
        (settings(), ("fetched ten minutes later", |one| fetch_and_answer(one, 1, LONG)), (0, 1)),
        (
            narrow(),
            ("a burst of ten minutes ago, most of it parked", |one| fetch_and_answer(one, 10, LONG)),
            (0, 10),
        ),
        (narrow(), ("a burst for which permits lack", |one| fetch_and_answer(one, 10, 0)), (4, 0)),
        (settings(), ("a slow receiver", |one| answer_after(one, 6)), (0, 0)),
        (tight(), ("parked in flight, and in time all the same", |one| answer_after(one, 2)), (1, 0)),
        (settings(), ("failed by the receiver", fail_and_answer), (0, 0)),
        (settings(), ("failed by this machine, and behind that", fetch_while_resting), (0, 2)),
        (settings(), ("paused", fetch_while_paused), (0, 0)),
        (settings(), ("down", fetch_while_down), (0, 0)),
        (settings(), ("two held back by the webhook's own rate", answer_with_rate), (1, 0)),
    ];
    for (settings, (what, course), expected) in table {
        let counts = run(settings, course).core.counts();
        assert_eq!((counts.in_time, counts.late), expected, "{what}");
    }
}

fn fetch_and_answer(one: &mut OneLane, count: u64, late: u64) {
    fetch_all(one, count, late);
    one.answer_all(&DELIVERED);
}

fn answer_after(one: &mut OneLane, seconds: u64) {
    fetch_and_wait(one, 1, seconds);
    assert_eq!(one.core.counts().parked_records, 1);
    one.answer(&DELIVERED);
}

fn fail_and_answer(one: &mut OneLane) {
    one.fetch(0);
    one.answer(&FAILED);
    one.wait(1);
    one.answer(&DELIVERED);
}

#[test]
fn every_webhook_is_in_one_state_whether_anything_has_come_for_it_or_not() {
    let states = |gauges: &Gauges| {
        let Gauges { healthy, half_open, down, paused, disabled, permits, .. } = *gauges;
        ([healthy, half_open, down, paused, disabled], permits)
    };
    let mut resting = webhook("wh_paused", Faults::NONE);
    resting.paused = true;
    let webhooks = vec![webhook("wh", Faults::NONE), webhook("wh_other", Faults::NONE), resting];
    let mut one = OneLane::resume(settings(), None, webhooks);
    assert_eq!(states(&one.core.gauges()), ([2, 0, 0, 1, 0], 8), "nothing has come yet");
    one.fetch(0);
    assert_eq!(states(&one.core.gauges()), ([2, 0, 0, 1, 0], 8));

    let mut one = OneLane::down(settings(), 20);
    assert_eq!(states(&one.core.gauges()), ([0, 0, 1, 0, 0], 0));
    one.wait(60);
    one.answer(&DELIVERED);
    assert_eq!(states(&one.core.gauges()).0, [0, 1, 0, 0, 0]);
    one.change(|webhook| webhook.paused = true);
    assert_eq!(states(&one.core.gauges()), ([0, 0, 0, 1, 0], 0));
    one.delete();
    assert_eq!(states(&one.core.gauges()), ([0; 5], 0));
    assert_eq!(states(&OneLane::gone(settings(), 1).core.gauges()), ([0, 0, 0, 0, 1], 0));
}

/// One delivery for each of so many webhooks, each accepted a second after the one before.
fn one_each(webhooks: u64) -> OneLane {
    let name = |number: u64| format!("wh_{number:02}");
    let known = (0..webhooks).map(|number| {
        let mut webhook = webhook(&name(number), Faults::NONE);
        webhook.paused = number % 2 == 0;
        webhook
    });
    let mut one = OneLane::resume(settings(), None, known.collect());
    let of = |number: u64| ParkedDelivery {
        webhook: WebhookId::new(name(number)),
        deadline: Timestamp(number * 1_000).after(settings().deadline),
        ..parked(number)
    };
    // The youngest comes first, so that the order of their coming does not tell.
    let records = (0..webhooks).map(|number| (Offset(number), of(webhooks - 1 - number))).collect();
    one.step(Input::Followed { partition: Partition(0), epoch: Epoch(1), records });
    one
}

#[test]
fn the_oldest_are_told_by_name_and_a_probe_in_flight_makes_nobody_younger() {
    let mut one = one_each(30);
    let told = |one: &OneLane| one.core.gauges().oldest_lanes;
    let ages: Vec<_> = told(&one).iter().map(|waiting| (waiting.since.0 / 1_000, waiting.backlog)).collect();
    assert_eq!(ages, (0..20).map(|second| (second, 1)).collect::<Vec<_>>(), "half of them are in flight");
    assert_eq!(told(&one).first().map(|waiting| waiting.webhook.to_string()), Some("wh_00".to_owned()));
    assert_eq!(one.core.gauges().oldest, Some(Timestamp(0)));

    one.answer_all(&DELIVERED);
    let left: Vec<_> = told(&one).iter().map(|waiting| waiting.since.0 / 1_000).collect();
    assert_eq!(left, (0..30).step_by(2).collect::<Vec<_>>(), "who waits no more is not told");
    assert_eq!(OneLane::new(settings()).core.gauges().oldest, None);
}

#[test]
fn what_waits_in_a_window_is_among_the_oldest() {
    let mut one = OneLane::new(settings());
    let now = one.now;
    one.fetch_late(0, 700);
    one.fetch_late(1, 500);
    assert_eq!(one.core.gauges().oldest, Some(now.before(Duration::from_millis(700))));
    one.answer(&DELIVERED);
    assert_eq!(one.core.gauges().oldest, Some(now.before(Duration::from_millis(500))));
    let [(journal, partition), (_, lanes)] = [EVENTS, PARKED];
    let accepted_at = Some(now.before(Duration::from_millis(500)));
    let events = Position { journal, partition, offset: Offset(0), accepted_at };
    let parked = Position { journal: PARKED.0, partition: lanes, offset: Offset(0), accepted_at: None };
    assert_eq!(one.core.needed(), [events, parked], "nothing is committed yet");
    one.wait(1);
    assert_eq!(one.core.needed().first().map(|position| position.offset), Some(Offset(1)));
}

#[test]
fn a_count_that_is_broken_shows() {
    let mut one = OneLane::new(settings());
    one.fetch(0);
    one.park(1);
    assert_eq!(one.core.gauges().unaccounted, [(EVENTS, 0), (PARKED, 0)].into());
    let _guard = defect::put_in(Defect::DeliveryUncounted);
    for expected in [[(EVENTS, 1), (PARKED, 0)], [(EVENTS, 1), (PARKED, 1)]] {
        let (attempt, _) = one.in_flight.pop_front().expect("an attempt");
        // Nothing is written down yet, which would not survive it.
        let input = Input::AttemptFinished { attempt, outcome: DELIVERED };
        one.core.step(input, one.now, &mut Vec::new());
        assert_eq!(one.core.gauges().unaccounted, expected.into());
    }
}

#[test]
fn what_is_cancelled_is_told_one_by_one_and_a_backlog_at_once() {
    let mut one = OneLane::new(settings());
    one.fetch(100);
    one.park(50);
    let attempts: Vec<_> = one.in_flight.drain(..).collect();
    assert_eq!(attempts.len(), 4, "one of them is of the window");
    let mut cancelled = Vec::new();
    let mut take = |one: &mut OneLane, input: Input| {
        let mut actions = Vec::new();
        one.core.step(input, one.now, &mut actions);
        cancelled.extend(actions.into_iter().filter_map(|action| match action {
            Action::Cancelled { webhook, what } => Some((webhook.to_string(), what)),
            _ => None,
        }));
    };
    take(&mut one, Input::Webhooks(std::sync::Arc::default()));
    for (attempt, _) in attempts {
        take(&mut one, Input::AttemptFinished { attempt, outcome: FAILED });
    }
    // Its quick retry finds that there is nobody to send to.
    one.now = one.now.after(Duration::from_secs(1));
    take(&mut one, Input::TimerFired);
    take(
        &mut one,
        Input::Followed { partition: PARKED.1, epoch: Epoch(1), records: vec![(Offset(50), parked(7))] },
    );
    let told: Vec<_> = cancelled
        .iter()
        .map(|(webhook, what)| match what {
            Cancelled::One { event, tries, .. } => (webhook.as_str(), event.to_string(), u64::from(*tries)),
            Cancelled::Backlog(deliveries) => (webhook.as_str(), "backlog".to_owned(), *deliveries),
        })
        .collect();
    let one_of = |event: &str, tries| ("wh", event.to_owned(), tries);
    let expected = [
        one_of("backlog", 47),
        one_of("evt_0", 1),
        one_of("evt_1", 1),
        one_of("evt_2", 1),
        one_of("evt_100", 1),
        one_of("evt_7", 0),
    ];
    assert_eq!(told, expected);
}
