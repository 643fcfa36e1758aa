//! What every journal keeps.

use bytes::Bytes;

use super::{
    EVERYTHING, Harness, MOMENT, accept, acknowledged, append, append_many, assert_ascending, events, follow,
    numbered, offsets, polled_once, read, values, within,
};
use crate::{AppendError, Batch, Journal, JournalName, Log, Offset, Partition, ReadError, ReadLimit, Reader};

const FIRST: Partition = Partition(0);
const SECOND: Partition = Partition(1);

/// What is appended to a partition comes back in that order, with key, value, offset and time.
pub async fn appends_are_read_back_in_order_and_whole<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    for name in JournalName::ALL {
        let journal = log.journal(name);
        let given = append_many(&journal, FIRST, 10).await;
        let batch = read(&journal, FIRST, Offset::START, None).await;
        assert_eq!(values(&batch.records), numbered(0..10), "{name:?} returns every value in order");
        assert_eq!(offsets(&batch.records), given, "{name:?} returns the offsets that were acknowledged");
        let keys: Vec<&Bytes> = batch.records.iter().take(4).map(|record| &record.key).collect();
        assert_eq!(keys, ["key 0", "key 1", "key 2", "key 0"], "{name:?} returns the keys");
        let times: Vec<_> = batch.records.iter().map(|record| record.appended_at).collect();
        assert!(times.is_sorted() && times.iter().all(|time| time.0 > 0), "{name:?} returns the times");
        assert!(given.last().is_some_and(|last| batch.next > *last), "{name:?} goes on behind the last");
    }
}

/// What was acknowledged is there after a restart, and the journal goes on behind it.
pub async fn acknowledged_records_survive_a_restart<H: Harness>(harness: &mut H) {
    let mut log = harness.open().await;
    for life in 0..3 {
        for number in life * 5..life * 5 + 5 {
            append(&events(&log), FIRST, "key", &format!("value {number}")).await;
        }
        log = harness.reopen(log).await;
        let batch = read(&events(&log), FIRST, Offset::START, None).await;
        assert_eq!(values(&batch.records), numbered(0..life * 5 + 5), "everything acknowledged survives");
    }
}

/// Accepting and acknowledging are two stages: the order of acceptance is the order of the offsets.
pub async fn many_appends_are_accepted_before_one_is_acknowledged<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let offsets = append_many(&events(&log), FIRST, 500).await;
    assert_ascending(&offsets);
    let batch = read(&events(&log), FIRST, Offset::START, None).await;
    assert_eq!(values(&batch.records), numbered(0..500));
}

/// Dropping the second stage does not take back the first.
pub async fn an_append_whose_acknowledgement_nobody_awaits_is_written<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    drop(accept(&events(&log), FIRST, "key", "value 0").await);
    append(&events(&log), FIRST, "key", "value 1").await;
    let batch = read(&events(&log), FIRST, Offset::START, None).await;
    assert_eq!(values(&batch.records), numbered(0..2));
}

/// A record above the limit is refused before anything happens; the next one is not affected.
pub async fn a_record_that_is_too_large_is_refused_alone<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let journal = events(&log);
    let key = Bytes::from_static(b"key");
    let large = Bytes::from(vec![b'x'; 1024 * 1024]);
    let too_large = Bytes::from(vec![b'x'; 1024 * 1024 + 1]);
    let refused = within("refusing", journal.append(FIRST, key.clone(), too_large)).await;
    assert!(
        matches!(refused, Err(AppendError::TooLarge(_))),
        "a record of more than 1 MiB is refused, not {refused:?}"
    );
    let accepted = within("accepting", journal.append(FIRST, key, large.clone())).await;
    acknowledged(accepted.expect("a record of 1 MiB is accepted")).await;
    let batch = read(&journal, FIRST, Offset::START, None).await;
    assert_eq!(batch.records.len(), 1, "only the accepted record is there");
    assert!(batch.records.iter().all(|record| record.value == large), "it comes back whole");
}

