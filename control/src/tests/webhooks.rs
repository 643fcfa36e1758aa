//! Webhooks, by every operation that there is.

use std::sync::Arc;
use std::time::Duration;

use hookline_event_log::{Epoch, Log, Table, TableName, partition_of};
use hookline_schemas::delivery::{BreakerRecord, Disabled, DisabledReason, LaneRecord, encode};
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{ClubId, OrganizationId, WebhookId};
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::{Webhook, parse_url};
use serde_json::{Value, json};

use super::{Rig, Setup, caller, data, error, owner, until};
use crate::graphql::Configured;

/// As IZI's documentation prints it.
const CREATE: &str = "mutation Create($input: CreateWebhookInput!) {
    createWebhook(input: $input) { id url events secret isActive }
}";

const SHOWN: &str = "id url events isActive clubId description headers { name } rateLimit retrySchedule deadline \
                     secret secretRotatesUntil state disabledReason disabledAt";

impl Rig {
    async fn create(&self, input: Value) -> Value {
        data(self.execute(&Ok(owner()), CREATE, json!({ "input": input })).await)["createWebhook"].clone()
    }

    async fn shown(&self, id: &Value) -> Value {
        self.owner(&format!("{{ webhook(id: {id}) {{ {SHOWN} }} }}")).await["webhook"].clone()
    }

    /// The webhook as dispatchers have it.
    fn open(&self, id: &Value) -> Webhook {
        let all: Vec<_> = self.registry().open_webhooks().expect("all are readable");
        let id = id.as_str().expect("an id");
        all.into_iter().find(|webhook| webhook.id.as_str() == id).expect("the webhook")
    }
}

fn minimal() -> Value {
    json!({ "url": "https://example.com/hooks", "events": ["PAYMENT_RECEIVED"] })
}

fn with(key: &str, value: Value) -> Value {
    let mut input = minimal();
    input[key] = value;
    input
}

#[tokio::test]
async fn events_are_taken_as_texts_and_as_enum_values_in_the_query_and_in_variables() {
    let rig = Rig::new().await;
    let expected = json!(["PAYMENT_RECEIVED", "PAYMENT_FAILED"]);
    for events in
        [r#"["PAYMENT_RECEIVED", "PAYMENT_FAILED"]"#, "[PAYMENT_RECEIVED, PAYMENT_FAILED, PAYMENT_RECEIVED]"]
    {
        let query = format!(
            r#"mutation {{ createWebhook(input: {{ url: "https://example.com/hooks", events: {events} }}) {{
            id url events secret isActive }} }}"#
        );
        let made = rig.owner(&query).await["createWebhook"].clone();
        assert_eq!((&made["events"], &made["isActive"]), (&expected, &json!(true)), "{events}");
    }
    let made = rig.create(with("events", expected.clone())).await;
    assert_eq!(made["events"], expected);
    let query = r#"mutation ($events: [WebhookEventType!]!) {
        createWebhook(input: { url: "https://example.com/hooks", events: $events }) { events } }"#;
    let made = data(rig.execute(&Ok(owner()), query, json!({ "events": expected })).await);
    assert_eq!(made["createWebhook"]["events"], expected);
    let open: Vec<_> = rig
        .registry()
        .open_webhooks()
        .expect("all are readable")
        .into_iter()
        .map(|webhook| webhook.events)
        .collect();
    assert_eq!(open, vec![vec![EventType::PaymentReceived, EventType::PaymentFailed]; 4]);
}

#[tokio::test]
async fn the_secret_is_in_the_first_answer_alone_and_signs_at_once() {
    let rig = Rig::new().await;
    let made = rig.create(minimal()).await;
    let secret = WebhookSecret::parse(made["secret"].as_str().expect("a secret")).expect("whsec_");
    assert!(made["secret"].as_str().is_some_and(|text| text.starts_with("whsec_")), "{made}");
    assert_eq!(secret.decoded().len(), 32);
    let at = Timestamp(1_800_000_000_000);
    let signed = rig.open(&made["id"]).keys.sign("evt_1", at, b"{}");
    assert_eq!(signed, WebhookKeys::new(&secret).sign("evt_1", at, b"{}"));
    assert_eq!(rig.shown(&made["id"]).await["secret"], Value::Null);
    let listed = rig.owner("{ webhooks { id url events isActive secret } }").await;
    let expected = json!([{ "id": made["id"], "url": "https://example.com/hooks", "events": ["PAYMENT_RECEIVED"],
        "isActive": true, "secret": null }]);
    assert_eq!(listed["webhooks"], expected);
}

