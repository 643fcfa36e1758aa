//! Publishes events, so many at once, the same way to every sender, and keeps when each was accepted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use hookline_schemas::time::Clock;

use super::adapter::Adapter;
use super::correlation::Published;
use crate::connection::Connection;

/// For one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// After a failure: while a sender is down nobody shall use up the events.
const PAUSE: Duration = Duration::from_millis(500);

/// Which events, and how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// The number of the first; the others follow one another.
    pub(super) first: u64,
    pub(super) events: u64,
    /// So many are under way at once, and no more.
    pub(super) in_flight: u16,
    /// So many begin per second; without it each begins when another is answered.
    pub(super) per_second: Option<f64>,
}

/// How far it is, for whoever wants to know meanwhile.
#[derive(Debug, Default)]
pub(super) struct Progress {
    next: AtomicU64,
    accepted: AtomicU64,
}

impl Progress {
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Whether each of so many events has begun.
    pub(super) fn is_over(&self, events: u64) -> bool {
        self.next.load(Ordering::Relaxed) >= events
    }
}

/// Publishes each event once. What is not accepted is not published again: who publishes again makes copies himself.
///
/// # Errors
///
/// If an adapter makes no request.
pub(super) async fn publish(
    clock: Clock,
    sender: (&dyn Adapter, std::net::SocketAddr),
    load: Load,
    progress: &Progress,
) -> anyhow::Result<Published> {
    let began = clock.elapsed();
    let workers = (0..load.in_flight).map(|_| work(clock, sender, load, progress, began));
    let mut published =
        Published { began, ended: began, first: load.first, accepted: Vec::new(), refused: 0 };
    let events = usize::try_from(load.events)?;
    published.accepted.resize(events, None);
    for outcomes in join_all(workers).await {
        for (index, accepted_at) in outcomes? {
            published.refused += u64::from(accepted_at.is_none());
            if let Some(place) =
                usize::try_from(index).ok().and_then(|index| published.accepted.get_mut(index))
            {
                *place = accepted_at;
            }
        }
    }
    published.ended = clock.elapsed();
    Ok(published)
}

/// One of those at once: takes the next event until there is none, over a connection of its own.
async fn work(
    clock: Clock,
    (adapter, address): (&dyn Adapter, std::net::SocketAddr),
    load: Load,
    progress: &Progress,
    began: Duration,
) -> anyhow::Result<Vec<(u64, Option<Duration>)>> {
    let mut connection = Connection::to(address);
    let mut outcomes = Vec::new();
    loop {
        let index = progress.next.fetch_add(1, Ordering::Relaxed);
        if index >= load.events {
            return Ok(outcomes);
        }
        let due = began + since_begin(index, load.per_second);
        tokio::time::sleep(due.saturating_sub(clock.elapsed())).await;
        let call = adapter.publication(load.first + index)?;
        let answer = connection.send(call, ANSWER_WITHIN).await;
        let is_accepted = answer.is_ok_and(|answer| adapter.is_accepted(&answer));
        outcomes.push((index, is_accepted.then(|| clock.elapsed())));
        if is_accepted {
            progress.accepted.fetch_add(1, Ordering::Relaxed);
        } else {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an event's place in its load is far below 2^52")]
fn since_begin(index: u64, per_second: Option<f64>) -> Duration {
    per_second.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(index as f64 / rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_one_after_the_other_or_at_once() {
        for (index, per_second, expected_millis) in
            [(0, Some(4.0), 0), (1, Some(4.0), 250), (8, Some(4.0), 2000), (8, None, 0)]
        {
            assert_eq!(since_begin(index, per_second), Duration::from_millis(expected_millis));
        }
    }
}
