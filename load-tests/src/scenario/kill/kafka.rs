//! The same over Kafka: an edge, a dispatcher and a broker are killed in turn, each time another one at random, and
//! started again.
//!
//! The death of an edge excuses nothing: no dispatcher notices it. Those of dispatchers and brokers move partitions;
//! what comes twice is excused until everything has been whole again for as long as a deposed owner may not know of
//! it. Lives are long enough that there are times between them in which a copy has no excuse.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hookline_schemas::ids::WebhookId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::{DRAIN_WITHIN, OUTAGES, Options, add_figures, load, subscribers, told_so_far};
use crate::config::{Config, Kafka};
use crate::receiver::Profile;
use crate::report::{Report, watched};
use crate::scenario::bench::{Bench, Layout};
use crate::scenario::brokers::Brokers;
use crate::scenario::fleet::Fleet;
use crate::scenario::kafka_faults::course::{Course, Passed};
use crate::scenario::kafka_faults::figures::add_gaps;
use crate::scenario::kafka_faults::{ANSWER_TIMEOUT, BROKERS, LANE_PARTITIONS, SESSION};
use crate::scenario::{Surroundings, require_no_dead_letters, run_name};
use crate::simulator::Simulator;

/// Edges, and as many dispatchers.
const OF_EACH: u16 = 2;
/// How long everything lives before the next one is killed, in milliseconds. Before an edge is, it is longer than
/// the window in which a copy is explained, so that some time in every round excuses nothing.
const LIFE_MILLIS: std::ops::RangeInclusive<u64> = 500..=3000;
/// The same before an edge is killed.
const LONG_LIFE_MILLIS: std::ops::RangeInclusive<u64> = 7000..=9000;
/// How long a killed edge stays dead, in milliseconds.
const EDGE_DEATH_MILLIS: std::ops::RangeInclusive<u64> = 20..=2000;
/// The same for a dispatcher: shorter than its session, and longer.
const DISPATCHER_DEATH_MILLIS: std::ops::RangeInclusive<u64> = 20..=9000;
/// The same for a broker: its partitions may have new leaders by the end, or not yet.
const BROKER_DEATH_MILLIS: std::ops::RangeInclusive<u64> = 100..=8000;
/// What is killed one after the other.
const KILLED: [Killed; 3] = [Killed::Edge, Killed::Dispatcher, Killed::Broker];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    Edge,
    Dispatcher,
    Broker,
}

/// One cycle, decided by the seed before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cycle {
    killed: Killed,
    /// Which of them, from 1.
    number: u16,
    life: Duration,
    death: Duration,
}

pub(super) async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let brokers = Brokers::start(&hookline_local_kafka::script(), BROKERS).await?;
    let log = Kafka {
        session_timeout: Some(SESSION.to_owned()),
        ..Kafka::of_run(brokers.bootstrap_servers(), &run_name("kill"), BROKERS)
    };
    let layout = Layout::Several { log: log.clone(), edges: OF_EACH, dispatchers: OF_EACH, controls: 0 };
    let adjust = |config: &mut Config| {
        config.ingest.answer_timeout = Some(ANSWER_TIMEOUT.to_owned());
        config.log.lane_partitions = Some(LANE_PARTITIONS);
    };
    let (bench, fleet) = Bench::set_up(surroundings, &subscribers(), options.seed, layout, adjust).await?;
    let result = Box::pin(torment(&bench, fleet, &brokers, &log, surroundings.deadline, options)).await;
    bench.clear_up(result).await
}

async fn torment(
    bench: &Bench,
    mut fleet: Fleet,
    brokers: &Brokers,
    log: &Kafka,
    deadline: Duration,
    options: &Options,
) -> anyhow::Result<Report> {
    fleet.start_all().await?;
    fleet.await_shares().await?;
    let simulator = Simulator::new(bench.target.clone(), load(options), bench.clock);
    let progress = simulator.progress();
    let killed = AtomicU32::new(0);
    let line = || told_so_far(bench, options, &progress, &killed);
    let work = Box::pin(async {
        let stop = CancellationToken::new();
        let posting = async { anyhow::Ok(simulator.run(stop.clone()).await) };
        let dying = async {
            let course = Course::new(bench, &mut fleet, brokers, log, &progress);
            let passed = kill_in_turn(course, &cycles(options), &killed).await;
            stop.cancel();
            passed
        };
        let (ledger, passed) = tokio::try_join!(posting, dying)?;
        bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
        anyhow::Ok((ledger, passed, fleet.dead_letters().await?))
    });
    let (ledger, passed, dead) = watched(bench.clock, deadline, line, work).await?;
    let (mut report, deliveries) = bench.conclude("kill-kafka", fleet, &ledger, &passed.disturbances).await?;
    require_no_dead_letters(&mut report, dead);
    for (name, kind) in [
        ("edge_kills", Killed::Edge),
        ("dispatcher_kills", Killed::Dispatcher),
        ("broker_kills", Killed::Broker),
    ] {
        report.figure(name, cycles(options).iter().filter(|cycle| cycle.killed == kind).count());
    }
    report.figure("put_off_503", ledger.unanswered.put_off);
    report.figure("silent", ledger.unanswered.silent);
    add_gaps(&mut report, &ledger, &deliveries);
    report.figure("edge_rss_anon_bytes", passed.edge_rss_anon_bytes);
    add_figures(&mut report, options, &ledger, &deliveries);
    Ok(report)
}

