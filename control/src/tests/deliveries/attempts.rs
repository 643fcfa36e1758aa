//! The list of attempts.

use hookline_schemas::time::Timestamp;
use serde_json::json;

use super::*;
use crate::attempts::{Place, event_hash};
use crate::tests::matrix::seeded;

#[tokio::test]
async fn attempts_are_found_by_webhook_and_event_and_outcome_the_newest_first() {
    let rig = seeded().await;
    for (webhook, event, at, outcome) in [
        ("wh_1", "evt_1", 1_000, failed(500)),
        ("wh_2", "evt_1", 2_000, DELIVERED),
        ("wh_1", "evt_2", 3_000, failed(503)),
        ("wh_1", "evt_1", 4_000, DELIVERED),
        ("wh_gone", "evt_1", 5_000, DELIVERED),
    ] {
        rig.attempted(webhook, event, at, outcome).await;
    }
    for (arguments, expected) in [
        ("", vec![4, 3, 2, 1]),
        (r#"webhookId: "wh_1""#, vec![4, 3, 1]),
        (r#"webhookId: "wh_1", eventId: "evt_1""#, vec![4, 1]),
        (r#"eventId: "evt_1""#, vec![4, 2, 1]),
        (r#"eventId: "evt_1", delivered: true"#, vec![4, 2]),
        ("delivered: false", vec![3, 1]),
        (r#"webhookId: "wh_2", delivered: false"#, vec![]),
        (r#"eventId: "evt_3""#, vec![]),
    ] {
        let expected: Vec<_> =
            expected.iter().map(|second| json!(format!("1970-01-01T00:00:0{second}Z"))).collect();
        assert_eq!(pages(&rig, "attempts", arguments, 100, "startedAt").await, expected, "{arguments}");
    }
    let whole = "{ attempts(first: 1, delivered: false) { since nodes { webhookId eventId number durationMs result failure
        status retryAfterSeconds answer } } }";
    let expected = json!({ "webhookId": "wh_1", "eventId": "evt_2", "number": 1, "durationMs": 3, "result": "RETRYABLE",
        "failure": "STATUS", "status": 503, "retryAfterSeconds": null, "answer": "no" });
    assert_eq!(rig.owner(whole).await["attempts"], json!({ "since": null, "nodes": [expected] }));
    let shown = rig.asked(caller("MANAGER", "org_1", None), whole).await["attempts"]["nodes"][0].clone();
    assert_eq!(
        (&shown["status"], &shown["answer"]),
        (&json!(503), &json!(null)),
        "what the receiver wrote is not shown"
    );
    let foreign = rig.asked(caller("OWNER", "org_2", None), whole).await;
    assert_eq!(foreign["attempts"]["nodes"], json!([]));
    let confined =
        rig.asked(caller("OWNER", "org_1", Some(&["club_2"])), "{ attempts { nodes { webhookId } } }").await;
    assert_eq!(confined["attempts"]["nodes"], json!([{ "webhookId": "wh_2" }]));
}

#[tokio::test]
async fn pages_of_attempts_neither_lose_nor_repeat_what_was_there_while_others_come() {
    let rig = seeded().await;
    for number in 0..10 {
        let webhook = if number % 3 == 0 { "wh_2" } else { "wh_1" };
        rig.attempted(webhook, &format!("evt_{number}"), 1_000 + number / 2, DELIVERED).await;
    }
    let all = pages(&rig, "attempts", "", 100, "eventId").await;
    assert_eq!(all.len(), 10);
    for first in [1, 3, 5, 10] {
        assert_eq!(pages(&rig, "attempts", "", first, "eventId").await, all, "{first} at a time");
    }
    let page = rig.owner("{ attempts(first: 4) { pageInfo { endCursor hasNextPage } } }").await["attempts"]["pageInfo"].clone();
    rig.attempted("wh_1", "evt_new", 9_000, DELIVERED).await;
    let after = format!("after: {}", page["endCursor"]);
    assert_eq!(pages(&rig, "attempts", &after, 100, "eventId").await, all[4..]);
    for (arguments, field) in [("first: 0", "first"), ("first: 101", "first"), (r#"after: "x""#, "after")] {
        let refused = rig.refused(&format!("{{ attempts({arguments}) {{ nodes {{ number }} }} }}")).await;
        assert_eq!(refused.field(), Some(field));
    }
}

#[tokio::test]
async fn an_event_whose_hash_is_anothers_is_told_by_its_id() {
    let rig = seeded().await;
    let (partition, offset) = rig.attempted("wh_1", "evt_1", 1_000, DELIVERED).await;
    rig.attempted("wh_1", "evt_2", 2_000, DELIVERED).await;
    let foreign = rig.foreign_webhook().await;
    let (of_foreign, secret) = rig.attempted(&foreign, "evt_2", 3_000, DELIVERED).await;
    let lie = event_hash(&EventId::new("evt_2"));
    let place =
        |started_at, partition, offset| Place { started_at: Timestamp(started_at), partition, offset };
    for place in [place(1_000, partition, offset), place(3_000, of_foreign, secret)] {
        rig.api().attempts.mistake(place, &WebhookId::new("wh_1"), lie);
    }
    for arguments in [r#"eventId: "evt_2""#, r#"webhookId: "wh_1", eventId: "evt_2""#] {
        let shown = pages(&rig, "attempts", arguments, 100, "startedAt").await;
        assert_eq!(shown, [json!("1970-01-01T00:00:02Z")], "{arguments}");
    }
}

#[tokio::test]
async fn the_attempts_of_a_deleted_webhook_are_nobodys() {
    let rig = seeded().await;
    rig.attempted("wh_1", "evt_1", 1_000, DELIVERED).await;
    rig.attempted("wh_2", "evt_1", 2_000, DELIVERED).await;
    rig.owner(r#"mutation { deleteWebhook(id: "wh_1") }"#).await;
    assert_eq!(pages(&rig, "attempts", "", 9, "webhookId").await, [json!("wh_2")]);
    let of_it = r#"{ attempts(webhookId: "wh_1") { nodes { number } } }"#;
    assert_eq!(rig.refused(of_it).await.code(), "NOT_FOUND");
}