#[tokio::test]
async fn a_new_webhook_is_what_was_asked_for() {
    let rig = Rig::new().await;
    let mut input = minimal();
    for (key, value) in [
        ("clubId", json!("club_1")),
        ("description", json!("Our CRM")),
        ("headers", json!([{ "name": "X-Tenant", "value": "club-7" }])),
        ("rateLimit", json!(50)),
        ("retrySchedule", json!(["5s", "30min"])),
        ("deadline", json!("24h")),
    ] {
        input[key] = value;
    }
    let made = rig.create(input).await;
    let expected = json!({ "id": made["id"], "url": "https://example.com/hooks", "events": ["PAYMENT_RECEIVED"],
        "isActive": true, "clubId": "club_1", "description": "Our CRM", "headers": [{ "name": "X-Tenant" }],
        "rateLimit": 50, "retrySchedule": ["5s", "30m"], "deadline": "1day", "secret": null,
        "secretRotatesUntil": null, "state": "ACTIVE", "disabledReason": null, "disabledAt": null });
    assert_eq!(rig.shown(&made["id"]).await, expected);
    let open = rig.open(&made["id"]);
    let (delays, day) =
        ([Duration::from_secs(5), Duration::from_secs(1_800)], Duration::from_secs(24 * 3600));
    assert_eq!((open.retry_schedule.as_deref(), open.deadline), (Some(&delays[..]), Some(day)));
    let tenant = open.headers.as_map().get("x-tenant").map(|value| value.as_bytes());
    assert_eq!((tenant, open.rate_limit.map(|limit| limit.get())), (Some(&b"club-7"[..]), Some(50)));
}

#[tokio::test]
async fn what_can_not_be_sent_to_is_refused() {
    let rig = Rig::new().await;
    for (input, field, part) in [
        (with("url", json!("http://example.com/")), "url", "https"),
        (with("url", json!("ftp://example.com/")), "url", "neither http nor https"),
        (with("url", json!("https://user:pass@example.com/")), "url", "user name"),
        (with("url", json!(format!("https://example.com/{}", "x".repeat(2_000)))), "url", "2000 bytes"),
        (with("events", json!([])), "events", "empty"),
        (with("events", json!(["PAYMENT_RECEIVED", "SHIFT_OPENED"])), "events", "payment events alone"),
        (with("headers", json!([{ "name": "X-IZI-Signature", "value": "a" }])), "headers", "reserved"),
        (with("headers", json!([{ "name": "X-A", "value": "a\nb" }])), "headers", "x-a"),
        (with("rateLimit", json!(0)), "rateLimit", "1 or more"),
        (with("retrySchedule", json!([])), "retrySchedule", "1 to 50"),
        (with("retrySchedule", json!(vec!["1s"; 51])), "retrySchedule", "1 to 50"),
        (with("retrySchedule", json!(["soon"])), "retrySchedule", "durations"),
        (with("deadline", json!("97h")), "deadline", "4days"),
        (with("deadline", json!("0s")), "deadline", "durations"),
        (with("clubId", json!("")), "clubId", "1 to 200"),
        (with("description", json!("\u{7}")), "description", "control characters"),
    ] {
        let refused = rig.refused_with(CREATE, json!({ "input": input })).await;
        assert_eq!((refused.code(), refused.field()), ("VALIDATION_ERROR", Some(field)), "{input}");
        assert!(refused.details().is_some_and(|details| details.contains(part)), "{part} in {refused}");
    }
    assert_eq!(rig.registry().webhooks().count(), 0);
    let rig = Rig::with(Setup { allow_http: true, ..Setup::default() }).await;
    rig.create(with("url", json!("http://127.0.0.1:9999/"))).await;
}

#[tokio::test]
async fn an_organization_has_a_hundred_webhooks_at_most() {
    let rig = Rig::new().await;
    for _ in 0..100 {
        rig.create(minimal()).await;
    }
    assert_eq!(rig.refused_with(CREATE, json!({ "input": minimal() })).await.code(), "VALIDATION_ERROR");
    let other = Ok(caller("OWNER", "org_2", None));
    assert_eq!(error(&rig.execute(&other, CREATE, json!({ "input": minimal() })).await), None);
}

