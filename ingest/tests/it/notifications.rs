//! Notifications to post, as decoded pairs, and the spellings that a sender may choose for them.

use std::collections::BTreeMap;
use std::fmt::Write;

use hookline_schemas::notification::NotificationType;

/// The decoded pairs of a body, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Pairs(Vec<(&'static str, String)>);

impl Pairs {
    fn new(pairs: &[(&'static str, &str)]) -> Self {
        Self(pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect())
    }

    /// The same with another value, or with one more pair.
    pub(crate) fn with(mut self, key: &'static str, value: &str) -> Self {
        match self.0.iter_mut().find(|(present, _)| *present == key) {
            Some((_, present)) => value.clone_into(present),
            None => self.0.push((key, value.to_owned())),
        }
        self
    }

    /// The same without a key.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.0.retain(|(present, _)| *present != key);
        self
    }

    /// A form as CloudPayments writes it: escapes in lower case.
    pub(crate) fn form(&self) -> String {
        self.encoded(|byte| format!("%{byte:02x}"))
    }

    /// A form with its escapes in upper case.
    pub(crate) fn form_in_upper_case(&self) -> String {
        self.encoded(|byte| format!("%{byte:02X}"))
    }

    /// A JSON object of strings.
    pub(crate) fn json(&self) -> String {
        let object: BTreeMap<_, _> = self.0.iter().map(|(key, value)| (*key, value.as_str())).collect();
        serde_json::to_string(&object).expect("texts are JSON")
    }

    fn encoded(&self, escape: impl Fn(u8) -> String) -> String {
        let mut form = String::new();
        for (key, value) in &self.0 {
            let separator = if form.is_empty() { "" } else { "&" };
            write!(form, "{separator}{key}=").expect("a string grows");
            for byte in value.bytes() {
                match byte {
                    b' ' => form.push('+'),
                    byte if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) => {
                        form.push(char::from(byte))
                    }
                    byte => form.push_str(&escape(byte)),
                }
            }
        }
        form
    }
}

/// A Check of the top-up `i-1` in the directory: it may be paid.
pub(crate) fn check() -> Pairs {
    Pairs::new(&[
        ("TransactionId", "1000"),
        ("Amount", "100.00"),
        ("Currency", "RUB"),
        ("PaymentAmount", "100.00"),
        ("PaymentCurrency", "RUB"),
        ("OperationType", "Payment"),
        ("InvoiceId", "i-1"),
        ("AccountId", "user+1@example.com"),
        ("DateTime", "2026-05-29 12:55:43"),
        ("CardFirstSix", "411111"),
        ("CardLastFour", "4242"),
        ("Description", "Оплата «Утро»"),
        ("TestMode", "0"),
        ("Status", "Completed"),
    ])
}

/// A Completed Pay of this transaction, for an order that the directory does not know.
pub(crate) fn pay(transaction: &str) -> Pairs {
    confirm(transaction)
        .with("OperationType", "Payment")
        .with("GatewayName", "Tbank")
        .with("TotalFee", "1.00")
}

/// A Confirm of this transaction.
pub(crate) fn confirm(transaction: &str) -> Pairs {
    check()
        .without("OperationType")
        .with("TransactionId", transaction)
        .with("InvoiceId", "elsewhere")
        .with("AuthCode", "A1B2C3")
        .with("Token", "tk_1")
}

/// A Fail of this transaction.
pub(crate) fn fail(transaction: &str) -> Pairs {
    check()
        .with("TransactionId", transaction)
        .with("Status", "Declined")
        .with("Reason", "InsufficientFunds")
        .with("ReasonCode", "5051")
}

/// A Refund by this transaction of another.
pub(crate) fn refund(transaction: &str, original: &str) -> Pairs {
    Pairs::new(&[
        ("TransactionId", transaction),
        ("PaymentTransactionId", original),
        ("Amount", "5.00"),
        ("DateTime", "2026-05-30 11:00:00"),
        ("OperationType", "Refund"),
        ("AccountId", "user+1@example.com"),
    ])
}

/// The release of the hold of this transaction.
pub(crate) fn cancel(transaction: &str) -> Pairs {
    Pairs::new(&[
        ("TransactionId", transaction),
        ("Amount", "215.00"),
        ("DateTime", "2026-05-30 10:05:00"),
        ("AccountId", "user+1@example.com"),
    ])
}

/// A notification whose type the fields tell only where the table of fields knows it.
pub(crate) fn without_payment(kind: NotificationType) -> Pairs {
    match kind {
        NotificationType::Recurrent => Pairs::new(&[
            ("Id", "sc_1"),
            ("AccountId", "user+1@example.com"),
            ("Description", "Взнос (ежемесячно)"),
            ("Amount", "640.00"),
            ("Currency", "RUB"),
            ("Interval", "Month"),
            ("Period", "1"),
            ("Status", "Cancelled"),
            ("SuccessfulTransactionsNumber", "2"),
        ]),
        NotificationType::Receipt => Pairs::new(&[
            ("Id", "rc_1"),
            ("DocumentNumber", "42"),
            ("FiscalSign", "1234567890"),
            ("Amount", "1180.00"),
            ("Url", "https://receipts.example.com/rc_1"),
        ]),
        NotificationType::Kkt => Pairs::new(&[("DeviceNumber", "0001"), ("Status", "Нет связи")]),
        NotificationType::SbpToken => {
            Pairs::new(&[("TransactionId", "3540001000"), ("AccountId", "user+9"), ("Status", "Active")])
        }
        paid => panic!("{paid} is about a payment"),
    }
}
