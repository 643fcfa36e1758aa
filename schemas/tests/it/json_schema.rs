//! The JSON Schemas in `schemas/json`: they are those of the code, and every payload keeps to its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hookline_schemas::custom_headers::CustomHeaders;
use hookline_schemas::delivery::{Disabled, DisabledReason};
use hookline_schemas::event::{Event, EventType, partition_key};
use hookline_schemas::ids::{ClubId, OrganizationId, WebhookId};
use hookline_schemas::payload::{EventData, json_schemas};
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::{Webhook, Webhooks, parse_url};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::samples;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/json");

/// Set to anything, it rewrites the files instead of comparing them.
const UPDATE: &str = "UPDATE_SCHEMAS";

#[test]
fn the_files_are_the_schemas_of_the_code() {
    let expected: BTreeMap<_, _> = json_schemas().into_iter().collect();
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(DIRECTORY).expect("the directory can be made");
        for (name, text) in &expected {
            fs::write(Path::new(DIRECTORY).join(name), text).expect("a schema can be written");
        }
    }
    for (name, text) in &expected {
        let file = fs::read_to_string(Path::new(DIRECTORY).join(name)).unwrap_or_default();
        assert!(
            file == *text,
            "schemas/json/{name} is not what the code describes: payloads have changed. If that is meant, run \
             the test again with {UPDATE}=1 and read the difference as an integrator would."
        );
    }
    let files = fs::read_dir(DIRECTORY).expect("the directory is there");
    let files: BTreeSet<_> =
        files.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    let names: BTreeSet<_> = expected.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(files, names, "every file in schemas/json belongs to a schema");
}

#[test]
fn every_payload_keeps_to_its_schema() {
    let mut used = BTreeSet::new();
    for (name, file, payload) in payloads() {
        assert_eq!(broken_rules(&schema(file), &payload), Vec::<String>::new(), "{name}: {payload}");
        used.insert(file);
    }
    let all: BTreeSet<_> = json_schemas().into_iter().map(|(file, _)| file).collect();
    assert_eq!(used, all, "every schema has a payload");
}

#[test]
fn no_payload_holds_a_field_that_its_schema_does_not_name() {
    for (name, file, payload) in payloads() {
        let closed = closed(schema(file));
        assert_eq!(broken_rules(&closed, &payload), Vec::<String>::new(), "{name}: {payload}");
        for place in ["", "/data"] {
            let mut personal = payload.clone();
            let object = personal.pointer_mut(place).and_then(Value::as_object_mut).expect("an object");
            object.insert("email".to_owned(), json!("user@example.com"));
            assert_ne!(broken_rules(&closed, &personal), Vec::<String>::new(), "{name}: {personal}");
        }
    }
}

#[test]
fn what_integrators_rely_on_is_required() {
    for (name, file, payload) in payloads() {
        let schema = schema(file);
        for key in ["id", "type", "timestamp", "clubId", "data"] {
            let mut without = payload.clone();
            without.as_object_mut().expect("an object").remove(key).expect("the member was there");
            assert_ne!(broken_rules(&schema, &without), Vec::<String>::new(), "{name} without {key}");
        }
    }
}

#[test]
fn money_is_a_decimal_string_in_the_schema() {
    let (_, file, payload) = payloads().into_iter().find(|(name, ..)| *name == "pay-current").expect("it");
    let schema = schema(file);
    for wrong in [json!(10.00), json!("1e2"), json!("-1.00"), json!("10,00"), json!(""), json!(null)] {
        let mut changed = payload.clone();
        *changed.pointer_mut("/data/amount").expect("an amount") = wrong;
        assert_ne!(broken_rules(&schema, &changed), Vec::<String>::new(), "{changed}");
    }
}

/// The payload of every sample that has one, and of what happens within hookline, with the name of its schema.
fn payloads() -> Vec<(&'static str, &'static str, Value)> {
    let payload = |event: &Event| serde_json::from_slice(&event.render()).expect("a payload is JSON");
    let samples = samples::all().into_iter();
    samples
        .filter_map(|sample| Some((sample.name, sample.event().ok()?)))
        .chain([("a disabled webhook", webhook_disabled()), ("a test", webhook_test())])
        .map(|(name, event)| {
            let file = match &event.data {
                EventData::Payment(_) => "payment.schema.json",
                EventData::Subscription(_) => "subscription.schema.json",
                EventData::Receipt(_) => "receipt.schema.json",
                EventData::Notice(_) => "notice.schema.json",
                EventData::Webhook(_) => "webhook.schema.json",
                EventData::Test(_) => "test.schema.json",
            };
            (name, file, payload(&event))
        })
        .collect()
}

