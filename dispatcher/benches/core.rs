//! A step of the core, as far as it goes: an event for 10 webhooks, from its fetch until all of them have it.

#[path = "../../schemas/benches/support/mod.rs"]
mod support;

use hookline_dispatcher::Settings;
use hookline_dispatcher::bench::Bench;
use hookline_schemas::custom_headers::CustomHeaders;
use hookline_schemas::event::{Event, EventSource, EventType};
use hookline_schemas::ids::{ClubId, EventId, GatewayId, OrganizationId, WebhookId};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::payload::{EventData, NoticeData};
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhook;
use support::Measured;

const NOW: Timestamp = Timestamp(1_780_000_000_000);
const WEBHOOKS: usize = 10;

/// More than the core remembers, so that none is a repetition.
const EVENTS: usize = 2 * REPEAT_MEMORY;
const REPEAT_MEMORY: usize = 2_000;

fn settings() -> Settings {
    let settings = serde_json::json!({
        "allow_http": false, "attempt_timeout": "15s", "budget": "5s", "commit_interval": "250ms",
        "lane_interval": "1s", "endpoint_concurrency": 32, "max_attempts": 4096, "endpoint_queue": 4096,
        "window_events": 512, "window_bytes": "8 MiB", "repeat_memory": REPEAT_MEMORY, "breaker_failures": 5,
        "disable_after": "5days", "retry_schedule": ["5s"], "probe_schedule": ["5s"], "deadline": "76h",
        "drain_timeout": "20s", "revoke_timeout": "3s",
    });
    serde_json::from_value(settings).expect("the settings are complete")
}

fn webhook(number: usize) -> Webhook {
    let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
    Webhook {
        id: WebhookId::new(format!("wh_{number}")),
        organization: OrganizationId::new("org"),
        club_id: None,
        url: "https://example.com/".parse().expect("a URL"),
        events: vec![EventType::PaymentReceived],
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

fn event(number: usize) -> Event {
    Event {
        id: EventId::new(format!("evt_{number}")),
        fingerprint: number as u64,
        webhooks_version: 0,
        source: EventSource::Notification,
        event_type: EventType::PaymentReceived,
        notification: Some(NotificationType::Pay),
        organization: OrganizationId::new("org"),
        gateway: Some(GatewayId::new("gw")),
        club_id: ClubId::new("club"),
        occurred_at: None,
        accepted_at: NOW,
        data: EventData::Notice(NoticeData {
            gateway: GatewayId::new("gw"),
            gateway_transaction_id: Some(number.to_string()),
            invoice_id: None,
            client_id: None,
            status: None,
        }),
    }
}

fn main() {
    let mut bench = Bench::new(settings(), (0..WEBHOOKS).map(webhook).collect(), NOW);
    let mut events = (0..EVENTS).map(event).collect::<Vec<_>>().into_iter().cycle();
    let deliver = move || {
        let event = events.next().expect("they come again and again");
        assert_eq!(bench.deliver(event), WEBHOOKS, "each webhook gets it once");
    };
    support::main(vec![Measured::new("deliver_to_10_webhooks", deliver)]);
}