/// A partition holds its own records and no others.
pub async fn partitions_are_apart<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let journal = events(&log);
    append(&journal, FIRST, "key", "first").await;
    append(&journal, SECOND, "key", "second").await;
    append(&log.journal(JournalName::Parked), FIRST, "key", "parked").await;
    let first = read(&journal, FIRST, Offset::START, None).await;
    let second = read(&journal, SECOND, Offset::START, None).await;
    assert_eq!(values(&first.records), ["first"]);
    assert_eq!(values(&second.records), ["second"]);
}

/// Reads in steps return everything once; a limit below one record still returns one.
pub async fn a_read_keeps_to_its_limit_but_returns_one_record<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let journal = events(&log);
    append_many(&journal, FIRST, 10).await;
    let limits = [(3, usize::MAX), (usize::MAX, 1), (usize::MAX, 40), (1, 1)];
    for (records, bytes) in limits {
        let limit = ReadLimit { records, bytes };
        let (mut from, mut found) = (Offset::START, Vec::new());
        loop {
            let read = within("a read", journal.read(FIRST, from, None, limit)).await;
            let Batch { records: step, next } = read.expect("it can be read");
            if step.is_empty() {
                break;
            }
            let size: usize = step.iter().map(|record| record.key.len() + record.value.len()).sum();
            assert!(step.len() <= records, "{limit:?} is kept");
            assert!(size <= bytes || step.len() == 1, "{limit:?} is kept unless by one record alone");
            assert!(next > from, "a read that returns records moves on");
            from = next;
            found.extend(step);
        }
        assert_eq!(values(&found), numbered(0..10), "{limit:?} returns everything once");
    }
}

/// A filter returns the records of one key; where it goes on is behind everything that it looked at.
pub async fn a_filtered_read_returns_one_key_and_moves_past_the_rest<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    for name in [JournalName::Parked, JournalName::DeadLetters] {
        let journal = log.journal(name);
        let given = append_many(&journal, FIRST, 30).await;
        append(&journal, SECOND, "key 1", "of another partition").await;
        let batch = read(&journal, FIRST, Offset::START, Some("key 1")).await;
        let expected: Vec<String> = (0..30).filter(|n| n % 3 == 1).map(|n| format!("value {n}")).collect();
        assert_eq!(values(&batch.records), expected, "{name:?} returns the key and no other");
        let last = given.last().copied().expect("thirty were appended");
        assert!(batch.next > last, "{name:?} need not look at the others again");
        let none = read(&journal, FIRST, batch.next, Some("key 1")).await;
        assert!(none.records.is_empty(), "{name:?} has no more of it");
        let unknown = read(&journal, FIRST, Offset::START, Some("key")).await;
        assert!(unknown.records.is_empty(), "{name:?} matches whole keys");
        let middle = given.get(15).copied().expect("thirty were appended");
        let later = read(&journal, FIRST, middle, Some("key 1")).await;
        assert_eq!(
            values(&later.records),
            expected.get(5..).unwrap_or_default(),
            "{name:?} begins where asked"
        );
        let limit = ReadLimit { records: 4, bytes: usize::MAX };
        let filter = Some(Bytes::from_static(b"key 1"));
        let some = within("a read", journal.read(FIRST, Offset::START, filter, limit)).await;
        let some = some.expect("it can be read");
        let rest = read(&journal, FIRST, some.next, Some("key 1")).await;
        assert_eq!(some.records.len(), 4, "{name:?} keeps to the limit");
        assert_eq!(
            values(&rest.records),
            expected.get(4..).unwrap_or_default(),
            "{name:?} goes on behind it"
        );
    }
}

/// However many others stand before it, an empty batch means that there is none.
pub async fn a_filtered_read_finds_what_stands_behind_many_others<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let journal = log.journal(JournalName::DeadLetters);
    let mut appending = Vec::new();
    for _ in 0..20_000 {
        appending.push(accept(&journal, FIRST, "key 0", "other").await);
    }
    for other in appending {
        acknowledged(other).await;
    }
    append(&journal, FIRST, "key 1", "value 0").await;
    let batch = read(&journal, FIRST, Offset::START, Some("key 1")).await;
    assert_eq!(values(&batch.records), numbered(0..1));
}

