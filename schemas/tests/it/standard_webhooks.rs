//! Outbound signatures against fixed values: Standard Webhooks as receivers verify it, and `X-IZI-Signature`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::signature::{SignatureError, StandardHeaders, WebhookKey};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixtures {
    vectors: Vec<Vector>,
    izi: Vec<Izi>,
}

/// One message as a receiver gets it, and what the receiver has to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    secret: String,
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    body_base64: Option<String>,
    now: u64,
    tolerance_seconds: u64,
    verdict: Verdict,
}

#[derive(Debug, Deserialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Accepted,
    /// The secret is refused before anything is signed or verified with it.
    BadSecret,
    MissingHeader,
    BadId,
    BadTimestamp,
    TooOld,
    TooNew,
    NoMatch,
}

/// A body with its `X-IZI-Signature`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Izi {
    secret: String,
    body: String,
    header: String,
}

fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("fixtures/standard_webhooks.json")).expect("the fixtures are readable")
}

fn key(secret: &str) -> WebhookKey {
    WebhookKey::new(&WebhookSecret::parse(secret).expect("a secret"))
}

impl Vector {
    fn body(&self) -> Vec<u8> {
        match &self.body_base64 {
            Some(encoded) => STANDARD.decode(encoded).expect("base64"),
            None => self.body.clone().into_bytes(),
        }
    }

    /// The headers as the transport hands them on: by name, in any case. Only the three names of the
    /// specification are read: a vendor's names for the same headers are no part of the contract.
    fn header_map(&self) -> HeaderMap {
        let header = |(name, value): (&String, &String)| {
            let name: HeaderName = name.parse().expect("a header name");
            (name, HeaderValue::from_str(value).expect("a header value"))
        };
        self.headers.iter().map(header).collect()
    }

    fn verdict_of_the_code(&self) -> Verdict {
        let Ok(secret) = WebhookSecret::parse(&self.secret) else { return Verdict::BadSecret };
        let map = self.header_map();
        let text = |name: &str| map.get(name).and_then(|value| value.to_str().ok());
        let headers = StandardHeaders {
            id: text("webhook-id"),
            timestamp: text("webhook-timestamp"),
            signature: text("webhook-signature"),
        };
        let verified = WebhookKey::new(&secret).verify_standard(
            &headers,
            &self.body(),
            self.now,
            self.tolerance_seconds,
        );
        match verified {
            Ok(()) => Verdict::Accepted,
            Err(SignatureError::MissingHeader) => Verdict::MissingHeader,
            Err(SignatureError::BadId) => Verdict::BadId,
            Err(SignatureError::BadTimestamp) => Verdict::BadTimestamp,
            Err(SignatureError::TooOld) => Verdict::TooOld,
            Err(SignatureError::TooNew) => Verdict::TooNew,
            Err(SignatureError::NoMatch) => Verdict::NoMatch,
        }
    }
}

#[test]
fn every_message_gets_its_verdict() {
    let vectors = fixtures().vectors;
    assert!(vectors.len() >= 46);
    for vector in vectors {
        assert_eq!(vector.verdict_of_the_code(), vector.verdict, "{}", vector.name);
    }
}

#[test]
fn signing_gives_the_published_signatures_and_they_verify() {
    let vectors = fixtures().vectors;
    let published: Vec<_> =
        vectors.iter().filter(|vector| vector.name.starts_with("published vector")).collect();
    assert_eq!(published.len(), 2);
    for vector in published {
        let map = vector.header_map();
        let text = |name: &str| map.get(name).and_then(|value| value.to_str().ok()).expect("a header");
        let (id, timestamp) = (text("webhook-id"), text("webhook-timestamp"));
        let seconds = timestamp.parse().expect("seconds");
        let key = key(&vector.secret);
        let signed = key.sign(id, seconds, vector.body.as_bytes());
        assert_eq!(signed.standard, text("webhook-signature"), "{}", vector.name);

        let headers =
            StandardHeaders { id: Some(id), timestamp: Some(timestamp), signature: Some(&signed.standard) };
        assert_eq!(key.verify_standard(&headers, vector.body.as_bytes(), seconds, 0), Ok(()));
    }
}

#[test]
fn the_izi_signature_is_hex_over_the_body_with_the_handed_out_text_as_its_key() {
    let fixtures = fixtures();
    assert!(fixtures.izi.len() >= 4);
    for Izi { secret, body, header } in fixtures.izi {
        let key = key(&secret);
        assert_eq!(key.sign("evt_1", 1_614_265_330, body.as_bytes()).izi, header, "{secret} {body}");
        assert_eq!(header.len(), 64);
        assert_eq!(header, header.to_ascii_lowercase());
        assert!(key.verifies_izi(body.as_bytes(), &header));
    }
}

#[test]
fn an_izi_signature_of_anything_else_is_refused() {
    let Some(Izi { secret, body, header }) = fixtures().izi.into_iter().next() else { panic!("a vector") };
    let key = key(&secret);
    let changed_body = format!("{body} ");
    assert!(!key.verifies_izi(changed_body.as_bytes(), &header));
    let bare = secret.trim_start_matches("whsec_");
    assert!(!self::key(bare).verifies_izi(body.as_bytes(), &header), "the prefix is part of this key");
    for wrong in [
        header.to_ascii_uppercase(),
        format!("{header}\n"),
        format!("sha256={header}"),
        header.chars().take(32).collect(),
        String::new(),
    ] {
        assert!(!key.verifies_izi(body.as_bytes(), &wrong), "{wrong:?}");
    }
}
