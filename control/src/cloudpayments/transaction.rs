//! A transaction as CloudPayments tells it.
//!
//! Its API sends the payer's name, e-mail, address, card and token along. Nothing of that is kept: a [`Transaction`]
//! holds what an event holds.

use hookline_schemas::money::Amount;
use hookline_schemas::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::values::{self, Written, flag, moment, number, text};

/// A transaction as the API tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Its number.
    pub(crate) transaction_id: u64,
    /// Of a refund: the number of the payment.
    pub(crate) original_transaction_id: Option<u64>,
    /// What it is.
    pub(crate) kind: TransactionKind,
    /// How it stands.
    pub(crate) status: TransactionStatus,
    /// The sum.
    pub(crate) amount: Amount,
    /// Its currency.
    pub(crate) currency: Option<String>,
    /// When it was made; to the second, as notifications have it, where the API says so.
    pub(crate) created_at: Timestamp,
    /// The Public ID of its site.
    pub(crate) public_id: Option<String>,
    /// The order number of the top-up.
    pub(crate) invoice_id: Option<String>,
    /// The client who pays.
    pub(crate) account_id: Option<String>,
    /// The subscription, where it is an automatic charge.
    pub(crate) subscription_id: Option<String>,
    /// The club that the merchant's own data name.
    pub(crate) club_id: Option<String>,
    /// T-Pay, Sbp, `SberPay`; absent for a card.
    pub(crate) payment_method: Option<String>,
    /// The card system.
    pub(crate) card_type: Option<String>,
    /// The last four digits of the card.
    pub(crate) card_last_four: Option<String>,
    /// No money moved: the site is in test mode.
    pub(crate) test_mode: bool,
    /// Why it was declined, or `Approved`.
    pub(crate) reason: Option<String>,
    /// The same as a number; 0 is approved.
    pub(crate) reason_code: Option<u32>,
}

/// What a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionKind {
    /// Somebody pays.
    Payment,
    /// Money goes back.
    Refund,
    /// Money goes to a card.
    CardPayout,
    /// What we have not heard of.
    Other,
}

/// How a transaction stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TransactionStatus {
    /// The payer is asked by his bank.
    AwaitingAuthentication,
    /// The money is held.
    Authorized,
    /// The money has been taken, or has gone back.
    Completed,
    /// A hold was released.
    Cancelled,
    /// It failed.
    Declined,
    /// What we have not heard of, as it is written.
    Other(String),
}

/// What of a transaction is looked at, as it is written: so nothing but its structure can fail to be read here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Model<'a> {
    #[serde(borrow)]
    transaction_id: Written<'a>,
    #[serde(borrow)]
    original_transaction_id: Written<'a>,
    #[serde(borrow, rename = "Type")]
    kind: Written<'a>,
    #[serde(borrow)]
    status: Written<'a>,
    #[serde(borrow)]
    amount: Written<'a>,
    #[serde(borrow)]
    currency: Written<'a>,
    #[serde(borrow)]
    created_date_iso: Written<'a>,
    #[serde(borrow)]
    created_date: Written<'a>,
    #[serde(borrow)]
    public_id: Written<'a>,
    #[serde(borrow)]
    invoice_id: Written<'a>,
    #[serde(borrow)]
    account_id: Written<'a>,
    #[serde(borrow)]
    subscription_id: Written<'a>,
    #[serde(borrow)]
    json_data: Written<'a>,
    #[serde(borrow)]
    payment_method: Written<'a>,
    #[serde(borrow)]
    card_type: Written<'a>,
    #[serde(borrow)]
    card_last_four: Written<'a>,
    #[serde(borrow)]
    test_mode: Written<'a>,
    #[serde(borrow)]
    reason: Written<'a>,
    #[serde(borrow)]
    reason_code: Written<'a>,
}

impl Transaction {
    /// Reads what `Model` holds. None without a number, a status, a sum and a time: nothing is guessed about money.
    pub(super) fn read(model: &RawValue) -> Option<Self> {
        let model: Model<'_> = serde_json::from_str(model.get()).ok()?;
        // A refund whose payment can't be read must not look like a payment.
        let original = text(model.original_transaction_id).map(|id| id.parse::<u64>()).transpose().ok()?;
        let original_transaction_id = original.filter(|id| *id > 0);
        Some(Self {
            transaction_id: values::transaction_id(model.transaction_id)?,
            original_transaction_id,
            kind: TransactionKind::of(text(model.kind).as_deref(), original_transaction_id.is_some()),
            status: TransactionStatus::of(text(model.status)?),
            amount: values::amount(model.amount)?,
            currency: text(model.currency),
            created_at: moment(model.created_date_iso, model.created_date)?,
            public_id: text(model.public_id),
            invoice_id: text(model.invoice_id),
            account_id: text(model.account_id),
            subscription_id: text(model.subscription_id),
            club_id: club_in(model.json_data),
            payment_method: text(model.payment_method),
            card_type: text(model.card_type),
            card_last_four: text(model.card_last_four),
            test_mode: flag(model.test_mode),
            reason: text(model.reason),
            reason_code: number(model.reason_code).and_then(|code| u32::try_from(code).ok()),
        })
    }

