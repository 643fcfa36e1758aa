//! Goals: a figure of one run, measured several times in turn with what it is compared with, and whether it is good
//! enough. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How good a figure shall be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Bound {
    /// Whether this is good enough.
    pub fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtMost(most) => measured <= most,
            Self::AtLeast(least) => measured >= least,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

/// A figure beside its goal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goal {
    /// Which figure, as a name that scripts know: `check_cpu_to_hyper_hmac`.
    pub figure: &'static str,
    /// What it is counted in; `ratio` where it was divided by a ceiling of the same run.
    pub unit: &'static str,
    /// The median.
    pub measured: f64,
    /// The lowest and the highest that were measured: how much the machine varied.
    pub spread: (f64, f64),
    /// How often it was measured.
    pub times: usize,
    /// What it shall be.
    pub goal: Bound,
    /// Whether the median is.
    pub pass: bool,
}

impl Goal {
    /// Judges what was measured, one value of each time. What was never measured does not pass.
    pub fn judge(figure: &'static str, unit: &'static str, values: &[f64], goal: Bound) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let measured = median(&sorted);
        let spread =
            (sorted.first().copied().unwrap_or(f64::NAN), sorted.last().copied().unwrap_or(f64::NAN));
        Self { figure, unit, measured, spread, times: sorted.len(), goal, pass: goal.holds(measured) }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { figure, unit, measured, spread: (lowest, highest), times, goal, pass } = self;
        let verdict = if *pass { "pass" } else { "FAIL" };
        write!(
            f,
            "{verdict} {figure:<36} {measured:.3} {unit} (goal {goal}; {lowest:.3} to {highest:.3}, {times} times)"
        )
    }
}

/// Of values in order; the mean of the two in the middle where there is none. NaN of nothing.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    let at = |position: usize| sorted.get(position).copied().unwrap_or(f64::NAN);
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    } else {
        at(middle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_judged_and_its_spread_is_told() {
        for (values, goal, measured, pass) in [
            (&[1.2, 1.1, 9.0][..], Bound::AtMost(1.25), 1.2, true),
            (&[1.3, 1.1, 1.4], Bound::AtMost(1.25), 1.3, false),
            (&[0.6, 0.8], Bound::AtLeast(0.7), 0.7, true),
            (&[0.5], Bound::AtLeast(0.7), 0.5, false),
        ] {
            let judged = Goal::judge("figure", "ratio", values, goal);
            assert!((judged.measured - measured).abs() < 1e-9, "{judged}");
            assert_eq!((judged.pass, judged.times), (pass, values.len()), "{judged}");
        }
        let judged = Goal::judge("figure", "ratio", &[3.0, 1.0, 2.0], Bound::AtMost(2.0));
        assert_eq!(judged.spread, (1.0, 3.0));
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        for goal in [Bound::AtMost(1.0), Bound::AtLeast(0.0)] {
            assert!(!Goal::judge("figure", "ratio", &[], goal).pass);
            assert!(!Goal::judge("figure", "ratio", &[f64::NAN], goal).pass);
        }
    }
}
