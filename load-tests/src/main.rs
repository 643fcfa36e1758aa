//! `hookline-load-tests`: runs a scenario against hookline and says whether it passed.
//!
//! Exit status: 0 passed, 1 did not pass, 2 could not be run.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use hookline_load_tests::ceiling::{self, Ceiling};
use hookline_load_tests::report::{Report, files};
use hookline_load_tests::scenario::kafka_faults::{self, Fault};
use hookline_load_tests::scenario::{
    self, Surroundings, ceilings, check, control, growth, hostile, isolation, kill, outage, peers,
    redelivery, restarts, spread, steady,
};
use hookline_load_tests::simulator::Pace;
use hookline_load_tests::sink;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Runs a scenario against hookline, on the loopback alone.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object as the last line
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    files: files::Options,
    /// The hookline to test; without it this checkout is built in release mode
    #[arg(long, global = true, value_name = "PATH")]
    hookline: Option<PathBuf>,
    /// Where the directory of the run is made, on a disk; without it the system's directory for such things
    #[arg(long, global = true, value_name = "PATH")]
    work_dir: Option<PathBuf>,
    /// The scenario fails when it is not over after so many seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 600)]
    deadline: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Run(Scenario),
    /// Make one page, README.md, of the reports in a directory
    Report(files::Together),
    /// An integrator that costs little, until its standard input ends: a process that a scenario starts
    #[command(hide = true)]
    Sink(sink::Options),
    /// What is possible on this machine: a process that a scenario starts
    #[command(subcommand, hide = true)]
    Ceiling(Ceiling),
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Steady load: throughput, latency, cost; nothing lost, nothing twice
    Steady(SteadyArguments),
    /// kill -9 at random moments under load: nothing lost, no copy without a reason
    Kill(kill::Options),
    /// Brokers, edges and dispatchers fail under load: nothing lost, no copy without a reason, no restart needed
    KafkaFaults(KafkaFaultsArguments),
    /// Three dispatchers over Kafka deliver what one can not
    Spread(SpreadArguments),
    /// What is registered reaches three edges and three dispatchers over Kafka, and they go on without a control
    Control(ControlArguments),
    /// A tenth of 1,000 endpoints hang, fail and refuse: the others get theirs as if nothing was
    Isolation(IsolationArguments),
    /// Endpoints that do their worst: each ends as it should, and the healthy ones beside them notice nothing
    Hostile(HostileArguments),
    /// An endpoint is down while a backlog grows, and drains it at its rate when it is back; no other is late
    Outage(OutageArguments),
    /// Dead letters are delivered again at a rate while hookline is killed: each arrives, and the rate is kept
    Redelivery(RedeliveryArguments),
    /// hookline is replaced again and again while notifications are posted: no caller notices, nothing is lost
    Restarts(RestartsArguments),
    /// Webhooks, the log and what is parked grow: a delivery costs no more, and a start is quick
    Growth(growth::Options),
    /// How near hookline comes to what is possible on this machine
    Ceilings(ceilings::Options),
    /// Checks at half of what hookline takes: how late the answers are
    Check(check::Options),
    /// Other webhook senders that run here: what a delivery costs them and us, how late it is, what a kill loses
    Peers(peers::Options),
}

#[derive(Debug, Args)]
struct SteadyArguments {
    /// Payments in all
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=5_000_000))]
    payments: u64,
    /// As many payments as are due in this time at the rate, which is 500 where none is given and not lean
    #[arg(long, conflicts_with = "payments", value_parser = clap::value_parser!(u64).range(1..=60))]
    minutes: Option<u64>,
    /// Payments per second; without it each begins when another is over [lean: 2100]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rate: Option<u32>,
    /// To endpoints that count and do not judge, without Checks: for as much as hookline delivers. Goals are for 10
    /// webhooks
    #[arg(long)]
    lean: bool,
    /// Payments under way at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: u16,
    /// Webhooks; each gets every event
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=500))]
    webhooks: u16,
    /// Decides what is posted
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The share of notifications at the shared URL, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    shared: f64,
    /// The share of notifications that is posted twice, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    duplicates: f64,
}

#[derive(Debug, Args)]
struct KafkaFaultsArguments {
    /// What goes wrong; without it everything, one after the other
    #[arg(long, value_enum, value_name = "NAME")]
    fault: Vec<Fault>,
    /// Decides what is posted
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Payments per second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rate: u32,
    /// Payments under way at once
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: u16,
    /// How long all brokers are gone
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    outage_seconds: u64,
}

#[derive(Debug, Args)]
struct SpreadArguments {
    /// How long is measured, with one dispatcher and with three
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=120))]
    seconds: u64,
}

