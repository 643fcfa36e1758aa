//! What holds for every input: codecs give back what they were given, and no bytes bring a reader down.

use hookline_schemas::delivery::DisabledReason;
use hookline_schemas::event::{Event, EventSource, EventType, Source, from_notification, partition_key};
use hookline_schemas::ids::{ClubId, EventId, GatewayId, OrganizationId, PaymentId, WebhookId};
use hookline_schemas::money::Amount;
use hookline_schemas::notification::{
    BodyFormat, Field, NotificationType, classify, hash_of_fields, read_fields,
};
use hookline_schemas::payload::{
    EventData, NoticeData, PaymentData, ReceiptData, SubscriptionData, TestData, WebhookData,
};
use hookline_schemas::reason::RetryClass;
use hookline_schemas::seal::{OpenSealError, Sealer};
use hookline_schemas::time::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::proptest;
use proptest::sample::{Index, select, subsequence};

use crate::samples;

/// Critical and uncritical ones, of every kind of notification.
const FIELDS: [Field; 18] = [
    Field::TransactionId,
    Field::Amount,
    Field::Currency,
    Field::OperationType,
    Field::InvoiceId,
    Field::AccountId,
    Field::SubscriptionId,
    Field::DateTime,
    Field::CardLastFour,
    Field::AuthCode,
    Field::Status,
    Field::Reason,
    Field::ReasonCode,
    Field::GatewayName,
    Field::Data,
    Field::PaymentTransactionId,
    Field::Id,
    Field::Url,
];

/// Pieces that bodies are made of: most combinations are nearly a notification.
const PIECES: [&str; 32] = [
    "TransactionId",
    "Amount",
    "Currency",
    "PaymentTransactionId",
    "DateTime",
    "Status",
    "OperationType",
    "ReasonCode",
    "Data",
    "GatewayName",
    "FiscalSign",
    "Id",
    "Interval",
    "=",
    "&",
    "%",
    "%d0",
    "%22clubId%22",
    "+",
    "3541977847",
    "99999999999999999999",
    "1490.00",
    "2026-05-28+12%3a55%3a43",
    "9999-12-31T23%3a59%3a59Z",
    "-009999-01-01T00%3a00%3a00Z",
    "Completed",
    "{",
    "}",
    "\"",
    "[[",
    ":",
    "null",
];