/// Nothing there is an empty batch at the same place, not an error and not a wait.
pub async fn a_read_beyond_the_end_finds_nothing<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let journal = events(&log);
    let empty = read(&journal, FIRST, Offset::START, None).await;
    assert_eq!(empty, Batch { records: Vec::new(), next: Offset::START });
    let last = append(&journal, FIRST, "key", "value 0").await;
    let beyond = read(&journal, FIRST, last.next(), None).await;
    assert_eq!(beyond, Batch { records: Vec::new(), next: last.next() });
    let far = Offset(last.0 + 1_000_000);
    assert!(read(&journal, FIRST, far, None).await.records.is_empty(), "nothing is far beyond the end");
}

/// The bounds enclose what can be read: equal where nothing can.
pub async fn bounds_enclose_what_is_there<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let journal = events(&log);
    let empty = within("bounds", journal.bounds(FIRST)).await.expect("bounds can be read");
    assert_eq!(empty.first, empty.end, "an empty partition has equal bounds");
    let given = append_many(&journal, FIRST, 7).await;
    let full = within("bounds", journal.bounds(FIRST)).await.expect("bounds can be read");
    assert!(
        given.iter().all(|offset| full.first <= *offset && *offset < full.end),
        "{full:?} encloses {given:?}"
    );
    let all = read(&journal, FIRST, full.first, None).await;
    assert_eq!(all.records.len(), 7, "everything stands at or above the first offset");
}

/// A follower returns what is there, then waits, and wakes for what comes.
pub async fn a_follower_waits_and_wakes<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let journal = events(&log);
    let mut reader = journal.follow(FIRST, Offset::START);
    let early = tokio::time::timeout(MOMENT, reader.next(EVERYTHING)).await;
    assert!(early.is_err(), "a follower of an empty partition waits: {early:?}");
    append_many(&journal, FIRST, 3).await;
    assert_eq!(values(&follow(&mut reader, 3).await), numbered(0..3));
    append(&journal, SECOND, "key", "of another partition").await;
    let idle = tokio::time::timeout(MOMENT, reader.next(EVERYTHING)).await;
    assert!(idle.is_err(), "a follower waits for its own partition: {idle:?}");
    let (woken, _) = tokio::join!(follow(&mut reader, 1), async {
        tokio::time::sleep(MOMENT).await;
        append(&journal, FIRST, "key", "value 3").await
    });
    assert_eq!(values(&woken), numbered(3..4));
    let from = woken.first().map(|record| record.offset).expect("one record");
    let mut second = journal.follow(FIRST, from);
    assert_eq!(values(&follow(&mut second, 1).await), numbered(3..4), "a follower begins where it is told");
}

/// A follower takes no more than it has room for, one record at least, and goes on behind it.
pub async fn a_follower_keeps_to_its_limit_but_returns_one_record<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let journal = events(&log);
    append_many(&journal, FIRST, 10).await;
    for (records, bytes) in [(3, usize::MAX), (usize::MAX, 1), (usize::MAX, 40), (1, 1)] {
        let limit = ReadLimit { records, bytes };
        let (mut reader, mut found) = (journal.follow(FIRST, Offset::START), Vec::new());
        while found.len() < 10 {
            let batch = within("following", reader.next(limit)).await.expect("a partition can be followed");
            let size: usize = batch.records.iter().map(|record| record.key.len() + record.value.len()).sum();
            assert!(batch.records.len() <= records, "{limit:?} is kept");
            assert!(
                size <= bytes || batch.records.len() == 1,
                "{limit:?} is kept unless by one record alone"
            );
            found.extend(batch.records);
        }
        assert_eq!(values(&found), numbered(0..10), "{limit:?} returns everything once");
    }
}

