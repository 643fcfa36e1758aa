//! Bad endpoints among many: however slow, dead or hostile they are, the others get theirs as if nothing was.
//!
//! Each event goes to exactly one endpoint. Two arms by turns, each with a fresh hookline and an empty log: in
//! one everybody is healthy, in the other some hang, fail and refuse, and only the healthy ones of both are
//! compared. The load is an open loop of half of what hookline takes here, which is measured first: beyond that
//! arms would differ by whatever the machine does.
//!
//! Pairs in which the machine was busy with something else are made again, as long as there are spare ones.
//!
//! What it can't show: all endpoints are one server at one address, so a pool of connections by address is
//! shared by good and bad ones.

mod arm;
pub(super) mod pairs;

use std::time::Duration;

use hookline_schemas::time::Clock;
use serde_json::Value;

use super::Surroundings;
use crate::report::{Report, rounded};
use arm::Kind;
use pairs::{Arm, Comparison, Pair};

/// The offered load, as a share of what hookline takes.
const SHARE_OF_SATURATION: f64 = 0.5;
/// What the bad ones may cost in anonymous memory. While they hang, their deliveries stay in the windows for 5 s,
/// at most 8 MiB for each of the 16 partitions: 128 MiB. Each of them may have 32 attempts in flight, for 15 s:
/// 3,200 connections of some 40 KiB, buffers and copies of the payload included: as much again.
const MEMORY_ALLOWANCE: u64 = 256 * 1024 * 1024;

/// How many endpoints, how bad, for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Endpoints in all.
    pub endpoints: u16,
    /// Of those, how many are bad in the second arm of a pair.
    pub bad: u16,
    /// Pairs of arms.
    pub pairs: usize,
    /// How long is measured in each arm.
    pub measured: Duration,
    /// Events per second; without it half of what hookline takes.
    pub per_second: Option<u32>,
    /// Decides what is posted.
    pub seed: u64,
    /// Whether hookline is killed in the middle of bad arms, of which there are as many as pairs then; losses and
    /// copies alone are judged.
    pub is_killed: bool,
}

/// Runs it.
///
/// # Errors
///
/// If the run could not be made; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let clock = Clock::start();
    let remaining = || Surroundings {
        deadline: surroundings.deadline.saturating_sub(clock.elapsed()),
        ..surroundings.clone()
    };
    let (saturation, saturated) = Box::pin(arm::saturation(&remaining(), options)).await?;
    let per_second = options.per_second.unwrap_or_else(|| offered(saturated));
    eprintln!("hookline takes {saturated:.0} events per second; offered are {per_second}");
    let mut parts = vec![saturation];
    let mut pairs: Vec<Pair> = Vec::new();
    let mut arms = async |kind: Kind, number| {
        eprintln!("{} {number}", kind.name());
        let (report, arm) = Box::pin(arm::run(&remaining(), options, kind, per_second)).await?;
        parts.push(report);
        anyhow::Ok(arm)
    };
    if options.is_killed {
        for number in 1..=options.pairs {
            arms(Kind::Killed, number).await?;
        }
    }
    let mut longest = Duration::ZERO;
    while !options.is_killed && pairs::are_more_wanted(&pairs, options.pairs) {
        let (number, began) = (pairs.len() + 1, clock.elapsed());
        // A spare pair for which there may be no time would cost the run its verdict.
        if number > options.pairs && began + longest > surroundings.deadline {
            break;
        }
        pairs.push(Pair { healthy: arms(Kind::Healthy, number).await?, bad: arms(Kind::Bad, number).await? });
        longest = longest.max(clock.elapsed().saturating_sub(began));
    }
    let mut report = Report::of_parts("isolation", parts);
    report.figure("saturation_per_second", rounded(saturated));
    report.figure("offered_per_second", per_second);
    report.figure("endpoints", options.endpoints);
    report.figure("bad_endpoints", options.bad);
    report.figure("seed", options.seed);
    if options.is_killed {
        report.figure("not_judged", "latency and memory, because hookline was killed");
    } else {
        compare(&mut report, &pairs, options.pairs);
    }
    Ok(report)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of this machine")]
fn offered(saturated: f64) -> u32 {
    (saturated * SHARE_OF_SATURATION).max(1.0) as u32
}

fn compare(report: &mut Report, pairs: &[Pair], wanted: usize) {
    let judged = pairs::judged(pairs, wanted);
    let comparison = Comparison::of(&judged);
    report.figure("median_p99_ratio", rounded(comparison.ratio));
    report.figure("median_p99_difference_ms", rounded(comparison.difference));
    report.figure("pairs", pairs.iter().copied().map(Pair::to_value).collect::<Vec<Value>>());
    report.figure("pairs_judged", judged.len());
    report.require(comparison.is_unharmed(), || {
        format!(
            "with bad endpoints the 99th percentile of the healthy ones is {:.2} times as high, {:.1} ms more",
            comparison.ratio, comparison.difference
        )
    });
    let most = |arm: fn(&Pair) -> &Arm| pairs.iter().map(|pair| arm(pair).rss_anon_bytes).max();
    let healthy = most(|pair| &pair.healthy).unwrap_or_default();
    let bad = most(|pair| &pair.bad).unwrap_or_default();
    report.figure("healthy_rss_anon_bytes", healthy);
    report.figure("bad_rss_anon_bytes", bad);
    report.figure("memory_allowance_bytes", MEMORY_ALLOWANCE);
    report.require(bad <= healthy.saturating_add(MEMORY_ALLOWANCE), || {
        format!("with bad endpoints hookline held {bad} bytes, and {healthy} without")
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use pairs::Percentiles;

    fn arm(p99: f64, rss_anon_bytes: u64) -> Arm {
        Arm { percentiles: Percentiles { p50: 1.0, p99, p999: 9.0 }, rss_anon_bytes, others: 0.0 }
    }

    #[test]
    fn fails_for_late_deliveries_and_for_unbounded_memory() {
        for (bad_p99, bad_bytes, pass) in [
            (10.0, 1_000, true),
            (12.5, 1_000, true),
            (12.6, 1_000, false),
            (10.0, 1_000 + MEMORY_ALLOWANCE, true),
            (10.0, 1_001 + MEMORY_ALLOWANCE, false),
        ] {
            let part = Report { pass: true, ..Report::of_parts("arm", Vec::new()) };
            let mut report = Report::of_parts("isolation", vec![part]);
            compare(&mut report, &[Pair { healthy: arm(10.0, 1_000), bad: arm(bad_p99, bad_bytes) }], 1);
            assert_eq!(report.pass, pass, "{bad_p99} ms, {bad_bytes} bytes");
        }
    }

    #[test]
    fn no_more_than_half_of_saturation_is_offered() {
        for (saturated, expected) in [(4_001.0, 2_000), (0.0, 1)] {
            assert_eq!(offered(saturated), expected);
        }
    }
}
