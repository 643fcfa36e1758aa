//! `kill -9` again and again under load: what was answered is delivered, and what comes twice has a reason.
//!
//! Over the embedded log there is one process to kill; over Kafka (`kill/kafka.rs`) edges, dispatchers and brokers.

mod kafka;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Layout, Subscriber};
use super::fleet::Fleet;
use super::{Surroundings, progress_line};
use crate::checker::Disturbance;
use crate::receiver::{Delivery, Profile};
use crate::report::{Report, watched};
use crate::simulator::{
    Ledger, Mix, Options as SimulatorOptions, Pace, PlanOptions, Progress, RetryRule, Simulator,
};

/// How long hookline lives from being ready to being killed, in milliseconds.
const LIFE_MILLIS: std::ops::RangeInclusive<u64> = 300..=1500;
/// One life in so many is longer than the window in which a copy is explained. Where all lives are short, a
/// process that forgets its position altogether could explain each copy by the kill before it.
const LONG_LIFE_EVERY: u32 = 8;
/// How long such a life lasts, in milliseconds.
const LONG_LIFE_MILLIS: std::ops::RangeInclusive<u64> = 8000..=9000;
/// How long it stays dead, in milliseconds.
const DEATH_MILLIS: std::ops::RangeInclusive<u64> = 20..=300;
/// The endpoint that is down at times.
pub(super) const OUTAGES: &str = "wh_outages";
/// It is down for so many cycles, then up for as many.
const CYCLES_PER_OUTAGE: u32 = 3;
/// Between a Check and what follows, at most: much of it falls into the time when hookline is dead, and has
/// to be posted again.
const LONGEST_PAYER_DELAY: Duration = Duration::from_millis(300);
/// After the last cycle: what is still missing when nothing of it has come for so long is lost.
const DRAIN_WITHIN: Duration = Duration::from_secs(90);
/// No run needs more payments; the end of the last cycle ends the posting.
const MOST_PAYMENTS: u64 = 1_000_000;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KilledLog {
    /// One process with all roles
    Embedded,
    /// Two edges, two dispatchers and three brokers: one of each in turn
    Kafka,
}

/// How often, and under which load.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What is killed: the one process over the embedded log, or edges, dispatchers and brokers in turn
    #[arg(long, value_enum, value_name = "LOG", default_value_t = KilledLog::Embedded)]
    pub log: KilledLog,
    /// How often something is killed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub cycles: u32,
    /// Decides what is posted and when hookline is killed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Payments per second [default: 200, over Kafka 100]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: Option<u32>,
    /// Payments under way at once
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub concurrency: u16,
}

/// Runs it.
///
/// # Errors
///
/// If the run could not be made; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    if options.log == KilledLog::Kafka {
        return kafka::run(surroundings, options).await;
    }
    let (bench, fleet) =
        Bench::set_up(surroundings, &subscribers(), options.seed, Layout::One, |_| {}).await?;
    let result = Box::pin(torment(&bench, fleet, surroundings.deadline, options)).await;
    bench.clear_up(result).await
}

/// An integrator to whom all goes well, one who fails now and then, and one ([`OUTAGES`]) who is down at times.
pub(super) fn subscribers() -> [Subscriber; 3] {
    let subscriber =
        |id: &str, profile| Subscriber { id: WebhookId::new(id), events: EventType::ALL.to_vec(), profile };
    [
        subscriber("wh_healthy", Profile::Healthy),
        subscriber("wh_flaky", Profile::Flaky { per_cent: 20 }),
        subscriber(OUTAGES, Profile::Healthy),
    ]
}

async fn torment(
    bench: &Bench,
    mut fleet: Fleet,
    deadline: Duration,
    options: &Options,
) -> anyhow::Result<Report> {
    fleet.start(&["hookline"]).await?;
    let simulator = Simulator::new(bench.target.clone(), load(options), bench.clock);
    let progress = simulator.progress();
    let killed = AtomicU32::new(0);
    let line = || told_so_far(bench, options, &progress, &killed);
    let work = Box::pin(async {
        let stop = CancellationToken::new();
        let posting = async { anyhow::Ok(simulator.run(stop.clone()).await) };
        let cycles = cycles(bench, &mut fleet, options, &killed, &stop);
        let (ledger, kills) = tokio::try_join!(posting, cycles)?;
        bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
        anyhow::Ok((ledger, kills))
    });
    let (ledger, kills) = watched(bench.clock, deadline, line, work).await?;
    let (mut report, deliveries) = bench.conclude("kill", fleet, &ledger, &kills).await?;
    report.figure("kills", kills.len());
    add_figures(&mut report, options, &ledger, &deliveries);
    Ok(report)
}

