//! The pace of one endpoint: how many attempts at once, and how many per second.
//!
//! Concurrency finds its own limit between 1 and the cap: it halves where the endpoint is overloaded and grows by
//! one for as many successes as it allows at once. After an outage it starts slowly: 1, 2, 4, ... The rate is the
//! webhook's own and never exceeded by more than a tenth of a second's worth at once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use hookline_schemas::delivery::{AttemptOutcome, FailureReason};
use hookline_schemas::time::Timestamp;

/// What may be in flight, by what the endpoint has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Concurrency {
    limit: usize,
    /// Successes since the limit has changed.
    credit: usize,
    /// Every success adds one: the limit doubles per round trip.
    is_starting: bool,
    /// Attempts that began before say nothing new of an overload.
    halved_at: Timestamp,
}

impl Concurrency {
    /// Of an endpoint of which nothing bad is known.
    pub(crate) const fn new(cap: usize) -> Self {
        Self { limit: cap, credit: 0, is_starting: false, halved_at: Timestamp(0) }
    }

    /// How many attempts may be in flight.
    pub(crate) const fn limit(self) -> usize {
        self.limit
    }

    /// The endpoint comes back after an outage.
    pub(crate) fn restart(&mut self) {
        *self = Self { limit: 1, credit: 0, is_starting: true, ..*self };
    }

    /// An attempt has succeeded, while so many were in flight: a limit that is not made use of says nothing of what
    /// the endpoint can take.
    pub(crate) fn grow(&mut self, in_flight: usize, cap: usize) {
        if self.limit >= cap {
            self.is_starting = false;
        } else if in_flight * 2 >= self.limit {
            self.credit += 1;
            if self.is_starting || self.credit >= self.limit {
                self.limit += 1;
                self.credit = 0;
            }
        }
    }

    /// An attempt that began then has shown an overload.
    pub(crate) fn halve(&mut self, began: Timestamp, now: Timestamp) {
        if began >= self.halved_at {
            *self = Self { limit: (self.limit / 2).max(1), credit: 0, is_starting: false, halved_at: now };
        }
    }
}

/// Whether the failure says that the endpoint is asked for more than it can do. An answer with a status of its
/// own says something about the event.
pub(crate) const fn is_overload(outcome: &AttemptOutcome) -> bool {
    matches!(
        outcome,
        AttemptOutcome::Retryable {
            reason: FailureReason::Timeout
                | FailureReason::Connect
                | FailureReason::Broken
                | FailureReason::Status(429 | 502..=504),
            ..
        }
    )
}

/// The time as the core was told it.
#[derive(Debug, Clone, Default)]
struct ToldClock(Arc<AtomicU64>);

impl ToldClock {
    fn tell(&self, now: Timestamp) {
        self.0.store(now.0.saturating_mul(1_000_000), Ordering::Relaxed);
    }
}

impl Clock for ToldClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

/// A webhook's own limit of attempts per second.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: NonZeroU32,
    burst: NonZeroU32,
    clock: ToldClock,
    limiter: RateLimiter<NotKeyed, InMemoryState, ToldClock, NoOpMiddleware<Nanos>>,
    /// When there will be one, if there was none at the latest try.
    free_at: Timestamp,
}

impl Rate {
    /// Nothing has been taken yet.
    pub(crate) fn new(per_second: NonZeroU32, now: Timestamp) -> Self {
        Self::with_burst(per_second, (per_second.get() / 10).max(1), now)
    }

    /// So many at once at most; at least one.
    pub(crate) fn with_burst(per_second: NonZeroU32, burst: u32, now: Timestamp) -> Self {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let clock = ToldClock::default();
        clock.tell(now);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Self { per_second, burst, clock, limiter, free_at: Timestamp(0) }
    }

    /// Attempts per second.
    pub(crate) const fn per_second(&self) -> NonZeroU32 {
        self.per_second
    }

    /// When an attempt may start, after one might not.
    pub(crate) const fn free_at(&self) -> Timestamp {
        self.free_at
    }

    /// Takes an attempt, if there is one. `share`: among so many who do the same without knowing of each other.
    pub(crate) fn take(&mut self, share: NonZeroU32, now: Timestamp) -> bool {
        if share > self.burst {
            *self = Self::with_burst(self.per_second, share.get(), now);
        }
        self.clock.tell(now);
        match self.limiter.check_n(share) {
            Ok(Ok(())) => true,
            Ok(Err(until)) => {
                let nanos = until.earliest_possible().as_u64();
                self.free_at = Timestamp(nanos.div_ceil(1_000_000));
                false
            }
            // More than the burst, which is at least this much.
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    fn rate(per_second: u32) -> Rate {
        Rate::new(NonZeroU32::new(per_second).expect("not zero"), Timestamp(1_000_000))
    }

    #[test]
    fn starts_slowly_and_doubles_per_round_trip() {
        let mut concurrency = Concurrency::new(32);
        concurrency.restart();
        let mut limits = Vec::new();
        for _ in 0..6 {
            let round = concurrency.limit();
            limits.push(round);
            (0..round).for_each(|_| concurrency.grow(round, 32));
        }
        assert_eq!(limits, [1, 2, 4, 8, 16, 32]);
    }

    #[test]
    fn halves_once_for_what_was_in_flight_together_and_grows_by_one() {
        let mut concurrency = Concurrency::new(32);
        for _ in 0..10 {
            concurrency.halve(Timestamp(5), Timestamp(100));
        }
        assert_eq!(concurrency.limit(), 16);
        (0..16).for_each(|_| concurrency.grow(16, 32));
        assert_eq!(concurrency.limit(), 17);
        for time in 101..120 {
            concurrency.halve(Timestamp(time), Timestamp(time));
        }
        assert_eq!(concurrency.limit(), 1, "and never less");
    }

    #[test]
    fn does_not_grow_where_it_is_not_made_use_of() {
        let mut concurrency = Concurrency::new(32);
        concurrency.halve(Timestamp(0), Timestamp(1));
        (0..1_000).for_each(|_| concurrency.grow(3, 32));
        assert_eq!(concurrency.limit(), 16);
    }

    #[test]
    fn never_above_the_rate_whenever_it_is_asked() {
        let mut rate = rate(100);
        let taken: Vec<_> =
            (1_000_000..1_010_000).filter(|now| (0..5).any(|_| rate.take(ONE, Timestamp(*now)))).collect();
        for start in (1_000_000..1_009_000).step_by(37) {
            let within = taken.iter().filter(|at| (start..start + 1_000).contains(*at)).count();
            assert!(within <= 110, "{within} from {start}");
        }
        assert!(taken.len() >= 990, "{}", taken.len());
    }

    #[test]
    fn says_when_there_will_be_one() {
        let mut rate = rate(2);
        assert!(rate.take(ONE, Timestamp(1_000_000)));
        assert!(!rate.take(ONE, Timestamp(1_000_100)));
        assert_eq!(rate.free_at(), Timestamp(1_000_500));
        assert!(rate.take(ONE, Timestamp(1_000_500)));
    }

    #[test]
    fn is_shared_among_those_who_do_not_know_of_each_other() {
        let three = NonZeroU32::new(3).expect("not zero");
        let mut shares: Vec<_> = (0..3).map(|_| rate(30)).collect();
        let taken = (1_000_000..1_010_000).map(|now| {
            shares.iter_mut().filter_map(|rate| rate.take(three, Timestamp(now)).then_some(())).count()
        });
        let taken: usize = taken.sum();
        assert!((290..=310).contains(&taken), "{taken} in ten seconds");
    }
}
