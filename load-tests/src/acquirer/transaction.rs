//! A transaction as it stands at the bank, and what is said of it: the API's model and the bodies of notifications.
//!
//! The model has the documented keys; card, payer and place are invented, the same as in the notifications. Whether
//! `Refunded` is set by a part of the sum is documented nowhere: here it takes all of it.

use hookline_schemas::money::Amount;
use hookline_schemas::time::Timestamp;
use serde_json::{Map, Value, json};

use super::reasons;
use super::sum::Sum;
use crate::fixtures::{Details, Encoding, Fixture, Shape, Subject, Terms};

/// What stands of card and payer in the models and in the notifications, and may be kept by nobody.
pub const PRIVATE: [&str; 6] =
    ["411111", "01/30", "CARD HOLDER", "payer@example.com", "192.0.2.17", "tk_00000000000000000000000000000"];

/// How a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The money is held.
    Authorized,
    /// The money is taken; of a refund, returned.
    Completed,
    /// The hold was released.
    Cancelled,
    /// The Check or the bank refused.
    Declined,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Authorized, Self::Completed, Self::Cancelled, Self::Declined];

    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorized => "Authorized",
            Self::Completed => "Completed",
            Self::Cancelled => "Cancelled",
            Self::Declined => "Declined",
        }
    }

    /// `StatusCode`.
    pub const fn code(self) -> u8 {
        match self {
            Self::Authorized => 2,
            Self::Completed => 3,
            Self::Cancelled => 4,
            Self::Declined => 5,
        }
    }
}

/// What tests see of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionView {
    /// Its number.
    pub transaction_id: u64,
    /// The payment's, where this is a refund.
    pub original: Option<u64>,
    /// The order number.
    pub invoice_id: Option<String>,
    /// With two decimals; of a confirmed hold what was confirmed.
    pub amount: String,
    /// How it stands.
    pub status: Status,
    /// What has gone back of it, with two decimals.
    pub refunded: String,
    /// Why it was declined; 0 where it was not.
    pub reason_code: u32,
}

/// A payment, or a refund of one.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub(super) id: u64,
    /// The payment's, where this is a refund.
    pub(super) original: Option<u64>,
    pub(super) amount: Sum,
    pub(super) refunded: Sum,
    pub(super) status: Status,
    pub(super) reason_code: u32,
    pub(super) currency: String,
    pub(super) invoice_id: Option<String>,
    pub(super) account_id: Option<String>,
    pub(super) data: Option<String>,
    pub(super) test_mode: bool,
    pub(super) two_stage: bool,
    pub(super) created_at: Timestamp,
    pub(super) authorized_at: Option<Timestamp>,
    pub(super) confirmed_at: Option<Timestamp>,
}

impl Transaction {
    pub(super) fn view(&self) -> TransactionView {
        TransactionView {
            transaction_id: self.id,
            original: self.original,
            invoice_id: self.invoice_id.clone(),
            amount: self.amount.to_string(),
            status: self.status,
            refunded: self.refunded.to_string(),
            reason_code: self.reason_code,
        }
    }

    /// What may still go back.
    pub(super) const fn left(&self) -> Sum {
        self.amount.minus(self.refunded)
    }

    /// A refund of this payment.
    pub(super) fn refund(&self, id: u64, amount: Sum, now: Timestamp) -> Self {
        Self {
            id,
            original: Some(self.id),
            amount,
            refunded: Sum::default(),
            created_at: now,
            authorized_at: Some(now),
            confirmed_at: Some(now),
            ..self.clone()
        }
    }

    /// The body that tells of it in this shape, with the time that it carries.
    pub(super) fn notification(&self, shape: Shape, occurred_at: Timestamp) -> Fixture {
        let amount = self.amount.to_string().parse::<Amount>();
        let subject = Subject {
            transaction_id: self.original.unwrap_or(self.id),
            invoice_id: self.invoice_id.clone().unwrap_or_default(),
            account_id: self.account_id.clone().unwrap_or_default(),
            amount: amount.expect("digits, a dot and two digits are an amount"),
            occurred_at,
        };
        let terms = Terms {
            currency: Some(self.currency.clone()),
            test_mode: Some(self.test_mode),
            two_stage: self.two_stage,
        };
        let details = Details {
            data: Some(self.data.clone().unwrap_or_default()),
            reason: Some((self.reason_code, reasons::name(self.reason_code))),
            refund: self.original.map(|_| self.id),
        };
        Fixture::in_detail(shape, &subject, &terms, &details, Encoding::LowerCase)
    }

