//! What callers saw of the restarts: nothing, or it fails.

use std::time::Duration;

use super::roll::Restart;
use crate::report::{Report, rounded};
use crate::simulator::{Ledger, histogram, micros};

/// Adds the figures, and demands that every callback was answered.
pub(super) fn add(report: &mut Report, ledger: &Ledger, restarts: &[Restart]) {
    let failed = ledger.unanswered.total();
    report.figure("restarts", restarts.len());
    report.figure("callbacks", ledger.posts);
    report.figure("failed", failed);
    report.figure("failed_silent", ledger.unanswered.silent);
    report.figure("failed_put_off", ledger.unanswered.put_off);
    let longest = ledger.answer_micros.max().max(ledger.check_micros.max());
    report.figure("longest_answer_ms", milliseconds(Duration::from_micros(longest)));
    let mut gaps = histogram();
    gaps_of(ledger, restarts).for_each(|gap| gaps.saturating_record(micros(gap)));
    report.figure("gap_p50_ms", milliseconds(Duration::from_micros(gaps.value_at_quantile(0.5))));
    report.figure("gap_max_ms", milliseconds(Duration::from_micros(gaps.max())));
    report.latency(["answer_p50_ms", "answer_p99_ms", "answer_p999_ms"], &ledger.answer_micros);
    report.require(failed == 0, || format!("{failed} callbacks failed"));
    report
        .require(!restarts.is_empty() && ledger.posts > 0, || "nothing was restarted, or posted".to_owned());
}

/// For each restart the longest wait of a notification that was posted in it.
fn gaps_of<'a>(ledger: &'a Ledger, restarts: &'a [Restart]) -> impl Iterator<Item = Duration> + 'a {
    restarts.iter().map(|restart| {
        let meant = ledger
            .entries
            .values()
            .filter(|entry| (restart.from..=restart.until).contains(&entry.first_posted));
        let waits = meant.filter_map(|entry| Some(entry.answered?.saturating_sub(entry.first_posted)));
        waits.max().unwrap_or_default()
    })
}

fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1000.0)
}
