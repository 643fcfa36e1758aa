//! From a verified notification to the event: what it means, for whom, under which id.

use serde_json::Value;

use super::{Event, EventSource, EventType};
use crate::gateway::Gateway;
use crate::ids::{ClubId, EventId, Meaning, PaymentId};
use crate::money::Amount;
use crate::notification::{BodyFormat, Field, Fields, NotificationType, hash_of_fields};
use crate::payload::{EventData, NoticeData, PaymentData, ReceiptData, SubscriptionData};
use crate::reason::retry_class;
use crate::time::Timestamp;

/// The longest key that the log takes, in bytes.
const MAX_KEY: usize = 255;

/// A verified notification with what is known around it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The gateway whose secret signed it.
    pub gateway: &'a Gateway,
    /// Its type.
    pub kind: NotificationType,
    /// How the body is written.
    pub format: BodyFormat,
    /// The raw body.
    pub body: &'a [u8],
    /// The body, read.
    pub fields: &'a Fields<'a>,
    /// The club of the top-up that is paid, if there is one.
    pub top_up_club: Option<&'a ClubId>,
    /// When the edge accepted it.
    pub accepted_at: Timestamp,
}

/// Why a verified notification makes no event. It is quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotUnderstood {
    /// A field without which nobody can say what happened is absent or malformed.
    #[error("{0} is missing or malformed")]
    Field(Field),
    /// A Pay or a Confirm with a status that says neither taken nor held.
    #[error("the status is not known")]
    Status,
    /// A Check makes no event.
    #[error("a Check makes no event")]
    Check,
}

/// Makes the event.
///
/// # Errors
///
/// If the notification can't be understood: nothing is guessed about money.
pub fn from_notification(source: Source<'_>) -> Result<Event, NotUnderstood> {
    let (event_type, meaning) = interpret(source.kind, source.fields)?;
    let occurred_at = time_of(source.fields, Field::DateTime);
    let data = match source.kind {
        NotificationType::Recurrent => EventData::Subscription(subscription_data(&source)?),
        NotificationType::Receipt => EventData::Receipt(receipt_data(&source)),
        NotificationType::Kkt | NotificationType::SbpToken => EventData::Notice(notice_data(&source)),
        _ => EventData::Payment(Box::new(payment_data(&source, occurred_at)?)),
    };
    let key = identity_key(&source, meaning);
    Ok(Event {
        id: EventId::compute(&source.gateway.public_id, meaning, &key),
        fingerprint: xxhash_rust::xxh3::xxh3_64(source.body),
        webhooks_version: 0,
        source: EventSource::Notification,
        event_type,
        notification: Some(source.kind),
        organization: source.gateway.organization.clone(),
        gateway: Some(source.gateway.id.clone()),
        club_id: club(&source),
        occurred_at,
        accepted_at: source.accepted_at,
        data,
    })
}

/// The key by which records about one payment share a partition: the original transaction, for Recurrent
/// the subscription, else the event itself.
pub fn partition_key(event: &Event) -> String {
    let subject = match &event.data {
        EventData::Payment(payment) => {
            payment.original_transaction_id.as_deref().unwrap_or(&payment.gateway_transaction_id)
        }
        EventData::Subscription(subscription) => &subscription.subscription_id,
        EventData::Receipt(_) | EventData::Notice(_) | EventData::Webhook(_) | EventData::Test(_) => {
            event.id.as_str()
        }
    };
    let key = match &event.gateway {
        Some(gateway) => format!("{gateway}/{subject}"),
        None => subject.to_owned(),
    };
    // What a subscription is called is not ours to bound; a key of the log is.
    if key.len() <= MAX_KEY { key } else { event.id.to_string() }
}

