//! Appending an event: the point at which a notification becomes ours.
//!
//! When [`Appender::append`] returns, the event is durable. If the process dies at one of its waits, no
//! answer has left, and CloudPayments sends the notification again.

use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::{AppendError, Journal, JournalName, Log, Partition, Table, TableName, partition_of};
use hookline_schemas::check::{DirectoryKey, TopUp};
use hookline_schemas::delivery::encode;
use hookline_schemas::event::{Event, EventType, partition_key};
use hookline_schemas::payload::EventData;
use hookline_schemas::time::Clock;
use metrics::Histogram;

use crate::answer::Refusal;
use crate::directory::{Directory, EDGE_EPOCH};

/// Appends to `events`, and marks top-ups as paid beside it.
pub(crate) struct Appender<L: Log> {
    events: L::Journal,
    top_ups: L::Table,
    clock: Clock,
    wait_seconds: Histogram,
}

impl<L: Log> Appender<L> {
    /// The histogram takes how long the log makes events wait.
    pub(crate) fn new(log: &L, clock: Clock, wait_seconds: Histogram) -> Self {
        let (events, top_ups) = (log.journal(JournalName::Events), log.table(TableName::TopUps));
        Self { events, top_ups, clock, wait_seconds }
    }

    /// Appends the event, encoded as `record`. A payment received, or a hold, for a top-up marks it as paid: the mark is handed to
    /// the log right behind the event, so one sync covers both, and a second payment is refused at Check. Returns when
    /// the log had taken the event, by the steady clock; from `began` until then it has waited, whatever becomes of it.
    pub(crate) async fn append(
        &self,
        event: &Event,
        record: Bytes,
        top_up: Option<(DirectoryKey, TopUp)>,
        directory: &Directory,
        began: Duration,
    ) -> Result<Duration, Refusal> {
        let key = partition_key(event);
        let partition = partition_of(key.as_bytes(), self.events.partitions());
        let appending = self.events.append(partition, key.into(), record).await.map_err(refusal)?;
        let taken_at = self.clock.elapsed();
        self.wait_seconds.record(taken_at.saturating_sub(began));
        let paid = top_up.filter(|(_, top_up)| !top_up.paid && pays(event, top_up));
        let marking = match paid {
            Some((key, top_up)) => {
                let value = encode(&TopUp { paid: true, ..top_up });
                let put = self.top_ups.put(
                    Partition(0),
                    Bytes::copy_from_slice(&key.0),
                    Some(value.into()),
                    EDGE_EPOCH,
                );
                Some((key, put.await.map_err(refusal)?))
            }
            None => None,
        };
        appending.await.map_err(refusal)?;
        if let Some((key, marking)) = marking {
            marking.await.map_err(refusal)?;
            directory.mark_paid(key);
        }
        Ok(taken_at)
    }
}

/// Whether the event takes the top-up: real money, in the sum that was asked for. A hold does so as well; when
/// it is released, the top-up is over.
fn pays(event: &Event, top_up: &TopUp) -> bool {
    let takes = matches!(event.event_type, EventType::PaymentReceived | EventType::PaymentAuthorized);
    let EventData::Payment(data) = &event.data else { return false };
    takes
        && !data.test_mode
        && data.amount == top_up.amount
        && data.currency.as_deref() == Some(&top_up.currency)
}

/// Whatever the log says, the notification is sent again.
pub(crate) fn refusal(error: AppendError) -> Refusal {
    match error {
        AppendError::TooLarge(_) => Refusal::TooLarge,
        AppendError::NoSpace | AppendError::Closed | AppendError::Unknown => Refusal::LogNotWritable,
    }
}