    /// As the API shows it.
    pub(super) fn model(&self, public_id: &str) -> Value {
        let groups = [self.what(public_id), self.when(), self.state(), whose(), by_what()];
        let members = groups.into_iter().flat_map(|group| match group {
            Value::Object(members) => members,
            _ => Map::new(),
        });
        Value::Object(members.collect())
    }

    fn what(&self, public_id: &str) -> Value {
        let amount = self.amount.number();
        json!({
            "PublicId": public_id,
            "TerminalUrl": "https://shop.example.com",
            "TransactionId": self.id,
            "Amount": amount,
            "Currency": self.currency,
            "CurrencyCode": 0,
            "PaymentAmount": amount,
            "PaymentCurrency": self.currency,
            "PaymentCurrencyCode": 0,
            "InvoiceId": self.invoice_id,
            "AccountId": self.account_id,
            "SubscriptionId": null,
            "Description": "Оплата на example.com",
            "JsonData": self.data,
            "TestMode": self.test_mode,
            "OriginalTransactionId": self.original,
            "FallBackScenarioDeclinedTransactionId": null,
            "Type": u8::from(self.original.is_some()),
        })
    }

    fn when(&self) -> Value {
        json!({
            "CreatedDate": dated(self.created_at),
            "CreatedDateIso": iso(self.created_at),
            "AuthDate": self.authorized_at.map(dated),
            "AuthDateIso": self.authorized_at.map(iso),
            "ConfirmDate": self.confirmed_at.map(dated),
            "ConfirmDateIso": self.confirmed_at.map(iso),
            "PayoutDate": null,
            "PayoutDateIso": null,
            "PayoutAmount": null,
        })
    }

    fn state(&self) -> Value {
        let is_refunded = self.original.is_none() && !self.amount.is_zero() && self.left().is_zero();
        let is_declined = self.status == Status::Declined;
        json!({
            "Status": self.status.name(),
            "StatusCode": self.status.code(),
            "ReasonCode": self.reason_code,
            "Reason": reasons::name(self.reason_code),
            "CardHolderMessage": if is_declined { "Платёж отклонён" } else { "Оплата успешно проведена" },
            "AuthCode": (!is_declined).then_some("A1B2C3"),
            "Rrn": (!is_declined).then_some("600000000001"),
            "Refunded": is_refunded,
            "TotalFee": 3.9,
            "VatAboveTotalFee": 0.7,
            "ProcessorAndPartnerFee": null,
            "VatWithinProcessorFee": null,
            "GatewayName": if self.test_mode { "Test" } else { "ExampleAcquirer" },
            "EscrowAccumulationId": null,
        })
    }
}

fn whose() -> Value {
    json!({
        "Email": "payer@example.com",
        "Name": "CARD HOLDER",
        "IpAddress": "192.0.2.17",
        "IpCountry": "RU",
        "IpCity": "Город",
        "IpRegion": "Область",
        "IpDistrict": "Федеральный округ",
        "IpLatitude": 59.939,
        "IpLongitude": 30.315,
        "CultureName": "ru",
    })
}

fn by_what() -> Value {
    json!({
        "CardFirstSix": "411111",
        "CardLastFour": "1111",
        "CardExpDate": "01/30",
        "CardType": "Visa",
        "CardTypeCode": 0,
        "CardProduct": "PRD",
        "CardCategory": "Example",
        "Issuer": "Example Bank, LLC",
        "IssuerBankCountry": "RU",
        "Token": "tk_00000000000000000000000000000",
        "AndroidPay": false,
        "WalletType": "",
    })
}

/// The odd date.
pub(super) fn dated(time: Timestamp) -> String {
    format!("/Date({})/", time.0)
}

/// UTC, to the second, without a zone.
pub(super) fn iso(time: Timestamp) -> String {
    time.to_rfc3339().replace('Z', "")
}
