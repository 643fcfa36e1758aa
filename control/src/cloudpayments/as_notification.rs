//! From a transaction to the notification that CloudPayments would have sent for it, so that one that never came
//! makes the event that it would have made, under the same id.
//!
//! What is not clear makes none: nothing is guessed about money.

use hookline_schemas::money::Amount;
use hookline_schemas::notification::{Field, NotificationType};
use hookline_schemas::time::Timestamp;
use serde_json::json;

use super::transaction::{Transaction, TransactionKind, TransactionStatus};

/// The notification of how the transaction stands now, as its type and its form body: of a payment that was held first
/// the one that it was taken, not the one before. None of what awaits its payer, of a payout, of a refund that is
/// not completed, and of what we have not heard of.
pub(crate) fn as_notification(transaction: &Transaction) -> Option<(NotificationType, Vec<u8>)> {
    use TransactionKind::{CardPayout, Other, Payment, Refund};
    use TransactionStatus::{Authorized, Cancelled, Completed, Declined};
    match (transaction.kind, transaction.original_transaction_id) {
        (Payment, None) => match &transaction.status {
            Completed => Some((NotificationType::Pay, pay(transaction, "Completed"))),
            Authorized => Some((NotificationType::Pay, pay(transaction, "Authorized"))),
            Declined => Some((NotificationType::Fail, fail(transaction))),
            Cancelled => Some((NotificationType::Cancel, cancel(transaction))),
            TransactionStatus::AwaitingAuthentication | TransactionStatus::Other(_) => None,
        },
        (Payment | Refund, Some(original)) if transaction.status == Completed => {
            Some((NotificationType::Refund, refund(transaction, original)))
        }
        (Payment | Refund | CardPayout | Other, _) => None,
    }
}

fn pay(transaction: &Transaction, status: &str) -> Vec<u8> {
    payment(transaction, status).into_bytes()
}

fn fail(transaction: &Transaction) -> Vec<u8> {
    let code = transaction.reason_code.map(|code| code.to_string());
    payment(transaction, "Declined")
        .with(Field::Reason, transaction.reason.as_deref())
        .with(Field::ReasonCode, code.as_deref())
        .into_bytes()
}

/// Neither a currency nor a status, as the documentation has it.
fn cancel(transaction: &Transaction) -> Vec<u8> {
    Form::of(transaction).into_bytes()
}

/// Without a status: that is part of the event's identity, and the documentation has none.
fn refund(transaction: &Transaction, original: u64) -> Vec<u8> {
    Form::of(transaction)
        .with(Field::PaymentTransactionId, Some(&original.to_string()))
        .with(Field::OperationType, Some("Refund"))
        .into_bytes()
}

/// What a Pay and a Fail have in common.
fn payment(transaction: &Transaction, status: &str) -> Form {
    Form::of(transaction)
        .with(Field::Currency, transaction.currency.as_deref())
        .with(Field::OperationType, Some("Payment"))
        .with(Field::SubscriptionId, transaction.subscription_id.as_deref())
        .with(Field::CardLastFour, transaction.card_last_four.as_deref())
        .with(Field::CardType, transaction.card_type.as_deref())
        .with(Field::PaymentMethod, transaction.payment_method.as_deref())
        .with(Field::TestMode, Some(if transaction.test_mode { "1" } else { "0" }))
        .with(Field::Status, Some(status))
}

/// A form body.
struct Form(String);

impl Form {
    /// What every notification of a transaction has.
    fn of(transaction: &Transaction) -> Self {
        let data = transaction.club_id.as_ref().map(|club| json!({ "clubId": club }).to_string());
        Self(String::new())
            .with(Field::TransactionId, Some(&transaction.transaction_id.to_string()))
            .with(Field::Amount, Some(&with_two_decimals(transaction.amount)))
            .with(Field::DateTime, Some(&date_time(transaction.created_at)))
            .with(Field::InvoiceId, transaction.invoice_id.as_deref())
            .with(Field::AccountId, transaction.account_id.as_deref())
            .with(Field::Data, data.as_deref())
    }

