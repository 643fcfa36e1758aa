//! What is posted at a receiver: test events in their real shape, under ids that say so, and their signatures,
//! right and wrong.

use std::time::Duration;

use bytes::Bytes;
use hookline_schemas::event::{Event, EventType};
use hookline_schemas::ids::{ClubId, EventId, GatewayId, Meaning, OrganizationId, PaymentId};
use hookline_schemas::money::Amount;
use hookline_schemas::payload::{EventData, PaymentData};
use hookline_schemas::reason::RetryClass;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::signature::WebhookKey;
use hookline_schemas::time::Timestamp;
use serde_json::Value;

/// The site that test events come from; no site has this id.
const PUBLIC_ID: &str = "hookline verify-receiver";

/// What stands in a test event's id behind `evt_`, so that nobody takes it for a real one.
const MARK: &str = "TEST";

/// A secret that is not the receiver's.
const FOREIGN_SECRET: &str = "whsec_VGhpcyBzZWNyZXQgaXMgbm90IHRoZSByZWNlaXZlcidzLg==";

/// Signatures of the right form that nothing has.
const WRONG_IZI: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
const WRONG_STANDARD: &str = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// An event, as it is posted.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) id: EventId,
    pub(super) body: Bytes,
}

/// What goes around a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    /// `webhook-timestamp`, Unix seconds.
    pub(super) timestamp: u64,
    /// `X-IZI-Signature`, if it is sent.
    pub(super) izi: Option<String>,
    /// `webhook-signature`, if it is sent.
    pub(super) standard: Option<String>,
}

impl Envelope {
    /// Without `webhook-signature`.
    pub(super) fn izi_alone(self) -> Self {
        Self { standard: None, ..self }
    }

    /// Without `X-IZI-Signature`.
    pub(super) fn standard_alone(self) -> Self {
        Self { izi: None, ..self }
    }

    /// Without either.
    pub(super) fn unsigned(self) -> Self {
        Self { timestamp: self.timestamp, ..Self::default() }
    }

    /// With signatures that nobody made.
    pub(super) fn wrongly_signed(self) -> Self {
        let (izi, standard) = (Some(WRONG_IZI.to_owned()), Some(WRONG_STANDARD.to_owned()));
        Self { timestamp: self.timestamp, izi, standard }
    }
}

/// Makes samples; each has an id of its own, in every run.
#[derive(Debug)]
pub(super) struct Samples {
    started: Timestamp,
    made: u64,
    key: WebhookKey,
    foreign: WebhookKey,
}

impl Samples {
    /// Samples of a run that starts now.
    pub(super) fn new(secret: &WebhookSecret, now: Timestamp) -> Self {
        #[expect(clippy::expect_used, reason = "a constant that the tests read")]
        let foreign = WebhookSecret::parse(FOREIGN_SECRET).expect("the foreign secret is one");
        Self { started: now, made: 0, key: WebhookKey::new(secret), foreign: WebhookKey::new(&foreign) }
    }

    /// A payment's event.
    pub(super) fn payment(&mut self, event_type: EventType) -> Sample {
        let transaction = self.next_transaction();
        let event = self.event(event_type, transaction, None);
        Sample { body: Bytes::from(event.render()), id: event.id }
    }

    /// A refund, and the payment that it belongs to, which happened a minute before it.
    pub(super) fn refund_and_payment(&mut self) -> (Sample, Sample) {
        let (paid, refunded) = (self.next_transaction(), self.next_transaction());
        let events = [
            self.event(EventType::PaymentRefunded, refunded, Some(paid)),
            self.event(EventType::PaymentReceived, paid, None),
        ];
        let [refund, payment] =
            events.map(|event| Sample { body: Bytes::from(event.render()), id: event.id });
        (refund, payment)
    }

    /// A payment with members that no version of the contract has yet.
    pub(super) fn with_unknown_members(&mut self) -> Sample {
        self.changed(|body| {
            for place in ["", "/data"] {
                let object = body.pointer_mut(place).and_then(Value::as_object_mut);
                object.into_iter().for_each(|object| {
                    object.insert("hooklineTestMember".to_owned(), Value::from("of a later version"));
                });
            }
        })
    }

    /// An event of a type that no version of the contract has yet.
    pub(super) fn of_unknown_type(&mut self) -> Sample {
        self.changed(|body| {
            if let Some(event_type) = body.get_mut("type") {
                *event_type = Value::from("HOOKLINE_TEST_EVENT");
            }
        })
    }

