//! The receivers of the simulated world, with what they are sent.

use std::num::NonZeroU32;
use std::time::Duration;

use hookline_schemas::custom_headers::CustomHeaders;
use hookline_schemas::delivery::{AttemptOutcome, FailureReason};
use hookline_schemas::event::{Event, EventType};
use hookline_schemas::ids::{ClubId, EventId, GatewayId, OrganizationId, WebhookId};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::payload::{EventData, NoticeData};
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhook;
use rand::Rng;
use rand::rngs::SmallRng;

use super::faults::Faults;

pub(super) const WEBHOOKS: [&str; 3] = ["wh_healthy", "wh_down", "wh_moody"];
/// The one that is deleted, where one is; and the one that limits its rate.
pub(super) const DELETED: &str = "wh_moody";
/// How many attempts it takes in a second.
pub(super) const RATE: NonZeroU32 = NonZeroU32::new(60).expect("not zero");
/// From here on everybody is well, so that the run can end.
pub(super) const HEALED: Timestamp = Timestamp(1_500_000);
/// When one of them is down.
const DOWN: std::ops::Range<Timestamp> = Timestamp(1_500)..Timestamp(1_200_000);
/// One that comes and goes is away for the first part of every while, in milliseconds.
const AWAY: u64 = 2_500;
const WHILE: u64 = 10_000;
/// Events that are meant to fail are among these.
const FIRST_EVENTS: u64 = super::world::EVENTS;

/// What a receiver answers, and how long it takes.
pub(super) fn answer(
    webhook: &WebhookId,
    event: u64,
    now: Timestamp,
    faults: Faults,
    random: &mut SmallRng,
) -> (AttemptOutcome, u64) {
    let failed =
        |status| AttemptOutcome::Retryable { reason: FailureReason::Status(status), retry_after: None };
    let timeout = AttemptOutcome::Retryable { reason: FailureReason::Timeout, retry_after: None };
    let local = AttemptOutcome::Retryable { reason: FailureReason::Local, retry_after: None };
    let delivered = (AttemptOutcome::Delivered { status: 200 }, random.random_range(1..30));
    if webhook.as_str() == "wh_healthy" {
        return delivered;
    }
    if is_poison(event, faults) {
        return (failed(500), 5);
    }
    if faults.refuses_until > now {
        return (failed(503), 5);
    }
    if now >= HEALED {
        return delivered;
    }
    match webhook.as_str() {
        "wh_down" if faults.down && DOWN.contains(&now) => (timeout, 15_000),
        "wh_moody" if faults.flaps && is_away(now) => (failed(503), 5),
        "wh_moody" if faults.receivers => match random.random_range(0..10) {
            0..3 => (failed(500), 10),
            3 => (timeout, 15_000),
            4 => (AttemptOutcome::Delivered { status: 200 }, random.random_range(4_000..14_000)),
            5 if faults.gone && random.random_range(0..5) == 0 => {
                (AttemptOutcome::Rejected { reason: FailureReason::Status(410) }, 10)
            }
            5 => (AttemptOutcome::Rejected { reason: FailureReason::Status(413) }, 10),
            6 => (local, 1),
            _ => delivered,
        },
        _ => delivered,
    }
}

/// Whether every attempt at this event fails, but at the healthy receiver.
pub(super) fn is_poison(event: u64, faults: Faults) -> bool {
    faults.poison && event < FIRST_EVENTS && event % 97 == 5
}

/// Whether the receiver is down now.
pub(super) fn is_down(webhook: &WebhookId, now: Timestamp, faults: Faults) -> bool {
    faults.down && webhook.as_str() == "wh_down" && DOWN.contains(&now)
}

fn is_away(now: Timestamp) -> bool {
    now < HEALED && now.0 % WHILE < AWAY
}

pub(super) fn number_of(event: &Event) -> u64 {
    event.id.as_str().trim_start_matches("evt_").parse().expect("a number")
}

pub(super) fn event(number: u64, accepted_at: Timestamp) -> Event {
    let data = NoticeData {
        gateway: GatewayId::new("gw"),
        gateway_transaction_id: None,
        invoice_id: None,
        client_id: None,
        status: None,
    };
    Event {
        id: EventId::new(format!("evt_{number}")),
        fingerprint: number,
        webhooks_version: 0,
        source: hookline_schemas::event::EventSource::Notification,
        event_type: EventType::PaymentReceived,
        notification: Some(NotificationType::Pay),
        organization: OrganizationId::new("org"),
        gateway: Some(GatewayId::new("gw")),
        club_id: ClubId::new("club"),
        occurred_at: None,
        accepted_at,
        data: EventData::Notice(data),
    }
}

pub(super) fn webhook(id: &str, faults: Faults) -> Webhook {
    let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
    Webhook {
        id: WebhookId::new(id),
        organization: OrganizationId::new("org"),
        club_id: None,
        url: "https://example.com/".parse().expect("a URL"),
        events: vec![EventType::PaymentReceived],
        keys: WebhookKeys::new(&secret),
        headers: CustomHeaders::default(),
        // Soon enough that its lane is empty now and then.
        retry_schedule: (faults.flaps && id == "wh_moody").then(|| vec![Duration::from_secs(2)]),
        deadline: None,
        rate_limit: (faults.rate && id == "wh_moody").then_some(RATE),
        paused: false,
        enabled_at: None,
        probed_at: None,
    }
}
