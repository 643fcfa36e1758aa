//! When requests are due. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

/// So many a second, evenly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    per_second: NonZeroU32,
}

impl Schedule {
    pub(crate) const fn new(per_second: NonZeroU32) -> Self {
        Self { per_second }
    }

    /// When the request with this number is due, counted from the beginning. Worked out from the number alone, so that
    /// no error adds up.
    pub(crate) fn due(self, number: u64) -> Duration {
        let per_second = u64::from(self.per_second.get());
        let (seconds, rest) = (number / per_second, number % per_second);
        Duration::new(seconds, 0) + Duration::from_nanos(rest * 1_000_000_000 / per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_evenly_and_no_error_adds_up() {
        for (per_second, number, nanoseconds) in [
            (1, 0, 0),
            (1, 7, 7_000_000_000),
            (3, 1, 333_333_333),
            (3, 2, 666_666_666),
            (3, 3, 1_000_000_000),
            (3, 3_000_000_001, 1_000_000_000_333_333_333),
            (200_000, 1, 5_000),
            (u32::MAX, u64::from(u32::MAX), 1_000_000_000),
        ] {
            let schedule = Schedule::new(NonZeroU32::new(per_second).expect("a rate"));
            assert_eq!(schedule.due(number), Duration::from_nanos(nanoseconds), "{per_second} {number}");
        }
    }
}
