//! Events that begin here: they go the way of all others.

use hookline_event_log::{AppendError, Appending, Journal, partition_of};
use hookline_schemas::event::{Event, partition_key};

/// Hands an event to the log, in the partition of its payment. It is durable once what is returned resolves.
///
/// # Errors
///
/// If the log does not take it: nothing was written.
pub(crate) async fn hand_over<J: Journal>(events: &J, event: &Event) -> Result<Appending, AppendError> {
    let key = partition_key(event);
    let partition = partition_of(key.as_bytes(), events.partitions());
    events.append(partition, key.into(), event.encode().into()).await
}
