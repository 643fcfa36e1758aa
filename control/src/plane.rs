//! The control plane of a process, bound to its address: who calls, what is asked, and who writes.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use hookline_event_log::{Log, ReadError};
use hookline_listener::{BindError, HandedOver};
use hookline_schemas::time::Clock;
use tokio_util::sync::CancellationToken;

use crate::control::{Control, ControlError, Parts};
use crate::http::{Front, Server};
use crate::identity::{IdentityError, Verifier};
use crate::metrics;
use crate::settings::{CloudPaymentsSettings, Settings};

/// Bound; not yet answering.
pub struct ControlPlane<L: Log> {
    control: Control<L>,
    server: Server,
    verifier: Verifier,
    settings: Settings,
    clock: Clock,
}

/// Why it can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It would not know whom to believe.
    #[error("control.tokens")]
    Identity(#[from] IdentityError),
    /// CloudPayments could not be asked, or payments can't be shown.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The address is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl<L: Log> ControlPlane<L> {
    /// Binds the address of the settings, or takes it over. Tokens of a machine without an identity provider are signed by the key in
    /// `local_key_file`, unless the settings name another.
    ///
    /// # Errors
    ///
    /// If a file that the settings name can't be used, or the system does not give the address.
    pub async fn bind(
        parts: Parts<L>,
        handed_over: &HandedOver,
        settings: &Settings,
        cloudpayments: &CloudPaymentsSettings,
        local_key_file: &Path,
    ) -> Result<Self, StartError> {
        let clock = parts.clock;
        let verifier = Verifier::new(&settings.tokens, local_key_file, clock)?;
        let control = Control::new(parts, cloudpayments).await?;
        let server = Server::bind(settings.listen, handed_over).await?;
        Ok(Self { control, server, verifier, settings: settings.clone(), clock })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.server.local_address()
    }

    /// Whether it is the active one: the others stand by.
    pub fn readiness(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let control = self.control.clone();
        move || control.is_active()
    }

    /// Brings the gauges up to date that only a look can tell. For every look at the metrics.
    pub fn metrics(&self) -> impl Fn() + Send + Sync + 'static {
        let control = self.control.clone();
        move || metrics::tell_active(control.is_active())
    }

    /// What is done without a request.
    pub fn control(&self) -> Control<L> {
        self.control.clone()
    }

    /// Answers until `shutdown`, and finishes what is in flight; then gives up writing, so that the next one may.
    ///
    /// # Errors
    ///
    /// If the tables `lanes` and `payments` or the journal `attempts` can't be read.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ReadError> {
        let is_ready = self.readiness();
        let Self { control, server, verifier, settings, clock } = self;
        let front = Front::new(control.schema(), verifier, &settings, is_ready, clock);
        let leading = CancellationToken::new();
        let serving = async {
            server.run(front, shutdown).await;
            leading.cancel();
            Ok(())
        };
        tokio::try_join!(serving, control.run(&leading)).map(drop)
    }
}
