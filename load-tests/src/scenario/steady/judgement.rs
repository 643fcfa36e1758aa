//! Whether a course is flat: what was looked at once a second, and what is made of it. Pure.

use std::time::Duration;

/// One look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    /// Since the first post.
    pub(super) at: Duration,
    /// Events behind the committed positions.
    pub(super) lag: f64,
    /// hookline's anonymous memory.
    pub(super) rss_anon_bytes: u64,
    /// Different deliveries that have come.
    pub(super) delivered: u64,
}

/// By how many events the lag is greater at the end (the last tenth) than in the middle (the tenth around it). NaN where
/// there are not enough looks to tell.
pub(super) fn lag_growth(looks: &[Look]) -> f64 {
    let lag = |look: &Look| look.lag;
    median_of(looks, 0.9..1.0, lag) - median_of(looks, 0.45..0.55, lag)
}

/// How many times as much memory there is at the end (the last fifth) as after the beginning (the second fifth). NaN as
/// above.
pub(super) fn memory_growth(looks: &[Look]) -> f64 {
    let memory = |look: &Look| f64::from(u32::try_from(look.rss_anon_bytes / 1024).unwrap_or(u32::MAX));
    median_of(looks, 0.8..1.0, memory) / median_of(looks, 0.2..0.4, memory)
}

/// Deliveries per second behind the first fifth, in which everything warms up. NaN as above.
pub(super) fn deliveries_per_second(looks: &[Look]) -> f64 {
    let first = looks.iter().find(|look| Some(look.at) >= last_of(looks).map(|last| last / 5));
    let rate = first.zip(looks.last()).map(|(first, last)| {
        let count = last.delivered.saturating_sub(first.delivered);
        super::super::per_second(count, last.at.saturating_sub(first.at).as_secs_f64())
    });
    rate.unwrap_or(f64::NAN)
}

/// The same in so many looks at most, evenly apart: what a report shows of a long course.
pub(super) fn thinned(looks: &[Look], most: usize) -> impl Iterator<Item = &Look> {
    looks.iter().step_by(looks.len().div_ceil(most.max(1)).max(1))
}

fn last_of(looks: &[Look]) -> Option<Duration> {
    looks.last().map(|look| look.at)
}

/// The median of a part of the course, which is given by its share of the time.
fn median_of(looks: &[Look], part: std::ops::Range<f64>, value: impl Fn(&Look) -> f64) -> f64 {
    let whole = last_of(looks).unwrap_or_default().as_secs_f64();
    let (from, until) = (whole * part.start, whole * part.end);
    let within = looks.iter().filter(|look| (from..=until).contains(&look.at.as_secs_f64()));
    let mut values: Vec<f64> = within.map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One look a second for 100 s.
    fn course(lag: impl Fn(u64) -> f64, mebibytes: impl Fn(u64) -> u64) -> Vec<Look> {
        let look = |second| Look {
            at: Duration::from_secs(second),
            lag: lag(second),
            rss_anon_bytes: mebibytes(second) * 1024 * 1024,
            delivered: second * 20_000,
        };
        (0..=100).map(look).collect()
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn the_lag_is_flat_unless_it_grows_in_the_second_half() {
        for (case, lag, expected) in [
            ("level", &(|_| 500.0_f64) as &dyn Fn(u64) -> f64, 0.0),
            ("high at first alone", &|second| if second < 40 { 90_000.0 } else { 500.0 }, 0.0),
            ("one look far above", &|second| if second == 95 { 90_000.0 } else { 500.0 }, 0.0),
            ("100 a second", &|second| second as f64 * 100.0, 4500.0),
            ("only at the very end", &|second| if second >= 94 { 9_000.0 } else { 500.0 }, 8500.0),
            ("falling", &|second| 10_000.0 - second as f64 * 100.0, -4500.0),
        ] {
            let growth = lag_growth(&course(lag, |_| 40));
            assert!((growth - expected).abs() < 1e-9, "{case}: {growth}");
        }
    }

    #[test]
    fn memory_is_flat_unless_it_grows_after_the_first_fifth() {
        for (case, mebibytes, expected) in [
            ("level", &(|_| 40_u64) as &dyn Fn(u64) -> u64, 1.0),
            ("filling at first", &|second| if second < 20 { second } else { 40 }, 1.0),
            ("one look far above", &|second| if second == 90 { 4000 } else { 40 }, 1.0),
            ("a leak", &|second| 10 + second, 2.5),
            ("in the last fifth", &|second| if second >= 80 { 60 } else { 40 }, 1.5),
        ] {
            let growth = memory_growth(&course(|_| 0.0, mebibytes));
            assert!((growth - expected).abs() < 0.01, "{case}: {growth}");
        }
    }

    #[test]
    fn what_was_hardly_looked_at_is_not_flat() {
        assert!(
            lag_growth(&[]).is_nan() && memory_growth(&[]).is_nan() && deliveries_per_second(&[]).is_nan()
        );
        let two: Vec<Look> = course(|_| 1.0, |_| 1).into_iter().step_by(100).collect();
        assert!(lag_growth(&two).is_nan() && memory_growth(&two).is_nan());
    }

    #[test]
    fn the_rate_is_that_behind_the_first_fifth() {
        let mut looks = course(|_| 0.0, |_| 40);
        looks.iter_mut().for_each(|look| look.delivered = look.delivered.max(400_000) - 400_000);
        assert!((deliveries_per_second(&looks) - 20_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_long_course_is_shown_in_a_bounded_number_of_looks() {
        for (length, expected) in [(0, 0), (1, 1), (60, 60), (61, 31), (600, 60)] {
            let look = Look { at: Duration::ZERO, lag: 0.0, rss_anon_bytes: 0, delivered: 0 };
            assert_eq!(thinned(&vec![look; length], 60).count(), expected, "{length}");
        }
    }
}
