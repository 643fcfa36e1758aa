//! The one place that writes `control`: a write at a time, one entry each, so that nothing is ever half-written.
//!
//! A write is judged against everything that was written before it, and is answered once this process' own registry
//! has seen it: whoever reads next, reads it. Only the active control writes; who that is, [`crate::leader`] knows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::{AppendError, Epoch, Log, Offset, TableName};
use hookline_registry::{GatewayRecord, Registry, WebhookRecord};
use hookline_schemas::delivery::encode;
use hookline_schemas::seal::{OpenSealError, Sealer};
use tokio::sync::watch;

use crate::error::ApiError;
use crate::reseal;
use crate::writer::{NotPut, Put, Turn, Writer};

/// What is known of the registry; nothing, until it has been read to its end.
pub(crate) type Known = watch::Receiver<Option<Arc<Registry>>>;

/// Everything that is known now.
///
/// # Errors
///
/// [`ApiError::Unavailable`] as long as the registry has not been read to its end.
pub(crate) fn registry(known: &Known) -> Result<Arc<Registry>, ApiError> {
    let not_read = || ApiError::Unavailable("the registry is still being read".to_owned());
    known.borrow().clone().ok_or_else(not_read)
}

/// Reads from memory, writes to the log. Cheap to clone.
pub(crate) struct Store<L: Log> {
    known: Known,
    writer: Arc<Writer<L>>,
}

/// A change of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing has to be written.
    Nothing,
    /// The entry with this key is now this, or is no more.
    Entry {
        /// [`GatewayRecord::key`] or [`WebhookRecord::key`].
        key: String,
        /// The record; none deletes it.
        value: Option<Vec<u8>>,
    },
}

impl Change {
    /// The gateway is like this now.
    pub(crate) fn gateway(record: &GatewayRecord) -> Self {
        Self::Entry { key: record.key(), value: Some(encode(record)) }
    }

    /// The webhook is like this now.
    pub(crate) fn webhook(record: &WebhookRecord) -> Self {
        Self::Entry { key: record.key(), value: Some(encode(record)) }
    }

    /// There is nothing under this key any more.
    pub(crate) const fn deletion(key: String) -> Self {
        Self::Entry { key, value: None }
    }
}

impl<L: Log> Clone for Store<L> {
    fn clone(&self) -> Self {
        Self { known: self.known.clone(), writer: Arc::clone(&self.writer) }
    }
}

impl<L: Log> Store<L> {
    /// A store that writes once it is told its epoch.
    pub(crate) fn new(log: &L, known: Known, patience: Duration) -> Self {
        Self { known, writer: Arc::new(Writer::new(log, TableName::Control, patience)) }
    }

    /// Everything that is known now.
    ///
    /// # Errors
    ///
    /// [`ApiError::Unavailable`] as long as the registry has not been read to its end.
    pub(crate) fn registry(&self) -> Result<Arc<Registry>, ApiError> {
        registry(&self.known)
    }

    /// The epoch under which this control writes.
    ///
    /// # Errors
    ///
    /// [`ApiError::Unavailable`] while another control is the active one, or none.
    pub(crate) fn epoch(&self) -> Result<Epoch, ApiError> {
        self.writer.epoch()
    }

    /// Tells whether this control is the active one.
    #[cfg(test)]
    pub(crate) fn active(&self) -> watch::Receiver<Option<Epoch>> {
        self.writer.active()
    }

    /// Judges a change against everything that was written before it, writes it, and returns the registry that has
    /// it. When this returns, the change is durable, and every read from here on shows it.
    ///
    /// # Errors
    ///
    /// What `change` says; [`ApiError::Unavailable`], if nothing was written; [`ApiError::Unknown`], if it may have
    /// been.
    pub(crate) async fn write(
        &self,
        change: impl FnOnce(&Registry) -> Result<Change, ApiError>,
    ) -> Result<Arc<Registry>, ApiError> {
        let mut turn = self.writer.turn().await?;
        let epoch = self.epoch()?;
        self.settle(&mut turn, epoch).await?;
        let registry = self.registry()?;
        let (key, value) = match change(&registry)? {
            Change::Nothing => return Ok(registry),
            Change::Entry { key, value } => (Bytes::from(key), value),
        };
        if value.is_some() && registry.is_unopened(&key) {
            let unopened = "nothing has changed: it needs a sealing key that this control does not have";
            return Err(ApiError::Unavailable(unopened.to_owned()));
        }
        let registry = self
            .put(&mut turn, epoch, Put { key: key.clone(), value: value.clone().map(Bytes::from) })
            .await?;
        // What was put after another control had taken over is seen by everybody and counts for nobody.
        if registry.encoded(&key) == value { Ok(registry) } else { Err(ApiError::Unknown) }
    }