    /// The same with one more field, if it has a value.
    fn with(mut self, field: Field, value: Option<&str>) -> Self {
        let Some(value) = value else { return self };
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(field.as_str());
        self.0.push('=');
        self.0.extend(value.bytes().map(escaped));
        self
    }

    fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// A byte of a value as .NET writes it.
fn escaped(byte: u8) -> String {
    match byte {
        b' ' => "+".to_owned(),
        b'-' | b'.' | b'_' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    }
}

/// The sum as notifications write it, so that webhooks look the same whichever way it came; no digit is taken away.
fn with_two_decimals(amount: Amount) -> String {
    let mut text = amount.to_string();
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    if decimals == 0 {
        text.push('.');
    }
    text.extend(std::iter::repeat_n('0', 2_usize.saturating_sub(decimals)));
    text
}

/// `yyyy-MM-dd HH:mm:ss` in UTC.
fn date_time(at: Timestamp) -> String {
    at.to_rfc3339().replace('T', " ").replace('Z', "")
}

#[cfg(test)]
mod tests {
    use hookline_schemas::event::{Event, EventType, Source, from_notification};
    use hookline_schemas::gateway::{CheckPolicy, Gateway};
    use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
    use hookline_schemas::notification::{BodyFormat, read_fields};
    use serde_json::value::RawValue;

    use super::*;

    /// The event that the edge would make of this notification.
    fn event(kind: NotificationType, body: &[u8]) -> Event {
        let gateway = Gateway {
            id: GatewayId::new("gw_1"),
            organization: OrganizationId::new("org_1"),
            public_id: "pk_1".to_owned(),
            api_secrets: Vec::new(),
            default_club: ClubId::new("club_default"),
            shared_url: false,
            policy: CheckPolicy::lenient(),
        };
        let fields = read_fields(BodyFormat::Form, body).expect("a form");
        let source = Source {
            gateway: &gateway,
            kind,
            format: BodyFormat::Form,
            body,
            fields: &fields,
            top_up_club: None,
            accepted_at: Timestamp(1_800_000_000_000),
        };
        from_notification(source).expect("an event")
    }

