//! What became of an event, and the way of a payment.

use hookline_event_log::{Epoch, Table, TableName};
use hookline_schemas::delivery::{BreakerRecord, LaneRecord, ParkedDelivery};
use hookline_schemas::ids::GatewayId;
use hookline_schemas::notification::NotificationType;
use hookline_schemas::quarantine::{QuarantinedNotification, key_of, place_of};

use super::*;
use crate::tests::matrix::seeded;

impl Rig {
    /// An event of club_1 that wh_1 has, that waits for wh_all, whose endpoint is down, and that was given up for
    /// wh_conf.
    async fn told(&self) -> Event {
        let event = self.happened(EVENT, "org_1", "club_1").await;
        let at = event.accepted_at.0;
        self.attempted("wh_1", EVENT, at, failed(500)).await;
        self.attempted("wh_1", EVENT, at + 1, DELIVERED).await;
        let parked = ParkedDelivery {
            webhook: WebhookId::new("wh_all"),
            event: event.clone(),
            tries: 1,
            last_failure: Some(FailureReason::Timeout),
            not_before: Timestamp(0),
            deadline: Timestamp(77_000),
            webhooks_version: 0,
        };
        let (_, offset) = self.append(JournalName::Parked, "wh_all", encode(&parked)).await;
        let breaker = BreakerRecord {
            failed_probes: Some(3),
            next_due: Timestamp(99_000),
            failing_since: Some(Timestamp(5_000)),
        };
        let unknown = LaneRecord::unknown(WebhookId::new("wh_all"));
        let lane = LaneRecord { cursor: offset.0, breaker, ..unknown };
        let table = self.log.table(TableName::Lanes);
        let partition = partition_of(b"wh_all", table.partitions());
        let put = table
            .put(partition, LaneRecord::key(&lane.webhook).into(), Some(encode(&lane).into()), Epoch(1))
            .await;
        put.expect("accepted").await.expect("acknowledged");
        self.bury("wh_conf", EVENT, 8_000).await;
        event
    }

    /// A notification in quarantine.
    async fn quarantine(&self, gateway: &str, body: &str) {
        let key = key_of(body.as_bytes());
        let entry = QuarantinedNotification {
            gateway: GatewayId::new(gateway),
            notification: NotificationType::Pay,
            json: false,
            reason: "the amount is missing".to_owned(),
            accepted_at: Timestamp(9_000),
            sealed_body: QuarantinedNotification::encode_sealed(
                &self.sealer.seal(&place_of(&key), body.as_bytes()),
            ),
        };
        self.append(JournalName::Quarantine, &key, encode(&entry)).await;
    }
}

const DELIVERY: &str =
    "webhookId state waitsFor nextTryAt deadline waitsSince deadReason attempts { status }";

fn deliveries() -> Value {
    let delivery = |webhook: &str, state: &str| {
        json!({ "webhookId": webhook, "state": state, "waitsFor": null, "nextTryAt": null, "deadline": null,
            "waitsSince": null, "deadReason": null, "attempts": [] })
    };
    let mut all =
        json!([delivery("wh_conf", "DEAD"), delivery("wh_1", "DELIVERED"), delivery("wh_all", "WAITING")]);
    all[0]["deadReason"] = json!("REJECTED");
    all[1]["attempts"] = json!([{ "status": 500 }, { "status": 204 }]);
    for (field, value) in [
        ("waitsFor", "ENDPOINT"),
        ("nextTryAt", "1970-01-01T00:01:39Z"),
        ("deadline", "1970-01-01T00:01:17Z"),
        ("waitsSince", "1970-01-01T00:00:05Z"),
    ] {
        all[2][field] = json!(value);
    }
    all
}

