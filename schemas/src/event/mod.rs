//! The event: the immutable record of something that happened to a payment.
//!
//! Format: one JSON object, camelCase in `data` as integrators see it, snake_case around it. Unknown members
//! are ignored, so a later version may add some. It holds no card token, first six digits, expiry, name,
//! e-mail or address of the payer, and no raw body.

mod from_notification;
mod identity;

use serde::{Deserialize, Serialize};

pub use crate::event_type::EventType;
pub use from_notification::{NotUnderstood, Source, from_notification, partition_key};
pub use identity::EventIdentity;

use crate::delivery::{Disabled, is_of_configuration};
use crate::ids::{ClubId, EventId, GatewayId, OrganizationId, WebhookId};
use crate::notification::NotificationType;
use crate::payload::{EventData, Payload, TestData, WebhookData};
use crate::time::Timestamp;
use crate::webhook::Webhook;

/// The record in `events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its identity; the outbound `webhook-id`.
    pub id: EventId,
    /// XXH3 of the notification's body: tells a repetition from a second notification under the same id.
    pub fingerprint: u64,
    /// The [version](crate::webhook::Webhooks::version) of the webhooks that whoever plans it has to know at least:
    /// of a test, which is for a webhook that may be young.
    #[serde(default, skip_serializing_if = "is_of_configuration")]
    pub webhooks_version: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "EventSource::is_notification")]
    pub source: EventSource,
    /// The notification that told of it; none told of what happened within hookline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification: Option<NotificationType>,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Through which gateway it came, with its notification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayId>,
    /// The club that it is about; empty where it is about all of them.
    pub club_id: ClubId,
    /// When it happened, as the notification says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// When the edge accepted it; deadlines of deliveries count from here.
    pub accepted_at: Timestamp,
    /// What integrators get to know.
    pub data: EventData,
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSource {
    /// Somebody told of it as it happened: CloudPayments in a notification, or hookline itself.
    #[default]
    Notification,
    /// Nobody did; CloudPayments was asked, and it is the event that its notification would have been.
    Reconciliation,
}

impl EventSource {
    const fn is_notification(&self) -> bool {
        matches!(self, Self::Notification)
    }
}

/// A record in `events` that this version can't read.
#[derive(Debug, thiserror::Error)]
#[error("the record is not an event of this version")]
pub struct NotAnEvent(#[from] serde_json::Error);

impl Event {
    /// What the other webhooks of its organization get to know of a webhook that has been disabled.
    pub fn webhook_disabled(webhook: &Webhook, disabled: &Disabled) -> Self {
        let Disabled { at, reason, .. } = *disabled;
        Self {
            id: EventId::of_disabling(&webhook.id, at),
            fingerprint: 0,
            webhooks_version: 0,
            source: EventSource::Notification,
            event_type: EventType::WebhookDisabled,
            notification: None,
            organization: webhook.organization.clone(),
            gateway: None,
            club_id: webhook.club_id.clone().unwrap_or_else(|| ClubId::new("")),
            occurred_at: Some(at),
            accepted_at: at,
            data: EventData::Webhook(WebhookData { webhook_id: webhook.id.clone(), reason }),
        }
    }

    /// What a webhook gets to know when it is tested, by its id, its organization and its club. The nonce tells
    /// tests of one moment apart; `webhooks_version` is that of the webhooks among which it is.
    pub fn webhook_test(
        webhook_id: WebhookId,
        organization: OrganizationId,
        club_id: Option<ClubId>,
        at: Timestamp,
        nonce: &str,
        webhooks_version: u64,
    ) -> Self {
        Self {
            id: EventId::of_test(&webhook_id, at, nonce),
            fingerprint: 0,
            webhooks_version,
            source: EventSource::Notification,
            event_type: EventType::WebhookTest,
            notification: None,
            organization,
            gateway: None,
            club_id: club_id.unwrap_or_else(|| ClubId::new("")),
            occurred_at: Some(at),
            accepted_at: at,
            data: EventData::Test(TestData { webhook_id, message: TestData::MESSAGE.to_owned() }),
        }
    }

    /// The record as it stands in the log.
    pub fn encode(&self) -> Vec<u8> {
        // Room for nearly all, so that it does not move while it grows.
        let mut record = Vec::with_capacity(768);
        // A struct of strings and numbers always serializes.
        let _ = serde_json::to_writer(&mut record, self);
        record
    }

    /// The body of its webhook, as integrators receive it. The same event always gives the same bytes.
    pub fn render(&self) -> Vec<u8> {
        match &self.data {
            EventData::Payment(data) => self.render_with(data),
            EventData::Subscription(data) => self.render_with(data),
            EventData::Receipt(data) => self.render_with(data),
            EventData::Notice(data) => self.render_with(data),
            EventData::Webhook(data) => self.render_with(data),
            EventData::Test(data) => self.render_with(data),
        }
    }

    fn render_with<D: Serialize>(&self, data: &D) -> Vec<u8> {
        let payload = Payload {
            id: self.id.clone(),
            event_type: self.event_type,
            timestamp: self.occurred_at.unwrap_or(self.accepted_at).to_rfc3339(),
            club_id: self.club_id.clone(),
            data,
        };
        // A struct of strings and numbers always serializes.
        serde_json::to_vec(&payload).unwrap_or_default()
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// If it is not an event of this version.
    pub fn decode(record: &[u8]) -> Result<Self, NotAnEvent> {
        Ok(serde_json::from_slice(record)?)
    }
}
