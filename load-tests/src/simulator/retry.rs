//! When a notification that was not answered with code 0 is posted again.

use std::time::Duration;

/// The rule. The documented one gives 100 posts within about two days; a test scales it down.
#[derive(Debug, Clone)]
pub struct RetryRule {
    /// The waits between posts; the last repeats.
    pub intervals: Vec<Duration>,
    /// Posts of one notification in all, the first included.
    pub attempts: u32,
    /// How long an answer is waited for.
    pub answer_timeout: Duration,
}

impl RetryRule {
    /// As CloudPayments documents it: 1, 2, 5, 10, 30 minutes, 100 times, 30 seconds for an answer.
    pub fn documented() -> Self {
        let minutes = [1, 2, 5, 10, 30].map(|minutes| Duration::from_secs(minutes * 60));
        Self { intervals: minutes.to_vec(), attempts: 100, answer_timeout: Duration::from_secs(30) }
    }

    /// The same steps, 600 times faster: 0.1 to 3 seconds, still 100 times.
    pub fn scaled_down() -> Self {
        Self::documented().faster(600)
    }

    /// The same steps and as many, so many times faster. Answers are waited for as long as before.
    #[must_use]
    pub fn faster(mut self, times: u32) -> Self {
        self.intervals.iter_mut().for_each(|interval| *interval /= times.max(1));
        self
    }

    /// The wait before the next post of something that was posted `posted` times; nothing when it is given
    /// up.
    pub fn wait_after(&self, posted: u32) -> Option<Duration> {
        if posted >= self.attempts {
            return None;
        }
        let step = usize::try_from(posted.saturating_sub(1)).unwrap_or(usize::MAX);
        Some(self.intervals.get(step).or(self.intervals.last()).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_interval_repeats_until_the_attempts_are_used() {
        let rule = RetryRule::documented();
        for (posted, minutes) in [
            (1, Some(1)),
            (2, Some(2)),
            (3, Some(5)),
            (5, Some(30)),
            (6, Some(30)),
            (99, Some(30)),
            (100, None),
        ] {
            let expected = minutes.map(|minutes| Duration::from_secs(minutes * 60));
            assert_eq!(rule.wait_after(posted), expected, "{posted}");
        }
    }

    #[test]
    fn scaled_down_keeps_the_steps() {
        let rule = RetryRule::scaled_down();
        assert_eq!(rule.wait_after(1), Some(Duration::from_millis(100)));
        assert_eq!(rule.wait_after(50), Some(Duration::from_secs(3)));
    }
}