/// A wait may be given up at any moment, time and again, without losing or repeating a record.
pub async fn a_wait_that_is_dropped_loses_nothing<H: Harness>(harness: &mut H) {
    const COUNT: usize = 200;
    let log = harness.open().await;
    let journal = events(&log);
    let mut reader = journal.follow(FIRST, Offset::START);
    let limit = ReadLimit { records: 3, bytes: usize::MAX };
    let following = async {
        let mut found = Vec::new();
        let mut dropped = 0_u32;
        while found.len() < COUNT {
            // Dropped after one poll, then after some, and sometimes let through.
            let mut batch = polled_once(reader.next(limit)).await;
            if batch.is_none() {
                dropped += 1;
                let patience = std::time::Duration::from_micros(u64::from(dropped % 8) * 100);
                batch = tokio::time::timeout(patience, reader.next(limit)).await.ok();
            }
            if let Some(batch) = batch {
                found.extend(batch.expect("a partition can be followed").records);
            }
        }
        (found, dropped)
    };
    let appending = async {
        for number in 0..COUNT {
            append(&journal, FIRST, "key", &format!("value {number}")).await;
        }
    };
    let ((found, dropped), ()) = within("following", async { tokio::join!(following, appending) }).await;
    assert!(dropped > 0, "some waits were dropped");
    assert_eq!(values(&found), numbered(0..COUNT), "after {dropped} dropped waits everything came once");
}

/// Offsets ascend over restarts, and where retention has emptied a partition they go on above it.
pub async fn offsets_are_never_given_out_again<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let mut given = append_many(&events(&log), FIRST, 5).await;
    let log = harness.reopen(log).await;
    given.extend(append_many(&events(&log), FIRST, 5).await);
    let end = given.last().copied().expect("ten were appended").next();
    events(&log).release(FIRST, end);
    harness.expire(&log, FIRST, end).await;
    given.extend(append_many(&events(&log), FIRST, 1).await);
    let end = given.last().copied().expect("eleven were appended").next();
    events(&log).release(FIRST, end);
    harness.expire(&log, FIRST, end).await;
    let log = harness.reopen(log).await;
    let bounds = within("bounds", events(&log).bounds(FIRST)).await.expect("bounds can be read");
    assert_eq!(bounds.first, bounds.end, "retention has emptied the partition");
    given.extend(append_many(&events(&log), FIRST, 5).await);
    assert_ascending(&given);
}

/// Below the retained range is an error, on a read and on the first read of a follower. The start never is.
pub async fn a_reader_below_the_retained_range_is_told<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let journal = events(&log);
    let given = append_many(&journal, FIRST, 10).await;
    let (early, below) = (given.get(1).copied(), given.get(6).copied());
    let (early, below) = early.zip(below).expect("ten were appended");
    journal.release(FIRST, below);
    harness.expire(&log, FIRST, below).await;
    let read_early = within("a read", journal.read(FIRST, early, None, EVERYTHING)).await;
    let Err(ReadError::Expired { partition, asked, first }) = read_early else {
        panic!("a read below the retained range is told, not given {read_early:?}");
    };
    assert_eq!((partition, asked), (FIRST, early));
    assert!(first > early && first <= below, "{first:?} is the first that can be read");
    let followed = within("following", journal.follow(FIRST, early).next(EVERYTHING)).await;
    assert!(matches!(followed, Err(ReadError::Expired { .. })), "a follower is told, not given {followed:?}");
    for from in [Offset::START, first, below] {
        let kept = read(&journal, FIRST, from, None).await;
        assert!(values(&kept.records).ends_with(&numbered(6..10)), "what was not released is kept");
    }
    let kept = follow(&mut journal.follow(FIRST, Offset::START), 4).await;
    assert!(
        values(&kept).ends_with(&numbered(6..10)),
        "a follower from the start begins at the first record"
    );
    let bounds = within("bounds", journal.bounds(FIRST)).await.expect("bounds can be read");
    assert_eq!(bounds.first, first, "the bounds agree");
}
