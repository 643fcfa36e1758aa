//! What survives a crash, and what a new owner believes.

use std::time::Duration;

use hookline_event_log::embedded::EmbeddedLog;
use hookline_event_log::{
    Epoch, Journal, JournalName, Log, Offset, Ownership, OwnershipChange, Partition, Table, TableName,
    partition_of,
};
use hookline_schemas::delivery::{LaneRecord, OwnerMarker, ParkedDelivery, encode};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;

use crate::receiver::{Answer, OK, Receiver, status};
use crate::surroundings::{append, event, open, records, settings, start, until, webhook};

#[tokio::test]
async fn a_delivery_that_fails_is_tried_on_after_a_crash() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/wh", &[status(500)]);
    let webhooks = || vec![webhook("wh", &receiver.url("/wh"))];
    let running = start(open(directory.path()), settings(), webhooks());
    for transaction in 0..20 {
        append(&running.log, &event(transaction)).await;
    }
    until("parked", async || records(&running.log, JournalName::Parked).await.len() == 20).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.kill().await;

    receiver.script("/wh", &[OK]);
    let before = receiver.received("/wh").len();
    let running = start(open(directory.path()), settings(), webhooks());
    let ids = || -> std::collections::BTreeSet<String> {
        receiver.received("/wh").iter().skip(before).map(|one| one.header("webhook-id").to_owned()).collect()
    };
    until("all of them", async || ids().len() == 20).await;
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn what_is_in_flight_at_the_stop_is_waited_for_and_not_sent_again() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/wh", &[Answer { after: Duration::from_millis(300), ..OK }]);
    let webhooks = || vec![webhook("wh", &receiver.url("/wh"))];
    let running = start(open(directory.path()), settings(), webhooks());
    append(&running.log, &event(1)).await;
    until("in flight", async || receiver.received("/wh").len() == 1).await;
    running.stop().await.expect("drained");

    let running = start(open(directory.path()), settings(), webhooks());
    append(&running.log, &event(2)).await;
    until("the next", async || receiver.received("/wh").len() == 2).await;
    running.stop().await.expect("drained");
    assert_eq!(receiver.received("/wh").len(), 2);
}

#[tokio::test]
async fn a_lane_record_that_a_deposed_owner_wrote_late_is_not_believed_to_be_drained() {
    for (late, delivered) in [(true, 1), (false, 0)] {
        let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
        // Two lives before this one, so that its epoch is above those of the owners in the story.
        for _ in 0..2 {
            open(directory.path()).close().await;
        }
        let log = open(directory.path());
        park_below_r(&log, late).await;
        let running = start(log, settings(), vec![webhook("wh", &receiver.url("/wh"))]);
        append(&running.log, &event(2)).await;
        until("the next", async || !receiver.received("/wh").is_empty()).await;
        if late {
            until("the parked one", async || receiver.received("/wh").len() == 2).await;
        }
        running.stop().await.expect("drained");
        assert_eq!(receiver.received("/wh").len(), 1 + delivered, "late: {late}");
    }
}

/// A parked delivery below R, a lane record that says *drained*, and an earlier owner's marker before or
/// behind it.
async fn park_below_r(log: &EmbeddedLog, late: bool) {
    let journal = log.journal(JournalName::Parked);
    let webhook = WebhookId::new("wh");
    let partition = partition_of(webhook.as_str().as_bytes(), journal.partitions());
    let parked = ParkedDelivery {
        webhook: webhook.clone(),
        event: event(1),
        tries: 0,
        last_failure: None,
        not_before: Timestamp(0),
        deadline: Timestamp(u64::MAX),
        webhooks_version: 0,
    };
    let appended = journal.append(partition, "wh".into(), encode(&parked).into()).await.expect("accepted");
    let offset = appended.await.expect("durable");

    let record = LaneRecord { drained: true, ..LaneRecord::unknown(webhook.clone()) };
    let marker = OwnerMarker { epoch: 1, process: 7 };
    let table = log.table(TableName::Lanes);
    let put = async |key: String, value: Vec<u8>, epoch| {
        let accepted = table.put(partition, key.into(), Some(value.into()), Epoch(epoch)).await;
        accepted.expect("accepted").await.expect("durable");
    };
    if late {
        put(marker.key(), encode(&marker), 1).await;
        put(LaneRecord::key(&webhook), encode(&record), 0).await;
    } else {
        put(LaneRecord::key(&webhook), encode(&record), 0).await;
        put(marker.key(), encode(&marker), 1).await;
    }
    commit(log, partition, offset.next()).await;
}

async fn commit(log: &EmbeddedLog, partition: Partition, registered: Offset) {
    let mut ownership = log.ownership(JournalName::Parked);
    loop {
        if let OwnershipChange::Granted { partition: granted, epoch, .. } = ownership.next().await
            && granted == partition
        {
            ownership.commit(partition, epoch, registered, bytes::Bytes::new()).await.expect("committed");
            return;
        }
    }
}

#[tokio::test]
async fn a_dispatcher_that_has_nothing_to_do_turns_all_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = start(open(directory.path()), settings(), Vec::new());
    until("ready", async || running.is_ready()).await;
    for _ in 0..3 {
        let before = running.heartbeat().expect("it runs");
        until("a turn", async || running.heartbeat().is_some_and(|turns| turns > before)).await;
    }
    running.stop().await.expect("drained");
}