    /// Signs it rightly, as of this time in Unix seconds.
    pub(super) fn sign(&self, sample: &Sample, timestamp: u64) -> Envelope {
        sign(&self.key, sample, timestamp)
    }

    /// Signs it under a secret that is not the receiver's.
    pub(super) fn sign_as_another(&self, sample: &Sample, timestamp: u64) -> Envelope {
        sign(&self.foreign, sample, timestamp)
    }

    /// Signs it as while a secret is rotated: the signature of another secret first, the right one second.
    pub(super) fn sign_in_rotation(&self, sample: &Sample, timestamp: u64) -> Envelope {
        let (right, foreign) = (self.sign(sample, timestamp), self.sign_as_another(sample, timestamp));
        let both = foreign.standard.zip(right.standard.as_ref()).map(|(one, other)| format!("{one} {other}"));
        Envelope { standard: both, ..right }
    }

    fn changed(&mut self, change: impl FnOnce(&mut Value)) -> Sample {
        let sample = self.payment(EventType::PaymentReceived);
        let mut body = serde_json::from_slice(&sample.body).unwrap_or_default();
        change(&mut body);
        Sample { body: Bytes::from(body.to_string()), ..sample }
    }

    fn next_transaction(&mut self) -> u64 {
        self.made += 1;
        // Thousands of milliseconds: no real number comes near for centuries, and two runs don't meet.
        self.started.0 * 1000 + self.made
    }

    fn event(&self, event_type: EventType, transaction: u64, refunded: Option<u64>) -> Event {
        let payment_id = PaymentId::compute(PUBLIC_ID, refunded.unwrap_or(transaction));
        // What came first is at the start of the run less a minute, and a refund comes after it.
        let before = if refunded.is_some() { Duration::ZERO } else { Duration::from_secs(60) };
        let occurred_at = self.started.before(before);
        let has_failed = event_type == EventType::PaymentFailed;
        let text = |text: &str| Some(text.to_owned());
        let data = PaymentData {
            payment_id: PaymentId::new(marked(payment_id.as_str())),
            gateway: GatewayId::new("gw_hookline_test"),
            gateway_transaction_id: transaction.to_string(),
            original_transaction_id: refunded.map(|refunded| refunded.to_string()),
            invoice_id: Some(format!("hookline-test-{}", refunded.unwrap_or(transaction))),
            client_id: text("hookline-test"),
            subscription_id: None,
            amount: amount(),
            currency: refunded.is_none().then(|| "RUB".to_owned()),
            status: refunded.is_none().then(|| if has_failed { "Declined" } else { "Completed" }.to_owned()),
            operation_type: text(if refunded.is_some() { "Refund" } else { "Payment" }),
            payment_method: None,
            card_type: refunded.is_none().then(|| "Visa".to_owned()),
            card_last_four: refunded.is_none().then(|| "1111".to_owned()),
            test_mode: true,
            occurred_at: Some(occurred_at.to_rfc3339()),
            reason: has_failed.then(|| "InsufficientFunds".to_owned()),
            reason_code: has_failed.then_some(5051),
            retry: has_failed.then_some(RetryClass::Temporary),
        };
        let id = EventId::compute(PUBLIC_ID, Meaning::Other, &transaction.to_string());
        Event {
            id: EventId::new(marked(id.as_str())),
            fingerprint: 0,
            webhooks_version: 0,
            source: hookline_schemas::event::EventSource::Notification,
            event_type,
            notification: None,
            organization: OrganizationId::new("org_hookline_test"),
            gateway: Some(GatewayId::new("gw_hookline_test")),
            club_id: ClubId::new("club_hookline_test"),
            occurred_at: Some(occurred_at),
            accepted_at: self.started,
            data: EventData::Payment(Box::new(data)),
        }
    }
}

/// The body with another sum; the signatures that were made before stay.
pub(super) fn with_another_sum(sample: &Sample) -> Sample {
    let body = String::from_utf8_lossy(&sample.body).replace(&amount().to_string(), "9100.00");
    Sample { id: sample.id.clone(), body: Bytes::from(body) }
}

fn sign(key: &WebhookKey, sample: &Sample, timestamp: u64) -> Envelope {
    let signatures = key.sign(sample.id.as_str(), timestamp, &sample.body);
    Envelope { timestamp, izi: Some(signatures.izi), standard: Some(signatures.standard) }
}

#[expect(clippy::expect_used, reason = "a constant sum")]
fn amount() -> Amount {
    "100.00".parse().expect("a sum")
}