#[tokio::test]
async fn what_became_of_an_event_is_told_for_each_webhook_that_the_caller_may_see() {
    let rig = seeded().await;
    rig.told().await;
    let query = format!(r#"{{ deliveries(eventId: "{EVENT}") {{ {DELIVERY} }} }}"#);
    assert_eq!(rig.owner(&query).await["deliveries"], deliveries());
    let confined = rig.asked(caller("OWNER", "org_1", Some(&["club_1"])), &query).await["deliveries"].clone();
    assert_eq!(confined, json!([deliveries()[0], deliveries()[1]]), "a webhook of all clubs is not its own");
    assert_eq!(rig.code(caller("OWNER", "org_2", None), &query).await, Some("NOT_FOUND"));
    // The event is looked for by its id alone.
    let by_transaction = query.replace(EVENT, "7");
    assert_eq!(rig.refused(&by_transaction).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn a_webhook_that_asks_for_the_event_no_more_is_shown_where_attempts_were_made() {
    let rig = seeded().await;
    rig.told().await;
    rig.owner(r#"mutation { updateWebhook(id: "wh_1", input: { events: [PAYMENT_FAILED] }) { id } }"#).await;
    rig.owner(r#"mutation { updateWebhook(id: "wh_all", input: { events: [PAYMENT_FAILED] }) { id } }"#)
        .await;
    let query = format!(r#"{{ deliveries(eventId: "{EVENT}") {{ webhookId }} }}"#);
    let shown = rig.owner(&query).await["deliveries"].clone();
    assert_eq!(shown, json!([{ "webhookId": "wh_conf" }, { "webhookId": "wh_1" }]));
}

#[tokio::test]
async fn the_way_of_a_payment_is_told_by_all_of_its_names() {
    let rig = seeded().await;
    rig.told().await;
    rig.happened("evt_8", "org_1", "club_1").await;
    let of_event = "id type notification gatewayId clubId source";
    for id in ["7", "order-7", "pay_00000000000000000000000007", EVENT] {
        let query = format!(
            r#"{{ paymentTrace(id: "{id}") {{ unopened quarantined {{ key }} events {{ {of_event} deliveries {{ {DELIVERY} }} }} }} }}"#
        );
        let expected = json!({ "unopened": 0, "quarantined": [], "events": [{ "id": EVENT, "type": "PAYMENT_RECEIVED",
            "notification": "pay", "gatewayId": "gw_1", "clubId": "club_1", "source": "NOTIFICATION", "deliveries": deliveries() }] });
        assert_eq!(rig.owner(&query).await["paymentTrace"], expected, "{id}");
    }
}

#[tokio::test]
async fn what_is_anothers_is_in_no_trace() {
    let rig = seeded().await;
    // One transaction's number, at two organizations and two clubs.
    rig.happened("evt_7_b", "org_2", "club_1").await;
    let trace = r#"{ paymentTrace(id: "7") { events { id } quarantined { gatewayId reason } unopened } }"#;
    assert_eq!(rig.refused(trace).await.code(), "NOT_FOUND");
    rig.quarantine("gw_2", "TransactionId=7&Amount=y").await;
    assert_eq!(rig.refused(trace).await.code(), "NOT_FOUND");
    rig.quarantine("gw_1", "TransactionId=7&Amount=x").await;
    rig.quarantine("gw_conf", "TransactionId=77&Amount=x").await;
    let expected = json!({ "events": [], "unopened": 0,
        "quarantined": [{ "gatewayId": "gw_1", "reason": "the amount is missing" }] });
    assert_eq!(rig.owner(trace).await["paymentTrace"], expected);
    let club: Option<&[&str]> = Some(&["club_1"]);
    assert_eq!(rig.code(caller("OWNER", "org_1", club), trace).await, Some("NOT_FOUND"), "it is of no club");
    rig.happened("evt_7", "org_1", "club_2").await;
    assert_eq!(rig.code(caller("OWNER", "org_1", club), trace).await, Some("CLUB_ACCESS_DENIED"));
}

#[tokio::test]
async fn nobody_learns_by_a_trace_what_else_stands_in_a_sealed_body() {
    let rig = seeded().await;
    let body = "TransactionId=7&Amount=x&Email=ivan%40example.com&CardFirstSix=424242&Name=IVAN";
    rig.quarantine("gw_1", body).await;
    rig.quarantine("gw_1", body).await;
    for word in ["ivan@example.com", "ivan%40example.com", "ivan", "IVAN", "424242", "x"] {
        let trace = format!(r#"{{ paymentTrace(id: "{word}") {{ quarantined {{ key }} }} }}"#);
        assert_eq!(rig.refused(&trace).await.code(), "NOT_FOUND", "{word}");
    }
    let trace = rig.owner(r#"{ paymentTrace(id: "7") { unopened quarantined { gatewayId } } }"#).await;
    assert_eq!(trace["paymentTrace"], json!({ "unopened": 0, "quarantined": [{ "gatewayId": "gw_1" }] }));
    // Twice as it is, and it can't be read.
    for _ in 0..2 {
        rig.quarantine("gw_1", "TransactionId=7 8").await;
    }
    let trace = rig.owner(r#"{ paymentTrace(id: "8") { unopened quarantined { gatewayId } } }"#).await;
    assert_eq!(trace["paymentTrace"], json!({ "unopened": 1, "quarantined": [] }));
}

#[tokio::test]
async fn two_look_journals_through_at_once_and_who_waits_too_long_for_it_is_told() {
    let rig = seeded().await;
    rig.quarantine("gw_1", "TransactionId=9&Amount=x").await;
    let turns = [rig.api().turns.to_look().await, rig.api().turns.to_look().await];
    assert!(turns.iter().all(Result::is_ok));
    let trace = r#"{ paymentTrace(id: "9") { quarantined { gatewayId } } }"#;
    let deliveries = format!(r#"{{ deliveries(eventId: "{EVENT}") {{ webhookId }} }}"#);
    let (trace_refused, deliveries_refused) = tokio::join!(rig.refused(trace), rig.refused(&deliveries));
    for refused in [trace_refused, deliveries_refused] {
        assert_eq!(refused.code(), "SERVICE_UNAVAILABLE");
        assert_eq!(refused.to_string(), "too many traces are being looked up");
    }
    // These wait for nobody.
    for id in ["evt_7", "pay_7", &format!("{EVENT}0"), &EVENT.replace("07", "-7")] {
        for query in [trace.replace('9', id), deliveries.replace(EVENT, id)] {
            assert_eq!(rig.refused(&query).await.code(), "NOT_FOUND", "{query}");
        }
    }
    drop(turns);
    assert_eq!(rig.owner(trace).await["paymentTrace"]["quarantined"], json!([{ "gatewayId": "gw_1" }]));
    assert_eq!(rig.refused(&deliveries).await.code(), "NOT_FOUND");
}
