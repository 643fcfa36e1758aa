//! Attempts, dead letters, redeliveries and traces, by every question that there is.

mod attempts;
mod letters;
mod live;
mod trace;

use std::num::NonZeroU32;

use bytes::Bytes;
use hookline_event_log::{Journal, JournalName, Log, Offset, Partition, partition_of};
use hookline_schemas::delivery::{
    AttemptOutcome, AttemptRecord, DeadLetter, DeadReason, FailureReason, encode,
};
use hookline_schemas::event::{Event, partition_key};
use hookline_schemas::ids::{EventId, WebhookId};
use hookline_schemas::redelivery::{LetterFilter, LetterId};
use hookline_schemas::time::Timestamp;
use serde_json::{Value, json};

use super::{Rig, caller, data, error, until};
use crate::identity::Caller;

const DELIVERED: AttemptOutcome = AttemptOutcome::Delivered { status: 204 };

/// The event of transaction 7, whose id is as long as ids are.
const EVENT: &str = "evt_00000000000000000000000007";

fn failed(status: u16) -> AttemptOutcome {
    AttemptOutcome::Retryable { reason: FailureReason::Status(status), retry_after: None }
}

/// An event about a payment of its own: `evt_7` is of transaction 7, and so are `evt_7_b` and [`EVENT`].
fn event(id: &str, organization: &str, club: &str, accepted_at: Timestamp) -> Event {
    let transaction = id.trim_start_matches("evt_").trim_end_matches("_b").trim_start_matches('0');
    let data = json!({ "payment": {
        "paymentId": format!("pay_{transaction:0>26}"), "gateway": "gw_1", "amount": "10.00", "testMode": false,
        "gatewayTransactionId": transaction, "invoiceId": format!("order-{transaction}"),
    }});
    let event = json!({
        "id": id, "fingerprint": 1, "type": "PAYMENT_RECEIVED", "notification": "pay",
        "organization": organization, "gateway": "gw_1", "club_id": club, "accepted_at": accepted_at, "data": data,
    });
    Event::decode(event.to_string().as_bytes()).expect("an event")
}

impl Rig {
    async fn append(&self, to: JournalName, key: &str, value: Vec<u8>) -> (Partition, Offset) {
        let journal = self.log.journal(to);
        let partition = partition_of(key.as_bytes(), journal.partitions());
        let key = Bytes::copy_from_slice(key.as_bytes());
        let appending = journal.append(partition, key, value.into()).await.expect("accepted");
        (partition, appending.await.expect("acknowledged"))
    }

    /// An event that has just been accepted.
    pub(super) async fn happened(&self, id: &str, organization: &str, club: &str) -> Event {
        let event = event(id, organization, club, self.api().clock.wall());
        self.append(JournalName::Events, &partition_key(&event), event.encode()).await;
        event
    }

    /// A letter that died then.
    pub(super) async fn bury(&self, webhook: &str, id: &str, dead_at: u64) -> LetterId {
        let letter = DeadLetter {
            webhook: WebhookId::new(webhook),
            event: event(id, "org_1", "club_1", self.api().clock.wall()),
            reason: if dead_at.is_multiple_of(2) { DeadReason::Rejected } else { DeadReason::Deadline },
            tries: 2,
            last_failure: Some(FailureReason::Timeout),
            dead_at: Timestamp(dead_at),
        };
        let (partition, offset) = self.append(JournalName::DeadLetters, webhook, encode(&letter)).await;
        LetterId { partition: partition.0, offset: offset.0 }
    }

    /// A redelivery of all letters of a webhook.
    pub(super) async fn wish(&self, webhook: &str) -> String {
        let filter = LetterFilter { webhook: Some(WebhookId::new(webhook)), ..LetterFilter::default() };
        self.api().history.redeliver(filter, NonZeroU32::MIN).await.expect("written").id
    }

    /// An attempt that the view knows when this returns.
    async fn attempted(
        &self,
        webhook: &str,
        event: &str,
        at: u64,
        outcome: AttemptOutcome,
    ) -> (Partition, Offset) {
        let before = self.api().attempts.loaded();
        let record = AttemptRecord {
            webhook: WebhookId::new(webhook),
            event: EventId::new(event),
            number: 1,
            started_at: Timestamp(at),
            duration_ms: 3,
            answer: (!outcome.is_delivered()).then(|| "no".to_owned()),
            outcome,
        };
        let place = self.append(JournalName::Attempts, webhook, encode(&record)).await;
        until(async || self.api().attempts.loaded() > before).await;
        place
    }

    async fn asked(&self, caller: Caller, query: &str) -> Value {
        data(self.execute(&Ok(caller), query, json!({})).await)
    }

    async fn code(&self, caller: Caller, query: &str) -> Option<&'static str> {
        error(&self.execute(&Ok(caller), query, json!({})).await).map(|error| error.code())
    }

    /// A webhook of org_2.
    async fn foreign_webhook(&self) -> String {
        let create = r#"mutation { createWebhook(input: { url: "https://example.com/", events: [PAYMENT_RECEIVED] }) { id } }"#;
        let made = self.asked(caller("OWNER", "org_2", None), create).await;
        made["createWebhook"]["id"].as_str().expect("an id").to_owned()
    }
}

/// All pages of a list, of `first` each: what `of` says of each node.
async fn pages(rig: &Rig, list: &str, arguments: &str, first: usize, of: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    for _ in 0..100 {
        let query = format!(
            "{{ {list}(first: {first} {arguments} {after}) {{ nodes {{ {of} }} pageInfo {{ endCursor hasNextPage }} }} }}"
        );
        let page = rig.owner(&query).await[list].clone();
        let nodes = page["nodes"].as_array().expect("a list").clone();
        assert!(nodes.len() <= first, "{page}");
        all.extend(nodes.into_iter().map(|node| node[of].clone()));
        if page["pageInfo"]["hasNextPage"] == json!(false) {
            return all;
        }
        after = format!("after: {}", page["pageInfo"]["endCursor"]);
    }
    panic!("it does not end");
}
