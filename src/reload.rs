//! SIGHUP: the keys that seal become those of the key file; gateways, webhooks, the filter of log lines and the edge's
//! certificate those that the configuration names now. Everything else waits for a restart, and is named if it differs.

use std::path::PathBuf;
use std::sync::Arc;

use hookline_ingest::Tls;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::{Readiness, have_started};
use crate::config::{Config, Sections};
use crate::key::Keys;
use crate::registered::Configured;
use crate::service_manager;
use crate::telemetry::LogFilter;
use crate::telemetry::process::RELOADS;

/// What changes while the process runs.
pub(crate) struct Reload {
    /// The configuration.
    pub(crate) file: Option<PathBuf>,
    /// What it said at the start.
    pub(crate) sections: Sections,
    /// What seals.
    pub(crate) keys: Keys,
    /// Gateways and webhooks of the configuration.
    pub(crate) configured: watch::Sender<Arc<Configured>>,
    /// The edge's certificate, where it speaks TLS.
    pub(crate) tls: Option<Tls>,
    /// Which log lines are written.
    pub(crate) filter: LogFilter,
    /// Whether there is an edge: nobody else has its certificate.
    pub(crate) has_edge: bool,
    /// The roles by name: a process that has not started has nothing to tell of reloads.
    pub(crate) roles: Arc<[(&'static str, Readiness)]>,
    /// SIGHUPs.
    pub(crate) hangups: Signal,
    /// Whether there is a control plane: it keeps the gateways and webhooks of the start.
    pub(crate) has_control: bool,
}

impl Reload {
    /// Reads everything again at every SIGHUP, until `end`. A file with a problem changes nothing, and does not keep the
    /// others from being read.
    pub(crate) async fn follow(mut self, end: CancellationToken) {
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                Some(()) = self.hangups.recv() => {}
            }
            // Until then it is not ready, and must not say so.
            let has_started = have_started(&self.roles);
            if has_started {
                service_manager::reloading();
            }
            // First, so that whoever seals with a new key finds nobody who can't open it.
            let are_good = [self.read_keys(), self.read_configuration()];
            let outcome = if are_good == [true, true] { "ok" } else { "failed" };
            metrics::counter!(RELOADS, "outcome" => outcome).increment(1);
            if has_started {
                service_manager::reloaded();
            }
        }
    }

    fn read_keys(&self) -> bool {
        let read = self.keys.read_again();
        match &read {
            Ok(keys) => tracing::info!(keys, "the sealing keys were read again"),
            Err(error) => {
                let error: &dyn std::error::Error = error;
                tracing::error!(error, "the sealing keys stay as they were");
            }
        }
        read.is_ok()
    }

    fn read_configuration(&self) -> bool {
        let config = match Config::load(self.file.as_deref()) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, "gateways and the webhooks stay as they were");
                return false;
            }
        };
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let waiting = self.sections.wait_for_restart(&config.sections);
        if !waiting.is_empty() {
            tracing::warn!(keys = %waiting.join(", "), "changed, and counts after a restart alone");
        }
        // Both, whatever becomes of the first.
        let are_good = [self.read_filter(&config), self.read_certificate(&config)];
        self.tell(config);
        are_good == [true, true]
    }

    fn read_filter(&self, config: &Config) -> bool {
        let set = self.filter.set(&config.telemetry);
        if let Err(error) = &set {
            tracing::error!(%error, "telemetry.log_filter stays as it was");
        }
        set.is_ok()
    }

    fn read_certificate(&self, config: &Config) -> bool {
        match (&self.tls, &config.ingest.tls) {
            _ if !self.has_edge => true,
            (None, None) => true,
            (Some(tls), Some(settings)) => {
                let read = tls.read_again(settings);
                if let Err(error) = &read {
                    let error: &dyn std::error::Error = error;
                    tracing::error!(error, "the edge's certificate stays as it was");
                }
                read.is_ok()
            }
            (Some(_), None) | (None, Some(_)) => {
                tracing::warn!("ingest.tls counts after a restart alone where it comes or goes");
                true
            }
        }
    }

    fn tell(&self, config: Config) {
        let configured = Configured::new(&config.gateways, config.webhooks);
        let (gateways, webhooks) = (configured.gateways.len(), configured.webhooks.iter().count());
        tracing::info!(gateways, webhooks, "the gateways and the webhooks were read again");
        let has_changed = self.configured.borrow().gateways != configured.gateways;
        if self.has_control && has_changed {
            tracing::warn!(
                "the control plane shows, and asks CloudPayments for, the gateways of the start until a restart"
            );
        }
        self.configured.send_replace(Arc::new(configured));
    }
}