    fn transaction(rest: &str) -> Transaction {
        let model = format!(
            r#"{{ "TransactionId": 3541977847, "Currency": "RUB", "InvoiceId": "top 7&8", "AccountId": "Олег_7",
            "CreatedDateIso": "2026-05-28T12:55:43", "CardLastFour": "4242", "CardType": "МИР", "TestMode": true,
            "JsonData": {{ "clubId": "club_7", "receipt": {{}} }}, "SubscriptionId": "sc_1",
            "PaymentMethod": "T-Pay", "Token": "tk_777", "Name": "OLEG", {rest} }}"#
        );
        Transaction::read(&RawValue::from_string(model).expect("JSON")).expect("a transaction")
    }

    const PERSON: &str = "&InvoiceId=top+7%268&AccountId=%d0%9e%d0%bb%d0%b5%d0%b3_7\
        &Data=%7b%22clubId%22%3a+%22club_7%22%2c+%22receipt%22%3a%7b%7d%7d";
    const CARD: &str = "&Currency=RUB&PaymentAmount=1490.00&OperationType=Payment&SubscriptionId=sc_1\
        &Name=OLEG&CardFirstSix=220000&CardLastFour=4242&CardType=%d0%9c%d0%98%d0%a0&Token=tk_777&TestMode=1\
        &PaymentMethod=T-Pay&GatewayName=Test";

    #[test]
    fn makes_the_event_of_the_notification_that_never_came() {
        use EventType::{
            PaymentAuthorized, PaymentCancelled, PaymentFailed, PaymentReceived, PaymentRefunded,
        };
        use NotificationType::{Cancel, Confirm, Fail, Pay, Refund};
        let base = "TransactionId=3541977847&Amount=1490.00&DateTime=2026-05-28+12%3a55%3a43";
        let pay = |status: &str| format!("{base}{PERSON}{CARD}&Status={status}");
        let fail = format!("{base}{PERSON}{CARD}&Status=Declined&Reason=InsufficientFunds&ReasonCode=5051");
        let refund = format!("{base}{PERSON}&OperationType=Refund&PaymentTransactionId=3541977001");
        let rows = [
            (r#""Amount": 1490.0, "Status": "Completed", "Type": 0"#, Pay, PaymentReceived, pay("Completed")),
            (r#""Amount": 1490.00, "Status": "Authorized""#, Pay, PaymentAuthorized, pay("Authorized")),
            (
                r#""Amount": 1490, "Status": "Declined", "Reason": "InsufficientFunds", "ReasonCode": 5051"#,
                Fail,
                PaymentFailed,
                fail,
            ),
            (
                r#""Amount": 1490.0, "Status": "Cancelled""#,
                Cancel,
                PaymentCancelled,
                format!("{base}{PERSON}"),
            ),
            (
                r#""Amount": 1490.0, "Status": "Completed", "Type": 1, "OriginalTransactionId": 3541977001"#,
                Refund,
                PaymentRefunded,
                refund,
            ),
        ];
        for (model, kind, event_type, documented) in rows {
            let (found, body) = as_notification(&transaction(model)).expect("a notification");
            assert_eq!(found, kind, "{model}");
            let (made, mut expected) = (event(found, &body), event(kind, documented.as_bytes()));
            assert_eq!(made.event_type, event_type, "{model}");
            assert_ne!(made.fingerprint, expected.fingerprint, "the bodies differ, the events must not");
            expected.fingerprint = made.fingerprint;
            assert_eq!(made, expected, "{model}");
            assert_eq!(made.render(), expected.render(), "{model}");
        }
        let completed = transaction(r#""Amount": 1490.0, "Status": "Completed""#);
        let (kind, body) = as_notification(&completed).expect("a notification");
        let confirm = event(Confirm, format!("{base}{CARD}&Status=Completed").as_bytes());
        assert_eq!(event(kind, &body).id, confirm.id, "a Confirm that never came is the same event");
    }

    #[test]
    fn what_is_not_clear_makes_no_notification() {
        for model in [
            r#""Amount": 1.0, "Status": "AwaitingAuthentication""#,
            r#""Amount": 1.0, "Status": "Frozen""#,
            r#""Amount": 1.0, "Status": "Completed", "Type": 2"#,
            r#""Amount": 1.0, "Status": "Completed", "Type": 9"#,
            r#""Amount": 1.0, "Status": "Completed", "Type": 1"#,
            r#""Amount": 1.0, "Status": "Declined", "Type": 1, "OriginalTransactionId": 7"#,
            r#""Amount": 1.0, "Status": "Authorized", "OriginalTransactionId": 7"#,
            r#""Amount": 1.0, "Status": "Cancelled", "OriginalTransactionId": 7"#,
        ] {
            assert_eq!(as_notification(&transaction(model)), None, "{model}");
        }
    }

    #[test]
    fn a_payment_that_names_an_original_is_never_credited() {
        let mut odd = transaction(r#""Amount": 1.0, "Status": "Completed", "OriginalTransactionId": 7"#);
        odd.kind = TransactionKind::Payment;
        let (kind, _) = as_notification(&odd).expect("a notification");
        assert_eq!(kind, NotificationType::Refund);
    }

    #[test]
    fn sums_have_two_decimals_and_lose_none() {
        for (text, expected) in
            [("1490", "1490.00"), ("10.5", "10.50"), ("10.50", "10.50"), ("0.125", "0.125"), ("0", "0.00")]
        {
            assert_eq!(with_two_decimals(text.parse().expect("a sum")), expected);
        }
    }
}