    /// The number of a transaction of which nothing else need be readable.
    pub(super) fn number_of(model: &RawValue) -> Option<u64> {
        let model: Model<'_> = serde_json::from_str(model.get()).ok()?;
        values::transaction_id(model.transaction_id)
    }
}

impl TransactionKind {
    /// The kind that `Type` says. Its numbers are documented nowhere: 0 is taken for a payment, 1 for a refund, 2 for a
    /// payout. Where there is none, or 0, the number of an original transaction tells a refund, because a refund
    /// that passes for a payment would be credited.
    fn of(written: Option<&str>, has_original: bool) -> Self {
        match written {
            None | Some("0") if has_original => Self::Refund,
            None | Some("0") => Self::Payment,
            Some("1") => Self::Refund,
            Some("2") => Self::CardPayout,
            Some(_) => Self::Other,
        }
    }
}

impl TransactionStatus {
    fn of(written: String) -> Self {
        match written.as_str() {
            "AwaitingAuthentication" => Self::AwaitingAuthentication,
            "Authorized" => Self::Authorized,
            "Completed" => Self::Completed,
            "Cancelled" => Self::Cancelled,
            "Declined" => Self::Declined,
            _ => Self::Other(written),
        }
    }
}

/// The club that the merchant's own data name at their top level, whether they came as JSON or as its text.
fn club_in(data: Written<'_>) -> Option<String> {
    let raw = data?.get();
    let data: Value = serde_json::from_str(raw).ok()?;
    let data = match data {
        Value::String(text) => serde_json::from_str(&text).ok()?,
        other => other,
    };
    data.get("clubId")?.as_str().filter(|club| !club.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What the documentation shows, with invented data.
    const WHOLE: &str = r#"{ "ReasonCode": 0, "PublicId": "pk_1", "TerminalUrl": "http://shop.example",
        "TransactionId": 3541977847, "Amount": 1490.50, "Currency": "RUB", "CurrencyCode": 0,
        "PaymentAmount": 1490.50, "PaymentCurrency": "RUB", "PaymentCurrencyCode": 0, "InvoiceId": "top_7",
        "AccountId": "client_7", "Email": "oleg@example.com", "Description": "Top-up",
        "JsonData": "{\"clubId\":\"club_7\",\"note\":\"for OLEG\"}", "CreatedDate": "\/Date(1779972943686)\/",
        "PayoutDate": null, "PayoutDateIso": null, "PayoutAmount": null, "CreatedDateIso": "2026-05-28T12:55:43",
        "AuthDate": "\/Date(1779972944002)\/", "AuthDateIso": "2026-05-28T12:55:44", "ConfirmDate": null,
        "AuthCode": "A1B2C3", "TestMode": true, "Rrn": null, "OriginalTransactionId": null,
        "FallBackScenarioDeclinedTransactionId": null, "IpAddress": "192.0.2.9", "IpCountry": "RU",
        "IpCity": "Ufa", "IpRegion": null, "IpDistrict": "Ufa", "IpLatitude": 54.7355, "IpLongitude": 55.991982,
        "CardFirstSix": "424242", "CardLastFour": "4242", "CardExpDate": "12/30", "CardType": "Visa",
        "CardProduct": "I", "CardCategory": "Visa Infinite", "EscrowAccumulationId": null,
        "IssuerBankCountry": "RU", "Issuer": "Bank of Ufa", "CardTypeCode": 0, "Status": "Completed",
        "StatusCode": 3, "CultureName": "ru", "Reason": "Approved", "CardHolderMessage": "Thanks", "Type": 0,
        "Refunded": false, "Name": "OLEG PETROV", "Token": "tk_777", "SubscriptionId": "sc_1",
        "GatewayName": "Test", "AndroidPay": false, "WalletType": "", "TotalFee": 0.00 }"#;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    /// The whole one with another value for one key, or without the key.
    fn with(key: &str, value: Option<Value>) -> Option<Transaction> {
        let mut model: serde_json::Map<String, Value> = serde_json::from_str(WHOLE).expect("an object");
        match value {
            Some(value) => model.insert(key.to_owned(), value),
            None => model.remove(key),
        };
        Transaction::read(&raw(&Value::Object(model).to_string()))
    }

    #[test]
    fn reads_what_an_event_keeps() {
        let expected = Transaction {
            transaction_id: 3_541_977_847,
            original_transaction_id: None,
            kind: TransactionKind::Payment,
            status: TransactionStatus::Completed,
            amount: "1490.50".parse().expect("a sum"),
            currency: Some("RUB".to_owned()),
            created_at: Timestamp(1_779_972_943_000),
            public_id: Some("pk_1".to_owned()),
            invoice_id: Some("top_7".to_owned()),
            account_id: Some("client_7".to_owned()),
            subscription_id: Some("sc_1".to_owned()),
            club_id: Some("club_7".to_owned()),
            payment_method: None,
            card_type: Some("Visa".to_owned()),
            card_last_four: Some("4242".to_owned()),
            test_mode: true,
            reason: Some("Approved".to_owned()),
            reason_code: Some(0),
        };
        assert_eq!(Transaction::read(&raw(WHOLE)), Some(expected));
    }

    #[test]
    fn keeps_nothing_of_the_payer_or_his_card() {
        let shown = format!("{:?}", Transaction::read(&raw(WHOLE)).expect("a transaction"));
        for personal in ["OLEG", "oleg", "192.0.2.9", "424242", "12/30", "tk_777", "A1B2C3", "Ufa", "note"] {
            assert!(!shown.contains(personal), "{personal}: {shown}");
        }
    }

    #[test]
    fn without_number_status_sum_or_time_there_is_no_transaction() {
        for key in ["TransactionId", "Status", "Amount"] {
            assert_eq!(with(key, None), None, "{key} is absent");
            assert_eq!(with(key, Some(Value::Null)), None, "{key} is null");
            assert_eq!(with(key, Some(json!(""))), None, "{key} is empty");
        }
        for (key, value) in [
            ("TransactionId", json!(0)),
            ("TransactionId", json!(-1)),
            ("TransactionId", json!(1.5)),
            ("Amount", json!(-1)),
            ("Amount", json!({})),
            ("OriginalTransactionId", json!("what")),
            ("OriginalTransactionId", json!(1.5)),
        ] {
            assert_eq!(with(key, Some(value.clone())), None, "{key} {value}");
        }
        let timeless = WHOLE.replace("CreatedDate", "MadeDate");
        assert_eq!(Transaction::read(&raw(&timeless)), None);
        for text in ["[]", "null", "7", "\"x\"", r#"{"TransactionId":1,"TransactionId":2}"#] {
            assert_eq!(Transaction::read(&raw(text)), None, "{text}");
        }
    }

    #[test]
    fn what_only_decorates_a_transaction_does_not_hide_it() {
        for key in ["CardType", "InvoiceId", "AccountId", "Reason", "ReasonCode", "JsonData", "TestMode"] {
            for value in [None, Some(Value::Null), Some(json!([1]))] {
                assert!(with(key, value.clone()).is_some(), "{key} {value:?}");
            }
        }
        let numbered = with("InvoiceId", Some(json!(1_234_567))).expect("a transaction");
        assert_eq!(numbered.invoice_id.as_deref(), Some("1234567"));
    }

    #[test]
    fn assumes_that_type_0_is_a_payment_1_a_refund_and_2_a_payout() {
        use TransactionKind::{CardPayout, Other, Payment, Refund};
        for (written, without_original, with_original) in [
            (None, Payment, Refund),
            (Some("0"), Payment, Refund),
            (Some("1"), Refund, Refund),
            (Some("2"), CardPayout, CardPayout),
            (Some("3"), Other, Other),
            (Some("Payment"), Other, Other),
        ] {
            assert_eq!(TransactionKind::of(written, false), without_original, "{written:?}");
            assert_eq!(TransactionKind::of(written, true), with_original, "{written:?}");
        }
        let refund = with("OriginalTransactionId", Some(json!(7))).expect("a transaction");
        assert_eq!((refund.kind, refund.original_transaction_id), (Refund, Some(7)));
        let payment = with("OriginalTransactionId", Some(json!(0))).expect("a transaction");
        assert_eq!((payment.kind, payment.original_transaction_id), (Payment, None));
    }

    #[test]
    fn reads_every_status_and_keeps_the_words_of_others() {
        use TransactionStatus::{Authorized, AwaitingAuthentication, Cancelled, Completed, Declined, Other};
        for (written, expected) in [
            ("AwaitingAuthentication", AwaitingAuthentication),
            ("Authorized", Authorized),
            ("Completed", Completed),
            ("Cancelled", Cancelled),
            ("Declined", Declined),
            ("Frozen", Other("Frozen".to_owned())),
        ] {
            assert_eq!(with("Status", Some(json!(written))).expect("a transaction").status, expected);
        }
    }

    #[test]
    fn the_club_stands_in_the_data_as_json_or_as_its_text() {
        for (data, expected) in [
            (json!({ "clubId": "club_9" }), Some("club_9")),
            (json!("{\r\n \"clubId\": \"club_9\"\r\n}"), Some("club_9")),
            (json!({ "clubId": 9 }), None),
            (json!({ "clubId": "" }), None),
            (json!({ "shop": { "clubId": "club_9" } }), None),
            (json!("clubId"), None),
            (json!([]), None),
        ] {
            let found = with("JsonData", Some(data.clone())).expect("a transaction").club_id;
            assert_eq!(found.as_deref(), expected, "{data}");
        }
    }
}