/// Puts the mark behind the prefix of a computed id, whose length stays.
fn marked(id: &str) -> String {
    match id.split_once('_').and_then(|(prefix, rest)| Some((prefix, rest.get(MARK.len()..)?))) {
        Some((prefix, rest)) => format!("{prefix}_{MARK}{rest}"),
        None => id.to_owned(),
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use hookline_schemas::payload::Payload;

    use super::*;

    const NOW: Timestamp = Timestamp(1_779_972_943_000);

    fn secret() -> WebhookSecret {
        WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret")
    }

    fn read(sample: &Sample) -> Payload<PaymentData> {
        serde_json::from_slice(&sample.body).expect("a payload")
    }

    #[test]
    fn samples_have_the_real_shape_and_say_that_they_are_tests() {
        let mut samples = Samples::new(&secret(), NOW);
        for event_type in [EventType::PaymentReceived, EventType::PaymentFailed] {
            let sample = samples.payment(event_type);
            let payload = read(&sample);
            assert_eq!((&payload.id, payload.event_type), (&sample.id, event_type));
            assert!(payload.data.test_mode);
            assert!(sample.id.as_str().starts_with("evt_TEST"), "{}", sample.id);
            assert_eq!(sample.id.as_str().len(), 30, "as long as a real one");
            assert_eq!(payload.data.reason_code.is_some(), event_type == EventType::PaymentFailed);
        }
    }

    #[test]
    fn no_two_samples_have_one_id_not_even_in_two_runs() {
        let ids = |now| {
            let mut samples = Samples::new(&secret(), now);
            (0..20).map(|_| samples.payment(EventType::PaymentReceived).id).collect::<Vec<_>>()
        };
        let mut all = [ids(NOW), ids(NOW.after(Duration::from_millis(1)))].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 40);
    }

    #[test]
    fn a_refund_names_its_payment_and_happened_after_it() {
        let (refund, payment) = Samples::new(&secret(), NOW).refund_and_payment();
        let (refund, payment) = (read(&refund), read(&payment));
        assert_eq!(refund.event_type, EventType::PaymentRefunded);
        assert_eq!(refund.data.payment_id, payment.data.payment_id);
        assert_eq!(refund.data.original_transaction_id, Some(payment.data.gateway_transaction_id));
        assert!(refund.data.occurred_at > payment.data.occurred_at);
    }

    #[test]
    fn what_a_later_version_may_send_is_signed_and_still_a_payload() {
        let mut samples = Samples::new(&secret(), NOW);
        let body = |sample: &Sample| serde_json::from_slice::<Value>(&sample.body).expect("JSON");
        let more = body(&samples.with_unknown_members());
        assert!(more.get("hooklineTestMember").is_some() && more["data"].get("hooklineTestMember").is_some());
        assert_eq!(body(&samples.of_unknown_type())["type"], "HOOKLINE_TEST_EVENT");
    }

    #[test]
    fn signatures_are_right_where_they_should_be_and_wrong_elsewhere() {
        let mut samples = Samples::new(&secret(), NOW);
        let sample = samples.payment(EventType::PaymentReceived);
        let changed = with_another_sum(&sample);
        assert_ne!(changed.body, sample.body);
        let right = samples.sign(&sample, NOW.unix_seconds());
        for (envelope, body, izi, standard) in [
            (right.clone(), &sample, true, true),
            (right.clone(), &changed, false, false),
            (right.clone().izi_alone(), &sample, true, false),
            (right.clone().standard_alone(), &sample, false, true),
            (right.clone().unsigned(), &sample, false, false),
            (right.wrongly_signed(), &sample, false, false),
            (samples.sign_as_another(&sample, NOW.unix_seconds()), &sample, false, false),
            (samples.sign_in_rotation(&sample, NOW.unix_seconds()), &sample, true, true),
        ] {
            assert_eq!(verifies(&envelope, body), (izi, standard), "{envelope:?}");
        }
    }

    fn verifies(envelope: &Envelope, sample: &Sample) -> (bool, bool) {
        let key = WebhookKey::new(&secret());
        let timestamp = envelope.timestamp.to_string();
        let headers = hookline_schemas::signature::StandardHeaders {
            id: Some(sample.id.as_str()),
            timestamp: Some(&timestamp),
            signature: envelope.standard.as_deref(),
        };
        let izi = envelope.izi.as_ref().is_some_and(|izi| key.verifies_izi(&sample.body, izi));
        (izi, key.verify_standard(&headers, &sample.body, NOW.unix_seconds(), 300).is_ok())
    }
}
