//! Telling how things stand: to the metrics, to operators, and to whoever waits for the log to be drained.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use hookline_event_log::Log;

use super::look::{Looked, PATIENCE, look};
use super::{Drained, Happened, Shell};

/// How often it is told how things stand, at most.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// A report takes this part of the thread's time at most: with many endpoints they come more rarely.
const SHARE: u32 = 2_000;

/// They do not come more rarely than that.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);

impl<L: Log> Shell<L> {
    /// Tells how things stand, if it is time.
    pub(super) fn report(&mut self) {
        let now = self.clock.now();
        if now < self.report_due {
            return;
        }
        let began = self.clock.elapsed();
        let oldest = self.metrics.report(&self.core, now);
        // Nobody may be asking.
        self.operators.oldest.send_replace(oldest.into());
        let took = self.clock.elapsed().saturating_sub(began);
        self.report_due = now.after(rest_after(took));
        self.metrics.report_look(self.looking.lags(), self.looking.oldest(), self.clock.wall());
        self.look_at_log();
        self.look_whether_drained();
        self.performer.tidy();
    }

    /// Asks the log how far it has come, unless it is being asked, or was a moment ago.
    fn look_at_log(&mut self) {
        if let Some(known) = self.looking.begin(self.core.owned().count(), self.clock.now()) {
            let log = self.surroundings.log.clone();
            let looking = look(move |journal| log.journal(journal), self.core.needed(), known, PATIENCE);
            self.under_way.push(looking.map(Happened::Looked).boxed_local());
        }
    }

    /// The log has said how far it has come.
    pub(super) fn take_look(&mut self, looked: Looked) {
        self.looking.end(looked, self.clock.now());
    }

    fn look_whether_drained(&mut self) {
        let is_asked = self.drained == Some(Drained::NotYet) && self.ready.load(Ordering::Acquire);
        if is_asked && let Some(positions) = self.core.settled_positions() {
            self.drained = Some(Drained::Comparing);
            self.under_way.push(self.performer.compare(positions));
        }
    }
}

/// How long nothing is told after a report that took so long.
fn rest_after(took: Duration) -> Duration {
    took.saturating_mul(SHARE).clamp(REPORT_INTERVAL, LONGEST_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_that_take_long_come_rarely() {
        for (took, expected) in [(0, 500), (250, 500), (2_500, 5_000), (100_000, 10_000)] {
            assert_eq!(rest_after(Duration::from_micros(took)), Duration::from_millis(expected), "{took}");
        }
        assert_eq!(rest_after(Duration::MAX), LONGEST_INTERVAL);
    }
}