fn interpret(kind: NotificationType, fields: &Fields<'_>) -> Result<(EventType, Meaning), NotUnderstood> {
    let operation = fields.text(Field::OperationType);
    let interpreted = match kind {
        NotificationType::Check => return Err(NotUnderstood::Check),
        NotificationType::Pay => match operation {
            None | Some("Payment") => match fields.text(Field::Status) {
                Some("Completed") => (EventType::PaymentReceived, Meaning::Received),
                Some("Authorized") => (EventType::PaymentAuthorized, Meaning::Authorized),
                _ => return Err(NotUnderstood::Status),
            },
            Some("CardPayout") => (EventType::PayoutCompleted, Meaning::Other),
            Some("Refund") => (EventType::RefundCompleted, Meaning::Other),
            Some(_) => (EventType::OperationCompleted, Meaning::Other),
        },
        NotificationType::Confirm => match (operation, fields.text(Field::Status)) {
            (None | Some("Payment"), Some("Completed")) => (EventType::PaymentReceived, Meaning::Received),
            (None | Some("Payment"), _) => return Err(NotUnderstood::Status),
            (Some(_), _) => return Err(NotUnderstood::Field(Field::OperationType)),
        },
        NotificationType::Fail => match operation {
            None | Some("Payment") => (EventType::PaymentFailed, Meaning::Failed),
            Some("CardPayout") => (EventType::PayoutFailed, Meaning::Other),
            Some("Refund") => (EventType::RefundFailed, Meaning::Other),
            Some(_) => (EventType::OperationFailed, Meaning::Other),
        },
        // The documentation leaves open how a declined refund looks; no money went back, in any case.
        NotificationType::Refund => match fields.text(Field::Status) {
            None | Some("Completed") => (EventType::PaymentRefunded, Meaning::Refunded),
            Some(_) => (EventType::RefundFailed, Meaning::Refunded),
        },
        NotificationType::Cancel => (EventType::PaymentCancelled, Meaning::Cancelled),
        NotificationType::Recurrent => (EventType::SubscriptionChanged, Meaning::Other),
        NotificationType::Receipt => (EventType::ReceiptIssued, Meaning::Other),
        NotificationType::Kkt => (EventType::CashRegisterReported, Meaning::Other),
        NotificationType::SbpToken => (EventType::SbpTokenReported, Meaning::Other),
    };
    Ok(interpreted)
}

/// The key of the event's identity. A payment's is its transaction; a refund's its own transaction with the
/// status, if it has one (an asynchronous refund may report twice). Operations that are no payment carry
/// their type in the key, because a payout, its failure and a receipt may share one TransactionId. What has
/// no transaction is known by all of its fields.
fn identity_key(source: &Source<'_>, meaning: Meaning) -> String {
    let transaction = source.fields.text(Field::TransactionId).unwrap_or_default();
    match (meaning, source.kind) {
        (Meaning::Refunded, _) => match source.fields.text(Field::Status) {
            Some(status) => format!("{transaction}/{status}"),
            None => transaction.to_owned(),
        },
        (Meaning::Other, kind @ (NotificationType::Pay | NotificationType::Fail)) => {
            let operation = source.fields.text(Field::OperationType).unwrap_or_default();
            format!("{kind}/{operation}/{transaction}")
        }
        (Meaning::Other, _) => hash_of_fields(source.format, source.body),
        _ => transaction.to_owned(),
    }
}

fn payment_data(source: &Source<'_>, occurred_at: Option<Timestamp>) -> Result<PaymentData, NotUnderstood> {
    let fields = source.fields;
    let required_id = |field| match fields.parse::<u64>(field) {
        Some(id) if id > 0 => Ok(id),
        _ => Err(NotUnderstood::Field(field)),
    };
    let transaction_id = required_id(Field::TransactionId)?;
    let original = match source.kind {
        NotificationType::Refund => Some(required_id(Field::PaymentTransactionId)?),
        _ => None,
    };
    let amount = fields.parse::<Amount>(Field::Amount).ok_or(NotUnderstood::Field(Field::Amount))?;
    let reason_code = fields.parse::<u32>(Field::ReasonCode);
    Ok(PaymentData {
        payment_id: PaymentId::compute(&source.gateway.public_id, original.unwrap_or(transaction_id)),
        gateway: source.gateway.id.clone(),
        gateway_transaction_id: transaction_id.to_string(),
        original_transaction_id: original.map(|id| id.to_string()),
        invoice_id: owned(fields, Field::InvoiceId),
        client_id: owned(fields, Field::AccountId),
        subscription_id: owned(fields, Field::SubscriptionId),
        amount,
        currency: owned(fields, Field::Currency),
        status: owned(fields, Field::Status),
        operation_type: owned(fields, Field::OperationType),
        payment_method: owned(fields, Field::PaymentMethod),
        card_type: owned(fields, Field::CardType),
        card_last_four: owned(fields, Field::CardLastFour),
        test_mode: fields.flag(Field::TestMode),
        occurred_at: occurred_at.map(Timestamp::to_rfc3339),
        reason: owned(fields, Field::Reason),
        reason_code,
        retry: reason_code.and_then(retry_class),
    })
}

