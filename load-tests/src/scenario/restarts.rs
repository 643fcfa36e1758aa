//! hookline is replaced again and again, in order (SIGTERM), while CloudPayments goes on posting: no caller notices.
//!
//! A single machine holds the listening sockets and hands them over; over Kafka a load balancer sends callers to edges
//! that are ready. Callers keep their connections or take new ones by turns, and post each notification once: what is
//! not answered with a code in the time that CloudPayments waits is a failure. A request of which no byte was written,
//! because the connection had been closed before, is sent over another one, as any client does.

mod figures;
mod roll;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Layout};
use super::brokers::Brokers;
use super::fleet::Fleet;
use super::{Surroundings, kill, progress_line, require_no_dead_letters, run_name};
use crate::checker::Disturbance;
use crate::config::{Config, Kafka};
use crate::report::{Report, watched};
use crate::simulator::{Mix, Options as SimulatorOptions, Pace, Picker, PlanOptions, RetryRule, Simulator};

/// Three, so that each record stands on all.
const BROKERS: u16 = 3;
/// Fewer than usual: a cluster of three on one machine takes its time to elect leaders for hundreds.
const LANE_PARTITIONS: u16 = 8;
/// Callers at once.
const CALLERS: usize = 128;
/// How long CloudPayments waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Between a Check and what follows, at most.
const LONGEST_PAYER_DELAY: Duration = Duration::from_millis(300);
/// No run needs more payments; the end of the last restart ends the posting.
const MOST_PAYMENTS: u64 = 1_000_000;
/// How often the load balancer asks.
const PICK_INTERVAL: Duration = Duration::from_millis(500);
/// After the last answer, until all has to be delivered.
const DRAIN_WITHIN: Duration = Duration::from_secs(90);

/// What is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RestartedLog {
    /// One process with all roles
    Embedded,
    /// Two edges, two dispatchers and two controls
    Kafka,
}

impl RestartedLog {
    /// As many restarts as show it.
    pub const fn usual_restarts(self) -> u32 {
        match self {
            Self::Embedded => 30,
            Self::Kafka => 3,
        }
    }
}

/// How often, and under which load.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is restarted.
    pub log: RestartedLog,
    /// Whether the sockets of a single process are held and handed over.
    pub activation: bool,
    /// How often each process is replaced.
    pub restarts: u32,
    /// Payments per second.
    pub per_second: u32,
    /// Decides what is posted.
    pub seed: u64,
}

/// Runs it.
///
/// # Errors
///
/// If the run could not be made; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    match options.log {
        RestartedLog::Embedded => over(surroundings, options, Layout::One).await,
        RestartedLog::Kafka => {
            let brokers = Brokers::start(&hookline_local_kafka::script(), BROKERS).await?;
            let log = Kafka::of_run(brokers.bootstrap_servers(), &run_name("restarts"), BROKERS);
            let layout = Layout::Several { log, edges: 2, dispatchers: 2, controls: 2 };
            over(surroundings, options, layout).await
        }
    }
}

async fn over(surroundings: &Surroundings, options: &Options, layout: Layout) -> anyhow::Result<Report> {
    let adjust = |config: &mut Config| config.log.lane_partitions = Some(LANE_PARTITIONS);
    let (bench, fleet) =
        Bench::set_up(surroundings, &kill::subscribers(), options.seed, layout, adjust).await?;
    let result = Box::pin(replace_under_load(&bench, fleet, surroundings.deadline, options)).await;
    bench.clear_up(result).await
}

async fn replace_under_load(
    bench: &Bench,
    mut fleet: Fleet,
    deadline: Duration,
    options: &Options,
) -> anyhow::Result<Report> {
    if options.activation {
        fleet.hold_sockets("hookline")?;
    }
    fleet.start_all().await?;
    let picker = Arc::new(Picker::new(fleet.edge_admins()));
    let simulator = Simulator::new(bench.target.clone(), load(options), bench.clock);
    let simulator = simulator.behind(Arc::clone(&picker)).with_connections_by_turns();
    let progress = simulator.progress();
    let replaced = AtomicU32::new(0);
    let line = || {
        let seconds = bench.clock.elapsed().as_secs_f64();
        let line = progress_line(&progress, None, seconds, bench.receiver.accepted());
        format!("{} restarts: {line}", replaced.load(Ordering::Relaxed))
    };
    let work = Box::pin(async {
        let stop = CancellationToken::new();
        let posting = async { anyhow::Ok(simulator.run(stop.clone()).await) };
        let rolling = async {
            let restarts = match options.log {
                RestartedLog::Embedded => roll::one(bench, &mut fleet, options, &replaced).await,
                RestartedLog::Kafka => roll::several(bench, &mut fleet, options, &replaced).await,
            };
            stop.cancel();
            restarts
        };
        let posted = async { tokio::try_join!(posting, rolling) };
        let (ledger, restarts) = match options.log {
            // A single process has nobody beside it.
            RestartedLog::Embedded => posted.await?,
            RestartedLog::Kafka => tokio::select! {
                posted = posted => posted?,
                () = picker.watch(PICK_INTERVAL) => anyhow::bail!("the load balancer ended"),
            },
        };
        bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
        anyhow::Ok((ledger, restarts, fleet.dead_letters().await?))
    });
    let (ledger, restarts, dead) = watched(bench.clock, deadline, line, work).await?;
    // A process that ends in order leaves nothing to be repeated; only where partitions move something may be.
    let disturbances: Vec<Disturbance> = restarts.iter().filter_map(|restart| restart.disturbance).collect();
    let (mut report, _) = bench.conclude("restarts", fleet, &ledger, &disturbances).await?;
    require_no_dead_letters(&mut report, dead);
    figures::add(&mut report, &ledger, &restarts);
    Ok(report)
}

/// Checks and what follows them, each once.
fn load(options: &Options) -> SimulatorOptions {
    SimulatorOptions {
        payments: MOST_PAYMENTS,
        concurrency: CALLERS,
        pace: Pace::Open { per_second: options.per_second },
        retry: RetryRule { intervals: Vec::new(), attempts: 1, answer_timeout: ANSWER_TIMEOUT },
        plan: PlanOptions {
            seed: options.seed,
            mix: Mix::everything(),
            longest_payer_delay: LONGEST_PAYER_DELAY,
            ..PlanOptions::default()
        },
    }
}
