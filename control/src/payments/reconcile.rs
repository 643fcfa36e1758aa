//! Reconciliation: what CloudPayments has is compared with what we know. A payment that we never heard of is reported,
//! and becomes the event that its notification would have been, if that is wanted: same id, so that a notification that
//! comes after all changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use hookline_event_log::{AppendError, Journal, JournalName, Log, Partition, ReadError};
use hookline_schemas::delivery::{decode, encode};
use hookline_schemas::event::{Event, EventSource, EventType, Source, from_notification};
use hookline_schemas::gateway::Gateway;
use hookline_schemas::ids::{EventId, GatewayId, Meaning, PaymentId};
use hookline_schemas::money::Amount;
use hookline_schemas::notification::{BodyFormat, read_fields};
use hookline_schemas::payload::{EventData, PaymentData};
use hookline_schemas::payment::{PaymentRecord, TopUpRecord};
use hookline_schemas::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, timeout};

use super::Payments;
use super::sites::site_of;
use crate::cloudpayments::{Refused, Site, Transaction, as_notification};
use crate::error::ApiError;
use crate::events::hand_over;
use crate::writer::{PATIENCE, Put};

/// How long events that are in the log may take to become payments.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// The first comparison comes so long after the start.
const FIRST: Duration = Duration::from_secs(5 * 60);

/// So many payments that are held are asked for one by one, the earliest first,
const MAX_HELD: usize = 10_000;

/// so many of them looked up at once.
const PAGE: usize = 100;

/// So far back is looked on schedule, behind what was compared last: a payment may end long after it began.
const LOOK_BACK: Duration = Duration::from_secs(24 * 60 * 60);

/// Nothing older is compared on schedule, however long nobody could.
const MOST_BACK: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// So many of what is missing are named; the others are counted.
const MAX_NAMED: usize = 10_000;

/// What is to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileRequest {
    /// Payments through this gateway,
    pub gateway: GatewayId,
    /// that began at this time or later,
    pub since: Timestamp,
    /// and before this one.
    pub until: Timestamp,
    /// Whether what is missing becomes events.
    #[serde(default)]
    pub repair: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Transactions that CloudPayments named.
    pub transactions: usize,
    /// Those that could not be read, or of which nobody can say what they mean.
    pub unclear: usize,
    /// What we never heard of; the first 10,000.
    pub missing: Vec<MissingEvent>,
    /// How many there are in all.
    pub missing_count: usize,
    /// How many of them are events now.
    pub repaired: usize,
}

/// Something that happened at CloudPayments, and of which no notification has told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingEvent {
    /// The event that it would be, or has become.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// The number of the transaction.
    pub transaction_id: String,
    /// The sum.
    pub amount: Amount,
    /// The order.
    pub invoice_id: Option<String>,
    /// When the transaction began.
    pub occurred_at: Option<Timestamp>,
}

/// Until when a gateway's payments have been compared on schedule: an entry of `payments`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Compared {
    until: Timestamp,
}

impl Compared {
    fn key_of(gateway: &GatewayId) -> String {
        format!("compared/{gateway}")
    }
}

