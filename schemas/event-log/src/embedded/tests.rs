//! The writer under faults, on a full map, and at work on what has expired.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hookline_schemas::time::Clock;
use rustix::io::Errno;
use tempfile::TempDir;

use super::environment::{Environment, EnvironmentName};
use super::faults::Faults;
use super::{EmbeddedLog, EmbeddedOptions, codec, directory, open};
use crate::{
    AppendError, Appending, CommitError, Epoch, Journal, JournalName, Log, Offset, OpenError, Ownership,
    Partition, PartitionCounts, ReadError, ReadLimit, Reader, Retention, Table, TableName,
};

const MIB: u64 = 1024 * 1024;
const PARTITION: Partition = Partition(0);
const EVERYTHING: ReadLimit = ReadLimit { records: 100_000, bytes: 64 * 1024 * 1024 };
const MOMENT: Duration = Duration::from_millis(100);

fn scratch() -> (TempDir, EmbeddedOptions) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let options = EmbeddedOptions {
        partitions: PartitionCounts { events: 2, lanes: 2 },
        map_size: 64 * MIB,
        reserve: MIB,
        allow_page_cache: true,
        retention: Retention { events: Duration::ZERO, parked: Duration::ZERO, ..Retention::default() },
        ..EmbeddedOptions::new(directory.path())
    };
    (directory, options)
}

fn open_with(
    options: &EmbeddedOptions,
    fault: impl FnMut() -> heed::Result<()> + Send + 'static,
) -> EmbeddedLog {
    let faults = Faults { before_commit: Some(Box::new(fault)) };
    let shared = open::open(options, Clock::start(), faults).expect("the log opens");
    EmbeddedLog { shared: Arc::new(shared) }
}

fn reopen(options: &EmbeddedOptions) -> EmbeddedLog {
    EmbeddedLog::open(options.clone(), Clock::start()).expect("the log opens")
}

async fn accept(log: &EmbeddedLog, name: JournalName, value: Bytes) -> Appending {
    let accepted = log.journal(name).append(PARTITION, Bytes::from_static(b"key"), value).await;
    accepted.expect("accepted")
}

async fn append(log: &EmbeddedLog, length: usize) -> Result<Offset, AppendError> {
    accept(log, JournalName::Events, Bytes::from(vec![b'x'; length])).await.await
}

async fn put(log: &EmbeddedLog, table: TableName) -> Result<Offset, AppendError> {
    let value = Some(Bytes::from_static(b"value"));
    let accepted = log.table(table).put(PARTITION, Bytes::from_static(b"key"), value, Epoch(1)).await;
    accepted.expect("accepted").await
}

async fn commit(log: &EmbeddedLog, offset: u64) -> Result<(), CommitError> {
    let life = log.shared.life;
    log.ownership(JournalName::Events).commit(PARTITION, life, Offset(offset), Bytes::new()).await
}

async fn count(log: &EmbeddedLog, name: JournalName, filter: Option<&'static [u8]>) -> usize {
    let filter = filter.map(Bytes::from_static);
    let read = log.journal(name).read(PARTITION, Offset::START, filter, EVERYTHING).await;
    read.expect("readable").records.len()
}

async fn until_count(log: &EmbeddedLog, name: JournalName, wanted: usize) {
    for _ in 0..500 {
        if count(log, name, None).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} are left in {}, not {wanted}", count(log, name, None).await, name.as_str());
}

#[tokio::test]
async fn nothing_is_acknowledged_or_seen_before_the_commit_returns() {
    let (_directory, options) = scratch();
    let (commits, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (counted, gate) = (Arc::clone(&commits), Arc::clone(&held));
    let log = open_with(&options, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        while gate.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    let mut reader = log.journal(JournalName::Events).follow(PARTITION, Offset::START);
    let mut appending = Vec::new();
    for number in 0..300_u32 {
        appending.push(accept(&log, JournalName::Events, Bytes::from(number.to_string())).await);
    }
    let mut reading = std::pin::pin!(reader.next(EVERYTHING));
    let seen = tokio::time::timeout(MOMENT, reading.as_mut()).await;
    assert!(seen.is_err(), "seen before the commit: {seen:?}");
    for one in &mut appending {
        assert_eq!(
            tokio::task::unconstrained(async { poll_once(one) }).await,
            None,
            "acknowledged before it"
        );
    }
    held.store(false, Ordering::Relaxed);
    for one in appending {
        assert!(one.await.is_ok());
    }
    // The same wait as before: woken too early, it would have found nothing and wait for ever.
    let seen = tokio::time::timeout(MOMENT * 10, reading).await.expect("woken by the commit");
    assert!(!seen.expect("readable").records.is_empty(), "seen after it");
    let commits = commits.load(Ordering::Relaxed);
    assert!(commits <= 3, "what comes during a commit is one batch, not {commits} commits for 300");
    log.close().await;
}

/// Polls once, without a runtime in between.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_failed_sync_ends_the_writer_and_says_so() {
    let (_directory, options) = scratch();
    let failing = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&failing);
    let log = open_with(&options, move || {
        let error = || heed::Error::Io(Errno::IO.into());
        if fails.load(Ordering::Relaxed) { Err(error()) } else { Ok(()) }
    });
    assert!(append(&log, 10).await.is_ok());
    assert!(poll_once(log.failed()).is_none(), "all is well");
    failing.store(true, Ordering::Relaxed);
    assert_eq!(append(&log, 10).await, Err(AppendError::Unknown));
    let failure = tokio::time::timeout(MOMENT * 10, log.failed()).await.expect("the failure is told");
    assert!(failure.reason.contains("commit"), "{}", failure.reason);
    // Even if the disk is well again: what it said yes to can't be trusted.
    failing.store(false, Ordering::Relaxed);
    let journal = log.journal(JournalName::Events);
    let later = journal.append(PARTITION, Bytes::new(), Bytes::new()).await;
    assert!(matches!(later, Err(AppendError::Closed)), "{later:?}");
    assert_eq!(commit(&log, 1).await, Err(CommitError::Closed));
    log.close().await;
    let log = reopen(&options);
    assert_eq!(count(&log, JournalName::Events, None).await, 1, "what was acknowledged is there");
    log.close().await;
}

