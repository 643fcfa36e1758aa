//! Checks as they come in reality, by the clock and not when the last one is answered: how late answers are at half of
//! what hookline can take, beside hyper with a signature under the same load.
//!
//! First closed loop, for what it takes at most; then open loop at half of that. Latency counts from when a Check was
//! due. What the generator was late itself is told (`generator_late_p99_ms`): where that is not far below the latency,
//! the latency is the generator's.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use hookline_schemas::time::Clock;
use serde_json::json;

use super::Surroundings;
use super::ceilings::arm::{Ask, Kept, Stand, sender};
use super::ceilings::{Placement, require_optimized};
use crate::ceiling::Measured;
use crate::load::Requests;
use crate::report::{Bound, Goal, Report};

/// Connections, and so Checks in flight at most.
const CONNECTIONS: usize = 64;
/// Before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// For what it takes at most.
const SATURATION: Duration = Duration::from_secs(4);
/// The share of that which is asked by the clock.
const SHARE: f64 = 0.5;
/// The goals, in milliseconds.
const P99: f64 = 1.0;
const P999: f64 = 5.0;

/// What is measured.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How long the open loop lasts
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// On which cores what runs
    #[command(flatten)]
    pub placement: Placement,
}

/// Runs it.
///
/// # Errors
///
/// If it could not be run, or a request failed; a goal that was missed is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let stand = Stand { surroundings, cores: options.placement.cores(), clock: Clock::start() };
    match tokio::time::timeout(surroundings.deadline, Box::pin(measure(stand, options))).await {
        Ok(report) => report,
        Err(_) => anyhow::bail!("not over after {:.0} s", surroundings.deadline.as_secs_f64()),
    }
}

async fn measure(stand: Stand<'_>, options: &Options) -> anyhow::Result<Report> {
    let closed = Ask {
        requests: Arc::new(Requests::checks(&sender())),
        connections: CONNECTIONS,
        per_second: None,
        warm_up: WARM_UP,
        measured: SATURATION,
    };
    let saturated = stand.ours(&Kept::Embedded, &closed).await?.measured;
    let per_second = half(saturated.per_second)?;
    eprintln!("{:.0} Checks/s at most; {per_second}/s are asked by the clock", saturated.per_second);
    let open = Ask { per_second: Some(per_second), measured: Duration::from_secs(options.seconds), ..closed };
    let ours = stand.ours(&Kept::Embedded, &open).await?.measured;
    let sender = sender();
    let ceiling = stand.server(&["hyper-hmac", "--secret", sender.api_secret.expose()], &open).await?;
    let mut report = Report::of_measurements("check");
    report.figure("saturation_per_second", saturated.per_second);
    report.figure("asked_per_second", per_second.get());
    add(&mut report, &ours, &ceiling);
    require_optimized(&mut report);
    report.figure(
        "rounds",
        json!([
            { "arm": "hookline, closed loop", "measured": saturated },
            { "arm": "hookline", "measured": ours },
            { "arm": "hyper-hmac", "measured": ceiling },
        ]),
    );
    Ok(report)
}

fn add(report: &mut Report, ours: &Measured, ceiling: &Measured) {
    report.goal(Goal::judge("check_p99", "ms", &[ours.p99_ms], Bound::AtMost(P99)));
    report.goal(Goal::judge("check_p999", "ms", &[ours.p999_ms], Bound::AtMost(P999)));
    report.figure("check_p50_ms", ours.p50_ms);
    report.figure("generator_late_p99_ms", ours.generator_late_p99_ms);
    report.figure("hyper_hmac_p50_ms", ceiling.p50_ms);
    report.figure("hyper_hmac_p99_ms", ceiling.p99_ms);
    report.figure("hyper_hmac_p999_ms", ceiling.p999_ms);
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is checked")]
fn half(per_second: f64) -> anyhow::Result<NonZeroU32> {
    NonZeroU32::new((per_second * SHARE) as u32).context("hookline answers hardly any Checks")
}