/// Why it could not be compared. What was repaired until then stays so: ask again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// This control is not the active one, or does not know enough yet.
    #[error("{0}")]
    NotNow(String),
    /// CloudPayments did not answer, or does not know the gateway.
    #[error("{0}")]
    NotAnswered(String),
    /// The log can't be read.
    #[error("failed to read the log")]
    Read(#[from] ReadError),
    /// The log can't be written.
    #[error("failed to append an event")]
    Append(#[from] AppendError),
}

impl From<ApiError> for ReconcileError {
    fn from(error: ApiError) -> Self {
        Self::NotNow(error.to_string())
    }
}

impl From<Refused> for ReconcileError {
    fn from(refused: Refused) -> Self {
        Self::NotAnswered(refused.to_string())
    }
}

impl<L: Log> Payments<L> {
    /// Compares. When this returns, every event that it says to be repaired is durable.
    ///
    /// # Errors
    ///
    /// If CloudPayments can't be asked, this control is not the active one, or the log fails.
    pub(crate) async fn reconcile(&self, request: &ReconcileRequest) -> Result<Reconciled, ReconcileError> {
        if !self.ledger.is_active() {
            let standing_by = "this control is not the active one: ask that one".to_owned();
            return Err(ReconcileError::NotNow(standing_by));
        }
        let gateway = self.sites.gateway(&request.gateway)?;
        let site = site_of(&gateway)?;
        let mut reconciled = Reconciled::default();
        for page in 1.. {
            let created = request.since..request.until;
            let found = self.cloudpayments.transactions(site, created, page).await?;
            reconciled.unclear += found.unreadable;
            self.compare(&gateway, &found.transactions, request.repair, &mut reconciled).await?;
            if found.is_last {
                break;
            }
        }
        self.compare_held(&gateway, site, request, &mut reconciled).await?;
        Ok(reconciled)
    }

    /// What was held before has begun too early to be on a page, and may have been taken or let go since: it is asked for
    /// one by one. One that can't be asked for keeps nobody from the others.
    async fn compare_held(
        &self,
        gateway: &Gateway,
        site: Site<'_>,
        request: &ReconcileRequest,
        reconciled: &mut Reconciled,
    ) -> Result<(), ReconcileError> {
        let mut behind = (Timestamp(0), String::new());
        let mut asked = 0;
        while asked < MAX_HELD {
            let held =
                self.view.held(&gateway.id, behind, request.since, PAGE).await.map_err(ApiError::from)?;
            let Some(last) = held.last() else { return Ok(()) };
            behind = (last.created_at, last.key());
            asked += held.len();
            for held in held {
                let Ok(transaction_id) = held.transaction_id.parse() else { continue };
                match self.cloudpayments.transaction(site, transaction_id).await {
                    Ok(Some(transaction)) => {
                        self.compare(gateway, &[transaction], request.repair, reconciled).await?;
                    }
                    Ok(None) => reconciled.unclear += 1,
                    Err(refused) => {
                        tracing::warn!(gateway = %gateway.id, transaction_id, %refused, "a hold can't be asked for");
                        reconciled.unclear += 1;
                    }
                }
            }
        }
        tracing::warn!(gateway = %gateway.id, "more payments are held than are asked for: the latest were left out");
        Ok(())
    }

    /// Compares these transactions, and repairs what is missing if that is wanted.
    async fn compare(
        &self,
        gateway: &Gateway,
        transactions: &[Transaction],
        repair: bool,
        reconciled: &mut Reconciled,
    ) -> Result<(), ReconcileError> {
        reconciled.transactions += transactions.len();
        for event in self.missing(gateway, transactions, reconciled).await? {
            if repair {
                self.repair(gateway, &event).await?;
                reconciled.repaired += 1;
            }
            reconciled.name(&event);
        }
        Ok(())
    }

    /// Compares every gateway again and again, while this control is the active one. Never ends.
    pub(super) async fn reconcile_on_schedule(&self) {
        let every = self.settings.reconcile_every;
        if every.is_zero() {
            return std::future::pending().await;
        }
        // The first one is soon: a process that restarts often is not to be passed by.
        tokio::time::sleep(every.min(FIRST)).await;
        let mut due = tokio::time::interval(every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if !self.ledger.is_active() {
                continue;
            }
            for gateway in self.sites.ids() {
                if let Err(error) = self.reconcile_and_tell(&gateway).await {
                    crate::metrics::reconciled("failed");
                    tracing::warn!(%gateway, %error, "payments could not be compared with CloudPayments'");
                }
            }
        }
    }

    /// Compares what is old enough, from where the last comparison ended, and writes down where this one did.
    async fn reconcile_and_tell(&self, gateway: &GatewayId) -> Result<(), ReconcileError> {
        let until = self.clock.wall().before(self.settings.reconcile_after);
        let key = Compared::key_of(gateway);
        let last = self.view.entry(&key).await.map_err(ApiError::from)?;
        let last: Option<Compared> = last.and_then(|last| decode(&last).ok());
        let since =
            last.map_or(until, |last| last.until.min(until)).before(LOOK_BACK).max(until.before(MOST_BACK));
        let request =
            ReconcileRequest { gateway: gateway.clone(), since, until, repair: self.settings.repair };
        let Reconciled { missing_count, repaired, .. } = self.reconcile(&request).await?;
        if missing_count > 0 {
            tracing::error!(
                %gateway, missing_count, repaired,
                "CloudPayments has payments of which no notification has told: `hookline reconcile` names them"
            );
            crate::metrics::missing_payments(missing_count, repaired);
        }
        crate::metrics::reconciled(if missing_count > 0 { "missing" } else { "nothing_missing" });
        let compared = Put { key: key.into(), value: Some(encode(&Compared { until }).into()) };
        Ok(self.ledger.page().await?.write([compared]).await?)
    }

    /// The events of these transactions that no payment has.
    async fn missing(
        &self,
        gateway: &Gateway,
        transactions: &[Transaction],
        reconciled: &mut Reconciled,
    ) -> Result<Vec<Event>, ReconcileError> {
        let mut events = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            match self.event_of(gateway, transaction).await? {
                Some(event) => events.push(event),
                None => reconciled.unclear += 1,
            }
        }
        self.events_are_taken().await?;
        let ids: Vec<PaymentId> =
            events.iter().filter_map(payment_of).map(|data| data.payment_id.clone()).collect();
        let known = self.view.with_ids(ids).await.map_err(ApiError::from)?;
        // By the Public ID, whatever gateway it was registered as then.
        let known: HashMap<&PaymentId, &PaymentRecord> =
            known.iter().map(|known| (&known.id, known)).collect();
        let is_known = |event: &Event| {
            payment_of(event).is_some_and(|data| {
                known.get(&data.payment_id).is_some_and(|payment| has_heard_of(payment, event, data, gateway))
            })
        };
        Ok(events.into_iter().filter(|event| !is_known(event)).collect())
    }

    /// The event that the notification of this transaction would have been.
    async fn event_of(
        &self,
        gateway: &Gateway,
        transaction: &Transaction,
    ) -> Result<Option<Event>, ReconcileError> {
        let Some((kind, body)) = as_notification(transaction) else { return Ok(None) };
        let Ok(fields) = read_fields(BodyFormat::Form, &body) else { return Ok(None) };
        let top_up = self.top_up_of(gateway, transaction.invoice_id.as_deref()).await?;
        let event = from_notification(Source {
            gateway,
            kind,
            format: BodyFormat::Form,
            body: &body,
            fields: &fields,
            top_up_club: top_up.as_ref().map(|top_up| &top_up.club_id),
            accepted_at: self.clock.wall(),
        });
        Ok(event.ok().map(|event| Event { source: EventSource::Reconciliation, ..event }))
    }

    async fn top_up_of(
        &self,
        gateway: &Gateway,
        invoice_id: Option<&str>,
    ) -> Result<Option<TopUpRecord>, ReconcileError> {
        let Some(invoice_id) = invoice_id else { return Ok(None) };
        let shown = self.view.shown(&gateway.organization, invoice_id).await.map_err(ApiError::from)?;
        Ok(shown.and_then(|shown| shown.top_up).filter(|top_up| top_up.gateway == gateway.id))
    }

    /// Waits until everything has been taken into payments that is in the log now.
    pub(crate) async fn events_are_taken(&self) -> Result<(), ReconcileError> {
        let events = self.log.journal(JournalName::Events);
        let mut ends = Vec::with_capacity(usize::from(events.partitions()));
        for partition in (0..events.partitions()).map(Partition) {
            ends.push((partition, events.bounds(partition).await?));
        }
        let mut taken = self.taken.subscribe();
        let passed = timeout(TAKEN_WITHIN, taken.wait_for(|taken| taken.have_passed(&ends))).await;
        let behind =
            || ReconcileError::NotNow("payments are behind the events: ask again in a while".to_owned());
        passed.ok().and_then(Result::ok).map(drop).ok_or_else(behind)
    }

    /// Appends the event, once Check knows that the top-up has been paid: the other way round a crash in between would
    /// leave that unsaid for ever. Durable when it returns.
    async fn repair(&self, gateway: &Gateway, event: &Event) -> Result<(), ReconcileError> {
        if matches!(event.event_type, EventType::PaymentReceived | EventType::PaymentAuthorized)
            && let Some(data) = payment_of(event).filter(|data| !data.test_mode)
            && let Some(top_up) = self.top_up_of(gateway, data.invoice_id.as_deref()).await?
        {
            self.top_ups.tell_paid(&top_up).await?;
        }
        let events = self.log.journal(JournalName::Events);
        let accepted = timeout(PATIENCE, hand_over(&events, event)).await;
        let appending = accepted.map_err(|_| AppendError::NoSpace)??;
        timeout(PATIENCE, appending).await.unwrap_or(Err(AppendError::Unknown))?;
        Ok(())
    }
}

