//! The partition counts as the log was created with them: an entry of `control` that no watch reports.
//!
//! Topics alone could be given more partitions by anybody; keys would move, and lose their order.

use bytes::Bytes;

use super::KafkaLog;
use super::queries::Stretch;
use crate::{Epoch, Log, Offset, OpenError, Partition, PartitionCounts, ReadLimit, Table, TableName};

/// Its key: no object's id begins like it.
pub(super) const COUNTS_KEY: &[u8] = b"\0partition-counts";
/// The format of everything in the topics.
const FORMAT: u32 = 1;
/// `control` is small.
const WHOLE: ReadLimit = ReadLimit { records: 1000, bytes: 1024 * 1024 };

/// Compares the counts with those that the log was created with; the first process writes them down.
pub(super) async fn check(log: &KafkaLog, counts: PartitionCounts) -> Result<(), OpenError> {
    if let Some(stored) = stored(log).await? {
        return compare(&stored, counts);
    }
    let value = Bytes::from(format!("{FORMAT} {} {}", counts.events, counts.lanes));
    let table = log.table(TableName::Control);
    let put = table.put(Partition(0), Bytes::from_static(COUNTS_KEY), Some(value), Epoch(0)).await;
    let appending = put.map_err(|error| unreadable(log, &error))?;
    appending.await.map_err(|error| unreadable(log, &error))?;
    // Another process may have written down others at the same moment: the topics' own counts tell then.
    match stored(log).await? {
        Some(stored) => compare(&stored, counts),
        None => Err(unreadable(log, &"the partition counts were written and are not there")),
    }
}

async fn stored(log: &KafkaLog) -> Result<Option<Bytes>, OpenError> {
    let topic = log.shared.topics.table(TableName::Control).name.to_string();
    let queries = log.shared.queries().map_err(|error| unreadable(log, &error))?;
    let (mut from, mut latest) = (Offset::START, None);
    loop {
        let filter = Some(Bytes::from_static(COUNTS_KEY));
        let asked = Stretch { topic: topic.clone(), partition: Partition(0), from, filter, limit: WHOLE };
        let batch = queries.stretch(asked).await.map_err(|error| unreadable(log, &error))?;
        match batch.records.into_iter().next_back() {
            Some(record) => (from, latest) = (batch.next, Some(record.value)),
            None => return Ok(latest),
        }
    }
}

fn compare(stored: &[u8], counts: PartitionCounts) -> Result<(), OpenError> {
    let text = String::from_utf8_lossy(stored);
    let mut numbers = text.split(' ').map(|number| number.parse::<u32>().unwrap_or(u32::MAX));
    let (format, events, lanes) = (numbers.next(), numbers.next(), numbers.next());
    if format != Some(FORMAT) {
        return Err(OpenError::Format { stored: format.unwrap_or(u32::MAX), supported: FORMAT });
    }
    let pairs = [("events", events, counts.events), ("lanes", lanes, counts.lanes)];
    for (name, stored, configured) in pairs {
        if stored != Some(u32::from(configured)) {
            let stored = stored.and_then(|stored| u16::try_from(stored).ok()).unwrap_or(u16::MAX);
            return Err(OpenError::PartitionMismatch { name, stored, configured });
        }
    }
    Ok(())
}

fn unreadable(log: &KafkaLog, reason: &impl ToString) -> OpenError {
    OpenError::Topic {
        topic: log.shared.topics.table(TableName::Control).name.to_string(),
        problem: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_counts_and_other_formats_are_refused() {
        let counts = PartitionCounts { events: 16, lanes: 64 };
        assert!(compare(b"1 16 64", counts).is_ok());
        let mismatch = |stored: &[u8]| match compare(stored, counts) {
            Err(OpenError::PartitionMismatch { name, stored, .. }) => Some((name, stored)),
            _ => None,
        };
        assert_eq!(mismatch(b"1 32 64"), Some(("events", 32)));
        assert_eq!(mismatch(b"1 16 8"), Some(("lanes", 8)));
        assert!(matches!(compare(b"2 16 64", counts), Err(OpenError::Format { stored: 2, .. })));
        assert!(matches!(compare(b"", counts), Err(OpenError::Format { .. })));
    }
}
