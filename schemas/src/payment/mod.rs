//! A payment as hookline knows it: what notifications have told of one transaction, put together.
//!
//! Notifications come in any order and any number of times. A record is therefore a union: taking an event twice, or
//! two events the other way round, ends in the same status and sums, which are worked out from it each time. Nothing is
//! counted up, so nothing can be counted twice. (Of names that notifications of one payment contradict each other in,
//! the first stays; they never do. A receipt that comes before its payment is not known to belong to it.)
//!
//! Format: a JSON object in `payments`, under [`PaymentRecord::key`]; unknown members are ignored.

mod refund;
mod step;
#[cfg(test)]
mod tests;
mod top_up;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use refund::{
    MAX_REFUNDS, NotRefundable, OrphanRefund, Refund, RefundIntent, RefundRequest, RefundState,
};
pub use step::Step;
pub use top_up::TopUpRecord;

use crate::event::{Event, EventSource, EventType};
use crate::ids::{ClubId, EventId, GatewayId, OrganizationId, PaymentId};
use crate::money::Amount;
use crate::payload::{EventData, NoticeData, PaymentData, ReceiptData};
use crate::time::Timestamp;

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PaymentStatus {
    /// Nobody has paid yet.
    Pending,
    /// The money is held.
    Authorized,
    /// The money has been taken.
    Confirmed,
    /// The money was held, or taken, and was let go.
    Cancelled,
    /// The try has failed.
    Failed,
}

impl PaymentStatus {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Authorized, Self::Confirmed, Self::Cancelled, Self::Failed];

    /// The name as integrators see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Authorized => "AUTHORIZED",
            Self::Confirmed => "CONFIRMED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }

    /// The status of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// Where an event stands in `events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventPlace {
    /// The partition.
    pub partition: u16,
    /// The offset in it.
    pub offset: u64,
}

/// A payment: one transaction at CloudPayments with everything that was told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRecord {
    /// Its id; the webhooks' `paymentId`.
    pub id: PaymentId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Through which gateway.
    pub gateway: GatewayId,
    /// The number of its transaction at CloudPayments.
    pub transaction_id: String,
    /// The club that it is for.
    pub club_id: ClubId,
    /// The order that it pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice_id: Option<String>,
    /// Who pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The subscription, where it is an automatic charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// The currency of all its sums; none, as long as nobody has named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// T-Pay, Sbp, `SberPay`; absent for a card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
    /// No money moves: the site is in test mode.
    #[serde(default)]
    pub test_mode: bool,
    /// When it began, as far as is known.
    pub created_at: Timestamp,
    /// The money was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorized: Option<Step>,
    /// The money was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Step>,
    /// It was let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Step>,
    /// The try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Step>,
    /// Why it failed, in CloudPayments' words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same as a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<u32>,
    /// What went back, or is to go back; in the order of their times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<Refund>,
    /// Each event that was taken, with the first place at which it stands.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<EventId, EventPlace>,
    /// Something in it is known only because CloudPayments was asked.
    #[serde(default)]
    pub is_reconciled: bool,
}

/// What an event is about, among payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The payment with this transaction.
    Payment(&'a GatewayId, &'a str),
    /// The payment that has a refund with this transaction of its own: the notification names no more.
    RefundOf(&'a GatewayId, &'a str),
}

impl Subject<'_> {
    /// What this event is about; none for whatever is no payment. A receipt changes nothing of its payment, but that it
    /// is known to belong to it.
    pub fn of(event: &Event) -> Option<Subject<'_>> {
        let data = match &event.data {
            EventData::Payment(data) => data,
            EventData::Receipt(ReceiptData { gateway, gateway_transaction_id, .. })
            | EventData::Notice(NoticeData { gateway, gateway_transaction_id, .. }) => {
                return Some(Subject::Payment(gateway, gateway_transaction_id.as_deref()?));
            }
            EventData::Subscription(_) | EventData::Webhook(_) | EventData::Test(_) => return None,
        };
        match event.event_type {
            EventType::PaymentReceived
            | EventType::PaymentAuthorized
            | EventType::PaymentFailed
            | EventType::PaymentCancelled => {
                Some(Subject::Payment(&data.gateway, &data.gateway_transaction_id))
            }
            EventType::PaymentRefunded | EventType::RefundCompleted | EventType::RefundFailed => {
                Some(match &data.original_transaction_id {
                    Some(original) => Subject::Payment(&data.gateway, original),
                    None => Subject::RefundOf(&data.gateway, &data.gateway_transaction_id),
                })
            }
            EventType::PayoutCompleted
            | EventType::PayoutFailed
            | EventType::OperationCompleted
            | EventType::OperationFailed
            | EventType::SubscriptionChanged
            | EventType::ReceiptIssued
            | EventType::CashRegisterReported
            | EventType::SbpTokenReported
            | EventType::WebhookDisabled
            | EventType::WebhookTest => None,
        }
    }
}

impl PaymentRecord {
    /// Before the keys of payments in `payments`.
    pub const PREFIX: &'static str = "payment/";

    /// The key of a payment in `payments`.
    pub fn key_of(gateway: &GatewayId, transaction_id: &str) -> String {
        format!("{}{gateway}/{transaction_id}", Self::PREFIX)
    }

