//! How long a connection may take to the end of its next head: hyper would arm a timer for each of them, and let it go
//! again. This one rings once for many requests, and looks then whether it was needed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hookline_schemas::time::Clock;

/// Instead of a time: a request is being answered, which has time-outs of its own.
const ANSWERING: u64 = u64::MAX;

/// The patience with one connection.
#[derive(Debug)]
pub(crate) struct Patience {
    clock: Clock,
    limit: Duration,
    /// Since when the next head is waited for, in nanoseconds of the clock.
    waiting_since: AtomicU64,
}

impl Patience {
    /// With a connection that begins now.
    pub(crate) fn new(clock: Clock, limit: Duration) -> Self {
        Self { clock, limit, waiting_since: AtomicU64::new(nanoseconds(clock.elapsed())) }
    }

    /// A head is there.
    pub(crate) fn head_came(&self) {
        self.waiting_since.store(ANSWERING, Ordering::Relaxed);
    }

    /// Its request was answered.
    pub(crate) fn answered(&self, now: Duration) {
        self.waiting_since.store(nanoseconds(now), Ordering::Relaxed);
    }

    /// Resolves once a head has been waited for as long as it may be.
    pub(crate) async fn runs_out(&self) {
        let mut now = self.clock.elapsed();
        loop {
            let waiting_since = match self.waiting_since.load(Ordering::Relaxed) {
                ANSWERING => now,
                since => Duration::from_nanos(since),
            };
            let due = waiting_since.saturating_add(self.limit);
            if due <= now {
                return;
            }
            tokio::time::sleep(due.saturating_sub(now)).await;
            now = self.clock.elapsed();
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(ANSWERING)
}
