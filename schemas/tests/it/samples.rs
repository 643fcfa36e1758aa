//! The samples of notifications: each a body in the bytes of its sender, and the payload that it becomes.
//!
//! Owns the fixtures' shape, the gateway that they belong to, and a decoder of its own to rewrite bodies with.

use std::fmt::Write;

use hookline_schemas::event::{Event, NotUnderstood, Source, from_notification};
use hookline_schemas::gateway::{CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::notification::{BodyFormat, NotificationType, read_fields};
use hookline_schemas::time::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

/// When every sample was accepted: 2026-06-01T09:00:00Z.
pub(crate) const ACCEPTED_AT: Timestamp = Timestamp(1_780_304_400_000);

/// One notification.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sample {
    /// The name of its file.
    #[serde(skip)]
    pub(crate) name: &'static str,
    /// What is worth knowing about it.
    pub(crate) about: String,
    /// What it is.
    pub(crate) kind: NotificationType,
    /// What its fields say that it is; a type, or `unknown`.
    pub(crate) classified: String,
    /// The form.
    pub(crate) body: String,
    /// What integrators receive; nothing for a Check.
    pub(crate) payload: Option<Value>,
}

macro_rules! samples {
    ($($name:literal),+ $(,)?) => {
        /// Every sample.
        pub(crate) fn all() -> Vec<Sample> {
            vec![$(read($name, include_str!(concat!("fixtures/notifications/", $name, ".json")))),+]
        }
    };
}

samples!(
    "cancel",
    "check-2018",
    "check-oldest",
    "confirm",
    "fail-first-try",
    "fail-oldest",
    "fail-second-try",
    "kkt",
    "pay-authorized",
    "pay-current",
    "pay-oldest",
    "pay-payout",
    "pay-subscription-charge",
    "pay-test-mode",
    "pay-wallet",
    "receipt",
    "recurrent-cancelled",
    "refund",
    "sbp-token",
);

fn read(name: &'static str, text: &str) -> Sample {
    let sample: Sample =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{name} is not a sample: {error}"));
    Sample { name, ..sample }
}

/// The sample of this name.
pub(crate) fn named(name: &str) -> Sample {
    all().into_iter().find(|sample| sample.name == name).expect("a sample of this name")
}

/// The gateway that the samples were posted to.
pub(crate) fn gateway() -> Gateway {
    Gateway {
        id: GatewayId::new("gw_fixture"),
        organization: OrganizationId::new("org_fixture"),
        public_id: "pk_fixture".to_owned(),
        api_secrets: Vec::new(),
        default_club: ClubId::new("club_default"),
        shared_url: false,
        policy: CheckPolicy::lenient(),
    }
}

/// The event of a body that can be read.
pub(crate) fn event_of(
    kind: NotificationType,
    format: BodyFormat,
    body: &[u8],
    top_up_club: Option<&ClubId>,
) -> Result<Event, NotUnderstood> {
    let fields = read_fields(format, body).expect("the body can be read");
    from_notification(Source {
        gateway: &gateway(),
        kind,
        format,
        body,
        fields: &fields,
        top_up_club,
        accepted_at: ACCEPTED_AT,
    })
}

impl Sample {
    /// Its event, or why there is none.
    pub(crate) fn event(&self) -> Result<Event, NotUnderstood> {
        event_of(self.kind, BodyFormat::Form, self.body.as_bytes(), None)
    }

    /// The pairs of its body, decoded.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let decode = |part: &str| {
            percent_decode_str(&part.replace('+', " ")).decode_utf8().expect("UTF-8").into_owned()
        };
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').expect("a pair");
            (decode(key), decode(value))
        };
        self.body.split('&').map(pair).collect()
    }

    /// The same notification as JSON, every value as a string.
    pub(crate) fn as_json_of_strings(&self) -> String {
        self.as_json(|_, value| quoted(value))
    }

    /// The same notification as JSON, with what looks like a number as one (in its own digits), flags as
    /// flags, `Data` as an object, and nothing as null.
    pub(crate) fn as_json_of_types(&self) -> String {
        self.as_json(|key, value| match (key, value) {
            (_, "") => "null".to_owned(),
            ("TestMode", flag) => (flag == "1").to_string(),
            ("Data", object) => object.to_owned(),
            (_, value) if is_json_number(value) => value.to_owned(),
            (_, value) => quoted(value),
        })
    }

    fn as_json(&self, written: impl Fn(&str, &str) -> String) -> String {
        let mut json = String::new();
        for (key, value) in self.pairs() {
            let separator = if json.is_empty() { '{' } else { ',' };
            write!(json, "{separator}{}:{}", quoted(&key), written(&key, &value)).expect("a string grows");
        }
        json + "}"
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

fn is_json_number(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit()) && serde_json::from_str::<f64>(text).is_ok()
}
