//! Webhooks that change while dispatchers run: one learns of it later than another, or while it takes over; and
//! what their owners ask for.

use std::sync::Arc;
use std::time::Duration;

use hookline_dispatcher::{EndpointState, EndpointStatus};
use hookline_event_log::embedded::EmbeddedLog;
use hookline_event_log::{Epoch, Journal, JournalName, Log, Partition, Table, TableName, partition_of};
use hookline_schemas::event::{Event, EventType};
use hookline_schemas::ids::{ClubId, OrganizationId, WebhookId};
use hookline_schemas::signature::WebhookKey;
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::{Webhook, Webhooks};

use crate::group::{Group, Key, MemberLog};
use crate::receiver::{OK, Receiver, status};
use crate::surroundings::{
    Process, SECRET, append, event, open, records, secret, settings, start, until, webhook,
};

/// Long enough for what must not happen to have happened.
const A_WHILE: Duration = Duration::from_millis(300);

/// Who plans, who owns the lanes, and who comes later.
const PLANNER: usize = 0;
const OWNER: usize = 1;
const LATE: usize = 2;

/// Two dispatchers over one log: the first owns the events, the second the lanes.
struct Two {
    log: EmbeddedLog,
    group: Arc<Group>,
    members: [Process; 2],
    receiver: Receiver,
    _directory: tempfile::TempDir,
}

impl Two {
    /// Both know these webhooks, from their configuration.
    async fn start(webhooks: impl Fn(&Receiver) -> Vec<Webhook>) -> Self {
        let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
        let (log, group) = (open(directory.path()), Arc::new(Group::default()));
        let start = |member| member_of(&log, &group, member, webhooks(&receiver));
        let members = [PLANNER, OWNER].map(start);
        until("ready", async || members.iter().all(Process::is_ready)).await;
        let two = Self { log, group, members, receiver, _directory: directory };
        two.keys(JournalName::Parked).for_each(|key| two.group.assign(key, OWNER));
        two.keys(JournalName::Events).for_each(|key| two.group.assign(key, PLANNER));
        two
    }

    /// Another one comes, and has nothing yet.
    fn join(&self, member: usize, webhooks: Vec<Webhook>) -> Process {
        member_of(&self.log, &self.group, member, webhooks)
    }

    fn keys(&self, journal: JournalName) -> impl Iterator<Item = Key> + use<> {
        (0..self.log.journal(journal).partitions()).map(move |partition| (journal, Partition(partition)))
    }

    fn lane(&self, webhook: &str) -> Key {
        let lanes = self.log.journal(JournalName::Parked).partitions();
        (JournalName::Parked, partition_of(webhook.as_bytes(), lanes))
    }

    /// The member knows these from now on, up to this version.
    fn tell(&self, member: usize, version: u64, webhooks: Vec<Webhook>) {
        self.members.get(member).expect("a member").tell(Webhooks::from_iter(webhooks).with_version(version));
    }

    /// So many tests of a webhook come.
    async fn test(&self, webhook: &str, tests: std::ops::Range<u64>) {
        for number in tests {
            append(&self.log, &test_of(webhook, number)).await;
        }
    }

    /// How an endpoint does, as a member knows it.
    async fn status(&self, member: usize, webhook: &str) -> Option<EndpointStatus> {
        self.members.get(member).expect("a member").status(webhook).await
    }

    async fn until_parked(&self, deliveries: usize) {
        until("parked", async || records(&self.log, JournalName::Parked).await.len() == deliveries).await;
    }

    /// Whoever owns the lane has taken note of everything that is parked for this webhook.
    async fn until_registered(&self, webhook: &str) {
        let (journal, partition) = self.lane(webhook);
        let end = self.log.journal(journal).bounds(partition).await.expect("bounds").end;
        until("registered", async || self.group.committed((journal, partition)) >= end).await;
    }

    async fn until_delivered(&self, member: usize, webhook: &str, deliveries: u64) {
        let member = self.members.get(member).expect("a member");
        until("delivered", async || has_delivered(member, webhook, deliveries).await).await;
    }

    async fn stop(self) {
        for member in self.members {
            member.stop().await.expect("drained");
        }
        self.log.close().await;
    }
}

fn member_of(log: &EmbeddedLog, group: &Arc<Group>, member: usize, webhooks: Vec<Webhook>) -> Process {
    let log = MemberLog { log: log.clone(), group: Arc::clone(group), member };
    Process::start(log, settings(), webhooks)
}

/// Whether the lane of this member's has delivered so many, and nothing else became of any.
async fn has_delivered(member: &Process, webhook: &str, deliveries: u64) -> bool {
    let now = member.status(webhook).await;
    now.is_some_and(|now| (now.delivered, now.backlog, now.cancelled) == (deliveries, 0, 0))
}

/// A test of a webhook: goes to this one alone. Far enough from now that no deadline passes.
fn test_of(webhook: &str, number: u64) -> Event {
    let (webhook, organization) = (WebhookId::new(webhook), OrganizationId::new("org"));
    Event::webhook_test(webhook, organization, None, Timestamp(4_000_000_000_000), &number.to_string(), 0)
}