#[derive(Debug, Args)]
struct ControlArguments {
    /// Gateways that are registered, and as many webhooks
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=40))]
    changes: u16,
    /// Decides what is posted
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl SteadyArguments {
    /// The rate at full speed is a little above the goal, which is a tenth of it per webhook.
    const LEAN_RATE: u32 = 2100;

    /// Where the time is given, and no rate: not more than the judging receiver keeps up with.
    const MINUTES_RATE: u32 = 500;

    fn rate(&self) -> Option<u32> {
        self.rate.or(self.minutes.map(|_| Self::MINUTES_RATE))
    }

    /// How many there are, at this rate.
    fn payments_at(&self, rate: u32) -> u64 {
        self.minutes.map_or(self.payments, |minutes| minutes * 60 * u64::from(rate))
    }

    fn lean(&self) -> steady::lean::Options {
        let per_second = self.rate.unwrap_or(Self::LEAN_RATE);
        steady::lean::Options {
            payments: self.payments_at(per_second),
            per_second,
            concurrency: usize::from(self.concurrency),
            webhooks: self.webhooks,
            seed: self.seed,
        }
    }
}

impl From<ControlArguments> for control::Options {
    fn from(arguments: ControlArguments) -> Self {
        let ControlArguments { changes, seed } = arguments;
        Self { changes, seed }
    }
}

#[derive(Debug, Args)]
struct IsolationArguments {
    /// How long is measured in each arm
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(3..=600))]
    arm_seconds: u64,
    /// Pairs of arms: everybody healthy, and some bad
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pairs: u16,
    /// Events per second; without it half of what hookline takes
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rate: Option<u32>,
    /// Endpoints in all; each event goes to one of them
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(2..=4000))]
    endpoints: u16,
    /// Of those, how many are bad; fewer than all
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=3999))]
    bad: u16,
    /// Decides what is posted
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kill hookline in the middle of bad arms, and judge losses and copies alone
    #[arg(long)]
    kill: bool,
}

impl From<IsolationArguments> for isolation::Options {
    fn from(arguments: IsolationArguments) -> Self {
        Self {
            endpoints: arguments.endpoints,
            bad: arguments.bad.min(arguments.endpoints - 1),
            pairs: usize::from(arguments.pairs),
            measured: Duration::from_secs(arguments.arm_seconds),
            per_second: arguments.rate,
            seed: arguments.seed,
            is_killed: arguments.kill,
        }
    }
}

#[derive(Debug, Args)]
struct HostileArguments {
    /// How long is measured in each arm
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=3600))]
    seconds: u64,
    /// Pairs of arms: the healthy endpoints alone, and beside the zoo
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=20))]
    pairs: u16,
    /// Payments per second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Healthy endpoints; each gets every event
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=500))]
    healthy: u16,
    /// Decides what is posted
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl From<HostileArguments> for hostile::Options {
    fn from(arguments: HostileArguments) -> Self {
        Self {
            measured: Duration::from_secs(arguments.seconds),
            pairs: usize::from(arguments.pairs),
            per_second: arguments.rate,
            healthy: arguments.healthy,
            seed: arguments.seed,
        }
    }
}

#[derive(Debug, Args)]
struct OutageArguments {
    /// Events for the endpoint that is down
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=2_000_000))]
    events: u64,
    /// Payments per second of which these events are; without it each begins when another is over
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rate: Option<u32>,
    /// The endpoint's rate limit: deliveries per second
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    drain_rate: u32,
    /// Answer this while down, instead of closing the connection
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(500..=599))]
    status: Option<u16>,
    /// Decides what is posted
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kill hookline while the backlog grows, and again while it drains
    #[arg(long)]
    kill: bool,
}

impl From<OutageArguments> for outage::Options {
    fn from(arguments: OutageArguments) -> Self {
        Self {
            events: arguments.events,
            pace: arguments.rate.map_or(Pace::Closed, |per_second| Pace::Open { per_second }),
            drain_rate: arguments.drain_rate,
            status: arguments.status,
            seed: arguments.seed,
            is_killed: arguments.kill,
        }
    }
}

#[derive(Debug, Args)]
struct RedeliveryArguments {
    /// Dead letters
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=2_000_000))]
    letters: u64,
    /// How many of them per second are delivered again
    #[arg(long, default_value = "1000")]
    rate: NonZeroU32,
    /// How often hookline is killed meanwhile
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=20))]
    kills: u32,
    /// Decides what is posted
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl From<RedeliveryArguments> for redelivery::Options {
    fn from(arguments: RedeliveryArguments) -> Self {
        let RedeliveryArguments { letters, rate, kills, seed } = arguments;
        Self { letters, rate, kills, seed }
    }
}

