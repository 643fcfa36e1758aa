//! The view over an embedded log: what it reads at its start, what comes later, what is not there any more.

use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
use hookline_event_log::{Journal, PartitionCounts, Retention, partition_of};
use hookline_schemas::delivery::{AttemptOutcome, encode};
use hookline_schemas::time::Clock;
use tempfile::TempDir;

use super::*;

struct Bench {
    log: EmbeddedLog,
    _directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::keeping(Duration::from_secs(3600))
    }

    /// Attempts are kept for so long.
    fn keeping(attempts: Duration) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = EmbeddedOptions {
            partitions: PartitionCounts { events: 1, lanes: 4 },
            map_size: 64 * 1024 * 1024,
            reserve: 1024 * 1024,
            allow_page_cache: true,
            lazy_sync: Duration::from_millis(1),
            retention: Retention { attempts, ..Retention::default() },
            ..EmbeddedOptions::new(directory.path())
        };
        let log = EmbeddedLog::open(options, Clock::start()).expect("a log");
        Self { log, _directory: directory }
    }

    async fn attempted(&self, webhook: &str, event: &str, started_at: u64) {
        let record = AttemptRecord {
            webhook: WebhookId::new(webhook),
            event: EventId::new(event),
            number: 1,
            started_at: Timestamp(started_at),
            duration_ms: 3,
            outcome: AttemptOutcome::Delivered { status: 200 },
            answer: None,
        };
        let journal = self.log.journal(JournalName::Attempts);
        let partition = partition_of(webhook.as_bytes(), journal.partitions());
        let key = webhook.to_owned().into();
        let appending = journal.append(partition, key, encode(&record).into()).await.expect("accepted");
        appending.await.expect("acknowledged");
    }

    /// A view of so many that has read what is there, and follows as long as `meanwhile` lasts.
    async fn view<T>(&self, most: usize, meanwhile: impl AsyncFnOnce(&Attempts<EmbeddedLog>) -> T) -> T {
        let view = Attempts::new(&self.log, most);
        let early = view.subscribe();
        let loaded = async {
            while !view.known().is_loaded {
                tokio::task::yield_now().await;
            }
            assert!(early.is_empty(), "what was there is told to nobody");
            meanwhile(&view).await
        };
        tokio::select! {
            followed = view.follow(most) => panic!("it ended: {followed:?}"),
            told = loaded => told,
        }
    }
}

async fn started(view: &Attempts<EmbeddedLog>, webhooks: &[&str]) -> Vec<u64> {
    let webhooks: Vec<_> = webhooks.iter().map(WebhookId::new).collect();
    let wanted = Wanted { webhooks: &webhooks, event: None, is_delivered: None, before: None };
    let page = view.page(wanted, 100).await.expect("read");
    page.attempts.iter().map(|attempt| attempt.started_at.0).collect()
}

/// The second is in another partition than the others.
const WEBHOOKS: [&str; 3] = ["wh_1", "wh_3", "wh_2"];

#[tokio::test]
async fn what_stands_there_at_the_start_is_shared_out_among_the_partitions() {
    let bench = Bench::new();
    for number in 1..=30 {
        bench.attempted("wh_1", "evt_1", number).await;
    }
    for number in 31..=32 {
        bench.attempted("wh_3", "evt_1", number).await;
    }
    let partitions = WEBHOOKS.map(|webhook| partition_of(webhook.as_bytes(), 4));
    assert!(partitions[0] != partitions[1], "{partitions:?}");
    let everything = bench.view(100, async |view| {
        assert_eq!(view.known().ring.since(), None);
        started(view, &WEBHOOKS).await
    });
    assert_eq!(everything.await, (1..=32).rev().collect::<Vec<_>>());
    let latest = bench.view(10, async |view| {
        assert!(view.known().ring.since().is_some(), "something was left out");
        assert_eq!(view.at_event(&[], &EventId::new("evt_1"), Timestamp(1)).await, Ok(None));
        started(view, &WEBHOOKS).await
    });
    assert_eq!(latest.await, [32, 31, 30, 29, 28, 27, 26, 25, 24, 23]);
}

