//! Dead letters are wanted again, all of them, at a rate, while hookline is killed: each arrives, and the rate is
//! kept.
//!
//! The course: every endpoint refuses for good, so that each delivery becomes a dead letter; then all accept, and
//! on the command line everything is asked for again. At a third and at two thirds of the way hookline is killed.

mod figures;

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, ensure};
use hookline_schemas::redelivery::RedeliveryProgress;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Layout};
use super::fleet::Fleet;
use super::{Surroundings, progress_line, sites};
use crate::checker::Disturbance;
use crate::receiver::Profile;
use crate::report::{Report, watched};
use crate::simulator::{Ledger, Mix, Options as SimulatorOptions, Pace, PlanOptions, RetryRule, Simulator};

/// Endpoints; each gets every event.
const ENDPOINTS: u16 = 4;
/// Payments under way at once.
const CONCURRENCY: usize = 64;
/// What an endpoint answers that will never take it.
const REFUSAL: u16 = 413;
/// Until all of them are dead letters, once everything has been posted.
const DEAD_WITHIN: Duration = Duration::from_secs(120);
/// Beside the time that the rate needs.
const SLACK: Duration = Duration::from_secs(60);
/// After all have been put into their lanes, until whatever is missing has to have arrived.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How many, and how fast.
#[derive(Debug, Clone)]
pub struct Options {
    /// Dead letters.
    pub letters: u64,
    /// How many of them per second are delivered again.
    pub rate: NonZeroU32,
    /// How often hookline is killed meanwhile.
    pub kills: u32,
    /// Decides what is posted.
    pub seed: u64,
}

impl Options {
    /// Each payment is one event, and each event a letter for every endpoint.
    fn payments(&self) -> u64 {
        self.letters.div_ceil(u64::from(ENDPOINTS))
    }

    fn in_all(&self) -> u64 {
        self.payments() * u64::from(ENDPOINTS)
    }
}

/// A redelivery as the command line shows it.
#[derive(Debug, Deserialize)]
struct Shown {
    id: String,
    #[serde(default)]
    progress: RedeliveryProgress,
}

/// What a run leaves behind.
#[derive(Debug)]
struct Seen {
    /// When the redelivery was asked for.
    asked_at: Duration,
    progress: RedeliveryProgress,
    disturbances: Vec<Disturbance>,
}

/// Runs it.
///
/// # Errors
///
/// If the run could not be made; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let subscribers = sites::subscribers(ENDPOINTS, Profile::Status(REFUSAL));
    let (bench, fleet) = Bench::set_up(surroundings, &subscribers, options.seed, Layout::One, |_| {}).await?;
    let result = Box::pin(go_through(&bench, fleet, surroundings.deadline, options)).await;
    bench.clear_up(result).await
}

async fn go_through(
    bench: &Bench,
    mut fleet: Fleet,
    deadline: Duration,
    options: &Options,
) -> anyhow::Result<Report> {
    fleet.start(&["hookline"]).await?;
    let simulator = Simulator::new(bench.target.clone(), load(options), bench.clock);
    let progress = simulator.progress();
    let line = || {
        let seconds = bench.clock.elapsed().as_secs_f64();
        progress_line(&progress, Some(options.payments()), seconds, bench.receiver.accepted())
    };
    let work = Box::pin(async {
        let ledger = simulator.run(CancellationToken::new()).await;
        await_letters(bench, &mut fleet, options.in_all()).await?;
        for number in 0..ENDPOINTS {
            bench.receiver.set_profile(&sites::webhook(number), Profile::Healthy);
        }
        let seen = redeliver(bench, &mut fleet, options).await?;
        bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
        anyhow::Ok((ledger, seen))
    });
    let (ledger, seen): (Ledger, Seen) = watched(bench.clock, deadline, line, work).await?;
    // Each kill makes a letter repeat for two reasons, by its lane and by its stretch.
    let reasons: Vec<_> = seen.disturbances.iter().flat_map(|kill| [*kill; 2]).collect();
    let (mut report, deliveries) = bench.conclude("redelivery", fleet, &ledger, &reasons).await?;
    figures::add(&mut report, options, &seen, &deliveries);
    Ok(report)
}

fn load(options: &Options) -> SimulatorOptions {
    let plan = PlanOptions {
        seed: options.seed,
        mix: Mix::received_and_failed(),
        shared_url_share: 0.0,
        duplicate_share: 0.0,
        ..PlanOptions::default()
    };
    SimulatorOptions {
        payments: options.payments(),
        concurrency: CONCURRENCY,
        pace: Pace::Closed,
        retry: RetryRule::scaled_down(),
        plan,
    }
}

async fn await_letters(bench: &Bench, fleet: &mut Fleet, expected: u64) -> anyhow::Result<()> {
    let admin = fleet.admin("hookline")?;
    let deadline = bench.clock.elapsed() + DEAD_WITHIN;
    loop {
        fleet.check_alive()?;
        let dead: u64 = admin.webhooks().await?.iter().map(|webhook| webhook.dead).sum();
        if dead >= expected {
            return Ok(());
        }
        ensure!(bench.clock.elapsed() < deadline, "{dead} dead letters of {expected}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Asks for everything again, and kills hookline on the way. When it returns, all of it is in lanes.
async fn redeliver(bench: &Bench, fleet: &mut Fleet, options: &Options) -> anyhow::Result<Seen> {
    let asked_at = bench.clock.elapsed();
    let rate = options.rate.to_string();
    let arguments = ["dead-letters", "redeliver", "--all", "--rate", &rate, "--detach"];
    let wish: Shown = fleet.ask("hookline", &arguments).await?.pop().context("nothing was said")?;
    let needed = Duration::from_secs(options.in_all() / u64::from(options.rate.get()));
    let deadline = asked_at + 2 * needed + SLACK;
    let mut disturbances = Vec::new();
    loop {
        fleet.check_alive()?;
        let all: Vec<Shown> = fleet.ask("hookline", &["dead-letters", "redeliveries"]).await?;
        let shown = all.into_iter().find(|shown| shown.id == wish.id).context("it is not shown")?;
        if shown.progress.ended_at.is_some() {
            return Ok(Seen { asked_at, progress: shown.progress, disturbances });
        }
        let killed = u64::try_from(disturbances.len())?;
        let next_kill = options.in_all() * (killed + 1) / (u64::from(options.kills) + 1);
        if killed < u64::from(options.kills) && bench.receiver.accepted() >= next_kill {
            let at = bench.clock.elapsed();
            fleet.kill("hookline").await?;
            disturbances.push(Disturbance { at, until: bench.clock.elapsed() });
            fleet.start(&["hookline"]).await?;
        }
        ensure!(bench.clock.elapsed() < deadline, "the redelivery does not end: {:?}", shown.progress);
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
