//! The figures of an edge over the embedded log.

use std::sync::Arc;
use std::time::Duration;

use super::arm::{Ask, Kept, OfOurs, Stand, sender};
use super::rounds::{Arm, Rounds, median_of};
use super::{Figure, Options, seconds};
use crate::ceiling::Measured;
use crate::load::Requests;
use crate::report::{Bound, Report, rounded};

/// How long events are kept where retention is to delete as many as come.
const KEPT_FOR: &str = "2s";
/// Until it does: the first events have to grow old enough, and the sweep looks once a second.
const UNTIL_STEADY: Duration = Duration::from_secs(6);
/// Of the events that come, retention has to delete so many meanwhile, or it was not at steady state.
const LEAST_DELETED: f64 = 0.8;
/// Checks in flight.
const CHECKS_IN_FLIGHT: usize = 64;

const HMAC: &str = "hyper-hmac";
const HMAC_APPEND: &str = "hyper-hmac-append";
const APPEND: &str = "append";

/// Measures those of these figures that were asked for.
pub(super) async fn measure(
    stand: Stand<'_>,
    options: &Options,
    rounds: &mut Rounds,
    report: &mut Report,
) -> anyhow::Result<()> {
    if options.wants(Figure::CheckCpu) {
        checks(stand, options, rounds, report).await?;
    }
    let pays =
        [Figure::PayThroughput512, Figure::PayP99At64, Figure::PayP99At512, Figure::PayP99At512Retention];
    if !pays.iter().any(|figure| options.wants(*figure)) {
        return Ok(());
    }
    eprintln!("signing {} Pays", options.pays);
    let pays = Arc::new(Requests::pays(&sender(), options.pays));
    report.figure("pay_body_bytes", pays.mean_body());
    for (figure, name) in [(Figure::PayP99At64, "pay_p99_64"), (Figure::PayP99At512, "pay_p99_512")] {
        // One measurement tells the rate and the latency.
        let has_rate = figure == Figure::PayP99At512 && options.wants(Figure::PayThroughput512);
        if options.wants(figure) || has_rate {
            let ask = options.ask(&pays, figure.in_flight());
            pays_over(stand, &Kept::Embedded, name, &ask, options, rounds).await?;
            told(report, rounds, name);
        }
        if has_rate {
            let ratios = rounds.ratios(name, HMAC, |measured| measured.per_second);
            let goal = Bound::AtLeast(0.70);
            report.goal(crate::report::Goal::judge("pay_throughput_512", "ratio", &ratios, goal));
        }
    }
    if options.wants(Figure::PayP99At512Retention) {
        let ask = Ask { warm_up: UNTIL_STEADY, ..options.ask(&pays, 512) };
        let name = "pay_p99_512_retention";
        let deleted = pays_over(stand, &Kept::EmbeddedFor(KEPT_FOR), name, &ask, options, rounds).await?;
        told(report, rounds, name);
        report.figure("retention_deleted_share", rounded(deleted));
        report.require(deleted >= LEAST_DELETED, || {
            format!("retention deleted {deleted:.2} of what came: it was not at steady state")
        });
    }
    Ok(())
}

async fn checks(
    stand: Stand<'_>,
    options: &Options,
    rounds: &mut Rounds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let checks = Arc::new(Requests::checks(&sender()));
    report.figure("check_body_bytes", checks.mean_body());
    let ask = options.ask(&checks, CHECKS_IN_FLIGHT);
    let arms = [Arm::Ours, Arm::Ceiling(HMAC), Arm::Ceiling("hyper")];
    let measure = async |arm: Arm| match arm {
        Arm::Ours => Ok(stand.ours(&Kept::Embedded, &ask).await?.measured),
        Arm::Ceiling(name) => stand.ceiling(name, &ask).await,
    };
    rounds.measure("check_cpu", options.rounds, &arms, measure).await?;
    let cpu = |measured: &Measured| measured.cpu_per_million;
    report.goal(rounds.goal("check_cpu", HMAC, cpu, Bound::AtMost(1.25)));
    report.figure("check_cpu_arms", rounds.absolute("check_cpu"));
    Ok(())
}

/// Pays in closed loop, beside all that they can be compared with. The median share that retention deleted.
async fn pays_over(
    stand: Stand<'_>,
    kept: &Kept,
    figure: &'static str,
    ask: &Ask,
    options: &Options,
    rounds: &mut Rounds,
) -> anyhow::Result<f64> {
    let mut deleted = Vec::new();
    let arms = [Arm::Ours, Arm::Ceiling(HMAC), Arm::Ceiling(HMAC_APPEND), Arm::Ceiling(APPEND)];
    let measure = async |arm: Arm| match arm {
        Arm::Ours => {
            let OfOurs { measured, deleted_share } = stand.ours(kept, ask).await?;
            deleted.push(deleted_share);
            Ok(measured)
        }
        // Nothing in a ceiling grows old: it needs no longer than usual.
        Arm::Ceiling(name) => stand.ceiling(name, &Ask { warm_up: seconds(1), ..ask.clone() }).await,
    };
    rounds.measure(figure, options.rounds, &arms, measure).await?;
    Ok(median_of(&deleted))
}

/// The latency beside its goal, and beside what an edge that appends could reach at best.
fn told(report: &mut Report, rounds: &Rounds, figure: &'static str) {
    let p99 = |measured: &Measured| measured.p99_ms;
    report.goal(rounds.goal(figure, APPEND, p99, Bound::AtMost(2.5)));
    let beside = [HMAC, HMAC_APPEND]
        .map(|ceiling| (ceiling.to_owned(), rounded(median_of(&rounds.ratios(figure, ceiling, p99))).into()));
    let (beside_name, arms_name) = match figure {
        "pay_p99_64" => ("pay_p99_64_beside", "pay_p99_64_arms"),
        "pay_p99_512" => ("pay_p99_512_beside", "pay_p99_512_arms"),
        _ => ("pay_p99_512_retention_beside", "pay_p99_512_retention_arms"),
    };
    report.figure(beside_name, serde_json::Value::Object(beside.into_iter().collect()));
    report.figure(arms_name, rounds.absolute(figure));
}
