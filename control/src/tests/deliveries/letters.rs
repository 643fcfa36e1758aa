//! Dead letters, and having them delivered again.

use hookline_schemas::redelivery::{Redelivery, RedeliveryProgress};

use super::*;
use crate::tests::matrix::seeded;

#[tokio::test]
async fn dead_letters_are_found_by_every_filter_and_page_by_page() {
    let rig = seeded().await;
    let foreign = rig.foreign_webhook().await;
    for number in 1..=9 {
        let webhook = if number % 3 == 0 { "wh_2" } else { "wh_1" };
        rig.bury(webhook, &format!("evt_{number}"), number * 1_000).await;
        rig.bury(&foreign, "evt_secret", number * 1_000).await;
        rig.bury("wh_gone", "evt_secret", number * 1_000).await;
    }
    for (arguments, expected) in [
        ("", vec![1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (r#"webhookId: "wh_2""#, vec![3, 6, 9]),
        (r#"webhookId: "wh_1", reason: REJECTED"#, vec![1, 2, 4, 5, 7, 8]),
        ("reason: DEADLINE", vec![]),
        (r#"since: "1970-01-01T00:00:03Z", until: "1970-01-01T00:00:06Z""#, vec![3, 4, 5]),
        ("eventType: PAYMENT_RECEIVED", vec![1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("eventType: PAYMENT_FAILED", vec![]),
    ] {
        for first in [2, 9, 100] {
            let mut found = pages(&rig, "deadLetters", arguments, first, "eventId").await;
            found.sort_by_key(ToString::to_string);
            let expected: Vec<_> = expected.iter().map(|number| json!(format!("evt_{number}"))).collect();
            assert_eq!(found, expected, "{arguments}, {first} at a time");
        }
    }
    let of_foreign = format!(r#"{{ deadLetters(webhookId: "{foreign}") {{ nodes {{ id }} }} }}"#);
    assert_eq!(rig.refused(&of_foreign).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn one_letter_is_shown_with_its_attempts() {
    let rig = seeded().await;
    let letter = rig.bury("wh_1", "evt_1", 7_000).await;
    let now = rig.api().clock.wall().0;
    rig.attempted("wh_1", "evt_1", now, failed(500)).await;
    rig.attempted("wh_1", "evt_2", now, failed(500)).await;
    rig.attempted("wh_2", "evt_1", now, failed(500)).await;
    let query = format!(
        r#"{{ deadLetter(id: "{letter}") {{ id webhookId eventId eventType reason tries lastFailure deadAt
            attempts {{ webhookId eventId status answer }} }} }}"#
    );
    let attempt = json!({ "webhookId": "wh_1", "eventId": "evt_1", "status": 500, "answer": "no" });
    let expected = json!({ "id": letter.to_string(), "webhookId": "wh_1", "eventId": "evt_1",
        "eventType": "PAYMENT_RECEIVED", "reason": "REJECTED", "tries": 2, "lastFailure": "timeout",
        "deadAt": "1970-01-01T00:00:07Z", "attempts": [attempt] });
    assert_eq!(rig.owner(&query).await["deadLetter"], expected);
    let seen = rig.asked(caller("MANAGER", "org_1", None), &query).await;
    assert_eq!(seen["deadLetter"]["attempts"][0]["answer"], json!(null));
}

impl Rig {
    async fn redeliver(&self, input: &str) -> Value {
        let of = "id state webhookId letterIds since until reason eventType rate endedAt redelivered";
        let query = format!("mutation {{ redeliver(input: {{ {input} }}) {{ {of} }} }}");
        self.owner(&query).await["redeliver"].clone()
    }

    /// What was written for the dispatchers.
    async fn wishes(&self) -> Vec<Redelivery> {
        let all = self.api().history.redeliveries().await.expect("read");
        all.into_iter().map(|status| status.wish).collect()
    }
}

#[tokio::test]
async fn what_is_written_for_the_dispatchers_is_confined_to_one_webhook_of_the_callers() {
    let rig = seeded().await;
    let letters = [rig.bury("wh_1", "evt_1", 1_000).await, rig.bury("wh_1", "evt_2", 2_000).await];
    let made = rig.redeliver(&format!(r#"letterIds: ["{}", "{}"]"#, letters[1], letters[0])).await;
    let mut expected = json!({ "id": made["id"], "state": "RUNNING", "webhookId": "wh_1",
        "letterIds": [letters[1].to_string(), letters[0].to_string()], "since": null, "until": null, "reason": null,
        "eventType": null, "rate": 50, "endedAt": null, "redelivered": 0 });
    assert_eq!(made, expected);
    let wish = rig.wishes().await.pop().expect("a wish");
    let webhook = Some(WebhookId::new("wh_1"));
    let filter = LetterFilter { webhook, letters: vec![letters[1], letters[0]], ..LetterFilter::default() };
    assert_eq!((wish.filter.clone(), wish.rate.get()), (filter, 50));
    let here = usize::from(letters[0].partition);
    assert_eq!(wish.ends[here], letters[1].offset + 1, "nothing behind the last letter is meant");

    let input = r#"webhookId: "wh_1", since: "1970-01-01T00:00:01Z", until: "1970-01-01T00:00:02Z", reason: REJECTED,
        eventType: PAYMENT_RECEIVED, rate: 1000"#;
    let made = rig.redeliver(input).await;
    expected["id"] = made["id"].clone();
    expected["letterIds"] = json!([]);
    for (field, value) in [
        ("since", "1970-01-01T00:00:01Z"),
        ("until", "1970-01-01T00:00:02Z"),
        ("reason", "REJECTED"),
        ("eventType", "PAYMENT_RECEIVED"),
    ] {
        expected[field] = json!(value);
    }
    expected["rate"] = json!(1_000);
    assert_eq!(made, expected);
    let filter = rig.wishes().await.into_iter().find(|wish| made["id"] == wish.id).expect("a wish").filter;
    assert_eq!(filter.webhook, Some(WebhookId::new("wh_1")));
    assert_eq!((filter.since, filter.until), (Some(Timestamp(1_000)), Some(Timestamp(2_000))));
    assert_eq!(filter.reason, Some(DeadReason::Rejected));
    assert!(filter.event_type.is_some());
}

#[tokio::test]
async fn a_redelivery_that_is_not_of_one_webhook_of_the_callers_is_not_written() {
    let rig = seeded().await;
    let foreign = rig.foreign_webhook().await;
    let of_foreign = rig.bury(&foreign, "evt_1", 1_000).await;
    let (one, other) = (rig.bury("wh_1", "evt_1", 1_000).await, rig.bury("wh_2", "evt_1", 1_000).await);
    let ids = |ids: &[LetterId]| {
        let ids: Vec<_> = ids.iter().map(|id| format!("\"{id}\"")).collect();
        format!("letterIds: [{}]", ids.join(", "))
    };
    for (input, code, field) in [
        (String::new(), "VALIDATION_ERROR", Some("webhookId")),
        ("reason: DEADLINE".to_owned(), "VALIDATION_ERROR", Some("webhookId")),
        (ids(&[]), "VALIDATION_ERROR", Some("letterIds")),
        (format!("{}, webhookId: \"wh_1\"", ids(&[])), "VALIDATION_ERROR", Some("letterIds")),
        (ids(&[one; 101]), "VALIDATION_ERROR", Some("letterIds")),
        (ids(&[one, other]), "VALIDATION_ERROR", Some("letterIds")),
        (format!("{}, webhookId: \"wh_1\"", ids(&[other])), "VALIDATION_ERROR", Some("letterIds")),
        (ids(&[one, of_foreign]), "NOT_FOUND", None),
        (ids(&[of_foreign]), "NOT_FOUND", None),
        (format!("{}, webhookId: \"wh_1\"", ids(&[of_foreign])), "NOT_FOUND", None),
        (format!("webhookId: \"{foreign}\""), "NOT_FOUND", None),
        (ids(&[LetterId { partition: 60_000, offset: 1 }]), "NOT_FOUND", None),
        (ids(&[LetterId { offset: 900, ..one }]), "NOT_FOUND", None),
        (r#"letterIds: ["x"]"#.to_owned(), "NOT_FOUND", None),
        (r#"webhookId: "wh_1", rate: 0"#.to_owned(), "VALIDATION_ERROR", Some("rate")),
        (r#"webhookId: "wh_1", rate: 1001"#.to_owned(), "VALIDATION_ERROR", Some("rate")),
        (r#"webhookId: "wh_1", eventType: SHIFT_OPENED"#.to_owned(), "VALIDATION_ERROR", Some("eventType")),
    ] {
        let refused = rig.refused(&format!("mutation {{ redeliver(input: {{ {input} }}) {{ id }} }}")).await;
        assert_eq!((refused.code(), refused.field()), (code, field), "{input}: {refused}");
        assert_eq!(rig.wishes().await, [], "{input}");
    }
    for _ in 0..10 {
        rig.redeliver(r#"webhookId: "wh_1""#).await;
    }
    let refused = rig.refused(ONE_MORE).await;
    assert_eq!((refused.code(), rig.wishes().await.len()), ("VALIDATION_ERROR", 10));
    rig.redeliver(r#"webhookId: "wh_2""#).await;
}

#[tokio::test]
async fn a_redelivery_is_followed_and_cancelled_and_those_of_others_are_not_there() {
    let rig = seeded().await;
    let foreign = rig.foreign_webhook().await;
    rig.wish(&foreign).await;
    rig.api().history.redeliver(LetterFilter::default(), NonZeroU32::MIN).await.expect("the operator's");
    let mut made = Vec::new();
    for webhook in ["wh_1", "wh_2", "wh_conf"] {
        made.push(json!(rig.wish(webhook).await));
        // The next one is asked for later.
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    made.reverse();
    for first in [1, 2, 100] {
        assert_eq!(pages(&rig, "redeliveries", "", first, "id").await, made, "{first} at a time");
    }
    let id = made[0].as_str().expect("an id");
    let progress = RedeliveryProgress { redelivered: 7, ..RedeliveryProgress::NONE };
    rig.progress(id, &progress).await;
    let shown = format!("{{ redelivery(id: \"{id}\") {{ state redelivered endedAt }} }}");
    let running = json!({ "state": "RUNNING", "redelivered": 7, "endedAt": null });
    assert_eq!(rig.owner(&shown).await["redelivery"], running);
    rig.owner(&format!("mutation {{ cancelRedelivery(id: \"{id}\") {{ id }} }}")).await;
    assert_eq!(rig.owner(&shown).await["redelivery"]["state"], "CANCELLED");
    let now = rig.api().clock.wall();
    rig.progress(id, &RedeliveryProgress { ended_at: Some(now), ..progress.clone() }).await;
    let ended = rig.owner(&shown).await["redelivery"].clone();
    assert_eq!(ended["state"], "COMPLETED", "its last stretch was under way");
    assert!(ended["redelivered"] == 7 && ended["endedAt"].is_string(), "{ended}");
    rig.progress(id, &RedeliveryProgress { ended_at: Some(Timestamp(9_000)), ..progress }).await;
    assert_eq!(rig.refused(&shown).await.code(), "NOT_FOUND", "it ended long ago");
    assert_eq!(pages(&rig, "redeliveries", "", 9, "id").await, made[1..]);
}

#[tokio::test]
async fn a_letter_does_not_go_along_with_its_webhook_to_another_organization() {
    let rig = seeded().await;
    let (moved, other) = (rig.foreign_webhook().await, caller("OWNER", "org_2", None));
    // It died about an event of org_1.
    let letter = rig.bury(&moved, "evt_1", 1_000).await;
    let all = rig.asked(other.clone(), "{ deadLetters { nodes { id } } }").await;
    assert_eq!(all["deadLetters"]["nodes"], json!([]));
    for query in [
        format!(r#"{{ deadLetter(id: "{letter}") {{ id }} }}"#),
        format!(r#"mutation {{ redeliver(input: {{ letterIds: ["{letter}"] }}) {{ id }} }}"#),
    ] {
        assert_eq!(rig.code(other.clone(), &query).await, Some("NOT_FOUND"), "{query}");
    }
    assert_eq!(rig.wishes().await, []);
}

#[tokio::test]
async fn those_who_ask_at_once_get_no_more_redeliveries_than_one_who_asks_again_and_again() {
    let rig = seeded().await;
    let asked = (0..16).map(|_| rig.code(caller("OWNER", "org_1", None), ONE_MORE));
    let refused = futures::future::join_all(asked).await;
    let refused: Vec<_> = refused.into_iter().flatten().collect();
    assert_eq!((refused, rig.wishes().await.len()), (vec!["VALIDATION_ERROR"; 6], 10));
}

#[tokio::test]
async fn a_webhook_has_a_hundred_redeliveries_at_most_that_are_kept() {
    let rig = seeded().await;
    for _ in 0..100 {
        let id = rig.wish("wh_1").await;
        rig.api().history.cancel(&id).await.expect("written");
    }
    let refused = rig.refused(ONE_MORE).await;
    assert_eq!((refused.code(), refused.field()), ("VALIDATION_ERROR", Some("webhookId")));
    assert!(refused.to_string().contains("100 redeliveries within 30 days"), "{refused}");
    let wishes = rig.wishes().await;
    assert_eq!(wishes.len(), 100);
    rig.redeliver(r#"webhookId: "wh_2""#).await;
    // One of them is kept no more.
    let long_ago = RedeliveryProgress { ended_at: Some(Timestamp(9_000)), ..RedeliveryProgress::NONE };
    rig.progress(&wishes[0].id, &long_ago).await;
    rig.redeliver(r#"webhookId: "wh_1""#).await;
}

const ONE_MORE: &str = r#"mutation { redeliver(input: { webhookId: "wh_1" }) { id } }"#;

impl Rig {
    /// What a dispatcher writes down.
    async fn progress(&self, id: &str, progress: &RedeliveryProgress) {
        use hookline_event_log::{Epoch, Table, TableName};
        use hookline_schemas::redelivery::RedeliveryKey;
        let table = self.log.table(TableName::Lanes);
        let partition = partition_of(id.as_bytes(), table.partitions());
        let key = RedeliveryKey::Progress(id).to_string().into();
        let put = table.put(partition, key, Some(encode(progress).into()), Epoch(1)).await;
        put.expect("accepted").await.expect("acknowledged");
    }
}
