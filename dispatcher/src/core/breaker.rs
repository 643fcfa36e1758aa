//! The breaker: what is known of an endpoint's health.
//!
//! Closed: healthy. Open: nothing but one probe at a time, on the probe schedule. Half-open: after a probe that
//! succeeded, the backlog alone, at a pace that starts slowly; closed once the pace is back or the backlog gone.

use std::time::Duration;

use hookline_schemas::delivery::{AttemptOutcome, BreakerRecord};
use hookline_schemas::time::Timestamp;
use rand::Rng;

use super::defect::{self, Defect};
use super::life::is_gone;
use super::schedule;

/// A receiver may ask to be left alone for this long at most.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What he asks for is exceeded by up to this part of it.
const RETRY_AFTER_JITTER: u32 = 10;

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
        /// Since when nothing has succeeded.
        since: Timestamp,
        /// When the next probe is due.
        due: Timestamp,
        /// Whether one is under way.
        probing: bool,
    },
    /// Coming back.
    HalfOpen,
}

/// What a breaker goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BreakerRules<'a> {
    /// Failures in a row that open it.
    pub(crate) failures_to_open: u32,
    /// Delays between probes.
    pub(crate) probe_schedule: &'a [Duration],
}

impl Breaker {
    /// Healthy, as far as is known.
    pub(crate) const CLOSED: Self = Self::Closed { failures: 0 };

    /// Not known to be healthy: to be probed now.
    pub(crate) const fn in_doubt(now: Timestamp) -> Self {
        Self::Open { failed_probes: 0, since: now, due: now, probing: false }
    }

    /// As it was written down.
    pub(crate) fn from_record(record: BreakerRecord, now: Timestamp) -> Self {
        let since = record.failing_since.unwrap_or(now);
        match record.failed_probes {
            None => Self::CLOSED,
            // By another clock, perhaps: it is not put off for longer than a receiver might have asked.
            Some(failed_probes) => {
                let due = record.next_due.min(now.after(MAX_RETRY_AFTER));
                Self::Open { failed_probes, since: since.min(now), due, probing: false }
            }
        }
    }

    /// To be written down. Half-open counts as open with a probe due at once: a restart tries gently.
    pub(crate) fn to_record(self) -> BreakerRecord {
        match self {
            Self::Closed { .. } => BreakerRecord::default(),
            Self::Open { failed_probes, since, due, .. } => BreakerRecord {
                failed_probes: Some(failed_probes),
                next_due: due,
                failing_since: Some(since),
            },
            Self::HalfOpen => BreakerRecord { failed_probes: Some(0), ..BreakerRecord::default() },
        }
    }

    pub(crate) const fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Whether a probe may begin.
    pub(crate) fn is_probe_due(self, now: Timestamp) -> bool {
        self.next_probe().is_some_and(|due| due <= now)
    }

