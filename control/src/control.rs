//! The control plane of a process: its parts, put together.

use std::path::PathBuf;
use std::sync::Arc;

use async_graphql::Executor;
use hookline_event_log::{Log, ReadError};
use hookline_history::History;
use hookline_outbound::{Outbound, TlsError};
use hookline_registry::Registry;
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::attempts::{self, Attempts};
use crate::cloudpayments::CloudPayments;
use crate::error::ApiError;
use crate::graphql::{self, Api, Configured, Turns, WebhookLimits};
use crate::lanes::{self, Lanes};
use crate::leader::{self, Written};
use crate::payments::{PaymentParts, Payments, ReconcileError, ReconcileRequest, Reconciled, ViewError};
use crate::settings::{CloudPaymentsSettings, PaymentSettings};
use crate::store::Store;
use crate::writer::PATIENCE;

/// What a control plane is made of.
#[derive(Debug)]
pub struct Parts<L: Log> {
    /// Where it writes.
    pub log: L,
    /// What `hookline_registry::follow` tells.
    pub known: watch::Receiver<Option<Arc<Registry>>>,
    /// Seals secrets.
    pub sealer: Sealer,
    /// The time.
    pub clock: Clock,
    /// What stands in the operator's configuration.
    pub configured: Configured,
    /// What webhooks may be.
    pub limits: WebhookLimits,
    /// What is done about payments.
    pub payments: PaymentSettings,
    /// Where the view of payments has its file, unless the settings say otherwise.
    pub view_dir: PathBuf,
}

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// CloudPayments could not be asked.
    #[error("cloudpayments.ca_file")]
    Tls(#[from] TlsError),
    /// There is no place for the view of payments.
    #[error("failed to make the view of payments in {}", directory.display())]
    View {
        /// Where.
        directory: PathBuf,
        /// Why.
        #[source]
        source: ViewProblem,
    },
}

/// What is wrong with the place.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ViewProblem(#[from] ViewError);

/// The control plane of this process. Cheap to clone.
pub struct Control<L: Log> {
    log: L,
    api: Arc<Api<L>>,
}

/// Why not everything was sealed anew. What was until then stays so: ask again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct NotResealed(#[from] ApiError);

impl<L: Log> Clone for Control<L> {
    fn clone(&self) -> Self {
        Self { log: self.log.clone(), api: Arc::clone(&self.api) }
    }
}

impl<L: Log> Control<L> {
    /// A control plane that stands by, until [`Self::run`] makes it the active one.
    ///
    /// # Errors
    ///
    /// If the certificates with which CloudPayments is asked can't be read, or the view has no place.
    pub async fn new(parts: Parts<L>, cloudpayments: &CloudPaymentsSettings) -> Result<Self, ControlError> {
        let Parts { log, known, sealer, clock, configured, limits, payments, view_dir } = parts;
        let outbound = Outbound::new(cloudpayments.ca_file.as_deref(), clock)?;
        let callback_url = cloudpayments.callback_url.as_deref();
        let cloudpayments = CloudPayments::new(outbound, cloudpayments, clock);
        let directory = payments.view_dir.clone().unwrap_or(view_dir);
        let payments = PaymentParts {
            log: log.clone(),
            known: known.clone(),
            configured: configured.gateways.clone(),
            cloudpayments: cloudpayments.clone(),
            directory: directory.clone(),
            settings: payments,
            clock,
        };
        let no_view = |error| ControlError::View { directory, source: ViewProblem(error) };
        let api = Arc::new(Api {
            store: Store::new(&log, known, PATIENCE),
            payments: Payments::open(payments).await.map_err(no_view)?,
            clients: Api::clients_of(&log),
            events: Api::events_of(&log),
            lanes: Lanes::default(),
            attempts: Attempts::new(&log, attempts::MOST),
            history: History::new(log.clone(), clock),
            turns: Turns::new(),
            cloudpayments,
            callback_url: callback_url.map(|url| url.trim_end_matches('/').to_owned()),
            configured,
            limits,
            sealer,
            clock,
        });
        Ok(Self { log, api })
    }

    /// Takes part in who writes `control` and `payments`, follows how webhooks do, what is attempted and what becomes of
    /// payments, and asks CloudPayments again where it could not be asked, until it is stopped. When this returns, this
    /// control writes no more, and the next one may.
    ///
    /// # Errors
    ///
    /// If the tables `lanes` and `payments` or the journal `attempts` can't be read.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), ReadError> {
        let lead = async {
            let written = Written { store: &self.api.store, payments: &self.api.payments };
            leader::lead(&self.log, &written, stop).await;
            Ok(())
        };
        let view = async {
            tokio::select! {
                followed = lanes::follow(&self.log, &self.api.lanes) => followed?,
                followed = self.api.payments.run() => followed?,
                followed = self.api.attempts.follow(attempts::MOST) => followed?,
                () = graphql::recheck::run(Arc::clone(&self.api), graphql::recheck::EVERY) => {}
                () = stop.cancelled() => {}
            }
            // Whatever ends here, somebody else writes until the process is stopped.
            stop.cancelled().await;
            Ok(())
        };
        tokio::try_join!(lead, view).map(drop)
    }

    /// Whether it is the active one: the others stand by, and answer nothing.
    pub fn is_active(&self) -> bool {
        self.api.store.epoch().is_ok() && self.api.store.registry().is_ok()
    }

    /// What answers GraphQL requests.
    pub fn schema(&self) -> impl Executor {
        graphql::schema(&self.api)
    }

    /// The schema in GraphQL's own language.
    pub fn sdl(&self) -> String {
        graphql::schema(&self.api).sdl()
    }

    /// Seals every secret anew that was not sealed with the key that seals now; how many records were written.
    ///
    /// # Errors
    ///
    /// If this control is not the active one, the log can't be written, or a secret can't be opened.
    pub async fn reseal(&self) -> Result<usize, NotResealed> {
        Ok(self.api.store.reseal(&self.api.sealer).await?)
    }

    /// Compares a gateway's payments with CloudPayments'.
    ///
    /// # Errors
    ///
    /// If this control is not the active one, CloudPayments does not answer, or the log fails.
    pub async fn reconcile(&self, request: &ReconcileRequest) -> Result<Reconciled, ReconcileError> {
        self.api.payments.reconcile(request).await
    }

    /// The same as [`Self::schema`], for tests that look inside.
    #[cfg(test)]
    pub(crate) fn api(&self) -> &Arc<Api<L>> {
        &self.api
    }
}
