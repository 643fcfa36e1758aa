//! How the endpoints of webhooks do, as the dispatchers last wrote it down. A view: it is shown, and nothing is
//! decided by it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hookline_event_log::{Change, Entry, Log, Partition, ReadError, Table, TableName, TableWatch};
use hookline_schemas::delivery::{BreakerRecord, Disabled, LaneRecord, decode};
use hookline_schemas::ids::WebhookId;

/// What is known of every endpoint. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lanes(Arc<RwLock<HashMap<WebhookId, LaneView>>>);

/// What is known of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneView {
    /// Of which URL, by its fingerprint.
    pub(crate) url: Option<u64>,
    /// Its health.
    pub(crate) breaker: BreakerRecord,
    /// Since when and why it gets nothing.
    pub(crate) disabled: Option<Disabled>,
}

impl Lanes {
    /// What is known of this webhook's.
    pub(crate) fn view(&self, webhook: &WebhookId) -> Option<LaneView> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(webhook).copied()
    }

    /// A late record of a former owner is taken like any other: the owner writes a later one.
    pub(crate) fn take(&self, entry: &Entry) {
        let Some(webhook) = LaneRecord::webhook_of_key(&entry.key) else { return };
        let mut lanes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match entry.value.as_deref().map(decode::<LaneRecord>) {
            Some(Ok(LaneRecord { url, breaker, disabled, .. })) => {
                lanes.insert(webhook, LaneView { url, breaker, disabled });
            }
            // Of a later version, perhaps.
            Some(Err(_)) | None => drop(lanes.remove(&webhook)),
        }
    }
}

/// Follows `lanes` until the log closes.
pub(crate) async fn follow<L: Log>(log: &L, lanes: &Lanes) -> Result<(), ReadError> {
    let table = log.table(TableName::Lanes);
    let partitions: Vec<_> = (0..table.partitions()).map(Partition).collect();
    let mut watch = table.watch(&partitions);
    loop {
        match watch.next().await {
            Ok(Change::Entry(entry)) => lanes.take(&entry),
            Ok(Change::Loaded) => {}
            Err(ReadError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
