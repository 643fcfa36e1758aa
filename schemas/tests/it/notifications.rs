//! From the bytes of a notification to what integrators receive, sample by sample.

use std::collections::BTreeSet;

use hookline_schemas::event::{Event, NotUnderstood, partition_key};
use hookline_schemas::ids::ClubId;
use hookline_schemas::notification::{
    BodyFormat, Classified, Field, NotificationType, classify, has_fields_of_a_payment, read_fields,
};
use hookline_schemas::payload::{EventData, PaymentData};
use serde_json::Value;

use crate::samples::{self, ACCEPTED_AT, Sample, event_of, named};

fn event(name: &str) -> Event {
    named(name).event().expect("an event")
}

fn payment(name: &str) -> PaymentData {
    match event(name).data {
        EventData::Payment(data) => *data,
        _ => panic!("{name} is about a payment"),
    }
}

fn rendered(event: &Event) -> Value {
    serde_json::from_slice(&event.render()).expect("a payload is JSON")
}

#[test]
fn the_fields_tell_the_type() {
    for sample in samples::all() {
        let fields = read_fields(BodyFormat::Form, sample.body.as_bytes()).expect("a form");
        let told = match classify(&fields) {
            Classified::As(kind) => kind.as_str(),
            Classified::Unknown => "unknown",
        };
        assert_eq!(told, sample.classified, "{}: {}", sample.name, sample.about);
    }
}

#[test]
fn every_type_has_a_sample() {
    let kinds: BTreeSet<_> = samples::all().iter().map(|sample| sample.kind).collect();
    assert_eq!(kinds, BTreeSet::from(NotificationType::ALL));
}

#[test]
fn only_what_has_been_paid_has_the_fields_of_a_payment() {
    for sample in samples::all() {
        let fields = read_fields(BodyFormat::Form, sample.body.as_bytes()).expect("a form");
        let expected = matches!(sample.kind, NotificationType::Pay | NotificationType::Confirm);
        assert_eq!(has_fields_of_a_payment(&fields), expected, "{}", sample.name);
    }
}

#[test]
fn every_sample_becomes_the_payload_that_it_is_known_by() {
    for Sample { name, about, kind, body, payload, .. } in samples::all() {
        let event = event_of(kind, BodyFormat::Form, body.as_bytes(), None);
        match (event, payload) {
            (Ok(event), Some(payload)) => {
                assert_eq!(rendered(&event), payload, "{name}: {about}");
                assert_eq!((event.notification, event.accepted_at), (Some(kind), ACCEPTED_AT), "{name}");
                assert_eq!(event.organization.as_str(), "org_fixture", "{name}");
            }
            (Err(NotUnderstood::Check), None) => assert_eq!(kind, NotificationType::Check, "{name}"),
            (event, payload) => panic!("{name}: {event:?}, not {payload:?}"),
        }
    }
}

#[test]
fn a_body_written_as_json_becomes_the_same_payload() {
    for sample in samples::all() {
        let Ok(of_form) = sample.event() else { continue };
        for json in [sample.as_json_of_strings(), sample.as_json_of_types()] {
            let of_json = event_of(sample.kind, BodyFormat::Json, json.as_bytes(), None).expect("an event");
            assert_eq!(of_json.id, of_form.id, "{}: {json}", sample.name);
            assert_eq!(rendered(&of_json), rendered(&of_form), "{}: {json}", sample.name);
            assert_eq!(partition_key(&of_json), partition_key(&of_form), "{}", sample.name);
        }
    }
}

#[test]
fn the_fields_of_a_body_tell_its_type_in_json_too() {
    for sample in samples::all() {
        // A flag or a number may stand there in another spelling; an empty key stays a key.
        for json in [sample.as_json_of_strings(), sample.as_json_of_types()] {
            let of_json = read_fields(BodyFormat::Json, json.as_bytes()).expect("JSON");
            let of_form = read_fields(BodyFormat::Form, sample.body.as_bytes()).expect("a form");
            assert_eq!(classify(&of_json), classify(&of_form), "{}: {json}", sample.name);
        }
    }
}

#[test]
fn a_repetition_is_the_same_event_in_every_byte() {
    for sample in samples::all() {
        let (Ok(first), Ok(again)) = (sample.event(), sample.event()) else { continue };
        assert_eq!(first.encode(), again.encode(), "{}", sample.name);
    }
}

