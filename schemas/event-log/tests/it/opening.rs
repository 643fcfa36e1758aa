//! Opening: what is refused, and what survives.

use bytes::Bytes;
use hookline_event_log::{
    AppendError, Journal, JournalName, Log, OpenError, Partition, PartitionCounts, ReadError,
};
use hookline_event_log::{Offset, ReadLimit, Reader};

use crate::scratch::Scratch;

const LIMIT: ReadLimit = ReadLimit { records: 10, bytes: 1024 };

#[tokio::test]
async fn a_second_log_in_the_same_directory_is_refused_until_the_first_is_closed() {
    let scratch = Scratch::new();
    let log = scratch.open();
    assert!(matches!(scratch.try_open(), Err(OpenError::Locked { .. })));
    log.close().await;
    let again = scratch.try_open().expect("the lock was let go of");
    again.close().await;
}

#[tokio::test]
async fn other_partition_counts_are_refused_by_name() {
    let mut scratch = Scratch::new();
    scratch.open().close().await;
    let created = scratch.options.partitions;
    let cases = [
        (PartitionCounts { events: 5, ..created }, "events", created.events, 5),
        (PartitionCounts { lanes: 7, ..created }, "lanes", created.lanes, 7),
    ];
    for (counts, expected, expected_stored, expected_configured) in cases {
        scratch.options.partitions = counts;
        match scratch.try_open() {
            Err(OpenError::PartitionMismatch { name, stored, configured }) => {
                assert_eq!((name, stored, configured), (expected, expected_stored, expected_configured));
            }
            other => panic!("{counts:?} was not refused: {other:?}"),
        }
    }
    scratch.options.partitions = created;
    scratch.open().close().await;
}

#[tokio::test]
async fn a_closed_log_writes_what_it_had_accepted_and_refuses_the_rest() {
    let scratch = Scratch::new();
    let log = scratch.open();
    let journal = log.journal(JournalName::Events);
    let value = || Bytes::from_static(b"value");
    let accepted = journal.append(Partition(0), Bytes::new(), value()).await.expect("accepted");
    let mut reader = journal.follow(Partition(0), Offset(100));
    let lazily = log.journal(JournalName::Attempts);
    let attempt = lazily.append(Partition(0), Bytes::new(), value()).await.expect("accepted");
    log.close().await;
    assert!(accepted.await.is_ok());
    assert!(attempt.await.is_ok());
    assert!(matches!(journal.append(Partition(0), Bytes::new(), value()).await, Err(AppendError::Closed)));
    assert_eq!(journal.bounds(Partition(0)).await, Err(ReadError::Closed));
    assert_eq!(reader.next(LIMIT).await, Err(ReadError::Closed));
    log.close().await;

    let again = scratch.open();
    for name in [JournalName::Events, JournalName::Attempts] {
        let found = again.journal(name).read(Partition(0), Offset::START, None, LIMIT).await;
        assert_eq!(found.expect("it can be read").records.len(), 1, "{name:?}");
    }
    again.close().await;
}