#[derive(Debug, Args)]
struct RestartsArguments {
    /// embedded: one process; kafka: edges, dispatchers and controls, in a roll behind a load balancer
    #[arg(long, value_enum, value_name = "LOG", default_value_t = restarts::RestartedLog::Embedded)]
    log: restarts::RestartedLog,
    /// Hold the listening sockets and hand them over, as systemd does; over the embedded log it can't pass without
    #[arg(long)]
    activation: bool,
    /// How often the process is replaced; over Kafka, how often each of them is [default: 30, over Kafka 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    restarts: Option<u32>,
    /// Payments per second
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rate: u32,
    /// Decides what is posted
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl From<RestartsArguments> for restarts::Options {
    fn from(arguments: RestartsArguments) -> Self {
        let RestartsArguments { log, activation, restarts, rate, seed } = arguments;
        let restarts = restarts.unwrap_or_else(|| log.usual_restarts());
        Self { log, activation, restarts, per_second: rate, seed }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    allow_open_files();
    match Box::pin(run(arguments)).await {
        Ok(passed) => {
            if passed {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("the scenario could not be run: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Thousands of endpoints are as many connections. Where the limit can't be raised, whoever needs more says so.
fn allow_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Does what is asked for, and says whether it passed.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let json = arguments.json;
    let report = match arguments.command {
        Command::Sink(options) => {
            sink::run(options).await?;
            return Ok(true);
        }
        Command::Ceiling(ceiling) => {
            ceiling::run(ceiling).await?;
            return Ok(true);
        }
        Command::Report(together) => files::put_together(&together)?,
        Command::Run(scenario) => {
            let surroundings = Surroundings {
                program: scenario::program(arguments.hookline).await?,
                work_dir: arguments.work_dir.unwrap_or_else(std::env::temp_dir),
                deadline: Duration::from_secs(arguments.deadline),
            };
            let work_dir = surroundings.work_dir.clone();
            let report = Box::pin(run_scenario(surroundings, scenario)).await?;
            arguments.files.write(&report, &work_dir)?;
            report
        }
    };
    report.print(json);
    Ok(report.pass)
}

async fn run_scenario(surroundings: Surroundings, scenario: Scenario) -> anyhow::Result<Report> {
    match scenario {
        Scenario::Steady(steady) if steady.lean => steady::lean::run(&surroundings, &steady.lean()).await,
        Scenario::Steady(steady) => {
            let options = steady::Options {
                payments: steady.payments_at(steady.rate().unwrap_or_default()),
                concurrency: usize::from(steady.concurrency),
                pace: steady.rate().map_or(Pace::Closed, |per_second| Pace::Open { per_second }),
                webhooks: steady.webhooks,
                seed: steady.seed,
                shared_url_share: steady.shared,
                duplicate_share: steady.duplicates,
            };
            steady::run(&surroundings, &options).await
        }
        Scenario::Kill(options) => kill::run(&surroundings, &options).await,
        Scenario::KafkaFaults(faults) => {
            let every = || Fault::ALL.to_vec();
            let options = kafka_faults::Options {
                faults: if faults.fault.is_empty() { every() } else { faults.fault },
                per_second: faults.rate,
                concurrency: usize::from(faults.concurrency),
                seed: faults.seed,
                outage: Duration::from_secs(faults.outage_seconds),
            };
            kafka_faults::run(&surroundings, &options).await
        }
        Scenario::Spread(spread) => {
            let options = spread::Options { measured: Duration::from_secs(spread.seconds) };
            spread::run(&surroundings, &options).await
        }
        Scenario::Control(arguments) => control::run(&surroundings, &arguments.into()).await,
        Scenario::Isolation(arguments) => isolation::run(&surroundings, &arguments.into()).await,
        Scenario::Redelivery(arguments) => redelivery::run(&surroundings, &arguments.into()).await,
        Scenario::Restarts(arguments) => restarts::run(&surroundings, &arguments.into()).await,
        Scenario::Hostile(arguments) => hostile::run(&surroundings, &arguments.into()).await,
        Scenario::Outage(arguments) => outage::run(&surroundings, &arguments.into()).await,
        Scenario::Growth(options) => growth::run(&surroundings, &options).await,
        Scenario::Ceilings(options) => ceilings::run(&surroundings, &options).await,
        Scenario::Check(options) => check::run(&surroundings, &options).await,
        Scenario::Peers(options) => peers::run(&surroundings, &options).await,
    }
}
