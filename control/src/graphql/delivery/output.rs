//! What became of an event at a webhook, and the way of a payment, as they are shown.

use async_graphql::{Enum, ID, SimpleObject};
use hookline_history::FoundEvent;
use hookline_history::trace::{TracedDelivery, TracedOutcome, TracedQuarantine, WaitReason};

use super::attempt::WebhookAttempt;
use super::letter::DeadLetterReason;
use crate::graphql::payment::PaymentSource;
use crate::graphql::scalars::DateTime;
use crate::graphql::webhook::{WebhookDisabledReason, WebhookEventType};
use crate::identity::Caller;

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum DeliveryState {
    /// The receiver has it.
    Delivered,
    /// It waits to be sent: waitsFor says for what.
    Waiting,
    /// It was given up: deadLetterId is its dead letter.
    Dead,
    /// It waits no more, and no attempt that succeeded is on record: delivered, or cancelled with its webhook.
    Settled,
    /// Nothing is on record: it is being planned or attempted, or it was delivered and the attempt was not recorded.
    NotOnRecord,
}

/// What a delivery waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum DeliveryWait {
    /// For its turn.
    InOrder,
    /// For its next try: it failed while others passed.
    NextTry,
    /// For its endpoint, which is down and is probed.
    Endpoint,
    /// For its webhook to be switched on.
    Paused,
    /// For its webhook to be enabled.
    Disabled,
}

/// What became of an event at a webhook.
#[derive(Debug, Clone, Default, SimpleObject)]
pub(crate) struct WebhookDelivery {
    /// The webhook.
    webhook_id: ID,
    /// How it stands.
    state: DeliveryState,
    /// When it was delivered (the attempt began then) or given up. Null, while it is neither.
    settled_at: Option<DateTime>,
    /// What it waits for, if it waits.
    waits_for: Option<DeliveryWait>,
    /// When it or its endpoint is tried next. Null, where nothing but its turn decides.
    next_try_at: Option<DateTime>,
    /// When it is given up, if it waits.
    deadline: Option<DateTime>,
    /// Since when its endpoint is down or its webhook is disabled, if it waits for that.
    waits_since: Option<DateTime>,
    /// Why its webhook is disabled, if it waits for that.
    disabled_reason: Option<WebhookDisabledReason>,
    /// Its dead letter, if it was given up.
    dead_letter_id: Option<ID>,
    /// Why it was given up, if it was.
    dead_reason: Option<DeadLetterReason>,
    /// Its attempts, as far as they are on record, in the order in which they began; the latest 100 of them.
    attempts: Vec<WebhookAttempt>,
}

#[expect(clippy::derivable_impls, reason = "a state of its own is nobody's default but that of a delivery")]
impl Default for DeliveryState {
    fn default() -> Self {
        Self::NotOnRecord
    }
}

/// Something that happened to a payment.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct TracedEvent {
    /// The event: the header webhook-id of its deliveries.
    id: ID,
    /// What happened.
    #[graphql(name = "type")]
    event_type: WebhookEventType,
    /// The notification of CloudPayments that told of it: pay, confirm, refund and the like. Null, where none did.
    notification: Option<String>,
    /// The gateway through which that came.
    gateway_id: Option<ID>,
    /// The club that it is about. Null: all of them.
    club_id: Option<ID>,
    /// When it happened, as the notification says.
    occurred_at: Option<DateTime>,
    /// When the notification was accepted.
    accepted_at: DateTime,
    /// How it became known.
    source: PaymentSource,
    /// What became of it at each of your webhooks.
    deliveries: Vec<WebhookDelivery>,
}

/// A notification that was verified and not understood.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct QuarantinedNotification {
    /// Its key.
    key: String,
    /// The gateway through which it came.
    gateway_id: ID,
    /// Its type: pay, confirm, refund and the like.
    notification: String,
    /// What was not understood.
    reason: String,
    /// When it was accepted first.
    accepted_at: DateTime,
}

