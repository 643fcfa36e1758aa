//! One line of the log for each delivery that is settled: target `hookline::delivery`, level INFO; of one that goes on in
//! a lane, DEBUG. Never a URL, a body or a secret. Where the target is off, nothing is made for it.
//!
//! A line *delivered* is a 2xx: one that comes late, beside a parked copy in somebody else's lane, may have another.

use hookline_schemas::delivery::{DeadLetter, DeadReason, FailureReason, ParkedDelivery};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;

use super::perform::Begun;
use crate::core::{Cancelled, ParkReason};

const TARGET: &str = "hookline::delivery";

/// The receiver has it.
pub(super) fn delivered(begun: &Begun, status: u16, now: Timestamp) {
    tracing::info!(
        target: TARGET,
        event = begun.event.as_str(),
        webhook = begun.webhook.as_str(),
        "type" = begun.event_type.as_str(),
        outcome = "delivered",
        attempts = begun.number,
        status,
        age_ms = age(begun.accepted_at, now),
        way = begun.way.label(),
    );
}

/// It was given up, and its letter is acknowledged.
pub(super) fn dead(letter: &DeadLetter) {
    tracing::info!(
        target: TARGET,
        event = letter.event.id.as_str(),
        webhook = letter.webhook.as_str(),
        "type" = letter.event.event_type.as_str(),
        outcome = "dead",
        attempts = letter.tries,
        status = status_of(letter.last_failure),
        age_ms = age(letter.event.accepted_at, letter.dead_at),
        reason = dead_label(letter.reason),
        failure = letter.last_failure.map(FailureReason::label),
    );
}

/// It goes on in a lane.
pub(super) fn parked(parked: &ParkedDelivery, why: ParkReason, now: Timestamp) {
    tracing::debug!(
        target: TARGET,
        event = parked.event.id.as_str(),
        webhook = parked.webhook.as_str(),
        "type" = parked.event.event_type.as_str(),
        outcome = "parked",
        attempts = parked.tries,
        status = status_of(parked.last_failure),
        age_ms = age(parked.event.accepted_at, now),
        reason = why.label(),
        failure = parked.last_failure.map(FailureReason::label),
    );
}

/// Its webhook is no more.
pub(super) fn cancelled(webhook: &WebhookId, what: &Cancelled, now: Timestamp) {
    match what {
        Cancelled::One { event, event_type, tries, accepted_at } => tracing::info!(
            target: TARGET,
            event = event.as_str(),
            webhook = webhook.as_str(),
            "type" = event_type.as_str(),
            outcome = "cancelled",
            attempts = tries,
            age_ms = age(*accepted_at, now),
            reason = "webhook_deleted",
        ),
        Cancelled::Backlog(deliveries) => tracing::info!(
            target: TARGET,
            webhook = webhook.as_str(),
            outcome = "cancelled",
            deliveries,
            reason = "webhook_deleted",
        ),
    }
}

fn age(accepted_at: Timestamp, now: Timestamp) -> u64 {
    now.0.saturating_sub(accepted_at.0)
}

const fn status_of(failure: Option<FailureReason>) -> Option<u16> {
    match failure {
        Some(FailureReason::Status(status)) => Some(status),
        _ => None,
    }
}

/// As the metrics call it.
const fn dead_label(reason: DeadReason) -> &'static str {
    match reason {
        DeadReason::Rejected => "rejected",
        DeadReason::Deadline => "deadline",
    }
}
