//! What every table keeps.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{ANY_EPOCH, Harness, MOMENT, polled_once, put, within};
use crate::{Change, Entry, Epoch, Fence, Log, Offset, Partition, Table, TableName, TableWatch, Verdict};

const FIRST: Partition = Partition(0);
const SECOND: Partition = Partition(1);

/// The latest entry per partition and key, as a watch has reported it.
type Seen = BTreeMap<(Partition, String), Entry>;

fn lanes<L: Log>(log: &L) -> L::Table {
    log.table(TableName::Lanes)
}

async fn change<W: TableWatch>(watch: &mut W) -> Change {
    within("a change", watch.next()).await.expect("a table can be watched")
}

/// Takes note of an entry; versions of a key never go back.
fn see(seen: &mut Seen, entry: Entry) {
    let place = (entry.partition, String::from_utf8_lossy(&entry.key).into_owned());
    if let Some(before) = seen.get(&place) {
        assert!(before.version <= entry.version, "a key is reported in the order of its versions");
    }
    seen.insert(place, entry);
}

async fn load<W: TableWatch>(watch: &mut W) -> Seen {
    let mut seen = Seen::new();
    loop {
        match change(watch).await {
            Change::Entry(entry) => see(&mut seen, entry),
            Change::Loaded => return seen,
        }
    }
}

/// Follows until every version has been seen.
async fn until<W: TableWatch>(watch: &mut W, seen: &mut Seen, partition: Partition, version: Offset) {
    while !seen.values().any(|entry| entry.partition == partition && entry.version >= version) {
        match change(watch).await {
            Change::Entry(entry) => see(seen, entry),
            Change::Loaded => panic!("loaded is reported once"),
        }
    }
}

fn value(seen: &Seen, partition: Partition, key: &str) -> Option<Option<String>> {
    let entry = seen.get(&(partition, key.to_owned()))?;
    Some(entry.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned()))
}

/// Entries that were there, then `Loaded`, then what changes; only of the partitions asked for.
pub async fn a_watch_reports_entries_then_loaded_then_changes<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let table = lanes(&log);
    put(&table, FIRST, "one", Some("1"), Epoch(3)).await;
    put(&table, FIRST, "two", Some("2"), Epoch(4)).await;
    put(&table, SECOND, "three", Some("3"), Epoch(5)).await;
    let mut watch = table.watch(&[FIRST]);
    let mut seen = load(&mut watch).await;
    assert_eq!(seen.len(), 2, "everything put before is reported before loaded: {seen:?}");
    let epochs: Vec<Epoch> = seen.values().map(|entry| entry.epoch).collect();
    assert_eq!(epochs, [Epoch(3), Epoch(4)], "an entry carries the epoch under which it was put");
    let idle = tokio::time::timeout(MOMENT, watch.next()).await;
    assert!(idle.is_err(), "nothing has changed: {idle:?}");
    put(&table, SECOND, "three", Some("of another partition"), ANY_EPOCH).await;
    let version = put(&table, FIRST, "one", Some("11"), Epoch(6)).await;
    until(&mut watch, &mut seen, FIRST, version).await;
    assert_eq!(value(&seen, FIRST, "one"), Some(Some("11".to_owned())));
    assert!(seen.keys().all(|(partition, _)| *partition == FIRST), "only what is watched is reported");
    let mut both = table.watch(&[FIRST, SECOND]);
    assert_eq!(load(&mut both).await.len(), 3, "a watch may cover several partitions");
}

/// An empty table is loaded too: missing is then known to be missing.
pub async fn a_watch_over_nothing_is_loaded_at_once<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    for name in TableName::ALL {
        let seen = load(&mut log.table(name).watch(&[FIRST])).await;
        assert!(seen.is_empty(), "{name:?} is empty");
    }
}

/// The latest value per key is what is there after a restart; a tombstone is reported as such.
pub async fn the_latest_value_wins_and_a_tombstone_is_an_entry<H: Harness>(harness: &mut H) {
    let mut log = harness.open().await;
    for name in TableName::ALL {
        let table = log.table(name);
        for number in 0..5 {
            put(&table, FIRST, "changed", Some(&number.to_string()), ANY_EPOCH).await;
        }
        put(&table, FIRST, "deleted", Some("there"), ANY_EPOCH).await;
        put(&table, FIRST, "deleted", None, ANY_EPOCH).await;
        put(&table, FIRST, "empty", Some(""), ANY_EPOCH).await;
    }
    for _ in 0..2 {
        for name in TableName::ALL {
            let seen = load(&mut log.table(name).watch(&[FIRST])).await;
            let latest = Some(Some("4".to_owned()));
            assert_eq!(value(&seen, FIRST, "changed"), latest, "{name:?} has the latest value");
            assert_eq!(value(&seen, FIRST, "deleted"), Some(None), "{name:?} reports the tombstone");
            assert_eq!(value(&seen, FIRST, "empty"), Some(Some(String::new())), "{name:?}: empty is a value");
        }
        log = harness.reopen(log).await;
    }
}

