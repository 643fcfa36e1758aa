//! Who writes `control`: one control at a time, the one that owns it.
//!
//! Over the embedded log that is the process itself, from its start; over Kafka a group decides. A control that was
//! deposed without knowing may still write: what it writes behind the marker of a later one counts for nobody, and
//! the later one writes it over.

use std::future::pending;
use std::time::Duration;

use hookline_event_log::{Epoch, Log, Owned, Ownership, OwnershipChange, Partition};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// Between two tries to take over, or to mend.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Takes part in the ownership of `control` until it is stopped. When this returns, this control writes no more,
/// and the next one may.
pub(crate) async fn lead<L: Log>(log: &L, store: &Store<L>, stop: &CancellationToken) {
    let mut ownership = log.ownership(Owned::Control);
    let mut granted = None;
    loop {
        let change = tokio::select! {
            change = ownership.next() => change,
            () = write_as_owner(store, granted) => continue,
            () = stop.cancelled() => break,
        };
        match change {
            OwnershipChange::Granted { epoch, .. } => {
                store.depose();
                granted = Some(epoch);
            }
            OwnershipChange::Revoking { .. } => {
                let_go::<L>(&mut ownership, store, granted.take()).await;
            }
            OwnershipChange::Lost { .. } => {
                store.depose();
                granted = None;
                tracing::warn!("another control writes now");
            }
        }
    }
    let_go::<L>(&mut ownership, store, granted).await;
}

/// The next owner may have it once nothing of ours is in flight.
async fn let_go<L: Log>(ownership: &mut L::Ownership, store: &Store<L>, granted: Option<Epoch>) {
    store.step_down().await;
    if let Some(epoch) = granted {
        tracing::info!(epoch = epoch.0, "this control writes no more");
        ownership.let_go(Partition(0), epoch);
    }
}

/// Takes over, then writes anew whatever late writers write over. Never ends.
async fn write_as_owner<L: Log>(store: &Store<L>, granted: Option<Epoch>) {
    let Some(epoch) = granted else { return pending().await };
    while let Err(error) = store.take_over(epoch).await {
        tracing::warn!(epoch = epoch.0, %error, "failed to take over `control`: trying again");
        tokio::time::sleep(TRY_AGAIN).await;
    }
    tracing::info!(epoch = epoch.0, "this control is the active one");
    loop {
        if let Err(error) = store.mend(epoch).await {
            tracing::warn!(epoch = epoch.0, %error, "failed to write anew what was written over: trying again");
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}
