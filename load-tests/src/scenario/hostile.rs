//! Endpoints that do their worst beside healthy ones: each of them ends as the table says, and the others get
//! theirs as if nothing was.
//!
//! Every event goes to every endpoint. Two arms by turns, each with a fresh hookline and an empty log: the
//! healthy ones alone, and the same beside the zoo. Compared is how late the healthy ones get theirs; in the zoo's
//! arm hookline's memory and open files must have come to rest half-way.

mod arm;
mod table;

use std::time::Duration;

use hookline_schemas::time::Clock;
use serde_json::{Value, json};

use super::Surroundings;
use super::isolation::pairs::median;
use crate::report::{Report, rounded};
use arm::Arm;

/// The 99th percentile beside the zoo may be so many times as high.
const MOST_RATIO: f64 = 1.5;
/// Or so many milliseconds higher.
const MOST_DIFFERENCE_MILLIS: f64 = 10.0;

/// How many endpoints, for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long is measured in each arm.
    pub measured: Duration,
    /// Pairs of arms.
    pub pairs: usize,
    /// Payments per second.
    pub per_second: u32,
    /// Healthy endpoints.
    pub healthy: u16,
    /// Decides what is posted.
    pub seed: u64,
}

/// The healthy ones alone, and beside the zoo.
#[derive(Debug, Clone, Copy)]
struct Pair {
    alone: Arm,
    beside: Arm,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.beside.p99 / self.alone.p99
    }

    fn difference(&self) -> f64 {
        self.beside.p99 - self.alone.p99
    }
}

/// Runs it.
///
/// # Errors
///
/// If the run could not be made; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let clock = Clock::start();
    let (mut parts, mut pairs) = (Vec::new(), Vec::new());
    let mut arms = async |has_zoo| {
        let deadline = surroundings.deadline.saturating_sub(clock.elapsed());
        let remaining = Surroundings { deadline, ..surroundings.clone() };
        let (report, arm) = Box::pin(arm::run(&remaining, options, has_zoo)).await?;
        parts.push(report);
        anyhow::Ok(arm)
    };
    for _ in 0..options.pairs {
        pairs.push(Pair { alone: arms(false).await?, beside: arms(true).await? });
    }
    let mut report = Report::of_parts("hostile", parts);
    report.figure("healthy_endpoints", options.healthy);
    report.figure("hostile_endpoints", table::TABLE.len());
    report.figure("offered_per_second", options.per_second);
    report.figure("seed", options.seed);
    compare(&mut report, &pairs);
    Ok(report)
}

fn compare(report: &mut Report, pairs: &[Pair]) {
    let ratio = median(pairs.iter().map(Pair::ratio).collect());
    let difference = median(pairs.iter().map(Pair::difference).collect());
    report.figure("median_p99_ratio", rounded(ratio));
    report.figure("median_p99_difference_ms", rounded(difference));
    let p99 = |pair: &Pair| json!([rounded(pair.alone.p99), rounded(pair.beside.p99)]);
    report.figure("alone_and_beside_p99_ms", pairs.iter().map(p99).collect::<Vec<Value>>());
    report.require(ratio <= MOST_RATIO || difference <= MOST_DIFFERENCE_MILLIS, || {
        format!(
            "beside the zoo the 99th percentile of the healthy ones is {ratio:.2} times as high, \
             {difference:.1} ms more"
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fails_for_late_deliveries_alone() {
        for (alone, beside, pass) in [
            (10.0, 10.0, true),
            (10.0, 20.0, true),
            (10.0, 20.1, false),
            (100.0, 150.0, true),
            (100.0, 151.0, false),
        ] {
            let part = Report { pass: true, ..Report::of_parts("arm", Vec::new()) };
            let mut report = Report::of_parts("hostile", vec![part]);
            compare(&mut report, &[Pair { alone: Arm { p99: alone }, beside: Arm { p99: beside } }]);
            assert_eq!(report.pass, pass, "{alone} {beside}");
        }
    }
}