/// The versions of a partition ascend in the order of the puts, over restarts.
pub async fn versions_ascend_within_a_partition<H: Harness>(harness: &mut H) {
    let mut log = harness.open().await;
    let mut versions = Vec::new();
    for _ in 0..3 {
        for key in ["one", "two", "one"] {
            versions.push(put(&lanes(&log), FIRST, key, Some("value"), ANY_EPOCH).await);
        }
        log = harness.reopen(log).await;
    }
    assert!(versions.is_sorted_by(|one, next| one < next), "versions ascend: {versions:?}");
    let seen = load(&mut lanes(&log).watch(&[FIRST])).await;
    let reported: Vec<Offset> = seen.values().map(|entry| entry.version).collect();
    let latest: Vec<Offset> = versions.iter().rev().take(2).copied().collect();
    assert_eq!(reported, latest, "the versions reported are those acknowledged");
}

/// Between the entries that were there and the changes since, nothing is missed.
pub async fn a_watch_misses_nothing_while_entries_change<H: Harness>(harness: &mut H) {
    const KEYS: usize = 20;
    const ROUNDS: usize = 10;
    let log = harness.open().await;
    let table = lanes(&log);
    for key in 0..KEYS {
        put(&table, FIRST, &format!("key {key}"), Some("old"), ANY_EPOCH).await;
    }
    let mut watch = table.watch(&[FIRST, SECOND]);
    let putting = async {
        let mut last = Offset::START;
        for round in 0..ROUNDS {
            for key in 0..KEYS {
                last = put(&table, FIRST, &format!("key {key}"), Some(&format!("{round}")), ANY_EPOCH).await;
            }
        }
        last
    };
    let (mut seen, last) = tokio::join!(load(&mut watch), putting);
    assert_eq!(seen.len(), KEYS, "every key that was there is reported before loaded");
    until(&mut watch, &mut seen, FIRST, last).await;
    for key in 0..KEYS {
        let latest = Some(Some((ROUNDS - 1).to_string()));
        assert_eq!(
            value(&seen, FIRST, &format!("key {key}")),
            latest,
            "the last change of key {key} arrives"
        );
    }
}

/// A watch may be given up waiting at any moment, time and again, without losing a change.
pub async fn a_watch_that_is_dropped_while_waiting_loses_nothing<H: Harness>(harness: &mut H) {
    const COUNT: usize = 100;
    let log = harness.open().await;
    let table = lanes(&log);
    let mut watch = table.watch(&[FIRST]);
    let watching = async {
        let (mut seen, mut loaded, mut dropped) = (Seen::new(), 0, 0_u32);
        while seen.len() < COUNT || loaded == 0 {
            let mut change = polled_once(watch.next()).await;
            if change.is_none() {
                dropped += 1;
                let patience = std::time::Duration::from_micros(u64::from(dropped % 8) * 100);
                change = tokio::time::timeout(patience, watch.next()).await.ok();
            }
            match change {
                Some(Ok(Change::Entry(entry))) => see(&mut seen, entry),
                Some(Ok(Change::Loaded)) => loaded += 1,
                Some(Err(error)) => panic!("a table can be watched: {error}"),
                None => {}
            }
        }
        (loaded, dropped)
    };
    let putting = async {
        for number in 0..COUNT {
            put(&table, FIRST, &format!("key {number}"), Some("value"), ANY_EPOCH).await;
        }
    };
    let ((loaded, dropped), ()) = within("watching", async { tokio::join!(watching, putting) }).await;
    assert!(dropped > 0, "some waits were dropped");
    assert_eq!(loaded, 1, "loaded is reported once");
}

/// A put under a deposed epoch may be acknowledged; what readers get of it is judged late.
pub async fn a_late_put_by_a_deposed_owner_is_judged_late<H: Harness>(harness: &mut H) {
    const MARKER: &str = "owner";
    let log = harness.open().await;
    let table = lanes(&log);
    let (old, new) = (Epoch(7), Epoch(8));
    put(&table, FIRST, MARKER, Some("old"), old).await;
    put(&table, FIRST, "lane", Some("of the old owner, in time"), old).await;
    put(&table, FIRST, MARKER, Some("new"), new).await;
    put(&table, FIRST, "another lane", Some("of the new owner"), new).await;
    let key = Bytes::from_static(b"late lane");
    let late = within("accepting", table.put(FIRST, key, Some(Bytes::from_static(b"late")), old)).await;
    if let Ok(appending) = late {
        // Acknowledged or refused: both are allowed.
        let _ = within("an answer", appending).await;
    }
    let seen = load(&mut table.watch(&[FIRST])).await;
    let mut fence = Fence::new();
    for ((partition, key), entry) in &seen {
        if key == MARKER {
            fence.owner(*partition, entry.epoch, entry.version);
        }
    }
    let expected =
        [("lane", Verdict::Current), ("another lane", Verdict::Current), ("late lane", Verdict::LateForeign)];
    for (key, verdict) in expected {
        match seen.get(&(FIRST, key.to_owned())) {
            Some(entry) => assert_eq!(fence.judge(entry), verdict, "{key}"),
            None => assert_eq!(verdict, Verdict::LateForeign, "only the late put may be missing"),
        }
    }
}
