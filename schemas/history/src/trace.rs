//! The way of one payment: from its notification to each webhook's next try, with the reasons.
//!
//! Told from the log alone: events, then per webhook its attempts, its parked copies beside what is written down of
//! its lane, and its dead letters; and what stands in quarantine. Attempts are written without being waited for, so
//! one may be missing; a lane is written down within about a second of a change.

mod delivery;
mod found;
mod quarantine;

use bytes::Bytes;
use hookline_event_log::{Journal, JournalName, Log, Offset, Partition, ReadError, partition_of};
use hookline_schemas::event::{Event, EventSource, EventType};
use hookline_schemas::ids::{EventId, GatewayId, OrganizationId};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::payload::{EventData, TestData, WebhookData};
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhooks;
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

pub use delivery::{TracedDelivery, TracedOutcome, WaitReason};
pub use quarantine::TracedQuarantine;

use self::found::Found;
use crate::History;
use crate::scan::{Scan, record_at};

/// What is asked, and what is known beside the log.
#[derive(Debug, Clone, Copy)]
pub struct TraceQuery<'a> {
    /// The payment: a transaction's number, an InvoiceId, a subscription's id, or an id of ours (`evt_…`,
    /// `pay_…`).
    pub payment: &'a str,
    /// The gateways: a transaction's events are found quickly where its gateway is among them.
    pub gateways: &'a [GatewayId],
    /// Where its events stand in `events`, for who knows all of them: then nothing is looked through.
    pub places: &'a [(Partition, Offset)],
    /// To whom an event goes.
    pub webhooks: &'a Webhooks,
    /// Opens what stands in quarantine.
    pub sealer: Option<&'a Sealer>,
}

/// The way of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// What happened to it, in the order in which it was accepted.
    pub events: Vec<TracedEvent>,
    /// Notifications about it that were not understood.
    pub quarantined: Vec<TracedQuarantine>,
    /// Notifications in quarantine that could not be opened: they may be about it.
    pub sealed: u64,
}

impl Trace {
    /// Whether nothing is known of it.
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.quarantined.is_empty()
    }
}

/// One thing that happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedEvent {
    /// The event.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// Where it comes from.
    #[serde(default)]
    pub source: EventSource,
    /// The notification that told of it.
    pub notification: Option<NotificationType>,
    /// Through which gateway.
    pub gateway: Option<GatewayId>,
    /// When it happened, as the notification says.
    pub occurred_at: Option<Timestamp>,
    /// When the edge accepted the notification.
    pub accepted_at: Timestamp,
    /// How often it stands in the log: a repetition is delivered no more.
    pub records: u64,
    /// What became of it at each webhook that asks for it.
    pub deliveries: Vec<TracedDelivery>,
}

/// An event of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEvent {
    /// The event.
    pub event: Event,
    /// How often it stands in the log.
    pub records: u64,
}

