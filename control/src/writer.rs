//! Writing one table under the epoch of the active control: a write at a time, each accepted, acknowledged and seen by
//! this process before the next one is judged.
//!
//! What is judged, and what sees, is the business of whoever owns a writer: [`crate::store`] for `control`,
//! [`crate::payments`] for `payments`.

use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::{AppendError, Appending, Epoch, Log, Offset, Partition, Table, TableName};
use hookline_schemas::delivery::{OwnerMarker, encode};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::timeout;

use crate::error::ApiError;

/// Each of the tables has one partition.
const PARTITION: Partition = Partition(0);

/// For each step of a write: its turn, its acceptance, its acknowledgement, its sight.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Writes a table.
pub(crate) struct Writer<L: Log> {
    table: L::Table,
    /// Under which epoch this control writes; none, while another does.
    active: watch::Sender<Option<Epoch>>,
    turn: Mutex<Turn>,
    patience: Duration,
    /// This process, in the markers of its epochs.
    process: u64,
}

/// Whoever holds it writes.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// An earlier write may still land: nothing is judged before it has, or can't any more.
    is_uncertain: bool,
}

/// An entry to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) key: Bytes,
    /// None deletes it.
    pub(crate) value: Option<Bytes>,
}

/// Why an entry is not known to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotPut {
    /// Nothing was written.
    #[error("the log does not take it")]
    Refused(#[from] AppendError),
    /// Nothing was written: the log had no room for so long.
    #[error("the log has no room")]
    NoRoom,
    /// Written or not.
    #[error("the outcome is unknown")]
    Unknown,
}

impl From<NotPut> for ApiError {
    fn from(error: NotPut) -> Self {
        match error {
            NotPut::Unknown | NotPut::Refused(AppendError::Unknown) => Self::Unknown,
            NotPut::Refused(reason) => Self::Unavailable(format!("nothing has changed: {reason}")),
            NotPut::NoRoom => Self::Unavailable("nothing has changed: the log takes nothing now".to_owned()),
        }
    }
}

impl<L: Log> Writer<L> {
    /// A writer that writes once it is told its epoch.
    pub(crate) fn new(log: &L, table: TableName, patience: Duration) -> Self {
        Self {
            table: log.table(table),
            active: watch::Sender::new(None),
            turn: Mutex::default(),
            patience,
            process: rand::random(),
        }
    }

    /// The epoch under which this control writes.
    ///
    /// # Errors
    ///
    /// [`ApiError::Unavailable`] while another control is the active one, or none.
    pub(crate) fn epoch(&self) -> Result<Epoch, ApiError> {
        let standing_by =
            || ApiError::Unavailable("this control is not the active one: nothing has changed".to_owned());
        self.active.borrow().ok_or_else(standing_by)
    }

    /// Tells whether this control is the active one.
    pub(crate) fn active(&self) -> watch::Receiver<Option<Epoch>> {
        self.active.subscribe()
    }

    /// This control is the active one from here on.
    pub(crate) fn activate(&self, epoch: Epoch) {
        self.active.send_replace(Some(epoch));
    }

    /// Begins no further write.
    pub(crate) fn depose(&self) {
        self.active.send_replace(None);
    }

    /// Writes no more. When this returns, nobody waits for a write of ours. One whose caller went away may still land; if
    /// it does so behind the next owner's marker, it is told by that.
    pub(crate) async fn step_down(&self) {
        self.depose();
        drop(self.turn.lock().await);
    }

    /// The turn to write.
    ///
    /// # Errors
    ///
    /// [`ApiError::Unavailable`] if it does not come in time.
    pub(crate) async fn turn(&self) -> Result<MutexGuard<'_, Turn>, ApiError> {
        let busy = |_| ApiError::Unavailable("nothing has changed: too much is being written".to_owned());
        timeout(self.patience, self.turn.lock()).await.map_err(busy)
    }

    /// The turn to write, however long it takes.
    pub(crate) async fn turn_at_last(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().await
    }

    /// The marker of this control's epoch.
    pub(crate) fn marker(&self, epoch: Epoch) -> Put {
        let marker = OwnerMarker { epoch: epoch.0, process: self.process };
        Put { key: marker.key().into(), value: Some(encode(&marker).into()) }
    }

    /// Puts entries, in their order. When this returns, all of them are durable; the turn stays uncertain until
    /// [`Self::seen`] has seen the last one. Its version is returned.
    ///
    /// # Errors
    ///
    /// [`NotPut::Unknown`] if one of them is, or if one was refused behind another that was not: whoever reads on sees
    /// what there is.
    pub(crate) async fn put_all(
        &self,
        turn: &mut Turn,
        epoch: Epoch,
        puts: impl IntoIterator<Item = Put>,
    ) -> Result<Option<Offset>, NotPut> {
        let was_uncertain = turn.is_uncertain;
        let mut accepted: Vec<Appending> = Vec::new();
        for Put { key, value } in puts {
            let put = timeout(self.patience, self.table.put(PARTITION, key, value, epoch)).await;
            match (put, accepted.is_empty()) {
                (Ok(Ok(appending)), _) => accepted.push(appending),
                (Ok(Err(refused)), true) => return Err(refused.into()),
                (Err(_), true) => return Err(NotPut::NoRoom),
                (Ok(Err(_)) | Err(_), false) => return Err(NotPut::Unknown),
            }
            // Whoever waits for this may go away at any time; the entry does not.
            turn.is_uncertain = true;
        }
        let alone = accepted.len() == 1;
        let mut last = None;
        for appending in accepted {
            match timeout(self.patience, appending).await {
                Ok(Ok(version)) => last = last.max(Some(version)),
                Ok(Err(refused)) if alone && refused != AppendError::Unknown => {
                    turn.is_uncertain = was_uncertain;
                    return Err(refused.into());
                }
                Ok(Err(_)) | Err(_) => return Err(NotPut::Unknown),
            }
        }
        Ok(last)
    }

    /// Waits for this process to see what was put.
    ///
    /// # Errors
    ///
    /// [`NotPut::Unknown`] if it does not in time.
    pub(crate) async fn seen<S>(
        &self,
        turn: &mut Turn,
        sight: impl Future<Output = Option<S>>,
    ) -> Result<S, NotPut> {
        let seen = timeout(self.patience, sight).await.ok().flatten().ok_or(NotPut::Unknown)?;
        turn.is_uncertain = false;
        Ok(seen)
    }
}

impl Turn {
    /// Whether an earlier write may still land.
    pub(crate) const fn is_uncertain(&self) -> bool {
        self.is_uncertain
    }
}
