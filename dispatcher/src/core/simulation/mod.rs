//! The core under faults, from seeds: receivers that fail, hang and come back, appends that are refused or
//! lost, crashes at any moment. [`world`] is the log and the receivers, [`checks`] what must hold at every
//! step and at the end.

mod checks;
mod world;

use std::sync::Arc;

use hookline_event_log::{AppendError, Epoch, Offset, Partition};
use hookline_schemas::delivery::{AttemptOutcome, FailureReason, ParkedDelivery};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;
use proptest::prelude::*;

use super::{Action, Core, Input};

use world::{Faults, World};

/// Runs a world to its end and gives back its trace.
fn run(seed: u64, faults: Faults) -> Vec<String> {
    let mut world = World::new(seed, faults);
    world.run();
    checks::end(&world);
    world.trace
}

#[test]
fn everything_is_delivered_once_where_nothing_fails() {
    let mut world = World::new(7, Faults::NONE);
    world.run();
    checks::end(&world);
    assert!(world.delivered.values().all(|times| *times == 1), "{:?}", world.delivered);
    assert!(world.parked_records() == 0 && world.dead.is_empty());
}

#[test]
fn a_receiver_that_is_down_gets_probes_alone_and_one_parked_record_per_delivery() {
    let mut world = World::new(11, Faults { down: true, ..Faults::NONE });
    world.run();
    checks::end(&world);
    let ((records, deliveries), requests) = (world.parked_while_down(), world.requests_while_down);
    assert!(deliveries > 100, "{deliveries}");
    assert!(records <= deliveries + deliveries / 20, "{records} records for {deliveries} deliveries");
    assert_eq!(records, world.parked_records(), "nobody else was parked");
    assert!(requests <= 60, "{requests} requests to a receiver that was down");
}

#[test]
fn one_event_that_always_fails_holds_nobody_up() {
    let mut world = World::new(13, Faults { poison: true, ..Faults::NONE });
    world.run();
    checks::end(&world);
    let dead: Vec<_> = world.dead.keys().collect();
    assert!(!dead.is_empty() && dead.iter().all(|(event, _)| world.is_poison(*event)), "{dead:?}");
}

/// A lane with one delivery that its receiver refuses for good: written down as settled once the dead letter is
/// acknowledged, and not before.
#[test]
fn a_dead_letter_settles_by_its_acknowledgement() {
    let mut core = Core::new(world::settings(), 1, 1, Timestamp(0));
    let (partition, epoch, offset) = (Partition(0), Epoch(1), Offset(7));
    let mut now = 0;
    let mut step = |input| {
        now += 1_000;
        let mut actions = Vec::new();
        core.step(input, Timestamp(now), &mut actions);
        actions
    };
    step(Input::Webhooks(Arc::new([world::webhook("wh")].into_iter().collect())));
    step(Input::LanesGranted { partition, epoch, registered: Offset::START, lanes: Vec::new() });
    let parked = ParkedDelivery {
        webhook: WebhookId::new("wh"),
        event: world::event(1, Timestamp(0)),
        tries: 0,
        last_failure: None,
        not_before: Timestamp(0),
        deadline: Timestamp(u64::MAX),
    };
    let mut actions = step(Input::Followed { partition, records: vec![(offset, parked)] });
    let mut written = None;
    let mut buried = false;
    for _ in 0..12 {
        let mut inputs = vec![Input::TimerFired];
        for action in actions.drain(..) {
            match action {
                Action::Attempt { attempt, .. } => {
                    let outcome = AttemptOutcome::Rejected { reason: FailureReason::Status(410) };
                    inputs.push(Input::AttemptFinished { attempt, outcome });
                }
                Action::PutLane { endpoint, record, .. } => {
                    written = Some(record.clone());
                    inputs.push(Input::LanePut { endpoint, record, acknowledged: true });
                }
                // Refused, for as long as this goes on.
                Action::Bury { append, .. } => {
                    buried = true;
                    inputs.push(Input::Appended { append, result: Err(AppendError::NoSpace) });
                }
                _ => {}
            }
        }
        actions.extend(inputs.into_iter().flat_map(&mut step));
    }
    let written = written.expect("the lane has been written down");
    assert!(buried && !written.drained && written.cursor == offset.0, "{written:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(42, Faults::ALL), run(42, Faults::ALL));
    assert_ne!(run(42, Faults::ALL), run(43, Faults::ALL));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_whatever_fails(
        seed in any::<u64>(),
        crashes in any::<bool>(),
        appends in any::<bool>(),
        receivers in any::<bool>(),
        down in any::<bool>(),
        poison in any::<bool>(),
    ) {
        run(seed, Faults { crashes, appends, receivers, down, poison });
    }
}
