//! What is posted, made before the clock starts: signing costs as much as answering, and building a body more.

use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use hookline_schemas::event::{Source, from_notification, partition_key};
use hookline_schemas::gateway::{CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::notification::read_fields;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use hookline_schemas::time::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::fixtures::{Encoding, Fixture, Shape};
use crate::simulator::{CallbackUrl, PlanOptions, Signed, subject};

/// Checks are answered from memory: more of them than these would say nothing else.
const CHECKS: usize = 4096;
/// Of orders mostly.
const CHECK_SHAPES: [Shape; 5] =
    [Shape::Check, Shape::Check, Shape::Check, Shape::Check, Shape::CheckOfSubscription];
/// Those whose bodies are nearest to the 700 bytes of a usual notification, so that the signature does not outweigh all
/// that is compared: the longer the body, the more alike is everything that signs.
const PAY_SHAPES: [Shape; 5] =
    [Shape::Pay2015, Shape::Pay2015, Shape::Pay2026, Shape::Pay2015, Shape::PayBySubscription];
/// What records say of when they were accepted: 2026-05-28 12:00:00 UTC.
const ACCEPTED_AT: Timestamp = Timestamp(1_779_969_600_000);

/// On whose behalf is posted: where from and to is in every request.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The gateway in the URL.
    pub gateway_id: GatewayId,
    /// The site's public id.
    pub public_id: String,
    /// The API secret to sign with.
    pub api_secret: Secret,
}

/// Requests, each as the bytes that are written: one behind the other, so that they are one allocation.
#[derive(Debug, Default)]
pub struct Requests {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    body_bytes: usize,
}

/// What hookline keeps of a notification.
#[derive(Debug, Clone)]
pub struct EventRecord {
    /// Decides the partition.
    pub key: Bytes,
    /// The encoded event.
    pub value: Bytes,
}

impl Requests {
    /// Checks, of orders four times in five and of subscriptions once.
    pub fn checks(sender: &Sender) -> Self {
        let mut requests = Self::default();
        forms(&CHECK_SHAPES, CHECKS).for_each(|fixture| requests.push(sender, &fixture));
        requests
    }

    /// So many Pays of different payments, of cards and subscriptions. The same count
    /// gives the same bytes.
    pub fn pays(sender: &Sender, count: usize) -> Self {
        let mut requests = Self::default();
        forms(&PAY_SHAPES, count).for_each(|fixture| requests.push(sender, &fixture));
        requests
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The mean length of a body, in bytes.
    pub fn mean_body(&self) -> usize {
        self.body_bytes.checked_div(self.len()).unwrap_or_default()
    }

    /// The request with this number; they begin again behind the last one.
    pub(super) fn at(&self, number: u64) -> &[u8] {
        let number = usize::try_from(number).unwrap_or_default().checked_rem(self.len()).unwrap_or_default();
        let begin =
            number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        let end = self.ends.get(number).copied().unwrap_or_default();
        self.bytes.get(begin..end).unwrap_or_default()
    }

    /// As CloudPayments writes it, with both signatures.
    fn push(&mut self, sender: &Sender, fixture: &Fixture) {
        let signed = Signed::new(fixture, &ContentKey::new(&sender.api_secret));
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {}\r\nContent-Length: {}\r\nContent-HMAC: {}\r\n\
             X-Content-HMAC: {}\r\n\r\n",
            CallbackUrl::Typed.path(&sender.gateway_id, fixture.kind()),
            fixture.content_type(),
            fixture.body.len(),
            signed.content_hmac(),
            signed.x_content_hmac(),
        );
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(&fixture.body);
        self.ends.push(self.bytes.len());
        self.body_bytes += fixture.body.len();
    }
}

/// The records that hookline makes of so many of [`Requests::pays`], the same ones in the same order.
///
/// # Errors
///
/// If hookline's contract makes no event of one.
pub fn records(sender: &Sender, count: usize) -> anyhow::Result<Arc<[EventRecord]>> {
    let gateway = Gateway {
        id: sender.gateway_id.clone(),
        organization: OrganizationId::new("org_demo"),
        public_id: sender.public_id.clone(),
        api_secrets: Vec::new(),
        default_club: ClubId::new("club_1"),
        shared_url: false,
        policy: CheckPolicy::lenient(),
    };
    ensure!(count > 0, "no records are wanted");
    forms(&PAY_SHAPES, count).map(|fixture| record(&gateway, &fixture)).collect()
}

fn record(gateway: &Gateway, fixture: &Fixture) -> anyhow::Result<EventRecord> {
    let fields = read_fields(fixture.format, &fixture.body).context("a body can't be read")?;
    let event = from_notification(Source {
        gateway,
        kind: fixture.kind(),
        format: fixture.format,
        body: &fixture.body,
        fields: &fields,
        top_up_club: None,
        accepted_at: ACCEPTED_AT,
    });
    let event = event.context("a Pay makes no event")?;
    Ok(EventRecord { key: partition_key(&event).into(), value: event.encode().into() })
}

/// Forms of so many payments, in these shapes in turn; one in five in upper-case hex.
fn forms(shapes: &'static [Shape], count: usize) -> impl Iterator<Item = Fixture> {
    let plan = PlanOptions::default();
    (0_u64..).zip(shapes.iter().cycle()).take(count).map(move |(number, shape)| {
        let subject = subject(&plan, number, &mut StdRng::seed_from_u64(number));
        let is_upper_case = (number / 7).is_multiple_of(5);
        let encoding = if is_upper_case { Encoding::UpperCase } else { Encoding::LowerCase };
        Fixture::new(*shape, &subject, encoding)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn sender() -> Sender {
        Sender {
            gateway_id: GatewayId::new("gw_1"),
            public_id: "pk_1".to_owned(),
            api_secret: Secret::new("api-secret"),
        }
    }

    #[test]
    fn pays_are_signed_forms_of_different_payments_and_begin_again_behind_the_last() {
        let requests = Requests::pays(&sender(), 50);
        let key = ContentKey::new(&sender().api_secret);
        let mut seen = HashSet::new();
        for number in 0..50 {
            let request = String::from_utf8(requests.at(number).to_vec()).expect("ASCII");
            let (head, body) = request.split_once("\r\n\r\n").expect("a head");
            let header =
                |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).expect("a header");
            assert!(head.starts_with("POST /payments/cloudpayments/gw_1/pay HTTP/1.1\r\n"), "{head}");
            assert_eq!(header("Content-Length: "), body.len().to_string());
            assert!(key.verifies(body.as_bytes(), header("\nContent-HMAC: ".trim_start()).as_bytes()));
            assert!(!header("X-Content-HMAC: ").is_empty());
            assert!(seen.insert(body.split('&').next().expect("a field").to_owned()), "{body}");
        }
        assert_eq!(requests.at(50), requests.at(0));
        assert!((500..1000).contains(&requests.mean_body()), "{}", requests.mean_body());
    }

    #[test]
    fn a_record_is_made_of_every_pay() {
        let records = records(&sender(), 50).expect("records");
        let keys: HashSet<_> = records.iter().map(|record| record.key.clone()).collect();
        assert_eq!(keys.len(), 50);
        assert!(records.iter().all(|record| record.value.len() > 200));
    }
}
