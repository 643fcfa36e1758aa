//! SIGHUP: the keys that seal become those of the key file, the webhooks those that the configuration has now.
//! Everything else waits for a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hookline_schemas::webhook::Webhooks;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::key::Keys;

/// Reads both again at every SIGHUP, until `end`. A file with a problem changes nothing, and does not keep the other
/// from being read.
pub(crate) async fn follow(
    file: Option<PathBuf>,
    keys: Keys,
    webhooks: watch::Sender<Arc<Webhooks>>,
    end: CancellationToken,
) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            tracing::warn!(%error, "failed to listen for SIGHUP: webhooks and keys change by a restart alone");
            return end.cancelled().await;
        }
    };
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            Some(()) = hangups.recv() => {}
        }
        // First, so that whoever seals with a new key finds nobody who can't open it.
        read_keys(&keys);
        read_webhooks(file.as_deref(), &webhooks);
    }
}

fn read_keys(keys: &Keys) {
    match keys.read_again() {
        Ok(keys) => tracing::info!(keys, "the sealing keys were read again"),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the sealing keys stay as they were");
        }
    }
}

fn read_webhooks(file: Option<&Path>, webhooks: &watch::Sender<Arc<Webhooks>>) {
    match Config::load(file) {
        Ok(config) => {
            for warning in &config.warnings {
                tracing::warn!("{warning}");
            }
            tracing::info!(webhooks = config.webhooks.iter().count(), "the webhooks were read again");
            webhooks.send_replace(Arc::new(config.webhooks));
        }
        Err(error) => tracing::error!(%error, "the webhooks stay as they were"),
    }
}
