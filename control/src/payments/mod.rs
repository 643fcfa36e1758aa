//! Payments: top-ups that were asked for here, what became of them at CloudPayments, and money that goes back.
//!
//! `events` tell what happened; the applier puts it together into `payments`; the view shows it. Whatever is asked for
//! here is written into `payments` before anybody else is asked. Of all controls the active one alone writes.

mod aging;
mod applier;
mod ledger;
mod reconcile;
mod refunds;
mod sites;
mod top_ups;
pub(crate) mod view;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hookline_event_log::{Epoch, Log, ReadError, TableName};
use hookline_schemas::gateway::Gateway;
use hookline_schemas::time::Clock;
use tokio::sync::{Notify, watch};

pub use reconcile::{MissingEvent, ReconcileError, ReconcileRequest, Reconciled};
pub(crate) use refunds::Refunds;
pub(crate) use sites::Sites;
pub(crate) use top_ups::TopUps;
pub(crate) use view::{View, ViewError};

use self::applier::Positions;
use self::ledger::Ledger;
use crate::cloudpayments::CloudPayments;
use crate::settings::PaymentSettings;
use crate::store::Known;
use crate::writer::{NotPut, PATIENCE};

/// What payments are kept and asked with.
pub(crate) struct PaymentParts<L: Log> {
    pub(crate) log: L,
    pub(crate) known: Known,
    /// The gateways of the configuration.
    pub(crate) configured: Vec<Gateway>,
    pub(crate) cloudpayments: CloudPayments,
    /// Where the view's file is.
    pub(crate) directory: PathBuf,
    pub(crate) settings: PaymentSettings,
    pub(crate) clock: Clock,
}

/// The payments of a control plane.
pub(crate) struct Payments<L: Log> {
    log: L,
    pub(crate) view: View,
    ledger: Arc<Ledger<L>>,
    pub(crate) refunds: Refunds<L>,
    pub(crate) top_ups: TopUps<L>,
    pub(crate) sites: Sites,
    cloudpayments: CloudPayments,
    /// How far events have been taken into payments.
    taken: watch::Sender<Positions>,
    pub(crate) settings: PaymentSettings,
    clock: Clock,
}

impl<L: Log> Payments<L> {
    /// Payments that are shown once they have been read, and written once this control is the active one.
    pub(crate) async fn open(parts: PaymentParts<L>) -> Result<Self, ViewError> {
        let PaymentParts { log, known, configured, cloudpayments, directory, settings, clock } = parts;
        let view = View::open(&directory).await?;
        let ledger = Arc::new(Ledger::new(&log, view.clone(), PATIENCE));
        let sites = Sites { known, configured: Arc::new(configured), clock };
        let refunds = Refunds {
            ledger: Arc::clone(&ledger),
            view: view.clone(),
            cloudpayments: cloudpayments.clone(),
            sites: sites.clone(),
            clock,
            asked: Notify::new(),
            fresh: Mutex::default(),
        };
        let top_ups = TopUps {
            ledger: Arc::clone(&ledger),
            view: view.clone(),
            cloudpayments: cloudpayments.clone(),
            sites: sites.clone(),
            check: log.table(TableName::TopUps),
            clock,
        };
        let taken = watch::Sender::default();
        Ok(Self { log, view, ledger, refunds, top_ups, sites, cloudpayments, taken, settings, clock })
    }

    /// Follows `payments`; and, while this control writes them, takes events, settles refunds, reconciles and forgets
    /// what is old. Never ends, but for an error.
    ///
    /// # Errors
    ///
    /// If the table can't be read.
    pub(crate) async fn run(&self) -> Result<(), ReadError> {
        let work = async {
            tokio::join!(
                applier::run(&self.log, &self.ledger, &self.view, &self.taken),
                self.refunds.run(),
                self.reconcile_on_schedule(),
                self.age(),
            );
        };
        tokio::select! {
            followed = self.view.follow(&self.log) => followed,
            () = work => Ok(()),
        }
    }

    /// As [`Ledger::take_over`].
    pub(crate) async fn take_over(&self, epoch: Epoch) -> Result<(), NotPut> {
        self.ledger.take_over(epoch).await
    }

    /// As [`Ledger::mend`].
    pub(crate) async fn mend(&self, epoch: Epoch) -> Result<(), NotPut> {
        self.ledger.mend(epoch).await
    }

    /// As [`Ledger::depose`].
    pub(crate) fn depose(&self) {
        self.ledger.depose();
    }

    /// As [`Ledger::step_down`].
    pub(crate) async fn step_down(&self) {
        self.ledger.step_down().await;
    }
}
