//! The breaker: what is known of an endpoint's health.
//!
//! Closed: all permits. Open: nothing but one probe at a time, on the probe schedule. Half-open: after a
//! probe that succeeded, concurrency 1, 2, 4, ... up to the cap, then closed.

use std::time::Duration;

use hookline_schemas::delivery::{AttemptOutcome, BreakerRecord};
use hookline_schemas::time::Timestamp;
use rand::Rng;

use super::schedule;

/// A receiver may ask to be left alone for this long at most.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The health of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Healthy, with this many failures in a row.
    Closed {
        /// Failures since the latest success.
        failures: u32,
    },
    /// Down: only probes, one at a time.
    Open {
        /// Probes that failed in a row.
        failed_probes: u32,
        /// When the next probe is due.
        due: Timestamp,
        /// Whether one is under way.
        probing: bool,
    },
    /// Coming back.
    HalfOpen {
        /// Attempts that may be in flight.
        allowed: usize,
    },
}

/// What a breaker goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BreakerRules<'a> {
    /// Failures in a row that open it.
    pub(crate) failures_to_open: u32,
    /// Delays between probes.
    pub(crate) probe_schedule: &'a [Duration],
    /// The cap on attempts in flight.
    pub(crate) concurrency: usize,
}

impl Breaker {
    /// As it was written down.
    pub(crate) fn from_record(record: BreakerRecord) -> Self {
        match record.failed_probes {
            None => Self::Closed { failures: 0 },
            Some(failed_probes) => Self::Open { failed_probes, due: record.next_due, probing: false },
        }
    }

    /// To be written down. Half-open counts as open with a probe due at once: a restart tries gently.
    pub(crate) fn to_record(self) -> BreakerRecord {
        match self {
            Self::Closed { .. } => BreakerRecord::default(),
            Self::Open { failed_probes, due, .. } => {
                BreakerRecord { failed_probes: Some(failed_probes), next_due: due }
            }
            Self::HalfOpen { .. } => BreakerRecord { failed_probes: Some(0), next_due: Timestamp(0) },
        }
    }

    pub(crate) const fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// How many attempts may be in flight now; when open, one probe once it is due.
    pub(crate) fn allowance(self, rules: BreakerRules<'_>, now: Timestamp) -> usize {
        match self {
            Self::Closed { .. } => rules.concurrency,
            Self::HalfOpen { allowed } => allowed,
            Self::Open { due, probing, .. } => usize::from(!probing && due <= now),
        }
    }

    /// When a probe is due, if that is all that can happen.
    pub(crate) const fn next_probe(self) -> Option<Timestamp> {
        match self {
            Self::Open { due, probing: false, .. } => Some(due),
            Self::Open { .. } | Self::Closed { .. } | Self::HalfOpen { .. } => None,
        }
    }

    /// A probe begins.
    pub(crate) fn begin_probe(&mut self) {
        if let Self::Open { probing, .. } = self {
            *probing = true;
        }
    }

    /// The probe came to nothing before it was sent: another may begin.
    pub(crate) fn abandon_probe(&mut self) {
        if let Self::Open { probing, .. } = self {
            *probing = false;
        }
    }

    /// Learns from an attempt that ended. `was_probe`: it is the probe that was under way. Attempts that were
    /// in flight when the breaker opened say nothing new: neither by failing, nor by succeeding, because the
    /// receiver may have asked since then to be left alone.
    pub(crate) fn learn(
        &mut self,
        outcome: &AttemptOutcome,
        was_probe: bool,
        rules: BreakerRules<'_>,
        now: Timestamp,
        random: &mut impl Rng,
    ) {
        let asked_for = match outcome {
            AttemptOutcome::Retryable { retry_after, .. } => *retry_after,
            // The receiver is there and has decided: that is health.
            AttemptOutcome::Delivered { .. } | AttemptOutcome::Rejected { .. } => {
                if was_probe || !self.is_open() {
                    self.succeed(rules);
                }
                return;
            }
        };
        let failed = match *self {
            Self::Closed { failures } if asked_for.is_none() && failures + 1 < rules.failures_to_open => {
                *self = Self::Closed { failures: failures + 1 };
                return;
            }
            Self::Closed { .. } | Self::HalfOpen { .. } => 1,
            Self::Open { failed_probes, .. } if was_probe => failed_probes + 1,
            Self::Open { .. } => return,
        };
        let due = schedule::due(rules.probe_schedule, failed, now, random);
        let not_before = asked_for.map_or(Timestamp(0), |asked| now.after(asked.min(MAX_RETRY_AFTER)));
        *self = Self::Open { failed_probes: failed, due: due.max(not_before), probing: false };
    }

