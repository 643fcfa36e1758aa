//! What the service manager is told: ready, stopping, reloading, alive. systemd's protocol; where nobody asked for it
//! (`NOTIFY_SOCKET`), nothing happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::admin::{Readiness, have_started};

/// Between two looks at whether the roles have started.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How many turns the dispatcher has taken; none once it has ended, or where there is none. It has a thread of its own,
/// of which this task's runtime says nothing.
pub(crate) type Heartbeat = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// Tells that the process has started once it has, and from then on, if it is watched, that it is alive: until it ends,
/// which may take longer than it is watched for. Never ends.
pub(crate) async fn follow(roles: Arc<[(&'static str, Readiness)]>, heartbeat: Heartbeat) -> Infallible {
    while !have_started(&roles) {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    tell(&[NotifyState::Ready]);
    keep_watchdog(heartbeat).await
}

/// The process stops.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The process reads its configuration again; [`reloaded`] follows, however that goes.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager can't be told of the reload"),
    }
}

/// The process has read its configuration again.
pub(crate) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// Four times as often as it has to be told, as long as the dispatcher turns: one that was busy for a moment has not
/// missed its time. Never ends.
async fn keep_watchdog(heartbeat: Heartbeat) -> Infallible {
    let Some(within) = sd_notify::watchdog_enabled().filter(|within| !within.is_zero()) else {
        return std::future::pending().await;
    };
    let mut turns = tokio::time::interval(within / 4);
    let mut beat = None;
    loop {
        turns.tick().await;
        if is_alive(&mut beat, heartbeat()) {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// Whether the heart has beaten since it was asked last. What has ended need not: another tells of that.
fn is_alive(before: &mut Option<u64>, now: Option<u64>) -> bool {
    now.is_none() || std::mem::replace(before, now) != now
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, ?state, "the service manager can't be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dispatcher_that_turns_no_more_is_not_alive_and_one_that_has_ended_does_no_harm() {
        let mut before = None;
        for (now, expected) in
            [(Some(0), true), (Some(0), false), (Some(7), true), (Some(7), false), (None, true), (None, true)]
        {
            assert_eq!(is_alive(&mut before, now), expected, "{now:?}");
        }
    }
}