    /// Begins to write under this epoch: marks it, so that what earlier controls still write is told as late, and
    /// writes anew what was overwritten so. When this returns, this control is the active one.
    ///
    /// The markers of earlier epochs stay where they are: by them readers tell late entries, and how late one may
    /// come nobody knows. A takeover leaves one small entry.
    pub(crate) async fn take_over(&self, epoch: Epoch) -> Result<(), NotPut> {
        let mut turn = self.writer.turn_at_last().await;
        let registry = self.mark(&mut turn, epoch).await?;
        self.restore(&mut turn, epoch, registry).await?;
        self.writer.activate(epoch);
        Ok(())
    }

    /// Waits until the registry shows that a deposed control has written over something, and writes it anew.
    pub(crate) async fn mend(&self, epoch: Epoch) -> Result<(), NotPut> {
        let is_damaged = |known: &Option<Arc<Registry>>| {
            known.as_ref().is_some_and(|registry| registry.overwritten().next().is_some())
        };
        let mut known = self.known.clone();
        known.wait_for(is_damaged).await.map_err(|_| AppendError::Closed)?;
        let mut turn = self.writer.turn_at_last().await;
        // As it is now: whoever had the turn before may have changed what was written over.
        let registry = self.known.borrow().clone();
        match registry {
            Some(registry) => self.restore(&mut turn, epoch, registry).await,
            None => Ok(()),
        }
    }

    /// Writes no more, as [`Writer::step_down`].
    pub(crate) async fn step_down(&self) {
        self.writer.step_down().await;
    }

    /// Begins no further write.
    pub(crate) fn depose(&self) {
        self.writer.depose();
    }

    /// Seals every secret anew that was not sealed with the key that seals now, a record at a time; how many
    /// records were written.
    ///
    /// # Errors
    ///
    /// As [`Self::write`]; what was sealed anew until then stays so: ask again. [`ApiError::Unavailable`] as well, once
    /// all others have been sealed anew, if some could not be opened.
    pub(crate) async fn reseal(&self, sealer: &Sealer) -> Result<usize, ApiError> {
        let unopened =
            |error: OpenSealError| ApiError::Unavailable(format!("a secret can't be opened: {error}"));
        let mut sealed_anew = 0;
        let mut left = Vec::new();
        for key in reseal::outdated(&*self.registry()?, sealer) {
            let mut is_changed = false;
            let change = |registry: &Registry| {
                let change = reseal::resealed(registry, &key, sealer).map_err(unopened)?;
                is_changed = change != Change::Nothing;
                Ok(change)
            };
            match self.write(change).await {
                Ok(_) => sealed_anew += usize::from(is_changed),
                // It must not keep the others from being sealed anew.
                Err(ApiError::Unavailable(_)) if self.epoch().is_ok() => left.push(key),
                Err(error) => return Err(error),
            }
        }
        if left.is_empty() {
            return Ok(sealed_anew);
        }
        let left = left.join(", ");
        Err(ApiError::Unavailable(format!(
            "{sealed_anew} records were sealed anew, and these can't be: {left}"
        )))
    }

    /// Waits until no earlier write can land any more: entries are acknowledged in their order.
    async fn settle(&self, turn: &mut Turn, epoch: Epoch) -> Result<(), ApiError> {
        if !turn.is_uncertain() {
            return Ok(());
        }
        let undecided =
            |_| ApiError::Unavailable("nothing has changed: an earlier write has not ended".to_owned());
        self.mark(turn, epoch).await.map(drop).map_err(undecided)
    }

    async fn mark(&self, turn: &mut Turn, epoch: Epoch) -> Result<Arc<Registry>, NotPut> {
        self.put(turn, epoch, self.writer.marker(epoch)).await
    }

    /// Writes anew what late writers have written over.
    async fn restore(
        &self,
        turn: &mut Turn,
        epoch: Epoch,
        mut registry: Arc<Registry>,
    ) -> Result<(), NotPut> {
        loop {
            let Some(key) = registry.overwritten().next().cloned() else { return Ok(()) };
            let value = registry.encoded(&key).map(Bytes::from);
            tracing::warn!(key = %String::from_utf8_lossy(&key), "writing anew what a deposed control wrote over");
            registry = self.put(turn, epoch, Put { key: key.clone(), value }).await?;
            // Still so: it is we who have been deposed.
            if registry.overwritten().any(|other| *other == key) {
                return Err(NotPut::Unknown);
            }
        }
    }

    /// Puts an entry, and waits until the registry has seen it.
    async fn put(&self, turn: &mut Turn, epoch: Epoch, put: Put) -> Result<Arc<Registry>, NotPut> {
        let version = self.writer.put_all(turn, epoch, [put]).await?;
        self.writer.seen(turn, self.sight(version)).await
    }

    async fn sight(&self, version: Option<Offset>) -> Option<Arc<Registry>> {
        let mut known = self.known.clone();
        let behind = version.map_or(0, |version| version.next().0);
        let has_seen = |known: &Option<Arc<Registry>>| {
            known.as_ref().is_some_and(|registry| registry.version() >= behind)
        };
        known.wait_for(has_seen).await.ok().and_then(|known| known.clone())
    }
}