#[tokio::test]
async fn an_update_changes_what_it_names() {
    let rig = Rig::new().await;
    let mut input = minimal();
    input["clubId"] = json!("club_1");
    input["headers"] = json!([{ "name": "X-A", "value": "a" }]);
    input["deadline"] = json!("24h");
    let id = rig.create(input).await["id"].clone();
    let query = format!(
        "mutation ($input: UpdateWebhookInput!) {{ updateWebhook(id: {id}, input: $input) {{ {SHOWN} }} }}"
    );
    let mut expected = rig.shown(&id).await;
    for (input, changed) in [
        (json!({}), json!({})),
        (json!({ "url": "https://example.com/2" }), json!({ "url": "https://example.com/2" })),
        (json!({ "events": ["PAYMENT_FAILED"] }), json!({ "events": ["PAYMENT_FAILED"] })),
        (json!({ "clubId": null }), json!({ "clubId": null })),
        (json!({ "clubId": "club_2" }), json!({ "clubId": "club_2" })),
        (json!({ "isActive": false }), json!({ "isActive": false, "state": "PAUSED" })),
        (json!({ "isActive": true }), json!({ "isActive": true, "state": "ACTIVE" })),
        (json!({ "headers": [{ "name": "X-B", "value": "b" }] }), json!({ "headers": [{ "name": "X-B" }] })),
        (json!({ "headers": null }), json!({ "headers": [] })),
        (json!({ "rateLimit": 5 }), json!({ "rateLimit": 5 })),
        (json!({ "rateLimit": null }), json!({ "rateLimit": null })),
        (json!({ "deadline": null, "description": "x" }), json!({ "deadline": null, "description": "x" })),
        (json!({ "retrySchedule": ["1min"] }), json!({ "retrySchedule": ["1m"] })),
    ] {
        let answer = data(rig.execute(&Ok(owner()), &query, json!({ "input": input })).await);
        let fields = expected.as_object_mut().expect("an object");
        fields.extend(changed.as_object().expect("an object").clone());
        assert_eq!(answer["updateWebhook"], expected, "{input}");
    }
    for input in
        [json!({ "url": "http://example.com/" }), json!({ "events": [] }), json!({ "rateLimit": -1 })]
    {
        assert_eq!(rig.refused_with(&query, json!({ "input": input })).await.code(), "VALIDATION_ERROR");
    }
    assert_eq!(rig.shown(&id).await, expected);
}

#[tokio::test]
async fn a_rotated_secret_signs_beside_the_previous_one_for_a_while() {
    for (overlap, hours) in [("", Some(24)), (", overlapHours: 1", Some(1)), (", overlapHours: 0", None)] {
        let rig = Rig::new().await;
        let made = rig.create(minimal()).await;
        let id = made["id"].clone();
        let now = rig.api().clock.wall();
        let rotated = rig.rotate(&id, overlap).await;
        assert_ne!(rotated["secret"], made["secret"], "{overlap}");
        let end = rig.open(&id).keys.overlap_ends().map(|end| end.since(now).as_secs() / 3600);
        assert_eq!(end, hours, "{overlap}");
        assert_eq!(rotated["secretRotatesUntil"].is_string(), hours.is_some(), "{rotated}");
        assert_eq!(
            rig.signs_with_both(&id, &rotated["secret"], &made["secret"]),
            hours.is_some(),
            "{overlap}"
        );
    }
    let rig = Rig::new().await;
    let id = rig.create(minimal()).await["id"].clone();
    let rotate = format!("mutation {{ rotateWebhookSecret(id: {id}, overlapHours: 169) {{ id }} }}");
    assert_eq!(rig.refused(&rotate).await.code(), "VALIDATION_ERROR");
}

#[tokio::test]
async fn rotated_again_within_the_overlap_the_secret_that_receivers_have_goes_on_for_as_long_as_was_promised()
{
    let rig = Rig::new().await;
    let made = rig.create(minimal()).await;
    let id = made["id"].clone();
    let lost = rig.rotate(&id, "").await;
    let again = rig.rotate(&id, ", overlapHours: 1").await;
    assert_eq!(again["secretRotatesUntil"], lost["secretRotatesUntil"]);
    assert!(rig.signs_with_both(&id, &again["secret"], &made["secret"]));
    let at_once = rig.rotate(&id, ", overlapHours: 0").await;
    assert_eq!(at_once["secretRotatesUntil"], Value::Null, "what was stolen is withdrawn");
}

impl Rig {
    async fn rotate(&self, id: &Value, overlap: &str) -> Value {
        let query =
            format!("mutation {{ rotateWebhookSecret(id: {id}{overlap}) {{ secret secretRotatesUntil }} }}");
        self.owner(&query).await["rotateWebhookSecret"].clone()
    }

    /// Whether what goes out now is signed with these two.
    fn signs_with_both(&self, id: &Value, current: &Value, previous: &Value) -> bool {
        let secret = |text: &Value| WebhookSecret::parse(text.as_str().expect("a text")).expect("a secret");
        let now = self.api().clock.wall();
        let until = now.after(Duration::from_secs(60));
        let keys = WebhookKeys::rotating(&secret(current), &secret(previous), until).expect("two secrets");
        self.open(id).keys.sign("evt_1", now, b"{}") == keys.sign("evt_1", now, b"{}")
    }
}

