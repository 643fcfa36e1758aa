//! What changes while a scenario runs, for a plot over time. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One quantity over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What it is; series of one unit share a plot.
    pub name: String,
    /// What it is counted in.
    pub unit: String,
    /// Seconds since the start of the run, and what it was then; in order.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// Any quantity.
    pub fn new(name: impl Into<String>, unit: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), unit: unit.into(), points }
    }

    /// How many of these times fell into each second from the first to the last of them, in which there are fewer
    /// because they are not whole.
    pub fn per_second(name: impl Into<String>, times: impl IntoIterator<Item = Duration>) -> Self {
        let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
        for time in times {
            *counts.entry(u32::try_from(time.as_secs()).unwrap_or(u32::MAX)).or_default() += 1.0;
        }
        let ends = counts.first_key_value().zip(counts.last_key_value());
        let seconds = ends.map(|((first, _), (last, _))| *first..=*last).into_iter().flatten();
        let count = |second| counts.get(&second).copied().unwrap_or_default();
        Self::new(name, "per second", seconds.map(|second| (f64::from(second), count(second))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_in_which_nothing_happened_is_a_point_as_well() {
        for (millis, expected) in [
            (&[][..], vec![]),
            (&[500], vec![(0.0, 1.0)]),
            (&[3999, 2000, 2999, 5000], vec![(2.0, 2.0), (3.0, 1.0), (4.0, 0.0), (5.0, 1.0)]),
        ] {
            let times = millis.iter().copied().map(Duration::from_millis);
            assert_eq!(Series::per_second("accepted", times).points, expected, "{millis:?}");
        }
    }
}
