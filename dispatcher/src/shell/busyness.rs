//! Whether this thread is the bottleneck: then what it can't send yet stays in the log, where it costs nothing. Planned, it
//! would wait too long for its turn and be parked, which is more work than to send it.

use std::time::Duration;

use tokio::runtime::Handle;

/// How long is looked back at, at least.
const LOOK_BACK: Duration = Duration::from_millis(20);

/// The thread is the bottleneck if it did not rest for more than one part in so many. It need not be nearer to its end: with
/// less in hand than the bound nothing comes of it.
const PART: u32 = 4;

/// How busy the thread of a single-threaded runtime was of late.
#[derive(Debug, Default)]
pub(super) struct Busyness {
    looked_at: Duration,
    /// In all, until then.
    busy: Duration,
    is_bottleneck: bool,
}

impl Busyness {
    /// Whether the thread, which has been busy for so long in all, had no rest to speak of.
    pub(super) fn look(&mut self, now: Duration, busy: impl FnOnce() -> Duration) -> bool {
        let passed = now.saturating_sub(self.looked_at);
        if passed >= LOOK_BACK {
            let busy = busy();
            let rested = passed.saturating_sub(busy.saturating_sub(self.busy));
            *self = Self { looked_at: now, busy, is_bottleneck: rested * PART < passed };
        }
        self.is_bottleneck
    }
}

/// How long this thread, which has a runtime of its own, has been busy in all: it ran, or would have, if it had been given a
/// core. Where the system does not tell, as long as the runtime did not wait for something to happen.
pub(super) fn busy_of_thread() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let busy = told.as_deref().and_then(busy_in);
    busy.unwrap_or_else(|| Handle::current().metrics().worker_total_busy_duration(0))
}

/// The time on a core and the time of waiting for one, in nanoseconds.
fn busy_in(schedstat: &str) -> Option<Duration> {
    let mut fields = schedstat.split_ascii_whitespace().map(str::parse);
    let (ran, waited): (u64, u64) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some(Duration::from_nanos(ran.saturating_add(waited)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hardly_rests_is_the_bottleneck() {
        let mut busyness = Busyness::default();
        for (now, busy, expected) in [
            (10, 10, false),   // too early to tell
            (20, 20, true),    // no rest at all
            (30, 20, true),    // as of the look before
            (100, 81, true),   // 19 of 80
            (200, 150, false), // 31 of 100
            (300, 250, true),  // none
            (400, 250, false), // nothing but rest
        ] {
            let busy = || Duration::from_millis(busy);
            assert_eq!(busyness.look(Duration::from_millis(now), busy), expected, "{now}");
        }
    }

    #[tokio::test]
    async fn the_time_of_the_thread_grows_while_it_works() {
        let before = busy_of_thread();
        let worked = before + Duration::from_millis(30);
        let mut looks = 0_u64;
        while busy_of_thread() < worked {
            looks += 1;
        }
        assert!(looks > 0);
    }

    #[test]
    fn waiting_for_a_core_is_no_rest() {
        for (told, expected) in
            [("7 5 1\n", Some(12)), ("7 5", Some(12)), ("7", None), ("", None), ("a b c", None)]
        {
            assert_eq!(busy_in(told), expected.map(Duration::from_nanos), "{told}");
        }
    }
}
