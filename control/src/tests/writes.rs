//! The way of a write: who may write, what is seen when it is answered, and what becomes of writes that went wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use hookline_event_log::embedded::{EmbeddedJournal, EmbeddedLog, EmbeddedOwnership, EmbeddedTable};
use hookline_event_log::{
    AppendError, Appending, Change as Shown, Durability, Entry, Epoch, JournalName, Log, LogFailure, Owned,
    Partition, Table, TableName, TableWatch,
};
use hookline_registry::Registry;
use hookline_schemas::seal::{KeyBytes, Sealer};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Rig, Setup, caller, error, until};
use crate::error::ApiError;
use crate::store::{Change, Store};
use crate::writer::NotPut;

const CREATE: &str =
    r#"mutation { createWebhook(input: { url: "https://example.com/", events: [PAYMENT_FAILED] }) { id } }"#;

const CONFIGURE: &str = r#"mutation { configurePaymentGateway(input: {
    organizationId: "org_1", type: CLOUDPAYMENTS, publicId: "pk_1", apiSecret: "secret_1" }) { id } }"#;

const UPSERT: &str = r#"mutation { upsertClients(input: { organizationId: "org_1", clients: [{ clientId: "1" }] }) { count } }"#;

impl Rig {
    async fn new_webhook(&self) -> Value {
        self.owner(CREATE).await["createWebhook"]["id"].clone()
    }

    /// The entry of a webhook as it stands in the table.
    async fn entry(&self, id: &Value) -> Option<Entry> {
        let key = format!("webhook/{}", id.as_str().expect("an id"));
        let mut watch = self.log.table(TableName::Control).watch(&[Partition(0)]);
        let mut found = None;
        loop {
            match watch.next().await.expect("a change") {
                Shown::Entry(entry) if entry.key == key => found = Some(entry),
                Shown::Entry(_) => {}
                Shown::Loaded => return found,
            }
        }
    }

    /// Writes over a webhook as a control does that was deposed long ago and does not know.
    async fn write_late(&self, id: &Value, value: Option<Bytes>) {
        let key = format!("webhook/{}", id.as_str().expect("an id"));
        let put = self.log.table(TableName::Control).put(Partition(0), key.into(), value, Epoch(0)).await;
        put.expect("accepted").await.expect("acknowledged");
    }
}

#[tokio::test]
async fn whoever_has_written_reads_it() {
    let rig = Rig::new().await;
    for count in 1..=50 {
        let id = rig.new_webhook().await;
        let shown = rig.owner("{ webhooks { id } }").await["webhooks"].clone();
        let shown = shown.as_array().expect("a list").clone();
        assert!(shown.len() == count && shown.contains(&json!({ "id": id })), "{id} in {shown:?}");
    }
}

#[tokio::test]
async fn a_control_that_stands_by_writes_nothing() {
    let rig = Rig::with(Setup { is_active: false, ..Setup::default() }).await;
    rig.acquirer.site("pk_1", &["secret_1"]);
    until(async || rig.api().store.registry().is_ok()).await;
    assert!(!rig.control.is_active());
    for query in [CREATE, CONFIGURE] {
        assert_eq!(rig.refused(query).await.code(), "SERVICE_UNAVAILABLE", "{query}");
    }
    let platform = Ok(caller("PLATFORM", "", None));
    let refused = error(&rig.execute(&platform, UPSERT, json!({})).await);
    assert_eq!(refused.map(|error| error.code()), Some("SERVICE_UNAVAILABLE"));
    assert_eq!(rig.acquirer.asked(), [], "nor asks for anybody");
    assert_eq!(rig.registry().version(), 0);
}

#[tokio::test]
async fn a_control_that_was_stopped_writes_no_more() {
    let rig = Rig::new().await;
    rig.new_webhook().await;
    assert!(rig.control.is_active());
    rig.stop.cancel();
    until(async || !rig.control.is_active()).await;
    assert_eq!(rig.refused(CREATE).await.code(), "SERVICE_UNAVAILABLE");
}

#[tokio::test]
async fn what_a_deposed_control_writes_counts_for_nobody_and_is_written_over() {
    let rig = Rig::new().await;
    let id = rig.new_webhook().await;
    let ours = rig.entry(&id).await.expect("an entry");
    let foreign = ours
        .value
        .as_ref()
        .map(|value| Bytes::from(String::from_utf8_lossy(value).replace("example.com", "evil.example")));
    for late in [foreign, None] {
        rig.write_late(&id, late).await;
        until(async || {
            let shown = rig.owner("{ webhooks { id url } }").await;
            assert_eq!(shown, json!({ "webhooks": [{ "id": id, "url": "https://example.com/" }] }));
            rig.entry(&id).await.as_ref().map(|entry| (&entry.value, entry.epoch))
                == Some((&ours.value, ours.epoch))
        })
        .await;
    }
    until(async || rig.registry().overwritten().next().is_none()).await;
}

