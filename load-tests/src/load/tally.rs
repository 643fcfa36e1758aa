//! What became of requests.

use std::time::Duration;

use anyhow::ensure;
use hdrhistogram::Histogram;

use crate::simulator::{histogram, micros};

/// Of one connection, or of all of them.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Requests that were answered 200 with the code 0.
    pub right: u64,
    /// Requests that were answered otherwise.
    pub wrong: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// From when a request was due to its answer; right ones alone.
    pub micros: Histogram<u64>,
    /// How much later than it could have a request was sent, and the generator is to blame: it was due, and a
    /// connection was free. Open loop alone.
    pub late_micros: Histogram<u64>,
    /// The first answer that was not right, or why there was none.
    pub first_failure: Option<String>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            right: 0,
            wrong: 0,
            unanswered: 0,
            micros: histogram(),
            late_micros: histogram(),
            first_failure: None,
        }
    }

    pub(super) fn answered(&mut self, after: Duration) {
        self.right += 1;
        self.micros.saturating_record(micros(after));
    }

    pub(super) fn refused(&mut self, status: u16, body: &[u8]) {
        self.wrong += 1;
        self.first_failure.get_or_insert_with(|| format!("{status} {}", String::from_utf8_lossy(body)));
    }

    pub(super) fn broken(&mut self, reason: &dyn std::error::Error) {
        self.unanswered += 1;
        self.first_failure.get_or_insert_with(|| reason.to_string());
    }

    pub(super) fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.unanswered += other.unanswered;
        // Their bounds are the same.
        let _ = self.micros.add(&other.micros);
        let _ = self.late_micros.add(&other.late_micros);
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    /// Requests that were sent and not answered as they should.
    pub const fn failures(&self) -> u64 {
        self.wrong + self.unanswered
    }

    /// That everything was answered as it should be, and something was asked: figures of a run in which requests fail
    /// are figures of something else.
    ///
    /// # Errors
    ///
    /// If not; with the first failure.
    pub fn require_right(&self) -> anyhow::Result<()> {
        let first = self.first_failure.as_deref().unwrap_or("nothing was asked");
        let (failures, right) = (self.failures(), self.right);
        ensure!(
            failures == 0 && right > 0,
            "{failures} requests failed, {right} did not; the first: {first}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_answer_among_many_right_ones_fails() {
        let mut tally = Tally::new();
        assert!(tally.require_right().is_err());
        (0..1000).for_each(|_| tally.answered(Duration::from_micros(70)));
        assert!(tally.require_right().is_ok());
        let mut other = Tally::new();
        other.refused(401, b"{\"code\":13}");
        tally.add(other);
        assert_eq!((tally.right, tally.failures()), (1000, 1));
        let error = tally.require_right().expect_err("a failure").to_string();
        assert!(error.contains("401 {\"code\":13}"), "{error}");
    }
}