/// Somebody writes into `control`; returns the version of webhooks that have come to there.
async fn control(log: &EmbeddedLog) -> u64 {
    let table = log.table(TableName::Control);
    let put = table.put(Partition(0), "gateway/gw".into(), Some("?".into()), Epoch(1)).await;
    put.expect("accepted").await.expect("durable").next().0
}

/// Two webhooks whose lanes stand in different partitions: one that not everybody has heard of,
const NEW: &str = "wh_new";
/// and one that all know.
const OLD: &str = "wh_known";

fn old(receiver: &Receiver) -> Webhook {
    webhook(OLD, &receiver.url("/old"))
}

fn both(receiver: &Receiver) -> Vec<Webhook> {
    vec![old(receiver), webhook(NEW, &receiver.url("/new"))]
}

#[tokio::test]
async fn what_is_parked_for_a_webhook_that_its_owner_has_not_heard_of_waits_for_him() {
    let two = Two::start(|receiver| vec![old(receiver)]).await;
    assert_ne!(two.lane(NEW), two.lane(OLD), "what waits holds up its own partition alone");
    ["/old", "/new"].into_iter().for_each(|path| two.receiver.script(path, &[status(500)]));
    two.test(OLD, 0..5).await;
    two.until_parked(5).await;
    two.tell(PLANNER, 5, both(&two.receiver));
    two.test(NEW, 0..5).await;
    two.until_parked(10).await;
    // What the owner has heard of is older than that webhook.
    two.tell(OWNER, 4, vec![old(&two.receiver)]);
    let (asked, at_first) = (two.receiver.received("/new").len(), two.group.committed(two.lane(NEW)));
    ["/old", "/new"].into_iter().for_each(|path| two.receiver.script(path, &[OK]));
    two.until_delivered(OWNER, OLD, 5).await;
    tokio::time::sleep(A_WHILE).await;
    let sent = two.receiver.received("/new").len();
    assert_eq!((sent, two.group.committed(two.lane(NEW))), (asked, at_first), "it waits");
    two.tell(OWNER, 5, both(&two.receiver));
    two.until_delivered(OWNER, NEW, 5).await;
    two.stop().await;
}

#[tokio::test]
async fn what_is_parked_for_a_webhook_that_its_owner_knows_to_be_deleted_is_cancelled() {
    let two = Two::start(|_| Vec::new()).await;
    two.tell(OWNER, 6, vec![old(&two.receiver)]);
    two.tell(PLANNER, 5, both(&two.receiver));
    two.receiver.script("/new", &[status(500)]);
    two.test(NEW, 0..5).await;
    two.until_parked(5).await;
    two.until_registered(NEW).await;
    let asked = two.receiver.received("/new").len();
    two.receiver.script("/new", &[OK]);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(two.receiver.received("/new").len(), asked, "who has not heard of it yet has parked it");
    assert!(records(&two.log, JournalName::DeadLetters).await.is_empty());
    two.stop().await;
}

#[tokio::test]
async fn a_lane_is_taken_over_once_its_webhook_may_be_known() {
    let two = Two::start(|_| Vec::new()).await;
    let version = control(&two.log).await;
    for member in [PLANNER, OWNER] {
        two.tell(member, version, both(&two.receiver));
    }
    two.receiver.script("/new", &[status(500)]);
    two.test(NEW, 0..5).await;
    two.until_parked(5).await;
    two.until_registered(NEW).await;
    let late = two.join(LATE, vec![old(&two.receiver)]);
    until("ready", async || late.is_ready()).await;
    two.group.move_to(two.lane(NEW), LATE);
    until("owned", async || two.group.owner(two.lane(NEW)) == Some(LATE)).await;
    two.receiver.script("/new", &[OK]);
    let asked = two.receiver.received("/new").len();
    late.tell(Webhooks::from_iter([old(&two.receiver)]).with_version(version - 1));
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(two.receiver.received("/new").len(), asked);
    late.tell(Webhooks::from_iter(both(&two.receiver)).with_version(version));
    until("delivered", async || has_delivered(&late, NEW, 5).await).await;
    late.stop().await.expect("drained");
    two.stop().await;
}