/// How far it is.
fn told_so_far(bench: &Bench, options: &Options, progress: &Progress, killed: &AtomicU32) -> String {
    let kills = killed.load(Ordering::Relaxed);
    let seconds = bench.clock.elapsed().as_secs_f64();
    let line = progress_line(progress, None, seconds, bench.receiver.accepted());
    format!("kill {kills}/{}: {line}", options.cycles)
}

fn add_figures(report: &mut Report, options: &Options, ledger: &Ledger, deliveries: &[Delivery]) {
    let refused = deliveries.iter().filter(|delivery| !delivery.is_accepted()).count();
    let reposted = ledger.entries.values().filter(|entry| entry.posted > 1).count();
    report.figure("seed", options.seed);
    report.figure("posts", ledger.posts);
    report.figure("events_posted_again", reposted);
    report.figure("deliveries_refused", refused);
    report.latency(["answer_p50_ms", "answer_p99_ms", "answer_p999_ms"], &ledger.answer_micros);
}

fn load(options: &Options) -> SimulatorOptions {
    let per_second = options.rate.unwrap_or(match options.log {
        KilledLog::Embedded => 200,
        KilledLog::Kafka => 100,
    });
    insistent_load(options.seed, per_second, usize::from(options.concurrency))
}

/// Everything that CloudPayments posts, at this pace, until it is told to stop; unanswered, it comes again soon.
pub(super) fn insistent_load(seed: u64, per_second: u32, concurrency: usize) -> SimulatorOptions {
    // Short steps: a payment must not wait for seconds when a life lasts for one. Attempts enough for the
    // whole run, as the documented hundred are enough for two days.
    let intervals = [50, 100, 200, 400].map(Duration::from_millis).to_vec();
    SimulatorOptions {
        payments: MOST_PAYMENTS,
        concurrency,
        pace: Pace::Open { per_second },
        retry: RetryRule { intervals, attempts: 300, answer_timeout: Duration::from_secs(5) },
        plan: PlanOptions {
            seed,
            mix: Mix::everything(),
            longest_payer_delay: LONGEST_PAYER_DELAY,
            ..PlanOptions::default()
        },
    }
}

/// Kills and restarts; afterwards every endpoint is up, posting has been told to stop, and hookline runs.
async fn cycles(
    bench: &Bench,
    fleet: &mut Fleet,
    options: &Options,
    killed: &AtomicU32,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Disturbance>> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let outages = WebhookId::new(OUTAGES);
    let mut kills = Vec::new();
    for cycle in 0..options.cycles {
        let is_down = (cycle / CYCLES_PER_OUTAGE).is_multiple_of(2);
        bench.receiver.set_profile(&outages, if is_down { Profile::Down } else { Profile::Healthy });
        tokio::time::sleep(life(cycle, &mut random)).await;
        let at = bench.clock.elapsed();
        fleet.kill("hookline").await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(DEATH_MILLIS))).await;
        let until = bench.clock.elapsed();
        kills.push(Disturbance { at, until });
        killed.fetch_add(1, Ordering::Relaxed);
        fleet.start(&["hookline"]).await?;
    }
    bench.receiver.set_profile(&outages, Profile::Healthy);
    stop.cancel();
    Ok(kills)
}

fn life(cycle: u32, random: &mut StdRng) -> Duration {
    let is_long = cycle % LONG_LIFE_EVERY == LONG_LIFE_EVERY - 1;
    Duration::from_millis(random.random_range(if is_long { LONG_LIFE_MILLIS } else { LIFE_MILLIS }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::COPY_WINDOW;

    #[test]
    fn some_lives_outlast_the_window_in_which_copies_are_explained() {
        let mut random = StdRng::seed_from_u64(1);
        let lives: Vec<Duration> = (0..50).map(|cycle| life(cycle, &mut random)).collect();
        // Another second, for what is sent again after the start.
        let long = lives.iter().filter(|life| **life > COPY_WINDOW + Duration::from_secs(1)).count();
        assert_eq!(long, 6);
        assert!(lives.iter().sum::<Duration>() < Duration::from_secs(120), "{lives:?}");
    }
}
