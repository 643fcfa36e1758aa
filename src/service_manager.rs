//! What the service manager is told: ready, stopping, reloading, alive. systemd's protocol; where nobody asked for it
//! (`NOTIFY_SOCKET`), nothing happens.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::admin::{Readiness, have_started};

/// Between two looks at whether the roles have started.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Tells that the process has started once it has, and from then on, if it is watched, that it is alive, until `end`.
pub(crate) async fn follow(roles: Arc<[(&'static str, Readiness)]>, end: CancellationToken) {
    let telling = async {
        while !have_started(&roles) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        tell(&[NotifyState::Ready]);
        keep_watchdog().await;
    };
    tokio::select! {
        () = telling => {}
        () = end.cancelled() => {}
    }
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

/// Twice as often as it has to be told. Never ends.
async fn keep_watchdog() {
    let Some(within) = sd_notify::watchdog_enabled().filter(|within| !within.is_zero()) else {
        return std::future::pending().await;
    };
    let mut turns = tokio::time::interval(within / 2);
    loop {
        turns.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, ?state, "the service manager can't be told");
    }
}
