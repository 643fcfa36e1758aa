//! Dead letters that are wanted again: all of them, at the rate that was chosen, whatever dies meanwhile.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::embedded::EmbeddedLog;
use hookline_event_log::{Journal, JournalName, Log, partition_of};
use hookline_history::{History, RedeliveryStatus};
use hookline_schemas::delivery::{DeadLetter, DeadReason, FailureReason, ParkedDelivery, decode, encode};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::redelivery::LetterFilter;
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::Webhooks;

use crate::receiver::Receiver;
use crate::surroundings::{Running, event, open, records, settings, start, until, webhook};

async fn bury(log: &EmbeddedLog, webhook: &str, transactions: std::ops::Range<u64>) -> BTreeSet<String> {
    let journal = log.journal(JournalName::DeadLetters);
    let mut ids = BTreeSet::new();
    for transaction in transactions {
        let event = event(transaction);
        ids.insert(event.id.to_string());
        let letter = DeadLetter {
            webhook: WebhookId::new(webhook),
            event,
            reason: DeadReason::Deadline,
            tries: 9,
            last_failure: Some(FailureReason::Timeout),
            dead_at: Timestamp(transaction),
        };
        let key = Bytes::copy_from_slice(webhook.as_bytes());
        let partition = partition_of(&key, journal.partitions());
        let appending = journal.append(partition, key, encode(&letter).into()).await.expect("accepted");
        appending.await.expect("durable");
    }
    ids
}

fn history(log: &EmbeddedLog) -> History<EmbeddedLog> {
    History::new(log.clone(), Clock::start())
}

async fn wish(log: &EmbeddedLog, filter: LetterFilter, rate: u32) -> String {
    let rate = NonZeroU32::new(rate).expect("not zero");
    history(log).redeliver(filter, rate).await.expect("written").id
}

async fn status(running: &Running, id: &str) -> RedeliveryStatus {
    let all = history(&running.log).redeliveries().await.expect("read");
    all.into_iter().find(|status| status.wish.id == id).expect("a redelivery")
}

async fn until_over(running: &Running, id: &str) -> RedeliveryStatus {
    until("over", async || status(running, id).await.is_over()).await;
    status(running, id).await
}

fn received(receiver: &Receiver, path: &str) -> Vec<String> {
    receiver.received(path).iter().map(|received| received.header("webhook-id").to_owned()).collect()
}

#[tokio::test]
async fn what_goes_out_again_says_by_which_webhooks() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let log = open(directory.path());
    bury(&log, "wh", 1..4).await;
    let webhooks = || vec![webhook("wh", &receiver.url("/wh"))];
    let running = start(log, settings(), webhooks());
    running.tell(Webhooks::from_iter(webhooks()).with_version(7));
    let all = wish(&running.log, LetterFilter::default(), 1_000).await;
    until_over(&running, &all).await;
    let parked = records(&running.log, JournalName::Parked).await;
    let version = |record: &Vec<u8>| decode::<ParkedDelivery>(record).expect("a delivery").webhooks_version;
    assert_eq!(parked.iter().map(version).collect::<Vec<_>>(), [7, 7, 7]);
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn each_letter_that_is_meant_goes_out_once_under_its_id() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let log = open(directory.path());
    let ids = bury(&log, "wh", 1..41).await;
    bury(&log, "wh_other", 41..51).await;
    bury(&log, "wh_gone", 51..54).await;
    let all = wish(&log, LetterFilter::default(), 1_000).await;
    // These died after the wish.
    let later = bury(&log, "wh", 54..60).await;
    let webhooks = vec![webhook("wh", &receiver.url("/wh")), webhook("wh_other", &receiver.url("/other"))];
    let running = start(log, settings(), webhooks);
    let over = until_over(&running, &all).await;
    assert_eq!((over.progress.redelivered, over.progress.without_webhook), (50, 3));
    until("delivered", async || {
        received(&receiver, "/wh").len() == 40 && received(&receiver, "/other").len() == 10
    })
    .await;
    assert_eq!(received(&receiver, "/wh").into_iter().collect::<BTreeSet<_>>(), ids);

    // While it runs, and one alone.
    let page = history(&running.log)
        .letters(&LetterFilter { since: Some(Timestamp(57)), ..LetterFilter::default() }, None, 9)
        .await
        .expect("read");
    let letter = page.letters.first().expect("one");
    let one =
        wish(&running.log, LetterFilter { letter: Some(letter.id), ..LetterFilter::default() }, 10).await;
    assert_eq!(until_over(&running, &one).await.progress.redelivered, 1);
    until("delivered", async || received(&receiver, "/wh").len() == 41).await;
    assert_eq!(received(&receiver, "/wh").last(), Some(&letter.event.to_string()));
    assert!(later.contains(letter.event.as_str()));
    running.stop().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_redelivery_goes_on_where_it_was_when_the_process_died() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let log = open(directory.path());
    let ids = bury(&log, "wh", 1..301).await;
    let wished = wish(&log, LetterFilter::default(), 150).await;
    let webhooks = || vec![webhook("wh", &receiver.url("/wh"))];
    let mut running = start(log, settings(), webhooks());
    for delivered in [200, 250] {
        until("on its way", async || received(&receiver, "/wh").len() >= delivered).await;
        assert!(status(&running, &wished).await.progress.ended_at.is_none());
        running.kill().await;
        running = start(open(directory.path()), settings(), webhooks());
    }
    until_over(&running, &wished).await;
    until("delivered", async || received(&receiver, "/wh").into_iter().collect::<BTreeSet<_>>() == ids).await;
    let sent = received(&receiver, "/wh").len();
    // A stretch and what was in flight may repeat at each death.
    assert!(sent < 300 + 2 * 100, "{sent} deliveries of 300");
    running.stop().await.expect("an orderly stop");
}

#[tokio::test]
async fn an_orderly_stop_repeats_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let log = open(directory.path());
    bury(&log, "wh", 1..61).await;
    let wished = wish(&log, LetterFilter::default(), 100).await;
    let webhooks = || vec![webhook("wh", &receiver.url("/wh"))];
    let running = start(log, settings(), webhooks());
    until("on its way", async || received(&receiver, "/wh").len() >= 20).await;
    running.stop().await.expect("an orderly stop");
    let running = start(open(directory.path()), settings(), webhooks());
    assert_eq!(until_over(&running, &wished).await.progress.redelivered, 60);
    until("delivered", async || running.status("wh").await.backlog == 0).await;
    assert_eq!(received(&receiver, "/wh").len(), 60);
    running.stop().await.expect("an orderly stop");
}

#[tokio::test]
async fn the_rate_is_kept_and_a_cancelled_one_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let log = open(directory.path());
    bury(&log, "wh", 1..1_001).await;
    let wished = wish(&log, LetterFilter::default(), 100).await;
    let running = start(log, settings(), vec![webhook("wh", &receiver.url("/wh"))]);
    until("begun", async || !received(&receiver, "/wh").is_empty()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    history(&running.log).cancel(&wished).await.expect("written");
    until("ended", async || running.status("wh").await.backlog == 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sent = received(&receiver, "/wh").len();
    // 100 a second for two seconds or somewhat more; what a busy machine holds up makes it fewer.
    assert!((20..=400).contains(&sent), "{sent} in about two seconds");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(received(&receiver, "/wh").len(), sent, "nothing after it was cancelled");
    running.stop().await.expect("an orderly stop");
}