    fn succeed(&mut self, rules: BreakerRules<'_>) {
        *self = match *self {
            Self::Closed { .. } => Self::Closed { failures: 0 },
            Self::Open { .. } => Self::HalfOpen { allowed: 1 },
            Self::HalfOpen { allowed } if allowed * 2 >= rules.concurrency => Self::Closed { failures: 0 },
            Self::HalfOpen { allowed } => Self::HalfOpen { allowed: allowed * 2 },
        };
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::delivery::FailureReason;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const RULES: BreakerRules<'_> = BreakerRules {
        failures_to_open: 3,
        probe_schedule: &[Duration::from_secs(5), Duration::from_secs(30)],
        concurrency: 8,
    };
    const DELIVERED: AttemptOutcome = AttemptOutcome::Delivered { status: 200 };
    const FAILED: AttemptOutcome =
        AttemptOutcome::Retryable { reason: FailureReason::Timeout, retry_after: None };

    fn learn(breaker: &mut Breaker, outcome: &AttemptOutcome, was_probe: bool) {
        breaker.learn(outcome, was_probe, RULES, Timestamp(1_000), &mut SmallRng::seed_from_u64(3));
    }

    #[test]
    fn opens_after_failures_in_a_row_alone() {
        let mut breaker = Breaker::Closed { failures: 0 };
        for outcome in [&FAILED, &FAILED, &DELIVERED, &FAILED, &FAILED] {
            learn(&mut breaker, outcome, false);
            assert!(breaker.is_closed());
        }
        learn(&mut breaker, &FAILED, false);
        assert!(breaker.is_open());
    }

    #[test]
    fn an_open_breaker_allows_one_probe_when_it_is_due() {
        let mut breaker = Breaker::Open { failed_probes: 1, due: Timestamp(2_000), probing: false };
        assert_eq!(breaker.allowance(RULES, Timestamp(1_999)), 0);
        assert_eq!(breaker.allowance(RULES, Timestamp(2_000)), 1);
        breaker.begin_probe();
        assert_eq!(breaker.allowance(RULES, Timestamp(9_000)), 0);
        learn(&mut breaker, &FAILED, false);
        learn(&mut breaker, &DELIVERED, false);
        assert!(
            breaker.is_open() && breaker.next_probe().is_none(),
            "old attempts say nothing about the probe"
        );
        learn(&mut breaker, &FAILED, true);
        assert!(matches!(breaker, Breaker::Open { failed_probes: 2, probing: false, .. }));
    }

    #[test]
    fn comes_back_by_doubling() {
        let mut breaker = Breaker::Open { failed_probes: 4, due: Timestamp(0), probing: true };
        let mut allowances = Vec::new();
        for _ in 0..4 {
            learn(&mut breaker, &DELIVERED, true);
            allowances.push(breaker.allowance(RULES, Timestamp(0)));
        }
        assert_eq!(allowances, [1, 2, 4, 8]);
        assert!(breaker.is_closed());
    }

    #[test]
    fn leaves_an_endpoint_alone_for_as_long_as_it_asks() {
        let mut breaker = Breaker::Closed { failures: 0 };
        let outcome = AttemptOutcome::Retryable {
            reason: FailureReason::Status(429),
            retry_after: Some(Duration::from_secs(120)),
        };
        learn(&mut breaker, &outcome, false);
        assert_eq!(breaker.next_probe(), Some(Timestamp(121_000)));
    }

    #[test]
    fn what_is_written_down_tries_gently_after_a_restart() {
        let open = Breaker::Open { failed_probes: 7, due: Timestamp(5), probing: true };
        let read = Breaker::from_record(open.to_record());
        assert_eq!(read, Breaker::Open { failed_probes: 7, due: Timestamp(5), probing: false });
        let coming_back = Breaker::HalfOpen { allowed: 4 };
        assert_eq!(Breaker::from_record(coming_back.to_record()).allowance(RULES, Timestamp(0)), 1);
    }
}