#[tokio::test]
async fn a_takeover_restores_what_was_written_over_before_it_writes_anything_else() {
    let rig = Rig::new().await;
    let id = rig.new_webhook().await;
    let ours = rig.entry(&id).await.expect("an entry");
    rig.stop.cancel();
    until(async || !rig.control.is_active()).await;
    rig.write_late(&id, None).await;
    until(async || rig.registry().overwritten().next().is_some()).await;
    let (control, stop) = (rig.control.clone(), CancellationToken::new());
    rig.tasks.spawn(async move { control.run(&stop).await });
    until(async || rig.control.is_active()).await;
    assert_eq!(rig.entry(&id).await.map(|entry| (entry.value, entry.epoch)), Some((ours.value, ours.epoch)));
    assert_eq!(rig.registry().overwritten().count(), 0);
}

#[tokio::test]
async fn secrets_are_sealed_anew_with_the_key_that_seals_now() {
    let rig = Rig::new().await;
    rig.acquirer.site("pk_1", &["secret_1"]);
    rig.owner(CONFIGURE).await;
    let id = rig.new_webhook().await;
    rig.owner(&format!("mutation {{ rotateWebhookSecret(id: {id}) {{ id }} }}")).await;
    let headers = r#"{ headers: [{ name: "X-A", value: "a" }] }"#;
    rig.owner(&format!("mutation {{ updateWebhook(id: {id}, input: {headers}) {{ id }} }}")).await;
    assert_eq!(rig.control.reseal().await, Ok(0));
    let (old, new) = (KeyBytes::new([7; 32]), KeyBytes::new([8; 32]));
    rig.sealer.replace(&new, &[old]);
    assert_eq!(rig.control.reseal().await, Ok(2));
    assert_eq!(rig.control.reseal().await, Ok(0));
    let (tell, mut known) = watch::channel(None::<Arc<Registry>>);
    rig.tasks.spawn(hookline_registry::follow(rig.log.clone(), Sealer::new(&new), tell));
    let known = known.wait_for(Option::is_some).await.expect("read").clone().expect("a registry");
    assert_eq!(known.gateways_with_secrets().count(), 1, "opened with the new key alone");
    assert!(
        known
            .open_webhooks()
            .expect("all are readable")
            .iter()
            .all(|webhook| !webhook.paused && webhook.keys.overlap_ends().is_some())
    );
}

/// What becomes of the next puts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    /// Nothing is written.
    Full,
    /// It is written, and nobody says so.
    Unsaid,
    /// It is not written, and nobody says so.
    Lost,
}

/// The embedded log, with tables that do as they are told.
#[derive(Debug, Clone)]
struct FatedLog(EmbeddedLog, watch::Receiver<Fate>);

/// A table of it.
#[derive(Debug, Clone)]
struct FatedTable(EmbeddedTable, watch::Receiver<Fate>);

impl Log for FatedLog {
    type Journal = EmbeddedJournal;
    type Table = FatedTable;
    type Ownership = EmbeddedOwnership;

    fn journal(&self, name: JournalName) -> EmbeddedJournal {
        self.0.journal(name)
    }

    fn table(&self, name: TableName) -> FatedTable {
        FatedTable(self.0.table(name), self.1.clone())
    }

    fn ownership(&self, of: impl Into<Owned>) -> EmbeddedOwnership {
        self.0.ownership(of)
    }

    fn durability(&self) -> Durability {
        self.0.durability()
    }

    async fn failed(&self) -> LogFailure {
        self.0.failed().await
    }
}

impl Table for FatedTable {
    type Watch = <EmbeddedTable as Table>::Watch;

    fn partitions(&self) -> u16 {
        self.0.partitions()
    }

    async fn put(
        &self,
        partition: Partition,
        key: Bytes,
        value: Option<Bytes>,
        epoch: Epoch,
    ) -> Result<Appending, AppendError> {
        let fate = *self.1.borrow();
        let (acknowledge, appending) = Appending::new();
        match fate {
            Fate::Well => return self.0.put(partition, key, value, epoch).await,
            Fate::Full => return Err(AppendError::NoSpace),
            Fate::Unsaid => drop(self.0.put(partition, key, value, epoch).await?),
            Fate::Lost => {}
        }
        let _ = acknowledge.send(Err(AppendError::Unknown));
        Ok(appending)
    }

    fn watch(&self, partitions: &[Partition]) -> Self::Watch {
        self.0.watch(partitions)
    }
}

