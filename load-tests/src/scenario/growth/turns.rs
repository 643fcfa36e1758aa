//! Two arms by turns, and what becomes of their costs. Pure.

use crate::report::{Bound, Goal, Report, rounded};

/// What may be lost by growth.
const AT_MOST: f64 = 1.10;

/// Which arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Large,
}

/// What a delivery cost in both arms of a round, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Round {
    pub(super) small: f64,
    pub(super) large: f64,
}

/// In which order the arms of a round are measured, by its number: neither is always the first, because a machine that
/// becomes slower or faster meanwhile would favour one of them.
pub(super) const fn order(round: u16) -> [Size; 2] {
    match round.is_multiple_of(2) {
        true => [Size::Small, Size::Large],
        false => [Size::Large, Size::Small],
    }
}

/// Measures each arm once in each round.
pub(super) async fn alternate(
    rounds: u16,
    mut measure: impl AsyncFnMut(Size) -> anyhow::Result<f64>,
) -> anyhow::Result<Vec<Round>> {
    let mut measured = Vec::new();
    for number in 0..rounds {
        let mut round = Round { small: f64::NAN, large: f64::NAN };
        for size in order(number) {
            let cost = measure(size).await?;
            eprintln!("round {}, {size:?}: {cost:.2} µs of the processors for a delivery", number + 1);
            match size {
                Size::Small => round.small = cost,
                Size::Large => round.large = cost,
            }
        }
        measured.push(round);
    }
    Ok(measured)
}

/// Adds what was measured, and its judgement: round by round, what a delivery costs in the large arm as a part of what
/// it costs in the small one.
pub(super) fn judge(report: &mut Report, figure: &'static str, rounds: &[Round]) {
    let of = |cost: fn(&Round) -> f64| rounds.iter().map(cost).collect::<Vec<f64>>();
    let shown = |costs: Vec<f64>| costs.into_iter().map(rounded).collect::<Vec<f64>>();
    report.figure("small_cpu_micros_per_delivery", shown(of(|round| round.small)));
    report.figure("large_cpu_micros_per_delivery", shown(of(|round| round.large)));
    let ratios = of(|round| round.large / round.small);
    report.goal(Goal::judge(figure, "ratio", &ratios, Bound::AtMost(AT_MOST)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(rounds: &[Round]) -> Report {
        let mut report = Report::of_measurements("growth");
        judge(&mut report, "growth", rounds);
        report
    }

    #[test]
    fn the_median_of_the_rounds_decides_not_the_ratio_of_the_medians() {
        let round = |small, large| Round { small, large };
        for (rounds, ratio, pass) in [
            (&[round(10.0, 10.5), round(20.0, 21.0), round(10.0, 30.0)][..], 1.05, true),
            // A machine that was busy in one round was so in both of its arms.
            (&[round(10.0, 11.2), round(30.0, 33.6), round(20.0, 20.0)], 1.12, false),
            (&[round(10.0, 11.0)], 1.10, true),
        ] {
            let report = judged(rounds);
            let goal = report.goals.first().expect("a goal");
            assert!((goal.measured - ratio).abs() < 1e-9, "{goal}");
            assert_eq!((report.pass, goal.times), (pass, rounds.len()), "{goal}");
        }
    }

    #[test]
    fn what_was_never_measured_does_not_pass() {
        assert!(!judged(&[]).pass);
        assert!(!judged(&[Round { small: 10.0, large: f64::NAN }]).pass);
    }

    #[tokio::test]
    async fn neither_arm_is_always_the_first() {
        let mut seen = Vec::new();
        let rounds = alternate(3, async |size| {
            seen.push(size);
            Ok(if size == Size::Small { 1.0 } else { 2.0 })
        });
        assert_eq!(rounds.await.expect("measured"), [Round { small: 1.0, large: 2.0 }; 3]);
        let (small, large) = (Size::Small, Size::Large);
        assert_eq!(seen, [small, large, large, small, small, large]);
    }
}