    /// The key of this one.
    pub fn key(&self) -> String {
        Self::key_of(&self.gateway, &self.transaction_id)
    }

    /// The payment that this event is the first to tell of; none, if it names none.
    pub fn begun_by(event: &Event, place: EventPlace) -> Option<Self> {
        let (Some(Subject::Payment(gateway, transaction_id)), EventData::Payment(data)) =
            (Subject::of(event), &event.data)
        else {
            return None;
        };
        let mut begun = Self {
            id: data.payment_id.clone(),
            organization: event.organization.clone(),
            gateway: gateway.clone(),
            transaction_id: transaction_id.to_owned(),
            club_id: event.club_id.clone(),
            invoice_id: None,
            client_id: None,
            subscription_id: None,
            currency: None,
            payment_method: None,
            test_mode: false,
            created_at: happened_at(event),
            authorized: None,
            received: None,
            cancelled: None,
            failed: None,
            reason: None,
            reason_code: None,
            refunds: Vec::new(),
            events: BTreeMap::new(),
            is_reconciled: false,
        };
        begun.take(event, place);
        Some(begun)
    }

    /// Takes an event that is about this payment; whether anything has changed.
    pub fn take(&mut self, event: &Event, place: EventPlace) -> bool {
        let before = self.clone();
        if let EventData::Payment(data) = &event.data {
            self.take_particulars(event, data);
            self.take_step(event, data);
        }
        let first = self.events.entry(event.id.clone()).or_insert(place);
        *first = place.min(*first);
        *self != before
    }

    /// Where it stands. A payment that was let go is cancelled, whatever else was told of it; money that was taken
    /// outweighs a hold, and both a failure.
    pub const fn status(&self) -> PaymentStatus {
        if self.cancelled.is_some() {
            PaymentStatus::Cancelled
        } else if self.received.is_some() {
            PaymentStatus::Confirmed
        } else if self.authorized.is_some() {
            PaymentStatus::Authorized
        } else if self.failed.is_some() {
            PaymentStatus::Failed
        } else {
            PaymentStatus::Pending
        }
    }

    /// Its sum: what was taken, else what was held, or tried; none, as long as only a refund of it is known.
    pub fn amount(&self) -> Option<Amount> {
        let steps = [&self.received, &self.authorized, &self.failed, &self.cancelled];
        steps.into_iter().flatten().next().map(|step| step.amount)
    }

    /// What the client was credited with.
    pub fn credited(&self) -> Amount {
        match (self.status(), &self.received) {
            (PaymentStatus::Confirmed, Some(received)) => received.amount,
            _ => Amount::ZERO,
        }
    }

    /// What went back.
    pub fn refunded(&self) -> Amount {
        let completed = self.refunds.iter().filter(|refund| refund.state == RefundState::Completed);
        completed.map(|refund| refund.amount).sum()
    }

    /// What can still be asked for: neither back nor on its way back.
    pub fn refundable(&self) -> Amount {
        let gone = self.refunds.iter().filter(|refund| refund.state != RefundState::Declined);
        self.credited().minus(gone.map(|refund| refund.amount).sum())
    }

    fn take_step(&mut self, event: &Event, data: &PaymentData) {
        match event.event_type {
            EventType::PaymentReceived => Step::take(&mut self.received, event, data.amount),
            EventType::PaymentAuthorized => Step::take(&mut self.authorized, event, data.amount),
            EventType::PaymentCancelled => Step::take(&mut self.cancelled, event, data.amount),
            EventType::PaymentFailed => {
                Step::take(&mut self.failed, event, data.amount);
                fill(&mut self.reason, data.reason.as_ref());
                self.reason_code = self.reason_code.or(data.reason_code);
            }
            EventType::PaymentRefunded | EventType::RefundCompleted | EventType::RefundFailed => {
                self.take_refund(event, data, RefundState::of(event));
            }
            _ => {}
        }
    }

    /// What notifications tell beside what happened. Those of a refund tell less: what they say of the club does not
    /// count once the payment itself has been told of.
    fn take_particulars(&mut self, event: &Event, data: &PaymentData) {
        let is_of_refund = data.original_transaction_id.is_some() || is_refund(event.event_type);
        if !is_of_refund && self.status() == PaymentStatus::Pending {
            self.club_id = event.club_id.clone();
        }
        if !is_of_refund {
            fill(&mut self.currency, data.currency.as_ref());
            fill(&mut self.payment_method, data.payment_method.as_ref());
            self.test_mode |= data.test_mode;
        }
        fill(&mut self.invoice_id, data.invoice_id.as_ref());
        fill(&mut self.client_id, data.client_id.as_ref());
        fill(&mut self.subscription_id, data.subscription_id.as_ref());
        self.created_at = self.created_at.min(happened_at(event));
        self.is_reconciled |= event.source == EventSource::Reconciliation;
    }
}

const fn is_refund(event_type: EventType) -> bool {
    matches!(event_type, EventType::PaymentRefunded | EventType::RefundCompleted | EventType::RefundFailed)
}

fn fill(slot: &mut Option<String>, value: Option<&String>) {
    if slot.is_none() {
        *slot = value.cloned();
    }
}

/// When it happened, as the notification says; where it does not, when it was accepted.
fn happened_at(event: &Event) -> Timestamp {
    event.occurred_at.unwrap_or(event.accepted_at)
}