/// A key that nobody reads, or a field, with a value.
fn pairs() -> impl Strategy<Value = Vec<(String, Field, String)>> {
    subsequence(FIELDS.to_vec(), 0..=FIELDS.len()).prop_shuffle().prop_flat_map(|fields| {
        let length = fields.len();
        (Just(fields), vec(text(), length), vec(text(), length)).prop_map(|(fields, unread, values)| {
            let unread = unread.into_iter().map(|key| format!("Unread{key}"));
            let triples = fields.into_iter().zip(unread).zip(values);
            triples.map(|((field, unread), value)| (unread, field, value)).collect()
        })
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ +%&=.\"\\\\\r\n0-9a-zА-я]{0,12}", Just(String::new())]
}

/// As .NET encodes: lower-case hex, `+`, and its own set of marks that stand.
fn encode_as_dotnet(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        _ if byte.is_ascii_alphanumeric() || b"-_.!*()".contains(&byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    text.bytes().map(encode).collect()
}

/// As RFC 3986 has it: upper-case hex, `%20`, and the unreserved marks.
fn encode_as_rfc(text: &str) -> String {
    let encode = |byte: u8| match byte {
        _ if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn form_of(pairs: &[(String, Field, String)], encode: fn(&str) -> String) -> String {
    let pair = |(unread, field, value): &(String, Field, String)| {
        let value = encode(value);
        format!("{}={value}&{}={value}", encode(unread), encode(field.as_str()))
    };
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn json_of(pairs: &[(String, Field, String)], quoted: fn(&str) -> String) -> String {
    let pair = |(unread, field, value): &(String, Field, String)| {
        let value = quoted(value);
        format!(" {} : {value} ,\n{}:{value}", quoted(unread), quoted(field.as_str()))
    };
    format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(","))
}

fn plainly_quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

/// Every character as an escape.
fn quoted_in_escapes(text: &str) -> String {
    format!("\"{}\"", text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>())
}

/// Everything that a body goes through; the events that it could become.
fn read_in_every_way(body: &[u8]) -> Vec<Event> {
    let gateway = samples::gateway();
    let mut events = Vec::new();
    for format in [BodyFormat::Form, BodyFormat::Json] {
        assert_eq!(hash_of_fields(format, body).len(), 32);
        let Ok(fields) = read_fields(format, body) else { continue };
        classify(&fields);
        events.extend(NotificationType::ALL.into_iter().filter_map(|kind| {
            let accepted_at = samples::ACCEPTED_AT;
            let gateway = &gateway;
            let fields = &fields;
            from_notification(Source { gateway, kind, format, body, fields, top_up_club: None, accepted_at })
                .ok()
        }));
    }
    events
}

fn keeps_its_promises(event: &Event) {
    assert_eq!(Event::decode(&event.encode()).expect("a record"), *event);
    assert!(event.id.as_str().len() == 30 && !event.id.as_str().contains('.'));
    assert!(partition_key(event).starts_with("gw_fixture/"));
    let payload: serde_json::Value = serde_json::from_slice(&event.render()).expect("a payload is JSON");
    assert!(payload.get("timestamp").is_some_and(|time| time.as_str().is_some_and(|text| text.len() >= 20)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_form_gives_back_every_value(pairs in pairs()) {
        for encode in [encode_as_dotnet, encode_as_rfc] {
            let body = form_of(&pairs, encode);
            let fields = read_fields(BodyFormat::Form, body.as_bytes()).expect("an encoder's output is a form");
            for (_, field, value) in &pairs {
                prop_assert!(fields.has_key(*field));
                prop_assert_eq!(fields.text(*field).unwrap_or_default(), value, "{} in {}", field, body);
            }
            let given = pairs.iter().map(|(_, field, _)| *field).collect::<Vec<_>>();
            prop_assert!(FIELDS.iter().all(|field| given.contains(field) == fields.has_key(*field)));
        }
    }

    #[test]
    fn json_gives_back_every_value(pairs in pairs()) {
        for quoted in [plainly_quoted, quoted_in_escapes] {
            let body = json_of(&pairs, quoted);
            let fields = read_fields(BodyFormat::Json, body.as_bytes()).expect("an object of texts");
            for (_, field, value) in &pairs {
                prop_assert!(fields.has_key(*field));
                prop_assert_eq!(fields.text(*field).unwrap_or_default(), value, "{} in {}", field, body);
            }
        }
    }

    #[test]
    fn the_hash_of_fields_depends_on_nothing_but_the_fields(pairs in pairs()) {
        let reversed: Vec<_> = pairs.iter().rev().cloned().collect();
        let of_form = |pairs, encode| hash_of_fields(BodyFormat::Form, form_of(pairs, encode).as_bytes());
        let of_json = |pairs, quoted| hash_of_fields(BodyFormat::Json, json_of(pairs, quoted).as_bytes());
        let hash = of_form(&pairs, encode_as_dotnet);
        prop_assert_eq!(&of_form(&pairs, encode_as_rfc), &hash);
        prop_assert_eq!(&of_form(&reversed, encode_as_dotnet), &hash);
        if !pairs.is_empty() {
            prop_assert_eq!(&of_json(&pairs, plainly_quoted), &hash);
            prop_assert_eq!(&of_json(&reversed, quoted_in_escapes), &hash);
        }
    }

    #[test]
    fn no_bytes_bring_a_reader_down(body in vec(any::<u8>(), 0..200)) {
        read_in_every_way(&body).iter().for_each(keeps_its_promises);
    }

    #[test]
    fn no_composition_of_pieces_brings_a_reader_down(pieces in vec(select(PIECES.to_vec()), 0..40)) {
        read_in_every_way(pieces.concat().as_bytes()).iter().for_each(keeps_its_promises);
    }

    #[test]
    fn no_values_bring_a_reader_down(
        fields in subsequence(FIELDS.to_vec(), 0..=FIELDS.len()),
        values in vec(prop_oneof![select(PIECES.to_vec()).prop_map(str::to_owned), text()], FIELDS.len()),
    ) {
        let pairs: Vec<_> = fields.into_iter().zip(values).map(|(field, value)| {
            (String::from("Unread"), field, value.replace("%3a", ":").replace('+', " "))
        }).collect();
        for body in [form_of(&pairs, encode_as_dotnet), json_of(&pairs, plainly_quoted)] {
            read_in_every_way(body.as_bytes()).iter().for_each(keeps_its_promises);
        }
    }

    #[test]
    fn a_changed_byte_of_a_real_body_brings_no_reader_down(
        sample in select(samples::all().into_iter().map(|sample| sample.body).collect::<Vec<_>>()),
        place in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = sample.into_bytes();
        let at = place.index(body.len());
        *body.get_mut(at).expect("a byte") = byte;
        read_in_every_way(&body).iter().for_each(keeps_its_promises);
    }

    #[test]
    fn an_amount_keeps_its_digits_on_every_way(whole in "0|[1-9][0-9]{0,17}", fraction in "(\\.[0-9]{1,8})?") {
        let text = whole + &fraction;
        let amount: Amount = text.parse().expect("a sum");
        prop_assert_eq!(amount.to_string(), text.as_str());
        let json = serde_json::to_string(&amount).expect("JSON");
        prop_assert_eq!(&json, &format!("\"{text}\""));
        let again: Amount = serde_json::from_str(&json).expect("a sum");
        prop_assert_eq!(again.to_string(), text);
    }

    #[test]
    fn an_amount_is_digits_and_at_most_one_dot_between_them(text in "[0-9]{0,3}[-+.,eE_ 0-9]{0,2}[0-9]{0,3}") {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<_> = text.split('.').collect();
        let expected = parts.len() <= 2 && parts.into_iter().all(digits);
        prop_assert_eq!(text.parse::<Amount>().is_ok(), expected, "{:?}", text);
    }

    #[test]
    fn a_record_gives_back_its_event(event in event()) {
        let record = event.encode();
        let again = Event::decode(&record).expect("a record");
        prop_assert_eq!(&again, &event);
        // Sums are equal by value; the digits must be equal too.
        prop_assert_eq!(again.encode(), record);
        prop_assert_eq!(again.render(), event.render());
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_in_its_place_alone(
        key in any::<[u8; 32]>(),
        other_key in any::<[u8; 32]>(),
        place in text(),
        other_place in text(),
        value in vec(any::<u8>(), 0..200),
        changed in any::<Index>(),
        bit in 0_u8..8,
    ) {
        let sealer = Sealer::new(&key);
        let sealed = sealer.seal(&place, &value);
        prop_assert_eq!(sealer.open(&place, &sealed), Ok(value.clone()));
        if other_place != place {
            prop_assert_eq!(sealer.open(&other_place, &sealed), Err(OpenSealError::Forged));
        }
        if other_key != key {
            prop_assert!(Sealer::new(&other_key).open(&place, &sealed).is_err());
        }
        let at = changed.index(sealed.len());
        prop_assert!(sealer.open(&place, sealed.get(..at).unwrap_or_default()).is_err());
        let mut changed = sealed.clone();
        *changed.get_mut(at).expect("a byte") ^= 1 << bit;
        prop_assert!(sealer.open(&place, &changed).is_err());
        prop_assert!(sealer.seal(&place, &value) != sealed, "every nonce is new");
    }
}

#[test]
fn a_megabyte_of_nesting_is_read_without_a_deep_stack() {
    let nested = |open: &str, close: &str| {
        format!("{{\"Data\":{}{}}}", open.repeat(1 << 18), close.repeat(1 << 18)).into_bytes()
    };
    for body in [nested("[", "]"), nested("{\"clubId\":", "}"), nested("[", "")] {
        read_in_every_way(&body).iter().for_each(keeps_its_promises);
    }
}

fn optional_text() -> impl Strategy<Value = Option<String>> {
    option::of(text())
}

fn amount() -> impl Strategy<Value = Amount> {
    (any::<u64>(), 0_u32..100, 0_usize..=2).prop_map(|(whole, fraction, digits)| {
        let fraction = format!(".{fraction:02}");
        let fraction = if digits == 0 { "" } else { fraction.get(..=digits).unwrap_or_default() };
        format!("{whole}{fraction}").parse().expect("a sum")
    })
}

fn gateway_id() -> impl Strategy<Value = GatewayId> {
    text().prop_map(GatewayId::new)
}

fn payment() -> impl Strategy<Value = PaymentData> {
    let names = (text().prop_map(PaymentId::new), gateway_id(), text(), vec(optional_text(), 12));
    let rest = (amount(), any::<bool>(), option::of(any::<u32>()), retry());
    (names, rest).prop_map(|((payment_id, gateway, transaction, texts), (amount, test_mode, code, retry))| {
        let mut texts = texts.into_iter();
        PaymentData {
            payment_id,
            gateway,
            gateway_transaction_id: transaction,
            original_transaction_id: texts.next().flatten(),
            invoice_id: texts.next().flatten(),
            client_id: texts.next().flatten(),
            subscription_id: texts.next().flatten(),
            amount,
            currency: texts.next().flatten(),
            status: texts.next().flatten(),
            operation_type: texts.next().flatten(),
            payment_method: texts.next().flatten(),
            card_type: texts.next().flatten(),
            card_last_four: texts.next().flatten(),
            test_mode,
            occurred_at: texts.next().flatten(),
            reason: texts.next().flatten(),
            reason_code: code,
            retry,
        }
    })
}

fn retry() -> impl Strategy<Value = Option<RetryClass>> {
    option::of(select(vec![RetryClass::Hard, RetryClass::Conditional, RetryClass::Temporary]))
}

fn subscription() -> impl Strategy<Value = SubscriptionData> {
    let texts = (gateway_id(), text(), text(), vec(optional_text(), 5));
    let numbers = (option::of(amount()), vec(option::of(any::<u32>()), 3));
    (texts, numbers).prop_map(|((gateway, subscription_id, status, texts), (amount, numbers))| {
        let (mut texts, mut numbers) = (texts.into_iter(), numbers.into_iter());
        SubscriptionData {
            gateway,
            subscription_id,
            status,
            client_id: texts.next().flatten(),
            amount,
            currency: texts.next().flatten(),
            interval: texts.next().flatten(),
            period: numbers.next().flatten(),
            successful_transactions: numbers.next().flatten(),
            failed_transactions: numbers.next().flatten(),
            last_transaction_at: texts.next().flatten(),
            next_transaction_at: texts.next().flatten(),
        }
    })
}

fn receipt() -> impl Strategy<Value = ReceiptData> {
    (gateway_id(), option::of(amount()), vec(optional_text(), 6)).prop_map(|(gateway, amount, texts)| {
        let mut texts = texts.into_iter();
        ReceiptData {
            gateway,
            receipt_id: texts.next().flatten(),
            gateway_transaction_id: texts.next().flatten(),
            invoice_id: texts.next().flatten(),
            client_id: texts.next().flatten(),
            receipt_type: texts.next().flatten(),
            amount,
            url: texts.next().flatten(),
        }
    })
}

fn notice() -> impl Strategy<Value = NoticeData> {
    (gateway_id(), vec(optional_text(), 4)).prop_map(|(gateway, texts)| {
        let mut texts = texts.into_iter();
        NoticeData {
            gateway,
            gateway_transaction_id: texts.next().flatten(),
            invoice_id: texts.next().flatten(),
            client_id: texts.next().flatten(),
            status: texts.next().flatten(),
        }
    })
}

fn disabled_webhook() -> impl Strategy<Value = WebhookData> {
    let reason = select(vec![DisabledReason::Gone, DisabledReason::Failing]);
    (text(), reason).prop_map(|(id, reason)| WebhookData { webhook_id: WebhookId::new(id), reason })
}

fn test_data() -> impl Strategy<Value = TestData> {
    (text(), text()).prop_map(|(id, message)| TestData { webhook_id: WebhookId::new(id), message })
}

fn event() -> impl Strategy<Value = Event> {
    let data = prop_oneof![
        payment().prop_map(|data| EventData::Payment(Box::new(data))),
        subscription().prop_map(EventData::Subscription),
        receipt().prop_map(EventData::Receipt),
        notice().prop_map(EventData::Notice),
        disabled_webhook().prop_map(EventData::Webhook),
        test_data().prop_map(EventData::Test),
    ];
    let names = (
        text().prop_map(EventId::new),
        text().prop_map(OrganizationId::new),
        option::of(gateway_id()),
        text().prop_map(ClubId::new),
    );
    let kinds = (select(EventType::ALL.to_vec()), option::of(select(NotificationType::ALL.to_vec())));
    let times = (option::of(any::<u64>().prop_map(Timestamp)), any::<u64>().prop_map(Timestamp));
    (names, kinds, times, any::<u64>(), data).prop_map(|(names, kinds, times, fingerprint, data)| Event {
        id: names.0,
        fingerprint,
        webhooks_version: fingerprint % 3,
        source: if fingerprint % 2 == 0 { EventSource::Notification } else { EventSource::Reconciliation },
        event_type: kinds.0,
        notification: kinds.1,
        organization: names.1,
        gateway: names.2,
        club_id: names.3,
        occurred_at: times.0,
        accepted_at: times.1,
        data,
    })
}
