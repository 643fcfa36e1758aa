//! The cores under faults, from seeds: receivers that fail, hang and come back, appends that are refused or
//! lost, partitions that move or are lost, crashes at any moment. [`world`] is the clock, [`log`] what is
//! written, [`group`] who owns what, [`perform`] what becomes of actions. What must hold stands in [`checks`],
//! [`identities`] and [`limits`]; that they notice what is broken, in [`broken`]. In [`alone`], [`life`],
//! [`control`], [`local`] and [`measured`] is a single core, input by input.

#![expect(clippy::indexing_slicing, reason = "a panic fails the test")]

mod alone;
mod broken;
mod checks;
mod control;
mod faults;
mod group;
mod identities;
mod life;
mod limits;
mod local;
mod log;
mod measured;
mod one_lane;
mod perform;
mod process;
mod receivers;
mod room;
mod shell;
mod world;

use std::time::Duration;

use hookline_event_log::{JournalName, Partition};
use proptest::prelude::*;

use crate::settings::Settings;

use faults::Faults;
use log::{EVENT_PARTITIONS, LANE_PARTITIONS};
use world::{EVENTS, World};

/// Runs a world until its faults have ended and everything is settled.
fn run(seed: u64, faults: Faults) -> World {
    let mut world = World::new(seed, faults);
    world.run();
    checks::end(&world);
    limits::ended_in_time(&world);
    world
}

/// With the faults over, under steady traffic, with every lane at another process than the events: everybody
/// sends directly again, and nothing more is parked.
fn comes_back(world: &mut World) {
    let processes = world.processes.len();
    world.faults = Faults { processes, ..Faults::NONE };
    for partition in 0..EVENT_PARTITIONS.max(LANE_PARTITIONS) {
        let partition = Partition(partition);
        let owner = usize::from(partition.0) % processes;
        world.move_to((JournalName::Events, partition), owner);
        world.move_to((JournalName::Parked, partition), (owner + 1) % processes);
    }
    world.run();
    // One after the other, for as long as probes are waited for.
    for number in EVENTS..EVENTS + 20 {
        world.append_more(number..number + 1, 25);
        world.run();
    }
    let (start, middle, end) = (EVENTS + 20, EVENTS + 220, EVENTS + 420);
    world.append_more(start..end, 25);
    world.run();
    checks::end(world);
    checks::routes_are_direct(world);
    let late = world.witness.parked.keys().filter(|(event, _)| *event >= middle).count();
    assert_eq!(late, 0, "deliveries that were parked although all is well");
}

#[test]
fn everything_is_delivered_once_where_nothing_fails() {
    let world = run(7, Faults::NONE);
    let witness = &world.witness;
    assert!(witness.delivered.values().all(|times| *times == 1), "{:?}", witness.delivered);
    assert!(witness.parked.is_empty() && witness.dead.is_empty());
}

#[test]
fn a_receiver_that_is_down_gets_probes_alone_and_one_parked_record_per_delivery() {
    let world = run(11, Faults { down: true, ..Faults::NONE });
    let witness = &world.witness;
    let deliveries = witness.parked.keys().filter(|(_, webhook)| webhook.as_str() == "wh_down").count();
    assert_eq!(deliveries, witness.parked.len(), "nobody else was parked");
    let (records, requests) = (witness.parked.values().sum::<u32>(), witness.requests_while_down);
    assert!(deliveries > 100, "{deliveries}");
    let most = deliveries + deliveries / 20;
    assert!(records as usize <= most, "{records} records for {deliveries} deliveries");
    assert!(requests <= 60, "{requests} requests to a receiver that was down");
}

#[test]
fn one_event_that_always_fails_holds_nobody_up() {
    let faults = Faults { poison: true, ..Faults::NONE };
    let dead = run(13, faults).witness.dead;
    assert!(
        !dead.is_empty() && dead.iter().all(|(event, _)| receivers::is_poison(*event, faults)),
        "{dead:?}"
    );
}

