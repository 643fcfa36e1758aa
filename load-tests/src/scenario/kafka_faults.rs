//! hookline over Kafka while brokers, edges and dispatchers fail: what was answered is delivered, what comes
//! twice has a reason, and everything goes on by itself.
//!
//! A course has a calm beginning, the fault, its repair, and a calm end. Copies and changes of order are
//! excused around the fault alone (see [`Disturbance`]); the calm parts are longer than that reaches.

pub(super) mod course;
pub(super) mod figures;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Layout};
use super::brokers::Brokers;
use super::fleet::Fleet;
use super::{Surroundings, kill, progress_line, require_no_dead_letters, run_name};
use crate::checker::Disturbance;
use crate::config::{Config, Kafka};
use crate::report::{Report, watched};
use crate::simulator::{Ledger, Mix, Options as SimulatorOptions, Simulator};
use course::Course;

/// Three, so that each record stands on all, and one of them may go.
pub(super) const BROKERS: u16 = 3;
/// A dispatcher that is not heard of for so long loses its partitions.
pub(super) const SESSION: &str = "6s";
/// An edge answers 503 after this: shorter than the caller waits.
pub(super) const ANSWER_TIMEOUT: &str = "3s";
/// Fewer than usual: a cluster of three on one machine takes its time to elect leaders for hundreds.
pub(super) const LANE_PARTITIONS: u16 = 8;
/// After the last answer, until all has to be delivered.
const DRAIN_WITHIN: Duration = Duration::from_secs(90);
/// Checks per second beside the payments, which stop asking when what follows them is not answered.
const CHECKS_PER_SECOND: u32 = 20;
/// Checks under way at once.
const CHECK_CONCURRENCY: usize = 16;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// kill -9 of the broker that leads a partition of events
    Leader,
    /// A broker hangs for longer than its session
    Pause,
    /// kill -9 of the broker that coordinates the dispatchers
    Coordinator,
    /// kill -9 of an edge, again and again
    Edge,
    /// kill -9 of a dispatcher, again and again
    Dispatcher,
    /// Dispatchers come and go in order
    Scale,
    /// Two brokers of three are gone: nothing can be made durable
    Minority,
    /// All brokers are gone for a while
    Outage,
}

impl Fault {
    /// Every one, in the order in which they are gone through.
    pub const ALL: [Self; 8] = [
        Self::Leader,
        Self::Pause,
        Self::Coordinator,
        Self::Edge,
        Self::Dispatcher,
        Self::Scale,
        Self::Minority,
        Self::Outage,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Pause => "pause",
            Self::Coordinator => "coordinator",
            Self::Edge => "edge",
            Self::Dispatcher => "dispatcher",
            Self::Scale => "scale",
            Self::Minority => "minority",
            Self::Outage => "outage",
        }
    }
}

/// Which faults, under which load.
#[derive(Debug, Clone)]
pub struct Options {
    /// One after the other.
    pub faults: Vec<Fault>,
    /// Payments per second.
    pub per_second: u32,
    /// Payments under way at once.
    pub concurrency: usize,
    /// Decides what is posted.
    pub seed: u64,
    /// How long all brokers are gone.
    pub outage: Duration,
}

/// Runs it, over one cluster; each fault with topics and groups of its own.
///
/// # Errors
///
/// If the run could not be made; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let brokers = Brokers::start(&hookline_local_kafka::script(), BROKERS).await?;
    let mut parts = Vec::new();
    for fault in options.faults.iter().copied() {
        eprintln!("fault: {}", fault.name());
        let part = Box::pin(go_through(surroundings, &brokers, fault, options)).await?;
        eprint!("{}", part.summary());
        parts.push(part);
    }
    Ok(Report::of_parts("kafka-faults", parts))
}

async fn go_through(
    surroundings: &Surroundings,
    brokers: &Brokers,
    fault: Fault,
    options: &Options,
) -> anyhow::Result<Report> {
    let log = Kafka {
        session_timeout: Some(SESSION.to_owned()),
        ..Kafka::of_run(brokers.bootstrap_servers(), &run_name(fault.name()), BROKERS)
    };
    let layout = Layout::Several { log: log.clone(), edges: 2, dispatchers: 3, controls: 0 };
    let adjust = |config: &mut Config| {
        config.ingest.answer_timeout = Some(ANSWER_TIMEOUT.to_owned());
        config.log.lane_partitions = Some(LANE_PARTITIONS);
    };
    let (bench, fleet) =
        Bench::set_up(surroundings, &kill::subscribers(), options.seed, layout, adjust).await?;
    let result = Box::pin(endure(&bench, fleet, brokers, &log, fault, surroundings.deadline, options)).await;
    bench.clear_up(result).await
}

/// What was seen of one fault.
#[derive(Debug)]
struct Seen {
    ledger: Ledger,
    /// Of the Checks beside the payments.
    checks: Ledger,
    disturbances: Vec<Disturbance>,
    /// The most anonymous memory that an edge was seen with.
    edge_rss_anon_bytes: u64,
}

async fn endure(
    bench: &Bench,
    mut fleet: Fleet,
    brokers: &Brokers,
    log: &Kafka,
    fault: Fault,
    deadline: Duration,
    options: &Options,
) -> anyhow::Result<Report> {
    fleet.start(&["edge-1", "edge-2", "dispatcher-1", "dispatcher-2"]).await?;
    fleet.await_shares().await?;
    let load = kill::insistent_load(options.seed, options.per_second, options.concurrency);
    let checks = Simulator::new(bench.target.clone(), only_checks(load.clone()), bench.clock);
    let simulator = Simulator::new(bench.target.clone(), load, bench.clock);
    let progress = simulator.progress();
    let line = || {
        let seconds = bench.clock.elapsed().as_secs_f64();
        let line = progress_line(&progress, None, seconds, bench.receiver.accepted());
        format!("{}: {line}", fault.name())
    };
    let work = Box::pin(async {
        let stop = CancellationToken::new();
        let posting = async { anyhow::Ok(simulator.run(stop.clone()).await) };
        let asking = async { anyhow::Ok(checks.run(stop.clone()).await) };
        let course = async {
            let course = Course::new(bench, &mut fleet, brokers, log, &progress);
            let passed = course.run(fault, options.outage).await;
            stop.cancel();
            passed
        };
        let (ledger, checks, passed) = tokio::try_join!(posting, asking, course)?;
        bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
        let seen = Seen {
            ledger,
            checks,
            disturbances: passed.disturbances,
            edge_rss_anon_bytes: passed.edge_rss_anon_bytes,
        };
        anyhow::Ok((seen, fleet.dead_letters().await?))
    });
    let (seen, dead) = watched(bench.clock, deadline, line, work).await?;
    let (mut report, deliveries) =
        bench.conclude(fault.name(), fleet, &seen.ledger, &seen.disturbances).await?;
    require_no_dead_letters(&mut report, dead);
    figures::add(&mut report, fault, &seen, &deliveries);
    Ok(report)
}

fn only_checks(load: SimulatorOptions) -> SimulatorOptions {
    let mut checks = load;
    checks.plan.mix = Mix::checks();
    checks.plan.longest_payer_delay = Duration::ZERO;
    checks.pace = crate::simulator::Pace::Open { per_second: CHECKS_PER_SECOND };
    checks.concurrency = CHECK_CONCURRENCY;
    checks
}