fn webhook(id: &str, club: Option<&str>) -> Webhook {
    let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
    Webhook {
        id: WebhookId::new(id),
        organization: OrganizationId::new("org"),
        club_id: club.map(ClubId::new),
        url: parse_url("https://example.com/hooks").expect("a URL"),
        events: vec![EventType::WebhookDisabled],
        keys: WebhookKeys::new(&secret),
        headers: CustomHeaders::default(),
        retry_schedule: None,
        deadline: None,
        rate_limit: None,
        paused: false,
        enabled_at: None,
        probed_at: None,
    }
}

fn webhook_disabled() -> Event {
    let disabled =
        Disabled { at: Timestamp(1_800_000_000_000), reason: DisabledReason::Gone, is_announced: false };
    Event::webhook_disabled(&webhook("wh_1", Some("club_1")), &disabled)
}

#[test]
fn the_others_of_the_organization_get_to_know_that_a_webhook_was_disabled() {
    let event = webhook_disabled();
    assert!(webhook("wh_2", None).wants(&event));
    assert!(webhook("wh_2", Some("club_2")).wants(&event), "whatever their club");
    assert!(!webhook("wh_1", None).wants(&event), "it would not get it");
    let elsewhere = Webhook { organization: OrganizationId::new("org_2"), ..webhook("wh_2", None) };
    assert!(!elsewhere.wants(&event));
    let not_asked = Webhook { events: vec![EventType::PaymentReceived], ..webhook("wh_2", None) };
    assert!(!not_asked.wants(&event));
    assert_eq!(event.id, webhook_disabled().id, "the same id whenever it is told");
    assert_eq!(
        serde_json::from_slice::<Value>(&event.render()).expect("JSON"),
        json!({
            "id": event.id.as_str(), "type": "WEBHOOK_DISABLED", "timestamp": "2027-01-15T08:00:00Z",
            "clubId": "club_1", "data": { "webhookId": "wh_1", "reason": "gone" },
        })
    );
}

fn webhook_test() -> Event {
    let (webhook, organization) = (WebhookId::new("wh_1"), OrganizationId::new("org"));
    Event::webhook_test(
        webhook,
        organization,
        Some(ClubId::new("club_1")),
        Timestamp(1_800_000_000_000),
        "7",
        0,
    )
}

#[test]
fn a_test_is_for_the_webhook_that_is_tested_and_for_no_other() {
    let event = webhook_test();
    assert!(webhook("wh_1", None).wants(&event), "it has not asked for it");
    assert!(webhook("wh_1", Some("club_2")).wants(&event), "whatever its club");
    let by_name = Webhook { events: EventType::ALL.to_vec(), ..webhook("wh_2", Some("club_1")) };
    assert!(!by_name.wants(&event), "it asks for tests by name");
    let elsewhere = Webhook { organization: OrganizationId::new("org_2"), ..webhook("wh_1", None) };
    assert!(!elsewhere.wants(&event), "its id alone is no reason");
    let webhooks: Webhooks = [webhook("wh_1", None), by_name, elsewhere].into_iter().collect();
    assert_eq!(webhooks.matching(&event).count(), 1);
    assert_eq!(partition_key(&event), event.id.as_str());
    assert_eq!(Event::decode(&event.encode()).expect("an event"), event);
    assert_eq!(
        serde_json::from_slice::<Value>(&event.render()).expect("JSON"),
        json!({
            "id": event.id.as_str(), "type": "WEBHOOK_TEST", "timestamp": "2027-01-15T08:00:00Z",
            "clubId": "club_1", "data": {
                "webhookId": "wh_1", "message": "This is a test: nothing has happened, and nothing is to be done.",
            },
        })
    );
}

fn schema(file: &str) -> Value {
    let (_, text) = json_schemas().into_iter().find(|(name, _)| *name == file).expect("a schema");
    serde_json::from_str(&text).expect("a schema is JSON")
}

/// The same schema without room for anything else. The published ones leave room, because a later version
/// may add members.
fn closed(mut schema: Value) -> Value {
    let close = |object: &mut Value| {
        if object.get("properties").is_some() {
            object
                .as_object_mut()
                .expect("an object")
                .insert("additionalProperties".to_owned(), json!(false));
        }
    };
    close(&mut schema);
    let definitions = schema.get_mut("$defs").and_then(Value::as_object_mut).expect("definitions");
    definitions.values_mut().for_each(close);
    schema
}

fn broken_rules(schema: &Value, payload: &Value) -> Vec<String> {
    let validator: Validator = jsonschema::validator_for(schema).expect("a schema");
    validator.iter_errors(payload).map(|error| error.to_string()).collect()
}