#[tokio::test]
async fn a_full_disk_refuses_the_batch_and_not_the_commits() {
    for full in [|| heed::Error::Io(Errno::NOSPC.into()), || heed::Error::Mdb(heed::MdbError::MapFull)] {
        let (_directory, options) = scratch();
        let failing = Arc::new(AtomicBool::new(false));
        let fails = Arc::clone(&failing);
        // The first commit of a batch fails, the second try without new data does not.
        let log =
            open_with(
                &options,
                move || {
                    if fails.swap(false, Ordering::Relaxed) { Err(full()) } else { Ok(()) }
                },
            );
        let first = append(&log, 10).await.expect("acknowledged");
        failing.store(true, Ordering::Relaxed);
        let (refused, committed) = tokio::join!(append(&log, 10), commit(&log, 1));
        assert_eq!(refused, Err(AppendError::NoSpace));
        assert_eq!(committed, Ok(()));
        assert_eq!(append(&log, 10).await, Ok(first.next()), "the refused one has taken no offset");
        assert!(poll_once(log.failed()).is_none(), "a full disk is no failure");
        log.close().await;
    }
}

#[tokio::test]
async fn cursors_and_lanes_go_on_in_the_reserve_and_retention_makes_room_again() {
    let (_directory, mut options) = scratch();
    options.map_size = 12 * MIB;
    options.reserve = 4 * MIB;
    let log = reopen(&options);
    let mut last = Offset::START;
    let refused = loop {
        match append(&log, 20_000).await {
            Ok(offset) => last = offset,
            Err(error) => break error,
        }
        assert!(last.0 < 1000, "the map is never full");
    };
    assert_eq!(refused, AppendError::NoSpace);
    assert!(last.0 > 100, "the map holds more than {last:?}");
    for offset in 0..100 {
        assert_eq!(commit(&log, offset).await, Ok(()), "a cursor goes on in the reserve");
        assert!(put(&log, TableName::Lanes).await.is_ok(), "a lane goes on in the reserve");
    }
    assert_eq!(put(&log, TableName::Clients).await, Err(AppendError::NoSpace));
    assert_eq!(count(&log, JournalName::Events, None).await, usize::try_from(last.0).expect("small"));
    log.journal(JournalName::Events).release(PARTITION, last.next());
    until_count(&log, JournalName::Events, 0).await;
    // A value of several pages wants them in a row, which the freed ones are.
    assert!(append(&log, 1000).await.is_ok(), "there is room again");
    log.close().await;
}

