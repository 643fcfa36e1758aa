//! When to try again: a list of delays, the last of which repeats, each with full jitter.

use std::time::Duration;

use hookline_schemas::time::Timestamp;
use rand::Rng;

/// The due time after this many failures in a row (from 1): now and a random part of the delay that the
/// schedule names. Full jitter spreads the herd over the whole delay.
pub(crate) fn due(schedule: &[Duration], failures: u32, now: Timestamp, random: &mut impl Rng) -> Timestamp {
    now.after(jittered(delay(schedule, failures), random))
}

/// A random part of the delay, up to the whole of it.
pub(crate) fn jittered(delay: Duration, random: &mut impl Rng) -> Duration {
    delay.mul_f64(random.random_range(0.0..=1.0))
}

fn delay(schedule: &[Duration], failures: u32) -> Duration {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    schedule.get(index).or(schedule.last()).copied().unwrap_or(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    proptest! {
        #[test]
        fn never_later_than_the_schedule_says(failures in 0_u32..1_000, seed in any::<u64>()) {
            let schedule = [Duration::from_secs(5), Duration::from_secs(300), Duration::from_secs(1_800)];
            let due = due(&schedule, failures, Timestamp(1_000), &mut SmallRng::seed_from_u64(seed));
            let most = match failures { 0 | 1 => 5, 2 => 300, _ => 1_800 };
            prop_assert!(due >= Timestamp(1_000) && due <= Timestamp(1_000 + most * 1_000));
        }
    }

    #[test]
    fn jitter_uses_the_whole_delay() {
        let mut random = SmallRng::seed_from_u64(1);
        let spread: Vec<_> = (0..200).map(|_| jittered(Duration::from_secs(10), &mut random)).collect();
        assert!(spread.iter().any(|delay| *delay < Duration::from_secs(1)));
        assert!(spread.iter().any(|delay| *delay > Duration::from_secs(9)));
    }
}
