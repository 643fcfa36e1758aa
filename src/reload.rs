//! SIGHUP: the webhooks become those that the configuration has now. Everything else waits for a restart.

use std::path::PathBuf;
use std::sync::Arc;

use hookline_schemas::webhook::Webhooks;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Reads the configuration again at every SIGHUP, until `end`. One with a problem changes nothing.
pub(crate) async fn follow(
    file: Option<PathBuf>,
    webhooks: watch::Sender<Option<Arc<Webhooks>>>,
    end: CancellationToken,
) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            tracing::warn!(%error, "failed to listen for SIGHUP: webhooks change by a restart alone");
            return end.cancelled().await;
        }
    };
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            Some(()) = hangups.recv() => {}
        }
        match Config::load(file.as_deref()) {
            Ok(config) => {
                for warning in &config.warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(webhooks = config.webhooks.iter().count(), "the webhooks were read again");
                webhooks.send_replace(Some(Arc::new(config.webhooks)));
            }
            Err(error) => tracing::error!(%error, "the webhooks stay as they were"),
        }
    }
}