impl<L: Log> History<L> {
    /// The way of a payment.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn trace(&self, query: TraceQuery<'_>) -> Result<Trace, ReadError> {
        let mut events = Vec::new();
        for FoundEvent { event, records } in self.events_about(query, None).await? {
            events.push(self.trace_event(event, records, query.webhooks).await?);
        }
        let (quarantined, sealed) = self.quarantined(query.payment, query.sealer, |_| true).await?;
        Ok(Trace { events, quarantined, sealed })
    }

    /// The events of a payment, each once, in the order in which they were accepted; the latest 1,000 of them. Those
    /// of this organization, or of whatever organization where none is named.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn events_about(
        &self,
        query: TraceQuery<'_>,
        organization: Option<&OrganizationId>,
    ) -> Result<Vec<FoundEvent>, ReadError> {
        let mut found = self.events_at(query.places, organization).await?;
        if found.is_empty() {
            found = self.events_by_key(query, Found::of(organization)).await?.into_events();
        }
        if found.is_empty() {
            found = self.events_by_content(query.payment, Found::of(organization)).await?.into_events();
        }
        Ok(found)
    }

    /// The same, where they stand: nothing is looked through, and what retention has taken is left out.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn events_at(
        &self,
        places: &[(Partition, Offset)],
        organization: Option<&OrganizationId>,
    ) -> Result<Vec<FoundEvent>, ReadError> {
        let journal = self.log.journal(JournalName::Events);
        let mut found = Found::of(organization);
        for (partition, offset) in places {
            let record = record_at(&journal, *partition, *offset).await?;
            found.take(record.and_then(|record| Event::decode(&record.value).ok()));
        }
        Ok(found.into_events())
    }

    async fn trace_event(
        &self,
        event: Event,
        records: u64,
        webhooks: &Webhooks,
    ) -> Result<TracedEvent, ReadError> {
        let mut deliveries = Vec::new();
        for webhook in webhooks.matching(&event) {
            let attempts = self.attempts(&webhook.id, &event.id, event.accepted_at).await?;
            deliveries.push(self.trace_delivery(&event, webhook, attempts).await?);
        }
        deliveries.sort_by(|one, other| one.webhook.cmp(&other.webhook));
        let Event { id, event_type, source, notification, gateway, occurred_at, accepted_at, .. } = event;
        Ok(TracedEvent {
            id,
            event_type,
            source,
            notification,
            gateway,
            occurred_at,
            accepted_at,
            records,
            deliveries,
        })
    }

    /// The events of a transaction stand in one partition, under a key that its gateway is part of.
    async fn events_by_key<'a>(
        &self,
        query: TraceQuery<'_>,
        mut found: Found<'a>,
    ) -> Result<Found<'a>, ReadError> {
        let journal = self.log.journal(JournalName::Events);
        for gateway in query.gateways {
            let key = Bytes::from(format!("{gateway}/{}", query.payment));
            let partition = partition_of(&key, journal.partitions());
            let mut scan = Scan::all(&journal, partition, Some(key)).await?;
            while let Some(records) = scan.next().await? {
                found.take(records.iter().filter_map(|record| Event::decode(&record.value).ok()));
            }
        }
        Ok(found)
    }

    async fn events_by_content<'a>(
        &self,
        payment: &str,
        mut found: Found<'a>,
    ) -> Result<Found<'a>, ReadError> {
        let journal = self.log.journal(JournalName::Events);
        let holds = Finder::new(payment);
        for partition in (0..journal.partitions()).map(Partition) {
            let mut scan = Scan::all(&journal, partition, None).await?;
            while let Some(records) = scan.next().await? {
                let near = records.iter().filter(|record| holds.find(&record.value).is_some());
                let events = near.filter_map(|record| Event::decode(&record.value).ok());
                found.take(events.filter(|event| is_about(event, payment)));
            }
        }
        Ok(found)
    }
}

/// Whether one of the event's ids is this text.
fn is_about(event: &Event, payment: &str) -> bool {
    let ids: [Option<&str>; 5] = match &event.data {
        EventData::Payment(data) => [
            Some(data.payment_id.as_str()),
            Some(&data.gateway_transaction_id),
            data.original_transaction_id.as_deref(),
            data.invoice_id.as_deref(),
            data.subscription_id.as_deref(),
        ],
        EventData::Subscription(data) => [Some(&data.subscription_id), None, None, None, None],
        EventData::Receipt(data) => [
            data.gateway_transaction_id.as_deref(),
            data.invoice_id.as_deref(),
            data.receipt_id.as_deref(),
            None,
            None,
        ],
        EventData::Notice(data) => {
            [data.gateway_transaction_id.as_deref(), data.invoice_id.as_deref(), None, None, None]
        }
        EventData::Webhook(WebhookData { webhook_id, .. }) | EventData::Test(TestData { webhook_id, .. }) => {
            [Some(webhook_id.as_str()), None, None, None, None]
        }
    };
    event.id.as_str() == payment || ids.into_iter().flatten().any(|id| id == payment)
}