#[tokio::test]
async fn retention_keeps_what_is_not_released_over_a_restart() {
    let (_directory, options) = scratch();
    let log = reopen(&options);
    for _ in 0..10 {
        append(&log, 10).await.expect("acknowledged");
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(count(&log, JournalName::Events, None).await, 10, "nothing was released");
    log.journal(JournalName::Events).release(PARTITION, Offset(4));
    log.journal(JournalName::Events).release(PARTITION, Offset(2));
    append(&log, 10).await.expect("the release is written with the next commit");
    log.close().await;
    let log = reopen(&options);
    until_count(&log, JournalName::Events, 8).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(count(&log, JournalName::Events, None).await, 8, "only what was released is gone");
    log.close().await;
}

#[tokio::test]
async fn retention_takes_the_index_along_and_deletes_in_steps() {
    let (_directory, options) = scratch();
    let commits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&commits);
    let log = open_with(&options, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let mut appending = Vec::new();
    for _ in 0..2500 {
        appending.push(accept(&log, JournalName::Parked, Bytes::from_static(b"value")).await);
    }
    for one in appending {
        one.await.expect("acknowledged");
    }
    assert_eq!(count(&log, JournalName::Parked, Some(b"key")).await, 2500);
    let before = commits.load(Ordering::Relaxed);
    log.journal(JournalName::Parked).release(PARTITION, Offset(2400));
    until_count(&log, JournalName::Parked, 101).await;
    let steps = commits.load(Ordering::Relaxed) - before;
    assert_eq!(steps, 3, "2,399 records, at most 1,000 with each commit");
    assert_eq!(count(&log, JournalName::Parked, Some(b"key")).await, 101);
    log.close().await;
    let environment = raw(&options.directory);
    let snapshot = environment.read().expect("a snapshot");
    assert_eq!(environment.parked_by_key().len(&snapshot).expect("counted"), 101);
}

#[tokio::test]
async fn what_nobody_settles_goes_by_age_alone() {
    let (_directory, mut options) = scratch();
    options.retention.dead_letters = Duration::from_millis(300);
    let log = reopen(&options);
    for name in [JournalName::DeadLetters, JournalName::Quarantine] {
        accept(&log, name, Bytes::from_static(b"value")).await.await.expect("acknowledged");
    }
    until_count(&log, JournalName::DeadLetters, 0).await;
    assert_eq!(count(&log, JournalName::Quarantine, None).await, 1, "this one is not old enough");
    log.close().await;
}

#[tokio::test]
async fn attempts_are_synced_at_leisure() {
    let (_directory, mut options) = scratch();
    options.lazy_sync = MOMENT * 4;
    let log = reopen(&options);
    let clock = Clock::start();
    for _ in 0..2 {
        accept(&log, JournalName::Attempts, Bytes::from_static(b"value")).await.await.expect("acknowledged");
    }
    assert!(clock.elapsed() >= MOMENT * 4, "two commits in {:?}", clock.elapsed());
    log.close().await;
}

/// The environment of a closed log, without the log around it.
fn raw(root: &Path) -> Environment {
    let lock = directory::lock(root).expect("the log is closed");
    Environment::open(EnvironmentName::Log, root, 64 * MIB, Arc::new(lock)).expect("it opens")
}

#[tokio::test]
async fn a_changed_byte_is_corrupt_and_nothing_else_is() {
    let (_directory, options) = scratch();
    let log = reopen(&options);
    for name in [JournalName::Events, JournalName::Parked] {
        for _ in 0..3 {
            accept(&log, name, Bytes::from_static(b"value")).await.await.expect("acknowledged");
        }
    }
    log.close().await;
    let environment = raw(&options.directory);
    let mut transaction = environment.write().expect("a transaction");
    for name in [JournalName::Events, JournalName::Parked] {
        let key = codec::record_key(PARTITION, 2);
        let stored = environment.journal(name).get(&transaction, &key).expect("readable").expect("there");
        let mut changed = stored.to_vec();
        *changed.last_mut().expect("not empty") ^= 1;
        environment.journal(name).put(&mut transaction, &key, &changed).expect("written");
    }
    transaction.commit().expect("committed");
    drop(environment);
    let log = reopen(&options);
    let corrupt = Err(ReadError::Corrupt { partition: PARTITION, offset: Offset(2) });
    for (name, filter) in
        [(JournalName::Events, None), (JournalName::Parked, Some(Bytes::from_static(b"key")))]
    {
        let journal = log.journal(name);
        let read = journal.read(PARTITION, Offset::START, filter.clone(), EVERYTHING).await;
        assert_eq!(read, corrupt, "{name:?}");
        let behind = journal.read(PARTITION, Offset(3), filter, EVERYTHING).await;
        assert_eq!(behind.expect("the others are well").records.len(), 1);
    }
    log.close().await;
}

#[tokio::test]
async fn a_table_keeps_one_version_of_each_key() {
    let (_directory, options) = scratch();
    let log = reopen(&options);
    for _ in 0..5 {
        put(&log, TableName::Lanes).await.expect("acknowledged");
    }
    log.close().await;
    let environment = raw(&options.directory);
    let lanes = environment.table(TableName::Lanes);
    let snapshot = environment.read().expect("a snapshot");
    assert_eq!(lanes.entries.len(&snapshot).expect("counted"), 1);
    assert_eq!(lanes.by_version.len(&snapshot).expect("counted"), 1);
}

#[tokio::test]
async fn a_later_format_is_refused() {
    let (_directory, options) = scratch();
    reopen(&options).close().await;
    let environment = raw(&options.directory);
    environment.set_format(codec::FORMAT + 1);
    drop(environment);
    let refused = EmbeddedLog::open(options, Clock::start());
    assert!(matches!(refused, Err(OpenError::Format { stored: 2, supported: 1 })), "{refused:?}");
}
