//! What the edge does with the bytes of a notification, and the dispatcher with those of a webhook: verify, read, make
//! the event, sign.

mod support;

use hookline_schemas::event::{Event, Source, from_notification};
use hookline_schemas::gateway::{CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::notification::{BodyFormat, NotificationType, read_fields};
use hookline_schemas::secret::{Secret, WebhookSecret};
use hookline_schemas::signature::{ContentKey, WebhookKey};
use hookline_schemas::time::Timestamp;
use support::Measured;

/// A Pay as CloudPayments sends it, with the keys that nobody reads.
const FORM: &str = "TransactionId=3541977847&Amount=1490.00&Currency=RUB&PaymentAmount=1490.00&PaymentCurrency=RUB\
    &OperationType=Payment&InvoiceId=order-1&AccountId=client-1&SubscriptionId=&Name=JANE+DOE\
    &Email=jane%40example.com&DateTime=2026-05-28+12%3a55%3a43&IpAddress=198.51.100.7&IpCountry=RU&IpCity=%d0%9c%d0%be\
    &IpRegion=%d0%9c%d0%be&IpDistrict=&IpLatitude=55.75222&IpLongitude=37.61556&CardId=0123456789&CardFirstSix=411111\
    &CardLastFour=1111&CardType=Visa&CardExpDate=12%2f30&Issuer=Bank&IssuerBankCountry=RU&Description=A+top-up\
    &AuthCode=A1B2C3&Token=tk_0123456789&TestMode=0&Status=Completed&GatewayName=Tbank&Data=%7b%22a%22%3a%221%22%7d\
    &TotalFee=14.90&PaymentMethod=&Rrn=614812345678&InstallmentTerm=&InstallmentMonthlyPayment=";

const AT: Timestamp = Timestamp(1_780_000_000_000);

fn gateway() -> Gateway {
    Gateway {
        id: GatewayId::new("gw_1"),
        organization: OrganizationId::new("org_1"),
        public_id: "pk_1".to_owned(),
        api_secrets: Vec::new(),
        default_club: ClubId::new("club_1"),
        shared_url: false,
        policy: CheckPolicy::lenient(),
    }
}

/// The same as an object of texts.
fn json() -> String {
    let pairs = FORM.split('&').filter_map(|pair| pair.split_once('='));
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
    format!("{{{}}}", pairs.join(","))
}

fn event(gateway: &Gateway) -> Event {
    let fields = read_fields(BodyFormat::Form, FORM.as_bytes()).expect("a form");
    let (kind, format, body) = (NotificationType::Pay, BodyFormat::Form, FORM.as_bytes());
    let source = Source { gateway, kind, format, body, fields: &fields, top_up_club: None, accepted_at: AT };
    from_notification(source).expect("an event")
}

fn main() {
    let key = ContentKey::new(&Secret::new("api-secret"));
    let signature = key.sign(FORM.as_bytes());
    let (json, gateway, webhook) = (json(), gateway(), WebhookKey::new(&secret()));
    let record = event(&gateway).encode();
    let (id, body) = (event(&gateway).id, event(&gateway).render());
    support::main(vec![
        Measured::new("verify", move || key.verifies(FORM.as_bytes(), signature.as_bytes())),
        Measured::new("read_form", || read_fields(BodyFormat::Form, FORM.as_bytes()).map(drop)),
        Measured::new("read_json", move || read_fields(BodyFormat::Json, json.as_bytes()).map(drop)),
        Measured::new("read_form_make_and_encode_event", move || event(&gateway).encode()),
        Measured::new("decode_event", move || Event::decode(&record).map(drop)),
        Measured::new("sign", move || webhook.sign(id.as_str(), AT.unix_seconds(), &body)),
    ]);
}

fn secret() -> WebhookSecret {
    WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("a secret")
}