fn cycles(options: &Options) -> Vec<Cycle> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let kinds = KILLED.into_iter().cycle().zip(0..options.cycles);
    kinds.map(|(killed, _)| Cycle::new(killed, &mut random)).collect()
}

impl Cycle {
    fn new(killed: Killed, random: &mut StdRng) -> Self {
        let (life, death, count) = match killed {
            Killed::Edge => (LONG_LIFE_MILLIS, EDGE_DEATH_MILLIS, OF_EACH),
            Killed::Dispatcher => (LIFE_MILLIS, DISPATCHER_DEATH_MILLIS, OF_EACH),
            Killed::Broker => (LIFE_MILLIS, BROKER_DEATH_MILLIS, BROKERS),
        };
        Self {
            killed,
            number: random.random_range(1..=count),
            life: Duration::from_millis(random.random_range(life)),
            death: Duration::from_millis(random.random_range(death)),
        }
    }
}

/// Goes through all cycles. The endpoint that is down at times is so in every other round. Afterwards every endpoint
/// is up, and so is everything else.
async fn kill_in_turn(
    mut course: Course<'_>,
    cycles: &[Cycle],
    killed: &AtomicU32,
) -> anyhow::Result<Passed> {
    let outages = WebhookId::new(OUTAGES);
    for (round, cycles) in cycles.chunks(KILLED.len()).enumerate() {
        let profile = if round.is_multiple_of(2) { Profile::Down } else { Profile::Healthy };
        course.bench.receiver.set_profile(&outages, profile);
        for cycle in cycles {
            course.wait(cycle.life).await?;
            kill_once(&mut course, *cycle).await?;
            killed.fetch_add(1, Ordering::Relaxed);
        }
    }
    course.bench.receiver.set_profile(&outages, Profile::Healthy);
    course.wait(Duration::from_millis(*LONG_LIFE_MILLIS.end())).await?;
    Ok(course.passed)
}

/// Kills, waits, and starts again; where partitions have moved, everything is whole when this returns.
async fn kill_once(course: &mut Course<'_>, cycle: Cycle) -> anyhow::Result<()> {
    let Cycle { killed, number, death, .. } = cycle;
    eprintln!("kill: {killed:?} {number}, for {death:?}");
    let at = course.bench.clock.elapsed();
    match killed {
        Killed::Edge => kill_process(course, &format!("edge-{number}"), death).await,
        Killed::Dispatcher => {
            kill_process(course, &format!("dispatcher-{number}"), death).await?;
            course.disturbed_since(at).await
        }
        Killed::Broker => course.without_brokers(&[number], death).await,
    }
}

async fn kill_process(course: &mut Course<'_>, name: &str, death: Duration) -> anyhow::Result<()> {
    course.fleet.kill(name).await?;
    course.wait(death).await?;
    course.fleet.start(&[name]).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::COPY_WINDOW;
    use crate::scenario::kill::KilledLog;

    fn options(cycles: u32, seed: u64) -> Options {
        Options { log: KilledLog::Kafka, cycles, seed, rate: None, concurrency: 1 }
    }

    #[test]
    fn edges_dispatchers_and_brokers_are_killed_in_turn_and_each_of_them_some_time() {
        let cycles = cycles(&options(30, 1));
        assert_eq!(cycles.len(), 30);
        for (kind, count) in
            [(Killed::Edge, OF_EACH), (Killed::Dispatcher, OF_EACH), (Killed::Broker, BROKERS)]
        {
            let killed: Vec<u16> =
                cycles.iter().filter(|cycle| cycle.killed == kind).map(|cycle| cycle.number).collect();
            assert_eq!(killed.len(), 10);
            assert!((1..=count).all(|number| killed.contains(&number)), "{kind:?}: {killed:?}");
        }
        let order: Vec<Killed> = cycles.iter().take(4).map(|cycle| cycle.killed).collect();
        assert_eq!(order, [Killed::Edge, Killed::Dispatcher, Killed::Broker, Killed::Edge]);
    }

    #[test]
    fn each_round_has_a_time_in_which_no_copy_is_excused() {
        let cycles = cycles(&options(300, 7));
        for round in cycles.chunks(KILLED.len()) {
            let [edge, dispatcher, _] = round else { panic!("no whole round: {round:?}") };
            let undisturbed = edge.life + edge.death + dispatcher.life;
            assert!(undisturbed > COPY_WINDOW + Duration::from_secs(1), "{round:?}");
        }
    }

    #[test]
    fn the_same_seed_kills_the_same_at_the_same_times() {
        assert_eq!(cycles(&options(30, 3)), cycles(&options(30, 3)));
        assert_ne!(cycles(&options(30, 3)), cycles(&options(30, 4)));
    }
}
