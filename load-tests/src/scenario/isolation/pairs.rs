//! Pairs of arms, and whether the bad endpoints of the one harmed the healthy ones of both. Pure.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::report::rounded;

/// The 99th percentile may be so many times as high.
const MOST_RATIO: f64 = 1.25;
/// Or so many milliseconds higher: below that the ratio is one of the timer's steps.
const MOST_DIFFERENCE_MILLIS: f64 = 2.0;

/// What the system does for the load itself is some tenth of the processors; more than this is somebody else.
const MOST_OTHERS: f64 = 0.2;
/// So many pairs may be made in place of disturbed ones.
const SPARE_PAIRS: usize = 3;

/// Of the healthy endpoints of one arm, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

impl Percentiles {
    pub(super) fn of(micros: &Histogram<u64>) -> Self {
        let millis =
            |quantile| Duration::from_micros(micros.value_at_quantile(quantile)).as_secs_f64() * 1000.0;
        Self { p50: millis(0.5), p99: millis(0.99), p999: millis(0.999) }
    }

    fn to_value(self) -> Value {
        [self.p50, self.p99, self.p999].map(rounded).to_vec().into()
    }
}

/// What was measured in one arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Arm {
    /// From durable to delivered, of those that are healthy in every arm.
    pub(super) percentiles: Percentiles,
    /// The most anonymous memory that hookline was seen with.
    pub(super) rss_anon_bytes: u64,
    /// The share of the machine's processors that was busy with something else.
    pub(super) others: f64,
}

/// One arm in which everybody was healthy, and one in which some were bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    pub(super) healthy: Arm,
    pub(super) bad: Arm,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.bad.percentiles.p99 / self.healthy.percentiles.p99
    }

    fn difference(&self) -> f64 {
        self.bad.percentiles.p99 - self.healthy.percentiles.p99
    }

    fn is_disturbed(&self) -> bool {
        self.healthy.others.max(self.bad.others) > MOST_OTHERS
    }

    /// For the report.
    pub(super) fn to_value(self) -> Value {
        json!({
            "healthy_p50_p99_p999_ms": self.healthy.percentiles.to_value(),
            "bad_p50_p99_p999_ms": self.bad.percentiles.to_value(),
            "busy_otherwise": [rounded(self.healthy.others), rounded(self.bad.others)],
            "is_disturbed": self.is_disturbed(),
            "p99_ratio": rounded(self.ratio()),
            "p99_difference_ms": rounded(self.difference()),
        })
    }
}

/// Whether there are fewer undisturbed pairs than wanted, and some to spare.
pub(super) fn are_more_wanted(pairs: &[Pair], wanted: usize) -> bool {
    let undisturbed = pairs.iter().filter(|pair| !pair.is_disturbed()).count();
    undisturbed < wanted && pairs.len() < wanted + SPARE_PAIRS
}

/// The undisturbed pairs, where they are more than half of those wanted; otherwise all, whatever they are worth.
pub(super) fn judged(pairs: &[Pair], wanted: usize) -> Vec<Pair> {
    let undisturbed: Vec<Pair> = pairs.iter().filter(|pair| !pair.is_disturbed()).copied().collect();
    if 2 * undisturbed.len() > wanted { undisturbed } else { pairs.to_vec() }
}

/// What the pairs say together: the medians, because one arm may meet whatever else the machine does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison {
    pub(super) ratio: f64,
    pub(super) difference: f64,
}

impl Comparison {
    pub(super) fn of(pairs: &[Pair]) -> Self {
        Self {
            ratio: median(pairs.iter().map(Pair::ratio).collect()),
            difference: median(pairs.iter().map(Pair::difference).collect()),
        }
    }

    /// Whether the bad endpoints changed nothing for the others, as far as can be told.
    pub(super) fn is_unharmed(self) -> bool {
        self.ratio <= MOST_RATIO || self.difference <= MOST_DIFFERENCE_MILLIS
    }
}

/// The middle, or between the two in the middle; of nothing it is not a number, which passes no comparison.
pub(in crate::scenario) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2);
    let lower = values.get(values.len().saturating_sub(1) / 2);
    lower.zip(upper).map_or(f64::NAN, |(lower, upper)| f64::midpoint(*lower, *upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(p99: f64, others: f64) -> Arm {
        Arm { percentiles: Percentiles { p50: 1.0, p99, p999: 100.0 }, rss_anon_bytes: 1, others }
    }

    fn pairs(p99: &[(f64, f64)]) -> Vec<Pair> {
        p99.iter().map(|(healthy, bad)| Pair { healthy: arm(*healthy, 0.1), bad: arm(*bad, 0.1) }).collect()
    }

    #[test]
    fn the_median_is_the_middle() {
        for (values, expected) in [
            (vec![3.0], 3.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 9.0, 2.0], 3.0),
            (vec![5.0, -1.0], 2.0),
        ] {
            assert!((median(values.clone()) - expected).abs() < 1e-9, "{values:?}");
        }
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn unharmed_are_those_whose_median_is_little_higher() {
        for (case, p99, expected) in [
            ("the same", vec![(10.0, 10.0)], true),
            ("a quarter more", vec![(100.0, 125.0)], true),
            ("more than a quarter", vec![(100.0, 126.0)], false),
            ("thrice, and two milliseconds", vec![(1.0, 3.0)], true),
            ("thrice, and more", vec![(1.0, 3.1)], false),
            ("one bad pair of three", vec![(10.0, 90.0), (10.0, 11.0), (10.0, 9.0)], true),
            ("two bad pairs of three", vec![(10.0, 90.0), (10.0, 14.0), (10.0, 9.0)], false),
            ("no pair at all", vec![], false),
        ] {
            assert_eq!(Comparison::of(&pairs(&p99)).is_unharmed(), expected, "{case}");
        }
    }

    #[test]
    fn disturbed_pairs_are_made_again_and_not_judged() {
        let pair = |healthy, bad| Pair { healthy: arm(1.0, healthy), bad: arm(1.0, bad) };
        let (calm, disturbed) = (pair(0.2, 0.2), [pair(0.21, 0.1), pair(0.1, 0.21)]);
        for (case, pairs, wanted, more, judged_pairs) in [
            ("none yet", vec![], 2, true, 0),
            ("too few", vec![calm], 2, true, 1),
            ("enough", vec![calm, calm], 2, false, 2),
            ("one has to be made again", vec![calm, disturbed[0], calm], 3, true, 2),
            ("it was", vec![calm, disturbed[1], calm, calm], 3, false, 3),
            ("half of them is too few", vec![calm, disturbed[0]], 2, true, 2),
            ("no more to spare", vec![disturbed[0], disturbed[1], disturbed[0], calm], 1, false, 1),
            ("all of them disturbed", [disturbed, disturbed].concat(), 1, false, 4),
        ] {
            assert_eq!(are_more_wanted(&pairs, wanted), more, "{case}");
            assert_eq!(judged(&pairs, wanted).len(), judged_pairs, "{case}");
        }
    }

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut micros = crate::simulator::histogram();
        (1..=1000).for_each(|milli| micros.saturating_record(milli * 1000));
        let found = Percentiles::of(&micros);
        assert!((499.0..502.0).contains(&found.p50) && (989.0..992.0).contains(&found.p99), "{found:?}");
        assert!((998.0..1001.0).contains(&found.p999), "{found:?}");
    }
}