/// However others fail: the receiver that is well gets everything at once, and once they are well again all is
/// over within their schedules. What each run checks is in [`limits`].
#[test]
fn nobody_waits_for_those_that_fail() {
    for (seed, processes) in (0..12).zip((1..=3).cycle()) {
        let receivers = Faults { receivers: true, down: true, gone: true, rate: true, ..Faults::NONE };
        let [poison, flaps] = [seed % 2 == 0, seed % 3 == 0];
        let faults = Faults { processes, poison, flaps, ..receivers };
        assert!(faults.are_receivers_alone());
        let world = run(seed, faults);
        assert!(world.witness.delivered.keys().any(|(_, webhook)| webhook.as_str() == "wh_down"));
    }
}

/// Where partitions move and nothing else happens, a drain leaves nothing to be done twice.
#[test]
fn nothing_is_sent_twice_because_a_partition_moved() {
    for seed in 0..10 {
        for down in [false, true] {
            let world = run(seed, Faults { processes: 3, moves: true, down, ..Faults::NONE });
            let twice: Vec<_> = world.witness.delivered.iter().filter(|(_, times)| **times != 1).collect();
            assert!(twice.is_empty(), "{seed} {down} {twice:?}");
            assert!(world.witness.let_go.len() > 3, "{:?}", world.witness.let_go);
        }
    }
}

#[test]
fn whoever_shared_the_lanes_under_faults_sends_directly_again() {
    for seed in 0..8 {
        let mut world = run(seed, Faults { poison: false, ..Faults::ALL });
        comes_back(&mut world);
    }
}

/// What a deposed owner did not know stays unknown when the faults are over.
#[test]
fn counts_that_a_deposed_owner_wrote_are_believed_for_good() {
    let quiet = Faults { appends: false, down: false, clocks: false, moves: false, ..Faults::ALL };
    let faults = Faults { operators: false, deletes: true, ..quiet };
    let mut world = run(16_616_181_347_029_710_046, faults);
    comes_back(&mut world);
}

/// Under steady traffic something is always on its way into the lane; it ends there all the same.
#[test]
fn steady_traffic_leaves_the_lane_once_the_receiver_is_back() {
    for (seed, processes) in [(1, 1), (3, 2), (4, 3)] {
        let mut world = run(seed, Faults { processes, ..Faults::NONE });
        let refuses_until = world.now.after(Duration::from_millis(200));
        world.faults = Faults { refuses_until, ..world.faults };
        let end = EVENTS + 3_000;
        world.append_more(EVENTS..end, 10);
        world.run();
        checks::end(&world);
        let parked = |from: u64| world.witness.parked.keys().filter(|(event, _)| *event >= from).count();
        assert!(parked(EVENTS) > 20, "{seed}: {}", parked(EVENTS));
        assert_eq!(parked(end - 300), 0, "{seed}: the last three seconds");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(42, Faults::ALL).trace, run(42, Faults::ALL).trace);
    assert_ne!(run(42, Faults::ALL).trace, run(43, Faults::ALL).trace);
}

/// How many runs the property takes; more in the slow checks.
fn config() -> ProptestConfig {
    let cases = std::env::var("HOOKLINE_SIMULATION_CASES").map_or(Ok(50), |cases| cases.parse());
    let cases = cases.expect("a number of cases");
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_is_lost_whatever_fails(seed in any::<u64>(), faults in Faults::any()) {
        let mut world = run(seed, faults);
        comes_back(&mut world);
    }
}

/// Those of the simulated world.
pub(crate) fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        allow_addresses: Vec::new(),
        allow_http: false,
        ca_file: None,
        attempt_timeout: seconds(15),
        budget: seconds(5),
        commit_interval: Duration::from_millis(500),
        lane_interval: seconds(1),
        endpoint_concurrency: 4,
        max_attempts: 10_000,
        endpoint_queue: 500,
        window_events: 1_000,
        window_bytes: bytesize::ByteSize::mib(1),
        repeat_memory: 1_000,
        breaker_failures: 3,
        disable_after: seconds(100_000),
        retry_schedule: vec![seconds(5), seconds(60), seconds(600)],
        probe_schedule: vec![seconds(5), seconds(30), seconds(120), seconds(300)],
        deadline: seconds(3_000),
        drain_timeout: seconds(5),
        revoke_timeout: seconds(3),
    }
}
