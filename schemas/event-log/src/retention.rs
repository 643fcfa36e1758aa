//! How long records are kept.

use std::time::Duration;

use crate::JournalName;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long each journal keeps its records. The embedded log keeps `events` and `parked` longer while they are
/// needed; Kafka does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Of `events`; embedded: once released.
    pub events: Duration,
    /// Of `parked`; embedded: once released.
    pub parked: Duration,
    /// Of `dead_letters`.
    pub dead_letters: Duration,
    /// Of `attempts`.
    pub attempts: Duration,
    /// Of `quarantine`.
    pub quarantine: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events: 7 * DAY,
            parked: 5 * DAY,
            dead_letters: 30 * DAY,
            attempts: 3 * DAY,
            quarantine: 30 * DAY,
        }
    }
}

impl Retention {
    /// How long this journal keeps its records.
    pub const fn of(&self, journal: JournalName) -> Duration {
        match journal {
            JournalName::Events => self.events,
            JournalName::Parked => self.parked,
            JournalName::DeadLetters => self.dead_letters,
            JournalName::Attempts => self.attempts,
            JournalName::Quarantine => self.quarantine,
        }
    }
}
