//! Follows `control` into memory, and tells everybody of each change.

use std::sync::Arc;
use std::time::Duration;

use hookline_event_log::{Change, Log, Partition, ReadError, Table, TableName, TableWatch};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::seal::Sealer;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::known::Registry;

/// How often what no key opened is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Why the registry can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log can't be read.
    #[error("failed to read the table control")]
    Read(#[from] ReadError),
    /// For those who deliver: its events would be passed by. Everybody else goes on.
    #[error("webhook {webhook} can't be read: a later version has written it, run that one")]
    Unreadable {
        /// Which.
        webhook: WebhookId,
    },
}

/// Follows the table until the log closes. `None` is told until everything has been read that was there at the
/// start: missing means *not ready*, never *no webhooks*.
///
/// # Errors
///
/// If the table can't be read.
pub async fn follow<L: Log>(
    log: L,
    sealer: Sealer,
    told: watch::Sender<Option<Arc<Registry>>>,
) -> Result<(), FollowError> {
    let mut watch = log.table(TableName::Control).watch(&[Partition(0)]);
    let mut registry = Registry::default();
    let mut is_loaded = false;
    let mut again = tokio::time::interval(TRY_AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            change = watch.next() => match change {
                Ok(Change::Entry(entry)) => registry.take(entry, &sealer),
                Ok(Change::Loaded) => is_loaded = true,
                Err(ReadError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
            _ = again.tick(), if registry.has_unopened() => {
                if !registry.open_again(&sealer) {
                    continue;
                }
            }
        }
        if is_loaded {
            told.send_replace(Some(Arc::new(registry.clone())));
        }
    }
}
