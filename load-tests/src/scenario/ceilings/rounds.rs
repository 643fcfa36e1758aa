//! Rounds: ours and the ceiling in turn, so that what the machine does meanwhile happens to both. Pure but for the arms
//! themselves.

use std::fmt;

use anyhow::Context;
use serde_json::{Value, json};

use crate::ceiling::Measured;
use crate::report::{Bound, Goal, rounded};

/// One arm of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scenario) enum Arm {
    /// hookline.
    Ours,
    /// A ceiling, by its name.
    Ceiling(&'static str),
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "hookline",
            Self::Ceiling(name) => name,
        })
    }
}

/// One arm, measured once.
#[derive(Debug)]
struct Row {
    figure: &'static str,
    /// Counted from 1.
    round: usize,
    arm: Arm,
    measured: Measured,
}

/// What was measured: of each figure, in each round, every arm.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Rounds {
    rows: Vec<Row>,
}

impl Rounds {
    /// Measures these arms so often, in turn; every other round begins at the other end.
    pub(in crate::scenario) async fn measure(
        &mut self,
        figure: &'static str,
        rounds: usize,
        arms: &[Arm],
        mut measure: impl AsyncFnMut(Arm) -> anyhow::Result<Measured>,
    ) -> anyhow::Result<()> {
        for round in 1..=rounds {
            for arm in order(arms, round) {
                let measured = measure(arm).await.with_context(|| format!("{figure}: {arm}"))?;
                eprintln!("{figure:<24} {round}/{rounds} {arm:<18} {}", line(&measured));
                self.rows.push(Row { figure, round, arm, measured });
            }
        }
        Ok(())
    }

    /// Of each round, what ours divided by the ceiling gives.
    pub(in crate::scenario) fn ratios(
        &self,
        figure: &str,
        ceiling: &str,
        value: fn(&Measured) -> f64,
    ) -> Vec<f64> {
        let of = |round: usize, arm: Arm| {
            let found = self.of(figure).find(|row| (row.round, row.arm) == (round, arm));
            found.map(|row| value(&row.measured))
        };
        let last = self.of(figure).map(|row| row.round).max().unwrap_or_default();
        let arms = self.of(figure).map(|row| row.arm);
        let ceiling = { arms }.find(|arm| matches!(arm, Arm::Ceiling(name) if *name == ceiling));
        let pairs = (1..=last).filter_map(|round| Some((of(round, Arm::Ours)?, of(round, ceiling?)?)));
        pairs.map(|(ours, ceiling)| ours / ceiling).collect()
    }

    /// The ratios of a figure beside its goal.
    pub(in crate::scenario) fn goal(
        &self,
        figure: &'static str,
        ceiling: &str,
        value: fn(&Measured) -> f64,
        goal: Bound,
    ) -> Goal {
        Goal::judge(figure, "ratio", &self.ratios(figure, ceiling, value), goal)
    }

    /// The median of what one arm did, for a figure without a goal.
    pub(in crate::scenario) fn median(&self, figure: &str, arm: Arm, value: fn(&Measured) -> f64) -> f64 {
        let of_arm = self.of(figure).filter(|row| row.arm == arm);
        let values: Vec<f64> = of_arm.map(|row| value(&row.measured)).collect();
        median_of(&values)
    }

    /// The medians of every arm of a figure, for a person.
    pub(in crate::scenario) fn absolute(&self, figure: &str) -> Value {
        let arms = self.of(figure).filter(|row| row.round == 1).map(|row| row.arm);
        let medians = arms.map(|arm| {
            let of = |value| rounded(self.median(figure, arm, value));
            let told = json!({
                "per_second": of(|measured| measured.per_second),
                "p50_ms": of(|measured| measured.p50_ms),
                "p99_ms": of(|measured| measured.p99_ms),
                "p999_ms": of(|measured| measured.p999_ms),
                "cpu_per_million": of(|measured| measured.cpu_per_million),
            });
            (arm.to_string(), told)
        });
        Value::Object(medians.collect())
    }

    /// Everything, in the order in which it was measured: the raw data.
    pub(in crate::scenario) fn raw(&self) -> Value {
        let told = self.rows.iter().map(|Row { figure, round, arm, measured }| {
            json!({ "figure": figure, "round": round, "arm": arm.to_string(), "measured": measured })
        });
        told.collect()
    }

    fn of(&self, figure: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.figure == figure)
    }
}

/// The median of values in any order.
pub(in crate::scenario) fn median_of(values: &[f64]) -> f64 {
    Goal::judge("", "", values, Bound::AtLeast(0.0)).measured
}

fn order(arms: &[Arm], round: usize) -> Vec<Arm> {
    let mut arms = arms.to_vec();
    if round.is_multiple_of(2) {
        arms.reverse();
    }
    arms
}

fn line(measured: &Measured) -> String {
    let Measured { per_second, p50_ms, p99_ms, p999_ms, cpu_per_million, .. } = measured;
    let busy = measured.generator_busy.map_or_else(String::new, |busy| format!(", generator {busy:.2}"));
    format!(
        "{per_second:>8.0}/s  p50 {p50_ms:.2} p99 {p99_ms:.2} p99.9 {p999_ms:.2} ms, \
         {cpu_per_million:.1} CPU-s per million{busy}"
    )
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn measured(per_second: f64) -> Measured {
        Measured {
            answered: 1,
            seconds: 1.0,
            per_second,
            p50_ms: 1.0,
            p99_ms: 2.0,
            p999_ms: 3.0,
            cpu_per_million: 4.0,
            rss_anon_bytes: 5,
            generator_busy: None,
            generator_late_p99_ms: None,
        }
    }

    #[tokio::test]
    async fn arms_take_turns_and_a_ratio_is_that_of_one_round() {
        let (mut rounds, mut calls) = (Rounds::default(), Vec::new());
        let arms = [Arm::Ours, Arm::Ceiling("hyper"), Arm::Ceiling("append")];
        let measure = async |arm: Arm| {
            calls.push(arm);
            let of_round = [10.0, 20.0, 40.0].get((calls.len() - 1) / 3).copied().expect("three rounds");
            Ok(measured(match arm {
                Arm::Ours => of_round,
                Arm::Ceiling("hyper") => 2.0 * of_round,
                Arm::Ceiling(_) => 10.0,
            }))
        };
        rounds.measure("figure", 3, &arms, measure).await.expect("measured");
        let [ours, hyper, append] = arms;
        assert_eq!(calls, [ours, hyper, append, append, hyper, ours, ours, hyper, append]);
        let rate = |measured: &Measured| measured.per_second;
        assert_eq!(rounds.ratios("figure", "hyper", rate), [0.5, 0.5, 0.5]);
        assert_eq!(rounds.ratios("figure", "append", rate), [1.0, 2.0, 4.0]);
        assert!(rounds.ratios("other", "append", rate).is_empty());
        let goal = rounds.goal("figure", "append", rate, Bound::AtMost(2.0));
        assert_eq!((goal.measured, goal.spread, goal.pass), (2.0, (1.0, 4.0), true));
        assert_eq!(rounds.absolute("figure")["hookline"]["per_second"], 20.0);
        assert_eq!(rounds.raw().as_array().map(Vec::len), Some(9));
    }

    #[tokio::test]
    async fn an_arm_that_fails_fails_all() {
        let failing = async |_: Arm| anyhow::bail!("1 request failed");
        let result = Rounds::default().measure("figure", 2, &[Arm::Ours], failing).await;
        assert!(format!("{:#}", result.expect_err("a failure")).contains("hookline: 1 request failed"));
    }
}