fn subscription_data(source: &Source<'_>) -> Result<SubscriptionData, NotUnderstood> {
    let fields = source.fields;
    Ok(SubscriptionData {
        gateway: source.gateway.id.clone(),
        subscription_id: owned(fields, Field::Id).ok_or(NotUnderstood::Field(Field::Id))?,
        status: owned(fields, Field::Status).ok_or(NotUnderstood::Field(Field::Status))?,
        client_id: owned(fields, Field::AccountId),
        amount: fields.parse(Field::Amount),
        currency: owned(fields, Field::Currency),
        interval: owned(fields, Field::Interval),
        period: fields.parse(Field::Period),
        successful_transactions: fields.parse(Field::SuccessfulTransactionsNumber),
        failed_transactions: fields.parse(Field::FailedTransactionsNumber),
        last_transaction_at: time_of(fields, Field::LastTransactionDate).map(Timestamp::to_rfc3339),
        next_transaction_at: time_of(fields, Field::NextTransactionDate).map(Timestamp::to_rfc3339),
    })
}

fn receipt_data(source: &Source<'_>) -> ReceiptData {
    let fields = source.fields;
    ReceiptData {
        gateway: source.gateway.id.clone(),
        receipt_id: owned(fields, Field::Id),
        gateway_transaction_id: owned(fields, Field::TransactionId),
        invoice_id: owned(fields, Field::InvoiceId),
        client_id: owned(fields, Field::AccountId),
        receipt_type: owned(fields, Field::Type),
        amount: fields.parse(Field::Amount),
        url: owned(fields, Field::Url),
    }
}

fn notice_data(source: &Source<'_>) -> NoticeData {
    let fields = source.fields;
    NoticeData {
        gateway: source.gateway.id.clone(),
        gateway_transaction_id: owned(fields, Field::TransactionId),
        invoice_id: owned(fields, Field::InvoiceId),
        client_id: owned(fields, Field::AccountId),
        status: owned(fields, Field::Status),
    }
}

fn owned(fields: &Fields<'_>, field: Field) -> Option<String> {
    fields.text(field).map(str::to_owned)
}

/// The club: of the top-up; else named in the merchant's own `Data`; else the gateway's default.
fn club(source: &Source<'_>) -> ClubId {
    let named = || source.fields.text(Field::Data).and_then(club_in_data);
    source.top_up_club.cloned().or_else(named).unwrap_or_else(|| source.gateway.default_club.clone())
}

/// `Data` is the merchant's JSON and may hold a whole receipt: it is parsed only where it names a club, at
/// its top level, as a text.
fn club_in_data(data: &str) -> Option<ClubId> {
    memchr::memmem::find(data.as_bytes(), b"\"clubId\"")?;
    let data: Value = serde_json::from_str(data).ok()?;
    let club = data.get("clubId")?.as_str()?;
    (!club.is_empty()).then(|| ClubId::new(club))
}

