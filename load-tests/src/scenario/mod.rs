//! hookline between a simulator and a receiver, as child processes: the parts that scenarios share.
//!
//! Everything stays on the loopback and is bounded in count and time.

mod bench;
mod brokers;
pub mod ceilings;
pub mod check;
pub mod control;
pub mod demo;
mod fleet;
pub mod growth;
pub mod hostile;
pub mod isolation;
pub mod kafka_faults;
pub mod kill;
mod lateness;
mod lone;
pub mod outage;
pub mod peers;
mod poster;
mod rate;
pub mod redelivery;
pub mod restarts;
mod sites;
pub mod spread;
pub mod steady;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::report::{Report, rounded};
use crate::simulator::Progress;

/// What every scenario needs from its caller.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The program to test.
    pub program: PathBuf,
    /// Where the directory of the run is made: on a disk, because hookline refuses memory file systems.
    pub work_dir: PathBuf,
    /// The scenario fails when it is not over by then.
    pub deadline: Duration,
}

fn progress_line(progress: &Progress, payments: Option<u64>, seconds: f64, delivered: u64) -> String {
    let of = payments.map_or_else(String::new, |payments| format!("/{payments}"));
    let over = progress.payments.load(Ordering::Relaxed);
    let accepted = progress.accepted.load(Ordering::Relaxed);
    let unanswered = progress.unanswered.load(Ordering::Relaxed);
    let rate = per_second(accepted, seconds);
    format!(
        "{over}{of} payments, {accepted} accepted ({rate:.0}/s), {unanswered} unanswered, \
         {delivered} delivered"
    )
}

/// A name that no other run has: for topics and groups of a cluster that several may share.
fn run_name(what: &str) -> String {
    let unique: u32 = rand::random();
    format!("hookline-{what}-{unique:08x}")
}

fn require_no_dead_letters(report: &mut Report, dead: f64) {
    report.figure("dead", rounded(dead));
    report.require(dead == 0.0, || {
        "there are dead letters, and no receiver refused anything for good".to_owned()
    });
}

#[expect(clippy::cast_precision_loss, reason = "for people; 52 bits are enough")]
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// The program to test: the given one, or a release build of this checkout.
///
/// # Errors
///
/// If it is not there, or does not build.
pub async fn program(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(program) = given {
        let program = program.canonicalize().with_context(|| format!("there is no {}", program.display()))?;
        return Ok(program);
    }
    let own = std::env::current_exe().context("failed to find the own program")?;
    let target_dir = own.ancestors().nth(2).context("the own program lies in no target directory")?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "hookline", "--target-dir"])
        .arg(target_dir)
        .current_dir(workspace)
        .kill_on_drop(true)
        .status()
        .await
        .context("failed to start cargo")?;
    ensure!(status.success(), "hookline does not build");
    Ok(target_dir.join("release").join("hookline"))
}