#[test]
fn another_spelling_is_the_same_event_with_another_fingerprint() {
    for sample in samples::all() {
        let Ok(first) = sample.event() else { continue };
        let respelled: Vec<_> =
            sample.pairs().iter().map(|(key, value)| format!("{key}={}", upper_case_hex(value))).collect();
        let respelled = respelled.join("&");
        let again = event_of(sample.kind, BodyFormat::Form, respelled.as_bytes(), None).expect("an event");
        assert_eq!(first.id, again.id, "{}", sample.name);
        assert_eq!(first.data, again.data, "{}", sample.name);
        assert_eq!(first.fingerprint == again.fingerprint, respelled == sample.body, "{}", sample.name);
    }
}

fn upper_case_hex(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[test]
fn a_hold_and_its_confirmation_are_two_events_of_one_payment() {
    let (hold, taken) = (payment("pay-authorized"), payment("confirm"));
    assert_eq!(hold.payment_id, taken.payment_id);
    assert_ne!(event("pay-authorized").id, event("confirm").id);
    assert_eq!(partition_key(&event("pay-authorized")), partition_key(&event("confirm")));
}

#[test]
fn a_refund_joins_its_payment() {
    let (paid, refund) = (payment("pay-current"), payment("refund"));
    assert_eq!(refund.payment_id, paid.payment_id);
    assert_eq!(refund.original_transaction_id.as_deref(), Some(paid.gateway_transaction_id.as_str()));
    assert_eq!(partition_key(&event("refund")), partition_key(&event("pay-current")));
}

#[test]
fn two_tries_of_one_order_are_two_payments() {
    let (first, second) = (payment("fail-first-try"), payment("fail-second-try"));
    assert_eq!(first.invoice_id, second.invoice_id);
    assert_ne!(first.payment_id, second.payment_id);
    assert_ne!(event("fail-first-try").id, event("fail-second-try").id);
}

#[test]
fn a_refund_that_reports_twice_with_another_status_is_two_events() {
    let refund = named("refund");
    let id_with = |rest: &str| {
        let body = format!("{}{rest}", refund.body);
        event_of(refund.kind, BodyFormat::Form, body.as_bytes(), None).expect("an event").id
    };
    let ids = BTreeSet::from([id_with(""), id_with("&Status=Completed"), id_with("&Status=Declined")]);
    assert_eq!(ids.len(), 3);
    assert_eq!(id_with("&Status="), id_with(""), "an empty status is none");
}

#[test]
fn a_subscription_that_changes_again_is_another_event() {
    let recurrent = named("recurrent-cancelled");
    let active = recurrent.body.replace("Status=Cancelled", "Status=Active");
    let again = event_of(recurrent.kind, BodyFormat::Form, active.as_bytes(), None).expect("an event");
    let first = recurrent.event().expect("an event");
    assert_ne!(again.id, first.id);
    assert_eq!(partition_key(&again), partition_key(&first));
}

#[test]
fn the_club_of_the_top_up_goes_before_the_club_in_data() {
    let sample = named("pay-current");
    let club = ClubId::new("club_of_the_top_up");
    let event = event_of(sample.kind, BodyFormat::Form, sample.body.as_bytes(), Some(&club));
    assert_eq!(event.expect("an event").club_id, club);
    assert_eq!(sample.event().expect("an event").club_id.as_str(), "club_tver");
}

#[test]
fn nested_data_in_json_names_the_club_too() {
    let sample = named("pay-current");
    let json = sample.as_json_of_types();
    let fields = read_fields(BodyFormat::Json, json.as_bytes()).expect("JSON");
    assert!(fields.text(Field::Data).is_some_and(|data| data.starts_with('{')), "{json}");
    let event = event_of(sample.kind, BodyFormat::Json, json.as_bytes(), None).expect("an event");
    assert_eq!(event.club_id.as_str(), "club_tver");
}

#[test]
fn nothing_personal_is_recorded_or_sent() {
    const PERSONAL: [&str; 13] = [
        "Name",
        "Email",
        "IpAddress",
        "IpCity",
        "IpRegion",
        "IpLatitude",
        "CardId",
        "CardFirstSix",
        "CardExpDate",
        "Issuer",
        "Description",
        "Token",
        "Rrn",
    ];
    for sample in samples::all() {
        let Ok(event) = sample.event() else { continue };
        let written = String::from_utf8([event.encode(), event.render()].concat()).expect("JSON is UTF-8");
        let pairs = sample.pairs();
        // A merchant may choose to name clients by their address: then it is the client's id, and passed on.
        let account = pairs.iter().find(|(key, _)| key == "AccountId").map(|(_, value)| value.as_str());
        for (key, value) in &pairs {
            let is_personal = PERSONAL.contains(&key.as_str()) && !value.is_empty();
            if is_personal && Some(value.as_str()) != account {
                assert!(!written.contains(value.as_str()), "{}: {key} stands in {written}", sample.name);
            }
        }
    }
}