/// The way of a payment: from its notifications to each webhook's next try.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct PaymentTrace {
    /// What happened to it, in the order in which it was accepted; the latest 100 of it.
    pub(super) events: Vec<TracedEvent>,
    /// Notifications about it that were not understood; 100 of them at most. For tokens of a whole organization alone,
    /// because it is not known which club they are about.
    pub(super) quarantined: Vec<QuarantinedNotification>,
    /// Notifications of your gateways that were not understood and could not be opened: they may be about it.
    pub(super) unopened: u64,
}

impl TracedEvent {
    pub(super) fn new(found: &FoundEvent, deliveries: Vec<WebhookDelivery>) -> Self {
        let event = &found.event;
        let club = event.club_id.as_str();
        Self {
            id: ID::from(event.id.as_str()),
            event_type: event.event_type.into(),
            notification: event.notification.map(|notification| notification.to_string()),
            gateway_id: event.gateway.as_ref().map(|gateway| ID::from(gateway.as_str())),
            club_id: (!club.is_empty()).then(|| ID::from(club)),
            occurred_at: event.occurred_at.map(DateTime),
            accepted_at: DateTime(event.accepted_at),
            source: event.source.into(),
            deliveries,
        }
    }
}

impl From<TracedQuarantine> for QuarantinedNotification {
    fn from(quarantined: TracedQuarantine) -> Self {
        let TracedQuarantine { key, gateway, notification, reason, accepted_at } = quarantined;
        Self {
            key,
            gateway_id: ID::from(gateway.as_str()),
            notification: notification.to_string(),
            reason,
            accepted_at: DateTime(accepted_at),
        }
    }
}

impl WebhookDelivery {
    /// As this caller may see it.
    pub(super) fn new(delivery: TracedDelivery, caller: &Caller) -> Self {
        let TracedDelivery { webhook, outcome, attempts } = delivery;
        let attempts = attempts.into_iter().map(|attempt| WebhookAttempt::new(attempt, caller)).collect();
        let it = Self { webhook_id: ID::from(webhook.as_str()), attempts, ..Self::default() };
        match outcome {
            TracedOutcome::Delivered { at, .. } => {
                Self { state: DeliveryState::Delivered, settled_at: Some(DateTime(at)), ..it }
            }
            TracedOutcome::Waiting { because, next_try, deadline } => {
                let it = Self {
                    state: DeliveryState::Waiting,
                    next_try_at: next_try.map(DateTime),
                    deadline: Some(DateTime(deadline)),
                    ..it
                };
                it.waiting(because)
            }
            TracedOutcome::Dead { letter, reason, at, .. } => Self {
                state: DeliveryState::Dead,
                settled_at: Some(DateTime(at)),
                dead_letter_id: Some(ID::from(letter)),
                dead_reason: Some(reason.into()),
                ..it
            },
            TracedOutcome::Settled => Self { state: DeliveryState::Settled, ..it },
            TracedOutcome::NotOnRecord => Self { state: DeliveryState::NotOnRecord, ..it },
        }
    }

    fn waiting(self, because: WaitReason) -> Self {
        let waits_for = match because {
            WaitReason::InOrder => DeliveryWait::InOrder,
            WaitReason::Failed { .. } => DeliveryWait::NextTry,
            WaitReason::EndpointDown { .. } => DeliveryWait::Endpoint,
            WaitReason::Paused => DeliveryWait::Paused,
            WaitReason::Disabled { .. } => DeliveryWait::Disabled,
        };
        let (waits_since, disabled_reason) = match because {
            WaitReason::EndpointDown { since, .. } => (since.map(DateTime), None),
            WaitReason::Disabled { reason, at } => (Some(DateTime(at)), Some(reason.into())),
            WaitReason::InOrder | WaitReason::Failed { .. } | WaitReason::Paused => (None, None),
        };
        Self { waits_for: Some(waits_for), waits_since, disabled_reason, ..self }
    }
}