/// `yyyy-MM-dd HH:mm:ss` in UTC, or RFC 3339.
fn time_of(fields: &Fields<'_>, field: Field) -> Option<Timestamp> {
    let text = fields.text(field)?;
    // Behind the date only a zone has one of these: CloudPayments names none.
    let names_zone = text.get(10..).is_some_and(|time| time.contains(['Z', 'z', '+', '-']));
    let zoned = if names_zone { text.parse::<jiff::Timestamp>().ok() } else { None };
    let instant = match zoned {
        Some(instant) => instant,
        None => jiff::tz::Offset::UTC.to_timestamp(text.parse().ok()?).ok()?,
    };
    u64::try_from(instant.as_millisecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::CheckPolicy;
    use crate::ids::{GatewayId, OrganizationId};
    use crate::notification::read_fields;

    fn gateway() -> Gateway {
        Gateway {
            id: GatewayId::new("gw_1"),
            organization: OrganizationId::new("org_1"),
            public_id: "pk_1".to_owned(),
            api_secrets: Vec::new(),
            default_club: ClubId::new("club_default"),
            shared_url: false,
            policy: CheckPolicy::lenient(),
        }
    }

    fn event(kind: NotificationType, body: &str) -> Result<Event, NotUnderstood> {
        let fields = read_fields(BodyFormat::Form, body.as_bytes()).expect("a form");
        from_notification(Source {
            gateway: &gateway(),
            kind,
            format: BodyFormat::Form,
            body: body.as_bytes(),
            fields: &fields,
            top_up_club: None,
            accepted_at: Timestamp(1_800_000_000_000),
        })
    }

    const PAID: &str =
        "TransactionId=3541977847&Amount=1490.00&Currency=RUB&DateTime=2026-05-28+12%3a55%3a43";

    #[test]
    fn a_completed_pay_and_a_confirm_are_one_event() {
        let pay = event(NotificationType::Pay, &format!("{PAID}&Status=Completed&GatewayName=Test"));
        let confirm = event(NotificationType::Confirm, &format!("{PAID}&Status=Completed"));
        let (pay, confirm) = (pay.expect("an event"), confirm.expect("an event"));
        assert_eq!(pay.id, confirm.id);
        assert_ne!(pay.fingerprint, confirm.fingerprint);
        assert_eq!(partition_key(&pay), partition_key(&confirm));
    }

    #[test]
    fn only_payments_become_payment_events() {
        use NotificationType::{Cancel, Confirm, Fail, Pay, Receipt, Recurrent, Refund};
        for (kind, rest, expected) in [
            (Pay, "&Status=Completed", Ok(EventType::PaymentReceived)),
            (Pay, "&Status=Completed&OperationType=Payment", Ok(EventType::PaymentReceived)),
            (Pay, "&Status=Completed&OperationType=", Ok(EventType::PaymentReceived)),
            (Pay, "&Status=Authorized&OperationType=Payment", Ok(EventType::PaymentAuthorized)),
            (Pay, "&Status=Completed&OperationType=CardPayout", Ok(EventType::PayoutCompleted)),
            (Pay, "&Status=Completed&OperationType=Refund", Ok(EventType::RefundCompleted)),
            (Pay, "&Status=Completed&OperationType=Lottery", Ok(EventType::OperationCompleted)),
            (Pay, "&Status=Declined", Err(NotUnderstood::Status)),
            (Pay, "", Err(NotUnderstood::Status)),
            (Confirm, "&Status=Authorized", Err(NotUnderstood::Status)),
            (Confirm, "", Err(NotUnderstood::Status)),
            (
                Confirm,
                "&Status=Completed&OperationType=CardPayout",
                Err(NotUnderstood::Field(Field::OperationType)),
            ),
            (Refund, "&PaymentTransactionId=1&Status=Completed", Ok(EventType::PaymentRefunded)),
            (Refund, "&PaymentTransactionId=1&Status=Declined", Ok(EventType::RefundFailed)),
            (Fail, "&Status=Declined&ReasonCode=5051", Ok(EventType::PaymentFailed)),
            (Fail, "&OperationType=CardPayout&ReasonCode=5051", Ok(EventType::PayoutFailed)),
            (Cancel, "", Ok(EventType::PaymentCancelled)),
            (Receipt, "&FiscalSign=1", Ok(EventType::ReceiptIssued)),
            (Recurrent, "&Id=sc_1&Status=PastDue", Ok(EventType::SubscriptionChanged)),
        ] {
            let found = event(kind, &format!("{PAID}{rest}")).map(|event| event.event_type);
            assert_eq!(found, expected, "{kind} {rest}");
        }
    }

    #[test]
    fn operations_with_one_transaction_have_ids_of_their_own() {
        let bodies = [
            (NotificationType::Pay, "&Status=Completed"),
            (NotificationType::Pay, "&Status=Authorized"),
            (NotificationType::Pay, "&Status=Completed&OperationType=CardPayout"),
            (NotificationType::Fail, "&ReasonCode=5051"),
            (NotificationType::Fail, "&ReasonCode=5051&OperationType=CardPayout"),
            (NotificationType::Cancel, ""),
            (NotificationType::Receipt, "&FiscalSign=1"),
            (NotificationType::Kkt, ""),
        ];
        let ids: std::collections::HashSet<_> = bodies
            .iter()
            .map(|(kind, rest)| event(*kind, &format!("{PAID}{rest}")).expect("an event").id)
            .collect();
        assert_eq!(ids.len(), bodies.len());
    }

    #[test]
    fn a_refund_belongs_to_its_payment_and_counts_by_its_own_transaction() {
        let body = "TransactionId=1506&PaymentTransactionId=1504&Amount=50.00&OperationType=Refund";
        let refund = event(NotificationType::Refund, body).expect("an event");
        assert_eq!(partition_key(&refund), "gw_1/1504");
        assert_eq!(refund.id, EventId::compute("pk_1", Meaning::Refunded, "1506"));
        let EventData::Payment(data) = refund.data else { panic!("a payment") };
        assert_eq!(data.payment_id, PaymentId::compute("pk_1", 1504));
    }

    #[test]
    fn a_recurrent_is_known_by_its_fields_in_any_order() {
        let one = event(NotificationType::Recurrent, "Id=sc_1&Status=PastDue&Email=a%40b").expect("an event");
        let same =
            event(NotificationType::Recurrent, "Email=a%40b&Status=PastDue&Id=sc_1").expect("an event");
        let next =
            event(NotificationType::Recurrent, "Id=sc_1&Status=Rejected&Email=a%40b").expect("an event");
        assert_eq!(one.id, same.id);
        assert_ne!(one.id, next.id);
    }

    #[test]
    fn what_decides_about_money_must_be_there() {
        use NotificationType::{Pay, Refund};
        for (kind, body, field) in [
            (Pay, "Amount=1.00&Status=Completed", Field::TransactionId),
            (Pay, "TransactionId=0&Amount=1.00&Status=Completed", Field::TransactionId),
            (Pay, "TransactionId=-1&Amount=1.00&Status=Completed", Field::TransactionId),
            (Pay, "TransactionId=1&Amount=1e2&Status=Completed", Field::Amount),
            (Pay, "TransactionId=1&Status=Completed", Field::Amount),
            (Refund, "TransactionId=1&Amount=1.00", Field::PaymentTransactionId),
        ] {
            assert_eq!(event(kind, body), Err(NotUnderstood::Field(field)), "{body}");
        }
    }

    #[test]
    fn the_club_comes_from_data_or_is_the_default() {
        for (data, expected) in [
            ("%7b%22clubId%22%3a+%22club_9%22%7d", "club_9"),
            ("%7b%22clubId%22%3a+9%7d", "club_default"),
            ("%7b%22clubId%22", "club_default"),
            ("%7b%22orderId%22%3a7%7d", "club_default"),
        ] {
            let body = format!("{PAID}&Status=Completed&Data={data}");
            assert_eq!(event(NotificationType::Pay, &body).expect("an event").club_id.as_str(), expected);
        }
    }

    #[test]
    fn no_personal_field_enters_the_record() {
        let body = format!(
            "{PAID}&Status=Completed&AccountId=c-7&Name=OLEG&Email=oleg%40example.com&IpAddress=192.0.2.9\
             &CardFirstSix=411111&CardExpDate=01%2f30&Token=tk_777&CardLastFour=4242"
        );
        let record = event(NotificationType::Pay, &body).expect("an event").encode();
        let record = String::from_utf8(record).expect("JSON");
        for personal in ["OLEG", "oleg", "192.0.2.9", "411111", "01/30", "tk_777"] {
            assert!(!record.contains(personal), "{personal}");
        }
        assert!(record.contains("4242"));
    }

    #[test]
    fn a_record_survives_the_log() {
        let event = event(NotificationType::Pay, &format!("{PAID}&Status=Completed")).expect("an event");
        assert_eq!(Event::decode(&event.encode()).expect("an event"), event);
        assert_eq!(event.occurred_at, Some(Timestamp(1_779_972_943_000)));
    }
}
