//! The one place that writes `payments`: judged against the view, acknowledged, and seen by it before anything else is
//! written.
//!
//! Only the active control writes. One that was deposed without knowing may still write: what it writes behind the
//! marker of the next one counts for nobody, and the next one writes it over.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::{AppendError, Epoch, Log, TableName};
use hookline_schemas::delivery::encode;
use hookline_schemas::payment::{PaymentRecord, TopUpRecord};

use super::view::{Seen, View};
use crate::error::ApiError;
use crate::writer::{NotPut, Put, Turn, Writer};

/// Writes payments and top-ups.
pub(crate) struct Ledger<L: Log> {
    view: View,
    writer: Writer<L>,
}

/// The turn to write: nobody else writes until it is dropped.
pub(crate) struct Page<'ledger, L: Log> {
    ledger: &'ledger Ledger<L>,
    turn: tokio::sync::MutexGuard<'ledger, Turn>,
    epoch: Epoch,
}

impl<L: Log> Ledger<L> {
    /// A ledger that writes once it is told its epoch.
    pub(crate) fn new(log: &L, view: View, patience: Duration) -> Self {
        Self { view, writer: Writer::new(log, TableName::Payments, patience) }
    }

    /// The turn to write: what is read from the view until it is dropped stays true.
    ///
    /// # Errors
    ///
    /// [`ApiError::Unavailable`] while another control is the active one, or payments are still being read.
    pub(crate) async fn page(&self) -> Result<Page<'_, L>, ApiError> {
        let mut turn = self.writer.turn().await?;
        let epoch = self.writer.epoch()?;
        if turn.is_uncertain() {
            let undecided =
                |_| ApiError::Unavailable("nothing has changed: an earlier write has not ended".to_owned());
            self.put(&mut turn, epoch, [self.writer.marker(epoch)]).await.map_err(undecided)?;
        }
        self.view.is_loaded()?;
        Ok(Page { ledger: self, turn, epoch })
    }

    /// Changes one payment; it, as it is then. When this returns, the change is durable and seen.
    ///
    /// # Errors
    ///
    /// [`ApiError::NotFound`] if there is none; what `change` says; [`ApiError::Unavailable`], if nothing was written;
    /// [`ApiError::Unknown`], if it may have been.
    pub(crate) async fn change<T>(
        &self,
        key: &str,
        change: impl FnOnce(&mut PaymentRecord) -> Result<T, ApiError>,
    ) -> Result<(PaymentRecord, T), ApiError> {
        let mut page = self.page().await?;
        let before = self.view.payment(key).await?.ok_or(ApiError::NotFound("payment"))?;
        let mut payment = before.clone();
        let told = change(&mut payment)?;
        self.view.adopt_orphans(&mut payment, &BTreeMap::new()).await?;
        if payment != before {
            page.write([of_payment(&payment)]).await?;
        }
        Ok((payment, told))
    }

    /// Begins to write under this epoch: marks it, and writes anew what earlier controls have written over since. When
    /// this returns, this control writes payments.
    pub(crate) async fn take_over(&self, epoch: Epoch) -> Result<(), NotPut> {
        let mut seen = self.view.seen();
        seen.wait_for(|seen| seen.is_loaded).await.map_err(|_| AppendError::Closed)?;
        let mut turn = self.writer.turn_at_last().await;
        self.put(&mut turn, epoch, [self.writer.marker(epoch)]).await?;
        self.restore(&mut turn, epoch).await?;
        self.writer.activate(epoch);
        Ok(())
    }

    /// Waits until the view shows that a deposed control has written over something, and writes it anew.
    pub(crate) async fn mend(&self, epoch: Epoch) -> Result<(), NotPut> {
        let mut seen = self.view.seen();
        let is_damaged = |seen: &Seen| seen.is_loaded && !seen.overwritten.is_empty();
        seen.wait_for(is_damaged).await.map_err(|_| AppendError::Closed)?;
        let mut turn = self.writer.turn_at_last().await;
        self.restore(&mut turn, epoch).await
    }

    /// Waits until this control writes payments; under which epoch.
    pub(super) async fn activation(&self) -> Option<Epoch> {
        *self.writer.active().wait_for(Option::is_some).await.ok()?
    }

    /// Waits until it does not write under this epoch any more.
    pub(super) async fn deposition(&self, epoch: Epoch) {
        // An error means that the writer is gone, and so is its epoch.
        let _ = self.writer.active().wait_for(|active| *active != Some(epoch)).await;
    }

    /// Whether this control writes payments.
    pub(crate) fn is_active(&self) -> bool {
        self.writer.epoch().is_ok()
    }

    /// Writes no more, as [`Writer::step_down`].
    pub(crate) async fn step_down(&self) {
        self.writer.step_down().await;
    }

    /// Begins no further write.
    pub(crate) fn depose(&self) {
        self.writer.depose();
    }

    /// Writes anew, as it counts, what deposed controls have written over. Where the table has kept nothing else, what
    /// they wrote is all that is known, and stays.
    async fn restore(&self, turn: &mut Turn, epoch: Epoch) -> Result<(), NotPut> {
        if turn.is_uncertain() {
            self.put(turn, epoch, [self.writer.marker(epoch)]).await?;
        }
        loop {
            let overwritten = match &*self.view.seen().borrow() {
                // It is read anew: whether anything counts is not known now.
                seen if !seen.is_loaded => return Err(NotPut::Unknown),
                seen => seen.overwritten.first_key_value().map(|(key, late)| (key.clone(), late.clone())),
            };
            let Some((key, late)) = overwritten else { return Ok(()) };
            let name = String::from_utf8_lossy(&key).into_owned();
            let value = self.view.entry(&name).await.map_err(|_| NotPut::Unknown)?.map(Bytes::from).or(late);
            tracing::warn!(key = name, "writing anew what a deposed control wrote over");
            self.put(turn, epoch, [Put { key: key.clone(), value }]).await?;
            // Still so: it is we who have been deposed.
            if self.view.seen().borrow().overwritten.contains_key(&key) {
                return Err(NotPut::Unknown);
            }
        }
    }

    /// Puts entries, and waits until the view has seen them.
    async fn put(
        &self,
        turn: &mut Turn,
        epoch: Epoch,
        puts: impl IntoIterator<Item = Put>,
    ) -> Result<(), NotPut> {
        match self.writer.put_all(turn, epoch, puts).await? {
            Some(version) => self.writer.seen(turn, self.view.sight(version)).await,
            None => Ok(()),
        }
    }
}

impl<L: Log> Page<'_, L> {
    /// Writes entries. When this returns, all of them are durable, and the view shows them.
    ///
    /// # Errors
    ///
    /// [`ApiError::Unavailable`], if nothing was written; [`ApiError::Unknown`], if something may have been.
    pub(crate) async fn write(&mut self, puts: impl IntoIterator<Item = Put>) -> Result<(), ApiError> {
        let puts: Vec<Put> = puts.into_iter().collect();
        self.ledger.put(&mut self.turn, self.epoch, puts.iter().cloned()).await?;
        // What was put after another control had taken over is seen by everybody and counts for nobody.
        let seen = self.ledger.view.seen();
        let is_late = puts.iter().any(|put| seen.borrow().overwritten.contains_key(&put.key));
        if is_late { Err(ApiError::Unknown) } else { Ok(()) }
    }
}

/// The entry of a payment.
pub(super) fn of_payment(payment: &PaymentRecord) -> Put {
    Put { key: payment.key().into(), value: Some(encode(payment).into()) }
}

/// The entry of a top-up.
pub(super) fn of_top_up(top_up: &TopUpRecord) -> Put {
    Put { key: top_up.key().into(), value: Some(encode(top_up).into()) }
}