/// A store over it that writes under epoch 1.
async fn fated(rig: &Rig) -> (Store<FatedLog>, watch::Sender<Fate>) {
    let (fate, told) = watch::channel(Fate::Well);
    let (tell, known) = watch::channel(None);
    rig.tasks.spawn(hookline_registry::follow(rig.log.clone(), rig.sealer.clone(), tell));
    let store = Store::new(&FatedLog(rig.log.clone(), told), known, Duration::from_secs(5));
    store.take_over(Epoch(1)).await.expect("taken over");
    (store, fate)
}

/// A webhook of which only the id counts.
fn webhook(rig: &Rig, id: &str) -> Change {
    let mut record = rig.registry().webhooks().next().cloned().expect("a webhook");
    record.id = hookline_schemas::ids::WebhookId::new(id);
    Change::webhook(&record)
}

fn names(registry: &Registry) -> Vec<String> {
    registry.webhooks().map(|webhook| webhook.id.to_string()).filter(|id| id.len() == 1).collect()
}

#[tokio::test]
async fn a_write_that_went_wrong_says_what_is_known_of_it() {
    let rig = Rig::new().await;
    rig.new_webhook().await;
    let (store, fate) = fated(&rig).await;
    for (name, happens, code, expected) in [
        ("a", Fate::Full, "SERVICE_UNAVAILABLE", vec![]),
        ("b", Fate::Unsaid, "OUTCOME_UNKNOWN", vec!["b"]),
        ("c", Fate::Lost, "OUTCOME_UNKNOWN", vec!["b"]),
    ] {
        fate.send_replace(happens);
        let refused = store.write(|_| Ok(webhook(&rig, name))).await.map(drop);
        assert_eq!(refused.as_ref().map_err(ApiError::code), Err(code), "{happens:?}");
        if code == "SERVICE_UNAVAILABLE" {
            assert!(refused.expect_err("refused").to_string().contains("nothing has changed"));
        }
        // Nothing is judged before it is known what became of it.
        fate.send_replace(Fate::Well);
        let judged = |registry: &Registry| {
            assert_eq!(names(registry), expected, "{happens:?}");
            Ok(Change::Nothing)
        };
        store.write(judged).await.expect("judged");
    }
}

#[tokio::test]
async fn nothing_is_judged_while_it_is_not_known_what_became_of_an_earlier_write() {
    let rig = Rig::new().await;
    rig.new_webhook().await;
    let (store, fate) = fated(&rig).await;
    fate.send_replace(Fate::Lost);
    store.write(|_| Ok(webhook(&rig, "a"))).await.expect_err("unknown");
    let judged = |_: &Registry| panic!("judged");
    assert_eq!(store.write(judged).await.map(drop).map_err(|error| error.code()), Err("SERVICE_UNAVAILABLE"));
    assert_eq!(store.take_over(Epoch(2)).await, Err(NotPut::Unknown));
}

#[tokio::test]
async fn a_write_whose_caller_has_gone_away_is_waited_for_by_the_next() {
    let rig = Rig::new().await;
    rig.new_webhook().await;
    for name in ["a", "b", "c", "d"] {
        let change = webhook(&rig, name);
        let write = rig.api().store.write(|_| Ok(change));
        // Polled once: it is accepted, and nobody waits for it any more.
        assert!(write.now_or_never().is_none(), "it has been answered");
        let judged = |registry: &Registry| {
            assert!(names(registry).contains(&name.to_owned()), "{name}");
            Ok(Change::Nothing)
        };
        rig.api().store.write(judged).await.expect("judged");
    }
}

#[tokio::test]
async fn a_write_that_came_late_is_not_said_to_be_done() {
    let rig = Rig::new().await;
    rig.new_webhook().await;
    let (store, _fate) = fated(&rig).await;
    // Another control takes over, and this one has not heard of it.
    let (newer, _) = (Store::new(&rig.log, watched(&rig).await, Duration::from_secs(5)), ());
    newer.take_over(Epoch(9)).await.expect("taken over");
    let written = store.write(|_| Ok(webhook(&rig, "a"))).await.map(drop);
    assert_eq!(written, Err(ApiError::Unknown));
    assert_eq!(names(&newer.registry().expect("read")), Vec::<String>::new());
}

async fn watched(rig: &Rig) -> watch::Receiver<Option<Arc<Registry>>> {
    let (tell, known) = watch::channel(None);
    rig.tasks.spawn(hookline_registry::follow(rig.log.clone(), rig.sealer.clone(), tell));
    let mut loaded = known.clone();
    loaded.wait_for(Option::is_some).await.expect("read");
    known
}
