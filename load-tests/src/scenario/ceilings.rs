//! How near hookline comes to what is possible on this machine: ours and the ceiling in turn, at least five times, and
//! the medians of the ratios. Absolute figures are for this machine and this hour; ratios hold elsewhere.
//!
//! How it is measured. What is measured has one core, and what asks it another, so that neither waits for the other and
//! one core's worth of hookline is compared with one core's worth of a ceiling; `--unpinned` gives both all of them.
//! CPU is user and system time of the process, from the operating system, over the measured time alone, with nothing
//! subtracted: `hookline run` is all roles, so what the dispatcher and the control plane do with an event counts.
//!
//! How to read the latency of Pays. In closed loop with N in flight a server that is busy has a latency of N by its rate,
//! whatever it does: a file that is asked by N tasks of its own process has no HTTP to do, and therefore less of a
//! queue. The goal is beside that file nevertheless (`pay_p99_*`), because a file is the limit of a log. What HTTP and
//! the signature add is told beside it: `pay_p99_*_beside` has the ratio to the same server without a log
//! (`hyper-hmac`) and to the same with a raw file behind it (`hyper-hmac-append`), which is what an edge that appends
//! could reach at best.
//!
//! Pays are of different payments until the prepared ones are used up; then they come again, and the log takes them
//! again, as it does when CloudPayments repeats one.

pub(super) mod arm;
mod delivery;
mod embedded;
mod kafka;
pub(super) mod rounds;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hookline_schemas::time::Clock;

use super::Surroundings;
use crate::ceiling::Measured;
use crate::load::Requests;
use crate::report::Report;
use arm::{Ask, Cores, Stand, sender};
use rounds::Rounds;

/// Over which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CeilingLog {
    /// `hookline run`, with everything in one process.
    Embedded,
    /// `hookline ingest`, over one broker that is started for it.
    Kafka,
}

/// A figure over the embedded log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// CPU of a Check
    CheckCpu,
    /// Rate of Pays at 512 in flight
    #[value(name = "pay-throughput-512")]
    PayThroughput512,
    /// Latency of Pays at 64 in flight
    #[value(name = "pay-p99-64")]
    PayP99At64,
    /// Latency of Pays at 512 in flight
    #[value(name = "pay-p99-512")]
    PayP99At512,
    /// The same while retention deletes as many as come
    #[value(name = "pay-p99-512-retention")]
    PayP99At512Retention,
    /// CPU of a delivery, and how often a connection is used again
    Delivery,
}

impl Figure {
    const fn in_flight(self) -> usize {
        match self {
            Self::CheckCpu | Self::PayP99At64 | Self::Delivery => 64,
            Self::PayThroughput512 | Self::PayP99At512 | Self::PayP99At512Retention => 512,
        }
    }
}

/// What is measured, and how often.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Over which log
    #[arg(long, value_enum, value_name = "LOG", default_value = "embedded")]
    pub log: CeilingLog,
    /// How often ours and the ceiling are measured in turn
    #[arg(long, default_value = "5", value_parser = count(1, 100))]
    pub rounds: usize,
    /// How long each is measured, each time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub seconds: u64,
    /// Pays that are prepared; each takes 1.3 KB of memory
    #[arg(long, default_value = "300000", value_parser = count(1_000, 3_000_000))]
    pub pays: usize,
    /// Of the embedded log, measure this figure alone; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    pub figure: Vec<Figure>,
    /// On which cores what runs
    #[command(flatten)]
    pub placement: Placement,
}

/// On which cores what runs.
#[derive(Debug, Clone, Copy, Args)]
pub struct Placement {
    /// The core of what is measured
    #[arg(long, value_name = "CORE", default_value = "0")]
    pub server_core: usize,
    /// The core of the generator
    #[arg(long, value_name = "CORE", default_value = "1")]
    pub generator_core: usize,
    /// Let everything run anywhere
    #[arg(long)]
    pub unpinned: bool,
}

impl Placement {
    pub(super) fn cores(self) -> Cores {
        let core = |core| (!self.unpinned).then_some(core);
        Cores { server: core(self.server_core), generator: core(self.generator_core) }
    }
}

impl Options {
    fn wants(&self, figure: Figure) -> bool {
        self.figure.is_empty() || self.figure.contains(&figure)
    }

    fn ask(&self, requests: &Arc<Requests>, connections: usize) -> Ask {
        Ask {
            requests: Arc::clone(requests),
            connections,
            per_second: None,
            warm_up: seconds(1),
            measured: seconds(self.seconds),
        }
    }
}

/// Runs it.
///
/// # Errors
///
/// If it could not be run, or a request failed; a goal that was missed is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let stand = Stand { surroundings, cores: options.placement.cores(), clock: Clock::start() };
    let mut report = Report::of_measurements("ceilings");
    let mut rounds = Rounds::default();
    let measuring = async {
        match options.log {
            CeilingLog::Embedded => {
                embedded::measure(stand, options, &mut rounds, &mut report).await?;
                if options.wants(Figure::Delivery) {
                    delivery::measure(surroundings, options.rounds, &mut report).await?;
                }
            }
            CeilingLog::Kafka => kafka::measure(stand, options, &mut rounds, &mut report).await?,
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(surroundings.deadline, Box::pin(measuring)).await {
        Ok(measured) => measured?,
        Err(_) => anyhow::bail!("not over after {:.0} s", surroundings.deadline.as_secs_f64()),
    }
    require_optimized(&mut report);
    report.figure("rounds", rounds.raw());
    Ok(report)
}

impl Stand<'_> {
    /// Measures the ceiling of this name.
    async fn ceiling(&self, name: &'static str, ask: &Ask) -> anyhow::Result<Measured> {
        let sender = sender();
        let secret = ["--secret", sender.api_secret.expose()];
        let directory = self.directory()?;
        let path = directory.path().display().to_string();
        let file = ["--directory", path.as_str()];
        match name {
            "append" => self.asked_by_itself(&[&[name][..], &file].concat(), ask).await,
            "hyper-hmac-append" => self.server(&[&[name][..], &secret, &file].concat(), ask).await,
            "hyper-hmac" => self.server(&[&[name][..], &secret].concat(), ask).await,
            _ => self.server(&[name], ask).await,
        }
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The ceilings are this program.
pub(super) fn require_optimized(report: &mut Report) {
    report.require(!cfg!(debug_assertions), || {
        "this program was built without --release: its ceilings are too low".to_owned()
    });
}

/// A number within these bounds.
pub(super) fn count(least: usize, most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("a number from {least} to {most} is wanted")),
    }
}
