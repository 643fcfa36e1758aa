//! The suite that every backend of the log passes, weaker guarantees included.
//!
//! A backend implements [`Harness`] in its tests and expands [`conformance_suite!`](crate::conformance_suite)
//! there: one test per case, each with a log of its own. A case panics with what was promised and not kept.
//! Nothing in it knows a backend; where the ports allow more than one behaviour, so do the cases: offsets
//! may have gaps, a commit may be refused by a fence or be kept, a key may be reported more than once.

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Appending, Batch, Epoch, Journal, JournalName, Log, Offset, Partition, ReadLimit, Reader, Record, Table,
};

pub mod journals;
pub mod ownership;
pub mod tables;

/// How the suite gets at a backend.
pub trait Harness: Send {
    /// The log under test.
    type Log: Log;

    /// Opens a log with nothing in it, with two partitions of `events` and of `lanes` at least.
    fn open(&mut self) -> impl Future<Output = Self::Log> + Send;

    /// Ends a log and opens what it has left, as after a restart. Ownerships that were taken of the log
    /// have been dropped.
    fn reopen(&mut self, log: Self::Log) -> impl Future<Output = Self::Log> + Send;

    /// Makes retention delete the records below an offset of `events`, which has been released, and returns
    /// once they are gone. Those at and above it stay.
    fn expire(
        &mut self,
        log: &Self::Log,
        partition: Partition,
        below: Offset,
    ) -> impl Future<Output = ()> + Send;
}

/// Expands to one test per case of the suite, each against a harness made by the expression: a function from the
/// case's name to the harness, or to `None` where the case is skipped, having said why.
#[macro_export]
macro_rules! conformance_suite {
    ($harness:expr) => {
        $crate::conformance_suite! { @cases $harness,
            journals:
                appends_are_read_back_in_order_and_whole,
                acknowledged_records_survive_a_restart,
                many_appends_are_accepted_before_one_is_acknowledged,
                an_append_whose_acknowledgement_nobody_awaits_is_written,
                a_record_that_is_too_large_is_refused_alone,
                partitions_are_apart,
                a_read_keeps_to_its_limit_but_returns_one_record,
                a_filtered_read_returns_one_key_and_moves_past_the_rest,
                a_filtered_read_finds_what_stands_behind_many_others,
                a_read_beyond_the_end_finds_nothing,
                bounds_enclose_what_is_there,
                a_follower_waits_and_wakes,
                a_follower_keeps_to_its_limit_but_returns_one_record,
                a_wait_that_is_dropped_loses_nothing,
                offsets_are_never_given_out_again,
                a_reader_below_the_retained_range_is_told;
            tables:
                a_watch_reports_entries_then_loaded_then_changes,
                a_watch_over_nothing_is_loaded_at_once,
                the_latest_value_wins_and_a_tombstone_is_an_entry,
                versions_ascend_within_a_partition,
                a_watch_misses_nothing_while_entries_change,
                a_watch_that_is_dropped_while_waiting_loses_nothing,
                a_late_put_by_a_deposed_owner_is_judged_late;
            ownership:
                every_partition_is_granted_once_with_a_greater_epoch_in_each_life,
                a_commit_is_returned_by_the_next_life,
                a_commit_under_an_old_epoch_is_fenced,
                a_late_commit_may_rewind_and_never_skips,
                one_alone_writes_control_with_a_greater_epoch_in_each_life;
        }
    };
    (@cases $harness:expr, $($module:ident: $($case:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let harness = $harness;
                if let Some(mut harness) = harness(stringify!($case)) {
                    $crate::conformance::$module::$case(&mut harness).await;
                }
            }
        )+)+
    };
}

/// More than any case reads.
const EVERYTHING: ReadLimit = ReadLimit { records: 10_000, bytes: 64 * 1024 * 1024 };
/// After this, what was waited for is not going to happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// After this, what must not happen is taken not to.
const MOMENT: Duration = Duration::from_millis(100);
/// An epoch for puts that nobody judges.
const ANY_EPOCH: Epoch = Epoch(1);

/// What a future gives at its first poll; if it has to wait, it is dropped.
async fn polled_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} took more than {PATIENCE:?}"))
}

async fn acknowledged(appending: Appending) -> Offset {
    within("an acknowledgement", appending).await.expect("an accepted append is acknowledged")
}

async fn accept<J: Journal>(journal: &J, partition: Partition, key: &str, value: &str) -> Appending {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
    within("accepting", journal.append(partition, key, value)).await.expect("an append is accepted")
}

async fn append<J: Journal>(journal: &J, partition: Partition, key: &str, value: &str) -> Offset {
    acknowledged(accept(journal, partition, key, value).await).await
}

/// Appends `value 0`, `value 1`, … under the keys `key 0` to `key 2` in turn; returns their offsets.
async fn append_many<J: Journal>(journal: &J, partition: Partition, count: usize) -> Vec<Offset> {
    let mut appending = Vec::with_capacity(count);
    for number in 0..count {
        let (key, value) = (format!("key {}", number % 3), format!("value {number}"));
        appending.push(accept(journal, partition, &key, &value).await);
    }
    let mut offsets = Vec::with_capacity(count);
    for one in appending {
        offsets.push(acknowledged(one).await);
    }
    offsets
}

async fn put<T: Table>(
    table: &T,
    partition: Partition,
    key: &str,
    value: Option<&str>,
    epoch: Epoch,
) -> Offset {
    let (key, value) = (Bytes::from(key.to_owned()), value.map(|value| Bytes::from(value.to_owned())));
    let putting = within("accepting", table.put(partition, key, value, epoch)).await;
    acknowledged(putting.expect("a put is accepted")).await
}

async fn read<J: Journal>(journal: &J, partition: Partition, from: Offset, filter: Option<&str>) -> Batch {
    let filter = filter.map(|key| Bytes::from(key.to_owned()));
    let read = within("a read", journal.read(partition, from, filter, EVERYTHING)).await;
    read.expect("what was appended can be read")
}

async fn follow<R: Reader>(reader: &mut R, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let batch = within("following", reader.next(EVERYTHING)).await.expect("a partition can be followed");
        assert!(!batch.records.is_empty(), "a follower returns only with records");
        records.extend(batch.records);
    }
    records
}

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
}

fn offsets(records: &[Record]) -> Vec<Offset> {
    records.iter().map(|record| record.offset).collect()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("value {number}")).collect()
}

fn assert_ascending(offsets: &[Offset]) {
    assert!(offsets.is_sorted_by(|one, next| one < next), "offsets ascend: {offsets:?}");
    assert!(offsets.iter().all(|offset| *offset >= Offset::START), "no offset is below the start");
}

/// The journal that most cases use.
fn events<L: Log>(log: &L) -> L::Journal {
    log.journal(JournalName::Events)
}
