//! Time, passed in: nothing else in the workspace asks the system for it.
//!
//! [`Clock`] runs on the monotonic clock from the wall time at its start, so a jump of the wall clock moves
//! no deadline within a process; across restarts the wall time alone decides.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time plus a duration; saturates.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This time minus a duration; saturates at the epoch.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the Unix epoch.
    pub const fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// Reads RFC 3339, with `Z` or an offset: `2026-05-30T14:32:00Z`.
    ///
    /// # Errors
    ///
    /// If it is not that, or a time before 1970.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimestampError> {
        let parsed = text.parse::<jiff::Timestamp>().ok();
        let milliseconds = parsed.and_then(|time| u64::try_from(time.as_millisecond()).ok());
        milliseconds.map(Self).ok_or_else(|| TimestampError(text.to_owned()))
    }

    /// RFC 3339 in UTC, to the second: `2026-05-30T14:32:00Z`.
    pub fn to_rfc3339(self) -> String {
        let seconds = i64::try_from(self.unix_seconds()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
    }
}

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time like 2026-05-30T14:32:00Z")]
pub struct TimestampError(String);

/// A clock: steady within a process, started from the wall.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_at: Timestamp,
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { started: Instant::now(), started_at: wall_now() }
    }

    /// Steady time: the wall time at the start plus what has passed since.
    pub fn now(&self) -> Timestamp {
        self.started_at.after(self.started.elapsed())
    }

    /// The steady time of a reading of [`Self::elapsed`], so that one reading does for both.
    pub fn at(&self, elapsed: Duration) -> Timestamp {
        self.started_at.after(elapsed)
    }

    /// What the wall clock says now; for what leaves the process with a time on it.
    pub fn wall(&self) -> Timestamp {
        wall_now()
    }

    /// The steady clock in full resolution, as the time since the start; for measuring.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
fn wall_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_time_with_its_offset_alone() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-05-30T14:32:00Z", Some(1_780_151_520_000)),
            ("2026-05-30T17:32:00.250+03:00", Some(1_780_151_520_250)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-05-30T14:32:00", None),
            ("2026-05-30", None),
            ("2026-02-30T00:00:00Z", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text).ok(), expected.map(Timestamp), "{text:?}");
        }
    }
}