#[tokio::test]
async fn enabling_and_probing_are_written_for_the_dispatchers_and_deleting_ends_it() {
    let rig = Rig::new().await;
    let id = rig.create(minimal()).await["id"].clone();
    let record = || rig.registry().webhooks().next().cloned().expect("a webhook");
    assert_eq!((record().enabled_at, record().probed_at), (None, None));
    rig.owner(&format!("mutation {{ enableWebhook(id: {id}) {{ id }} }}")).await;
    assert!(record().enabled_at.is_some() && record().probed_at.is_none());
    rig.owner(&format!("mutation {{ probeWebhook(id: {id}) {{ state }} }}")).await;
    assert!(record().probed_at.is_some());
    let delete = format!("mutation {{ deleteWebhook(id: {id}) }}");
    assert_eq!(rig.owner(&delete).await, json!({ "deleteWebhook": true }));
    assert_eq!(rig.owner("{ webhooks { id } }").await, json!({ "webhooks": [] }));
    assert_eq!(rig.refused(&delete).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn the_state_is_what_the_owner_of_the_lane_has_written_down() {
    let rig = Rig::new().await;
    let id = rig.create(minimal()).await["id"].clone();
    let webhook = WebhookId::new(id.as_str().expect("an id"));
    let gone =
        Disabled { at: Timestamp(1_780_151_520_000), reason: DisabledReason::Gone, is_announced: true };
    let down =
        BreakerRecord { failed_probes: Some(3), failing_since: Some(Timestamp(1)), next_due: Timestamp(2) };
    for (breaker, disabled, state, is_active) in [
        (down, None, "DOWN", true),
        (BreakerRecord { failing_since: None, ..down }, None, "RECOVERING", true),
        (down, Some(gone), "DISABLED", false),
        (BreakerRecord::default(), None, "ACTIVE", true),
    ] {
        let url = Some(rig.open(&id).url_fingerprint());
        let record = LaneRecord { breaker, disabled, url, ..LaneRecord::unknown(webhook.clone()) };
        let (table, key) = (rig.log.table(TableName::Lanes), LaneRecord::key(&webhook));
        let partition = partition_of(webhook.as_str().as_bytes(), table.partitions());
        let put = table.put(partition, key.into(), Some(encode(&record).into()), Epoch(1)).await;
        put.expect("accepted").await.expect("acknowledged");
        until(async || rig.shown(&id).await["state"] == state).await;
        let shown = rig.shown(&id).await;
        assert_eq!(shown["isActive"], is_active, "{state}");
        let reason = disabled.map(|_| ("GONE", "2026-05-30T14:32:00Z"));
        assert_eq!(shown["disabledReason"].as_str().zip(shown["disabledAt"].as_str()), reason, "{state}");
    }
}

#[tokio::test]
async fn webhooks_of_the_configuration_are_shown_beside_the_others() {
    let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
    let configured = Webhook {
        id: WebhookId::new("wh_configured"),
        organization: OrganizationId::new("org_1"),
        club_id: Some(ClubId::new("club_1")),
        url: parse_url("http://127.0.0.1:9/hooks").expect("a URL"),
        events: vec![EventType::PaymentReceived],
        keys: WebhookKeys::new(&secret),
        headers: Default::default(),
        retry_schedule: None,
        deadline: Some(Duration::from_secs(3600)),
        rate_limit: None,
        paused: true,
        enabled_at: None,
        probed_at: None,
    };
    let configured =
        Configured { webhooks: Arc::new([configured].into_iter().collect()), ..Configured::default() };
    let rig = Rig::with(Setup { configured, ..Setup::default() }).await;
    let id = rig.create(minimal()).await["id"].clone();
    let listed = rig.owner("{ webhooks { id } }").await["webhooks"].clone();
    assert_eq!(listed, json!([{ "id": "wh_configured" }, { "id": id }]));
    let shown = rig.shown(&json!("wh_configured")).await;
    let expected = json!({ "id": "wh_configured", "url": "http://127.0.0.1:9/hooks", "events": ["PAYMENT_RECEIVED"],
        "isActive": false, "clubId": "club_1", "description": null, "headers": [], "rateLimit": null,
        "retrySchedule": null, "deadline": "1h", "secret": null, "secretRotatesUntil": null, "state": "PAUSED",
        "disabledReason": null, "disabledAt": null });
    assert_eq!(shown, expected);
    let refused = rig.refused(r#"mutation { deleteWebhook(id: "wh_configured") }"#).await;
    assert_eq!((refused.code(), refused.to_string().contains("configuration")), ("FORBIDDEN", true));
}
