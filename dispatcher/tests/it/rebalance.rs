//! Two dispatchers over one log, and partitions that go from one to the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use hookline_event_log::embedded::EmbeddedLog;
use hookline_event_log::{Journal, JournalName, Log, Partition, partition_of};

use crate::group::{Group, Key, MemberLog};
use crate::receiver::{OK, Receiver, status};
use crate::surroundings::{Process, append, event, open, records, settings, until, webhook};

const EVENTS: Key = (JournalName::Events, Partition(0));

/// Two members; the first owns everything.
struct Pair {
    log: EmbeddedLog,
    group: Arc<Group>,
    members: [Process; 2],
    receiver: Receiver,
    _directory: tempfile::TempDir,
}

impl Pair {
    async fn start() -> Self {
        let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
        let (log, group) = (open(directory.path()), Arc::new(Group::default()));
        let url = receiver.url("/wh");
        let members = [0, 1].map(|member| {
            let log = MemberLog { log: log.clone(), group: Arc::clone(&group), member };
            Process::start(log, settings(), vec![webhook("wh", &url)])
        });
        until("ready", async || members.iter().all(Process::is_ready)).await;
        let pair = Self { log, group, members, receiver, _directory: directory };
        pair.keys().into_iter().for_each(|key| pair.group.assign(key, 0));
        pair
    }

    fn keys(&self) -> Vec<Key> {
        let of = |journal: JournalName| {
            (0..self.log.journal(journal).partitions()).map(move |partition| (journal, Partition(partition)))
        };
        of(JournalName::Parked).chain(of(JournalName::Events)).collect()
    }

    /// The partition of the webhook's lane.
    fn lane(&self) -> Key {
        let lanes = self.log.journal(JournalName::Parked).partitions();
        (JournalName::Parked, partition_of(b"wh", lanes))
    }

    async fn append(&self, transactions: std::ops::Range<u64>) {
        for transaction in transactions {
            append(&self.log, &event(transaction)).await;
        }
    }

    /// How often each event was received.
    fn received(&self) -> BTreeMap<String, usize> {
        let mut received = BTreeMap::new();
        for request in self.receiver.received("/wh") {
            *received.entry(request.header("webhook-id").to_owned()).or_default() += 1;
        }
        received
    }

    async fn until_received(&self, events: usize) {
        until("received", async || self.received().len() == events).await;
    }

    async fn until_owned(&self, keys: &[Key], member: usize) {
        until("owned", async || keys.iter().all(|key| self.group.owner(*key) == Some(member))).await;
    }

    async fn stop(self) {
        for member in self.members {
            member.stop().await.expect("drained");
        }
        self.log.close().await;
    }
}

#[tokio::test]
async fn partitions_move_without_a_loss_and_without_a_repetition() {
    let pair = Pair::start().await;
    pair.append(0..50).await;
    for (round, member) in [1, 0, 1].into_iter().enumerate() {
        for key in pair.keys() {
            pair.group.move_to(key, member);
        }
        let from = 50 + 50 * round as u64;
        pair.append(from..from + 50).await;
        pair.until_owned(&pair.keys(), member).await;
        pair.until_received(100 + 50 * round).await;
    }
    assert!(pair.received().values().all(|times| *times == 1), "{:?}", pair.received());
    pair.stop().await;
}

#[tokio::test]
async fn an_owner_that_does_not_know_yet_is_fenced_and_may_come_back() {
    let pair = Pair::start().await;
    pair.append(0..20).await;
    pair.until_received(20).await;
    pair.group.assign(EVENTS, 1);
    pair.append(20..40).await;
    pair.until_received(40).await;
    let committed = pair.group.committed(EVENTS);
    // Granted anew without a word in between, while its word of the loss is still to come.
    pair.group.assign(EVENTS, 0);
    pair.append(40..60).await;
    pair.until_received(60).await;
    until("committed", async || pair.group.committed(EVENTS) > committed).await;
    pair.group.tell_lost(EVENTS, 1);
    pair.group.move_to(EVENTS, 1);
    pair.until_owned(&[EVENTS], 1).await;
    pair.append(60..80).await;
    pair.until_received(80).await;
    // Granted anew while it is worked on: what was before is lost first.
    pair.group.assign(EVENTS, 1);
    pair.append(80..100).await;
    pair.until_received(100).await;
    pair.stop().await;
}

#[tokio::test]
async fn a_lane_of_another_process_drains_and_is_left_behind() {
    let pair = Pair::start().await;
    pair.group.move_to(pair.lane(), 1);
    pair.until_owned(&[pair.lane()], 1).await;
    pair.receiver.script("/wh", &[status(500)]);
    pair.append(0..20).await;
    until("parked", async || records(&pair.log, JournalName::Parked).await.len() == 20).await;
    pair.receiver.script("/wh", &[OK]);
    let healed = pair.receiver.received("/wh").len();
    let well = || pair.receiver.received("/wh").len().saturating_sub(healed);
    until("drained", async || well() >= 20).await;
    let mut transaction = 100;
    until("sent directly", async || {
        let before = records(&pair.log, JournalName::Parked).await.len();
        transaction += 5;
        let sent = pair.received().len();
        pair.append(transaction..transaction + 5).await;
        pair.until_received(sent + 5).await;
        records(&pair.log, JournalName::Parked).await.len() == before
    })
    .await;
    pair.stop().await;
}

#[tokio::test]
async fn whoever_stops_lets_go_of_everything() {
    let pair = Pair::start().await;
    pair.append(0..20).await;
    pair.until_received(20).await;
    let keys = pair.keys();
    for key in &keys {
        pair.group.wait_for(*key, 1);
    }
    let Pair { log, group, members: [first, second], receiver, _directory } = pair;
    first.stop().await.expect("drained");
    assert!(keys.iter().all(|key| group.owner(*key) == Some(1)));
    append(&log, &event(20)).await;
    until("received", async || receiver.received("/wh").len() == 21).await;
    second.stop().await.expect("drained");
    log.close().await;
}