#[tokio::test]
async fn nothing_is_planned_before_the_webhooks_are_those_of_the_log() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let log = open(directory.path());
    control(&log).await;
    let version = control(&log).await;
    append(&log, &event(1)).await;
    let running = start(log, settings(), vec![old(&receiver)]);
    for behind in [0, version - 1] {
        running.tell(Webhooks::from_iter([old(&receiver)]).with_version(behind));
        tokio::time::sleep(A_WHILE).await;
        assert!(!running.is_ready() && receiver.received("/old").is_empty(), "{behind} of {version}");
    }
    running.tell(Webhooks::from_iter(both(&receiver)).with_version(version));
    until("ready", async || running.is_ready()).await;
    until("planned", async || receiver.received("/old").len() == 1).await;
    until("planned", async || receiver.received("/new").len() == 1).await;
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn what_was_asked_for_while_nothing_ran_is_enabled() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/old", &[status(410), status(500), OK]);
    let running = start(open(directory.path()), settings(), vec![old(&receiver)]);
    append(&running.log, &event(1)).await;
    let has_parked = async || running.status(OLD).await.backlog == 1;
    let is_disabled = async || running.status(OLD).await.state == EndpointState::Disabled;
    until("disabled", async || is_disabled().await && has_parked().await).await;
    // A probe that fails leaves it as it is.
    let asked_at = Some(Clock::start().now());
    running.change_webhooks(vec![Webhook { probed_at: asked_at, ..old(&receiver) }]);
    until("probed", async || receiver.received("/old").len() == 2).await;
    assert_eq!(running.status(OLD).await.state, EndpointState::Disabled);
    running.stop().await.expect("drained");

    let asked = |at| Webhook { enabled_at: at, probed_at: asked_at, ..old(&receiver) };
    let running = start(open(directory.path()), settings(), vec![asked(None)]);
    until("resumed", async || running.status(OLD).await.is_ours).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(receiver.received("/old").len(), 2, "no probe is made again");
    assert_eq!(running.status(OLD).await.state, EndpointState::Disabled);
    running.stop().await.expect("drained");

    let asked_at = Some(Clock::start().now());
    let running = start(open(directory.path()), settings(), vec![asked(asked_at)]);
    until("delivered", async || receiver.received("/old").len() == 3).await;
    until("caught up", async || running.status(OLD).await.backlog == 0).await;
    assert_eq!(running.status(OLD).await.state, EndpointState::Active);
    running.stop().await.expect("drained");
}

#[tokio::test]
async fn the_owner_of_the_lane_does_what_is_asked_for_whoever_else_hears_of_it() {
    let two = Two::start(both).await;
    // To the one who sends it directly, and to the owner of the lane.
    two.receiver.script("/new", &[status(410), status(410), OK]);
    two.test(NEW, 0..1).await;
    let state = async || two.status(OWNER, NEW).await.map(|now| now.state);
    until("disabled", async || state().await == Some(EndpointState::Disabled)).await;
    let asked = |known: &Receiver| {
        let at = Some(Clock::start().now());
        let asked = Webhook { enabled_at: at, ..webhook(NEW, &known.url("/new")) };
        vec![old(known), asked]
    };
    two.tell(PLANNER, 0, asked(&two.receiver));
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(two.receiver.received("/new").len(), 2, "the lane is not his");
    two.tell(OWNER, 0, asked(&two.receiver));
    two.until_delivered(OWNER, NEW, 1).await;
    assert_eq!(state().await, Some(EndpointState::Active));
    two.stop().await;
}

#[tokio::test]
async fn a_test_of_a_webhook_that_nobody_has_heard_of_yet_waits_for_it() {
    let two = Two::start(|receiver| vec![old(receiver)]).await;
    two.receiver.script("/new", &[OK]);
    append(&two.log, &Event { webhooks_version: 5, ..test_of(NEW, 1) }).await;
    tokio::time::sleep(A_WHILE).await;
    for member in [PLANNER, OWNER] {
        two.tell(member, 5, both(&two.receiver));
    }
    until("delivered", async || two.receiver.received("/new").len() == 1).await;
    two.stop().await;
}

#[tokio::test]
async fn a_test_goes_to_the_webhook_that_is_tested_as_any_event_does() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    receiver.script("/new", &[status(500), status(500), OK]);
    let tested = Webhook {
        club_id: Some(ClubId::new("club_2")),
        events: vec![EventType::PaymentFailed],
        ..webhook(NEW, &receiver.url("/new"))
    };
    let others = Webhook { events: EventType::ALL.to_vec(), ..old(&receiver) };
    let running = start(open(directory.path()), settings(), vec![tested, others]);
    append(&running.log, &test_of(NEW, 7)).await;
    until("delivered", async || receiver.received("/new").len() == 3).await;
    until("caught up", async || running.status(NEW).await.backlog == 0).await;
    assert_eq!(records(&running.log, JournalName::Parked).await.len(), 1, "tried again in its lane");
    let key = WebhookKey::new(&secret(SECRET));
    for received in receiver.received("/new") {
        assert!(key.verifies_izi(&received.body, received.header("x-izi-signature")));
        let body: serde_json::Value = serde_json::from_slice(&received.body).expect("JSON");
        assert_eq!(body.get("type"), Some(&serde_json::json!("WEBHOOK_TEST")));
        assert_eq!(body.pointer("/data/webhookId"), Some(&serde_json::json!(NEW)));
        assert_eq!(received.header("webhook-id"), test_of(NEW, 7).id.as_str());
    }
    // An event that the others do get is behind it.
    append(&running.log, &event(1)).await;
    until("delivered", async || receiver.received("/old").len() == 1).await;
    assert_eq!(receiver.received("/old").remove(0).header("webhook-id"), event(1).id.as_str());
    running.stop().await.expect("drained");
}
