//! Quarantine: what was verified but not understood is kept, sealed, before it is answered.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;

use hookline_event_log::{Journal, JournalName, Log, Partition};
use hookline_schemas::delivery::encode;
use hookline_schemas::notification::{BodyFormat, NotificationType};
use hookline_schemas::quarantine::{QuarantinedNotification, key_of, place_of};
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Timestamp;

use crate::answer::Refusal;
use crate::append::refusal;
use crate::verify::VerifiedNotification;

/// How many bodies are remembered, so that their repetitions are not appended again.
const REMEMBERED: usize = 4096;

/// Appends to `quarantine`.
pub(crate) struct Quarantine<L: Log> {
    journal: L::Journal,
    sealer: Sealer,
    durable: Mutex<Remembered>,
}

/// Keys of bodies that are durable in quarantine, the latest ones.
#[derive(Debug, Default)]
struct Remembered {
    keys: HashSet<String>,
    order: VecDeque<String>,
}

impl<L: Log> Quarantine<L> {
    pub(crate) fn new(log: &L, sealer: Sealer) -> Self {
        Self { journal: log.journal(JournalName::Quarantine), sealer, durable: Mutex::default() }
    }

    /// Keeps the notification. Durable when it returns; a repetition of one that was kept lately costs nothing,
    /// an older one is appended again under the same key.
    pub(crate) async fn keep(
        &self,
        notification: &VerifiedNotification,
        kind: NotificationType,
        reason: String,
        accepted_at: Timestamp,
    ) -> Result<(), Refusal> {
        let key = key_of(notification.body());
        if self.remembered().keys.contains(&key) {
            return Ok(());
        }
        let sealed = self.sealer.seal(&place_of(&key), notification.body());
        let record = QuarantinedNotification {
            gateway: notification.gateway().gateway.id.clone(),
            notification: kind,
            json: notification.format() == BodyFormat::Json,
            reason,
            accepted_at,
            sealed_body: QuarantinedNotification::encode_sealed(&sealed),
        };
        let appending = self
            .journal
            .append(Partition(0), key.clone().into(), encode(&record).into())
            .await
            .map_err(refusal)?;
        appending.await.map_err(refusal)?;
        self.remembered().remember(key);
        Ok(())
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        // A panic while the lock was held leaves a set of durable keys all the same.
        self.durable.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Remembered {
    fn remember(&mut self, key: String) {
        if self.keys.insert(key.clone()) {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }
}
