//! Who writes `control`, and `payments` with it: one control at a time, the one that owns `control`.
//!
//! Over the embedded log that is the process itself, from its start; over Kafka a group decides. A control that was
//! deposed without knowing may still write: what it writes behind the marker of a later one counts for nobody, and
//! the later one writes it over.

use std::future::pending;
use std::time::Duration;

use hookline_event_log::{Epoch, Log, Owned, Ownership, OwnershipChange, Partition};
use tokio_util::sync::CancellationToken;

use crate::payments::Payments;
use crate::store::Store;
use crate::writer::NotPut;

/// Between two tries to take over, or to mend.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What the active control writes.
pub(crate) struct Written<'a, L: Log> {
    pub(crate) store: &'a Store<L>,
    pub(crate) payments: &'a Payments<L>,
}

impl<L: Log> Written<'_, L> {
    fn depose(&self) {
        self.store.depose();
        self.payments.depose();
    }

    async fn step_down(&self) {
        self.depose();
        tokio::join!(self.store.step_down(), self.payments.step_down());
    }
}

/// Takes part in the ownership of `control` until it is stopped. When this returns, this control writes no more,
/// and the next one may.
pub(crate) async fn lead<L: Log>(log: &L, written: &Written<'_, L>, stop: &CancellationToken) {
    let mut ownership = log.ownership(Owned::Control);
    let mut granted = None;
    loop {
        let change = tokio::select! {
            change = ownership.next() => change,
            () = write_as_owner(written, granted) => continue,
            () = stop.cancelled() => break,
        };
        match change {
            OwnershipChange::Granted { epoch, .. } => {
                written.depose();
                granted = Some(epoch);
            }
            OwnershipChange::Revoking { .. } => {
                let_go::<L>(&mut ownership, written, granted.take()).await;
            }
            OwnershipChange::Lost { .. } => {
                written.depose();
                granted = None;
                tracing::warn!("another control writes now");
            }
        }
    }
    let_go::<L>(&mut ownership, written, granted).await;
}

/// The next owner may have it once nothing of ours is in flight.
async fn let_go<L: Log>(ownership: &mut L::Ownership, written: &Written<'_, L>, granted: Option<Epoch>) {
    written.step_down().await;
    if let Some(epoch) = granted {
        tracing::info!(epoch = epoch.0, "this control writes no more");
        ownership.let_go(Partition(0), epoch);
    }
}

/// Takes over, then writes anew whatever late writers write over. Payments take longer to be read, and nothing of the
/// rest waits for them. Never ends.
async fn write_as_owner<L: Log>(written: &Written<'_, L>, granted: Option<Epoch>) {
    let Some(epoch) = granted else { return pending().await };
    let Written { store, payments } = written;
    let control = async {
        again("take over `control`", epoch, || store.take_over(epoch)).await;
        tracing::info!(epoch = epoch.0, "this control is the active one");
        loop {
            again("write `control` anew where it was written over", epoch, || store.mend(epoch)).await;
        }
    };
    let payments = async {
        again("take over `payments`", epoch, || payments.take_over(epoch)).await;
        loop {
            again("write `payments` anew where it was written over", epoch, || payments.mend(epoch)).await;
        }
    };
    tokio::join!(control, payments);
}

/// Tries until it is done.
async fn again<F: Future<Output = Result<(), NotPut>>>(what: &str, epoch: Epoch, attempt: impl Fn() -> F) {
    while let Err(error) = attempt().await {
        tracing::warn!(epoch = epoch.0, %error, "failed to {what}: trying again");
        tokio::time::sleep(TRY_AGAIN).await;
    }
}