impl Reconciled {
    fn name(&mut self, event: &Event) {
        self.missing_count += 1;
        if let Some(data) = payment_of(event).filter(|_| self.missing.len() < MAX_NAMED) {
            self.missing.push(MissingEvent {
                id: event.id.clone(),
                event_type: event.event_type,
                transaction_id: data.gateway_transaction_id.clone(),
                amount: data.amount,
                invoice_id: data.invoice_id.clone(),
                occurred_at: event.occurred_at,
            });
        }
    }
}

const fn payment_of(event: &Event) -> Option<&PaymentData> {
    match &event.data {
        EventData::Payment(data) => Some(data),
        _ => None,
    }
}

/// Whether the payment has heard of what the event tells, by whatever notification.
fn has_heard_of(payment: &PaymentRecord, event: &Event, data: &PaymentData, gateway: &Gateway) -> bool {
    match event.event_type {
        EventType::PaymentReceived => payment.received.is_some(),
        // What became of a hold says that there was one.
        EventType::PaymentAuthorized => {
            payment.authorized.is_some() || payment.received.is_some() || payment.cancelled.is_some()
        }
        EventType::PaymentFailed => payment.failed.is_some(),
        EventType::PaymentCancelled => payment.cancelled.is_some(),
        // That it was asked for here does not mean that anybody was told. A notification may have named a status.
        EventType::PaymentRefunded => ["", "/Completed", "/Declined"].into_iter().any(|status| {
            let key = format!("{}{status}", data.gateway_transaction_id);
            payment.events.contains_key(&EventId::compute(&gateway.public_id, Meaning::Refunded, &key))
        }),
        _ => true,
    }
}