    /// How long nothing has succeeded, while it is open.
    pub(crate) fn failing_for(self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Open { since, .. } => Some(now.since(since)),
            Self::Closed { .. } | Self::HalfOpen => None,
        }
    }

    /// When a probe is due, if that is all that can happen.
    pub(crate) const fn next_probe(self) -> Option<Timestamp> {
        match self {
            Self::Open { due, probing: false, .. } => Some(due),
            Self::Open { .. } | Self::Closed { .. } | Self::HalfOpen => None,
        }
    }

    /// What came back is healthy again.
    pub(crate) fn close(&mut self) {
        if !defect::is(Defect::BreakerNeverCloses) {
            *self = Self::CLOSED;
        }
    }

    /// A probe is wanted now, whatever the schedule says.
    pub(crate) fn hurry(&mut self, now: Timestamp) {
        if let Self::Open { due, .. } = self {
            *due = now.min(*due);
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

    /// The probe came to nothing for a reason of our own, which is neither success nor failure: another is due
    /// after the first delay of the schedule, and this time does not count as one in which the endpoint failed.
    pub(crate) fn put_off_probe(
        &mut self,
        began: Timestamp,
        rules: BreakerRules<'_>,
        now: Timestamp,
        random: &mut impl Rng,
    ) {
        if let Self::Open { since, due, probing, .. } = self {
            *due = schedule::due(rules.probe_schedule, 1, now, random);
            *since = since.after(due.since(began));
            *probing = false;
        }
    }

    /// Learns from an attempt that ended, by the receiver's doing. `was_probe`: it is the probe that was under way. Attempts that were
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
        let (asked_for, is_gone) = match outcome {
            AttemptOutcome::Retryable { retry_after, .. } => (*retry_after, false),
            _ if is_gone(outcome) => (None, true),
            // The receiver is there and has decided: that is health.
            AttemptOutcome::Delivered { .. } | AttemptOutcome::Rejected { .. } => {
                if was_probe || !self.is_open() {
                    self.succeed();
                }
                return;
            }
        };
        let (failed_probes, since) = match *self {
            Self::Closed { failures }
                if asked_for.is_none() && !is_gone && failures + 1 < rules.failures_to_open =>
            {
                *self = Self::Closed { failures: failures + 1 };
                return;
            }
            Self::Closed { .. } | Self::HalfOpen => (1, now),
            Self::Open { failed_probes, since, .. } if was_probe => (failed_probes + 1, since),
            Self::Open { .. } => return,
        };
        let mut due = schedule::due(rules.probe_schedule, failed_probes, now, random);
        if let Some(asked) = asked_for {
            // All who were told the same would come back together.
            let later = schedule::jittered(asked / RETRY_AFTER_JITTER, random);
            due = due.max(now.after(asked)).after(later).min(now.after(MAX_RETRY_AFTER));
        }
        *self = Self::Open { failed_probes, since, due, probing: false };
    }

    fn succeed(&mut self) {
        *self = match *self {
            Self::Closed { .. } => Self::CLOSED,
            Self::Open { .. } | Self::HalfOpen => Self::HalfOpen,
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
        let mut breaker = open(1, 2_000, false);
        assert!(!breaker.is_probe_due(Timestamp(1_999)));
        assert!(breaker.is_probe_due(Timestamp(2_000)));
        breaker.begin_probe();
        assert!(!breaker.is_probe_due(Timestamp(9_000)));
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
    fn a_probe_that_succeeds_opens_it_by_half_and_a_failure_there_closes_the_door() {
        let mut breaker = open(4, 0, true);
        learn(&mut breaker, &DELIVERED, true);
        assert_eq!(breaker, Breaker::HalfOpen);
        learn(&mut breaker, &DELIVERED, false);
        assert_eq!(breaker, Breaker::HalfOpen);
        learn(&mut breaker, &FAILED, false);
        assert_eq!(breaker.failing_for(Timestamp(3_000)), Some(Duration::from_secs(2)));
        assert!(matches!(breaker, Breaker::Open { failed_probes: 1, probing: false, .. }));
    }

    #[test]
    fn remembers_since_when_nothing_has_succeeded() {
        let mut breaker = open(4, 900, true);
        learn(&mut breaker, &FAILED, true);
        assert_eq!(breaker.failing_for(Timestamp(3_007)), Some(Duration::from_secs(3)));
        let read = Breaker::from_record(breaker.to_record(), Timestamp(9_000));
        assert_eq!(read.failing_for(Timestamp(3_007)), Some(Duration::from_secs(3)));
    }

    fn open(failed_probes: u32, due: u64, probing: bool) -> Breaker {
        Breaker::Open { failed_probes, since: Timestamp(7), due: Timestamp(due), probing }
    }

    #[test]
    fn leaves_an_endpoint_alone_for_as_long_as_it_asks() {
        let mut breaker = Breaker::Closed { failures: 0 };
        learn(&mut breaker, &asking(Duration::from_secs(120)), false);
        let due = breaker.next_probe().expect("a probe");
        assert!((Timestamp(121_000)..=Timestamp(133_000)).contains(&due), "{due:?}");
    }

    fn asking(retry_after: Duration) -> AttemptOutcome {
        AttemptOutcome::Retryable { reason: FailureReason::Status(429), retry_after: Some(retry_after) }
    }

    #[test]
    fn what_is_asked_for_is_exceeded_by_a_tenth_at_most_and_never_shortens_the_schedule() {
        let schedule = [Duration::from_secs(5)];
        let rules = BreakerRules { failures_to_open: 3, probe_schedule: &schedule };
        let day = 24 * 3600;
        for (asked, least, most) in [
            (0, 0.0, 5.0),
            (1, 1.0, 5.1),
            (600, 600.0, 660.0),
            (day - 3_600, 82_800.0, 86_400.0),
            (day, 86_400.0, 86_400.0),
            (366 * day, 86_400.0, 86_400.0),
        ] {
            let mut random = SmallRng::seed_from_u64(7);
            let waits = (0..500).map(|_| {
                let mut breaker = Breaker::CLOSED;
                let outcome = asking(Duration::from_secs(asked));
                breaker.learn(&outcome, false, rules, Timestamp(1_000), &mut random);
                breaker.next_probe().expect("a probe").since(Timestamp(1_000)).as_secs_f64()
            });
            let waits: Vec<f64> = waits.collect();
            let (shortest, longest) =
                (waits.iter().copied().fold(f64::MAX, f64::min), waits.iter().copied().fold(0.0, f64::max));
            assert!(shortest >= least && longest <= most, "{asked}: {shortest} to {longest}");
            // They are spread over what there is.
            assert!(longest - shortest >= (most - least) * 0.9, "{asked}: {shortest} to {longest}");
        }
        // With nothing asked for and with zero the schedule is the same.
        let due = |retry_after| {
            let mut breaker =
                Breaker::Open { failed_probes: 7, since: Timestamp(0), due: Timestamp(0), probing: true };
            let outcome = AttemptOutcome::Retryable { reason: FailureReason::Status(503), retry_after };
            breaker.learn(&outcome, true, rules, Timestamp(1_000), &mut SmallRng::seed_from_u64(7));
            breaker.next_probe()
        };
        assert_eq!(due(None), due(Some(Duration::ZERO)));
    }

    #[test]
    fn a_probe_that_fails_for_a_reason_of_our_own_is_put_off_and_its_time_does_not_count() {
        let mut breaker = open(4, 0, true);
        let (began, now) = (Timestamp(1_000), Timestamp(1_200));
        breaker.put_off_probe(began, RULES, now, &mut SmallRng::seed_from_u64(3));
        let Breaker::Open { failed_probes: 4, since, due, probing: false } = breaker else {
            panic!("{breaker:?}");
        };
        assert!((now..=now.after(Duration::from_secs(5))).contains(&due), "{due:?}");
        assert_eq!(since, Timestamp(7).after(due.since(began)));
    }

    #[test]
    fn what_is_written_down_tries_gently_after_a_restart() {
        let read = Breaker::from_record(open(7, 5, true).to_record(), Timestamp(9));
        assert_eq!(read, open(7, 5, false));
        let coming_back = Breaker::from_record(Breaker::HalfOpen.to_record(), Timestamp(3));
        assert!(coming_back.is_open() && coming_back.is_probe_due(Timestamp(0)));
    }
}
