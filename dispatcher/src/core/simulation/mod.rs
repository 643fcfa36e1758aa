//! The core under faults, from seeds: receivers that fail, hang and come back, appends that are refused or
//! lost, crashes at any moment. [`world`] is the log and the receivers, [`checks`] what must hold at every
//! step and at the end.

mod checks;
mod world;

use proptest::prelude::*;

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
