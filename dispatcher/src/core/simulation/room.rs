//! The room for attempts over all endpoints.

use super::super::{AttemptKey, Input};
use super::faults::Faults;
use super::one_lane::{DELIVERED, OneLane};
use super::receivers::webhook;
use super::settings;
use crate::settings::Settings;

const ROOM: usize = 16;

/// So many webhooks that all get every event.
fn many(webhooks: usize, endpoint_concurrency: usize) -> OneLane {
    let settings = Settings { max_attempts: ROOM, endpoint_concurrency, ..settings() };
    let known = (0..webhooks).map(|number| webhook(&format!("wh_{number:02}"), Faults::NONE));
    OneLane::resume(settings, None, known.collect())
}

fn answer(one: &mut OneLane, attempt: AttemptKey) {
    one.in_flight.retain(|(key, _)| *key != attempt);
    one.step(Input::AttemptFinished { attempt, outcome: DELIVERED });
}

#[test]
fn no_more_attempts_than_there_is_room_for_and_none_forgotten() {
    let mut one = many(24, 4);
    (0..2).for_each(|number| one.fetch(number));
    assert_eq!(one.in_flight.len(), ROOM, "the room is made use of");
    let mut answered = 0;
    while let Some((attempt, _)) = one.in_flight.front().copied() {
        answer(&mut one, attempt);
        answered += 1;
        assert!(one.in_flight.len() <= ROOM);
    }
    assert_eq!(answered, 48);
}

#[test]
fn endpoints_that_hang_leave_room_for_one_that_answers() {
    let mut one = many(4, 8);
    (0..8).for_each(|number| one.fetch(number));
    let answers = one.core.endpoint_keys.values().copied().max().expect("an endpoint");
    let mut answered = 0;
    let of_one_that_answers = |one: &OneLane| {
        let mut keys = one.in_flight.iter().map(|(key, _)| *key);
        keys.find(|key| one.core.attempts[key].endpoint == answers)
    };
    while let Some(attempt) = of_one_that_answers(&one) {
        answer(&mut one, attempt);
        answered += 1;
        assert!(one.in_flight.len() <= ROOM);
    }
    assert_eq!(answered, 8, "the others hang, and it got all of its own");
}
