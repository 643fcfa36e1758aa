//! What is old enough is forgotten: payments and top-ups after their retention, and what Check compares with some time
//! after the end of a top-up, so that edges need not hold it for ever.

use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::Log;
use hookline_schemas::payment::TopUpRecord;
use hookline_schemas::time::Timestamp;
use tokio::time::MissedTickBehavior;

use super::Payments;
use super::ledger::of_top_up;
use crate::error::ApiError;
use crate::writer::Put;

/// How often is looked.
const LOOK_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// So many at a time.
const AT_ONCE: usize = 500;

/// Check knows a top-up for so long after its end: its payment may be told of days later, and the edge finds the club that
/// is credited there.
const TOP_UP_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl<L: Log> Payments<L> {
    /// Forgets what is old, while this control writes payments. Never ends.
    pub(super) async fn age(&self) {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if !self.ledger.is_active() {
                continue;
            }
            if let Err(error) = self.forget_aged_by(self.clock.wall()).await {
                tracing::warn!(%error, "old payments are not forgotten yet");
            }
        }
    }

    /// Forgets what is old enough by then.
    pub(crate) async fn forget_aged_by(&self, now: Timestamp) -> Result<(), ApiError> {
        loop {
            let (old, ended) = (now.before(self.settings.retention), now.before(TOP_UP_KEPT));
            let aged = self.view.aged(old, ended, AT_ONCE).await?;
            if aged.payments.is_empty() && aged.ended.is_empty() && aged.old.is_empty() {
                return Ok(());
            }
            // The edges first: what they hold is found by what is written here.
            for top_up in &aged.ended {
                self.top_ups.forget(top_up).await?;
            }
            let forgotten = aged.ended.into_iter().map(|top_up| TopUpRecord { is_forgotten: true, ..top_up });
            let mut puts: Vec<Put> = forgotten.map(|top_up| of_top_up(&top_up)).collect();
            let keys = aged.payments.into_iter().chain(aged.old.iter().map(TopUpRecord::key));
            puts.extend(keys.map(|key| Put { key: Bytes::from(key), value: None }));
            self.ledger.page().await?.write(puts).await?;
        }
    }
}