#[tokio::test]
async fn what_comes_later_is_told_once_and_what_was_there_is_not() {
    let bench = Bench::new();
    bench.attempted("wh_1", "evt_1", 1).await;
    let listened = bench.view(100, async |view| {
        let mut live = view.subscribe();
        for number in 2..=9 {
            bench.attempted(WEBHOOKS[usize::try_from(number % 3).expect("small")], "evt_1", number).await;
        }
        let mut told = Vec::new();
        for _ in 2..=9 {
            let Live::Attempted(attempt) = live.recv().await.expect("told") else {
                panic!("nothing is missed")
            };
            told.push(attempt.started_at.0);
        }
        told.sort_unstable();
        (told, started(view, &WEBHOOKS).await, live.len())
    });
    assert_eq!(listened.await, ((2..=9).collect(), (1..=9).rev().collect(), 0));
}

#[tokio::test]
async fn of_each_webhook_the_latest_attempts_at_an_event_are_read_and_the_one_that_succeeded() {
    let attempt = |webhook: &str, at: u64, is_delivered| AtEvent {
        webhook: WebhookId::new(webhook),
        place: Place { started_at: Timestamp(at), partition: Partition(1), offset: Offset(at) },
        is_delivered,
    };
    let mut found = vec![attempt("wh_1", 1, true), attempt("wh_2", 2, false)];
    found.extend((3..300).map(|at| attempt("wh_1", at, false)));
    let mut kept: Vec<_> = latest_of_each(found).iter().map(|place| place.started_at.0).collect();
    kept.sort_unstable();
    let latest = 201..300;
    assert_eq!(kept, [1, 2].into_iter().chain(latest).collect::<Vec<_>>());
}

#[tokio::test]
async fn attempts_that_retention_has_taken_are_left_out_and_not_offered_again() {
    let bench = Bench::keeping(Duration::from_millis(500));
    for number in 1..=3 {
        bench.attempted("wh_1", "evt_1", number).await;
    }
    let journal = bench.log.journal(JournalName::Attempts);
    let partition = partition_of(b"wh_1", journal.partitions());
    let pages = bench.view(100, async |view| {
        while journal.bounds(partition).await.expect("bounds").first <= Offset(2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bench.attempted("wh_1", "evt_1", 4).await;
        let webhooks = [WebhookId::new("wh_1")];
        let wanted = Wanted { webhooks: &webhooks, event: None, is_delivered: None, before: None };
        while view.known().ring.newest(wanted, 9).len() < 4 {
            tokio::task::yield_now().await;
        }
        let mut pages = Vec::new();
        for _ in 0..2 {
            let page = view.page(wanted, 2).await.expect("read");
            pages.push((page.attempts.len(), page.has_next));
        }
        pages
    });
    let pages = pages.await;
    // The second time it is known that there is nothing behind the one that is left.
    assert!(pages[0].0 <= 1 && pages[0].1, "{pages:?}");
    assert!(pages[1].0 <= 1 && !pages[1].1, "{pages:?}");
}

#[tokio::test]
async fn those_who_listen_are_told_where_retention_was_faster() {
    let bench = Bench::keeping(Duration::from_millis(500));
    for number in 1..=3 {
        bench.attempted("wh_1", "evt_1", number).await;
    }
    let journal = bench.log.journal(JournalName::Attempts);
    let partition = partition_of(b"wh_1", journal.partitions());
    while journal.bounds(partition).await.expect("bounds").first <= Offset(2) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let view = Attempts::new(&bench.log, 10);
    let mut live = view.subscribe();
    // It had come so far when what follows was taken.
    let told = tokio::select! {
        followed = view.follow_partition(partition, Offset(1)) => panic!("it ended: {followed:?}"),
        told = tokio::time::timeout(Duration::from_secs(30), live.recv()) => told.expect("told in time"),
    };
    assert_eq!(told, Ok(Live::Missed));
}

#[tokio::test]
async fn nothing_is_answered_before_what_is_there_has_been_read() {
    let bench = Bench::new();
    let view = Attempts::new(&bench.log, 10);
    let wanted = Wanted { webhooks: &[], event: None, is_delivered: None, before: None };
    assert!(matches!(view.page(wanted, 1).await, Err(ViewError::Loading)));
    assert_eq!(view.at_event(&[], &EventId::new("evt_1"), Timestamp(1)).await, Ok(None));
}
