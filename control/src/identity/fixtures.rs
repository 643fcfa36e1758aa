//! Keys of the tests, made once by openssl, and tokens that they sign. They sign nothing else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookline_schemas::time::Clock;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::settings::TokenSettings;

pub(crate) const RSA_PRIVATE: &str = include_str!("fixtures/rsa_private.pem");
pub(crate) const RSA_PUBLIC: &str = include_str!("fixtures/rsa_public.pem");
pub(crate) const ED25519_PRIVATE: &str = include_str!("fixtures/ed25519_private.pem");
pub(crate) const ED25519_PUBLIC: &str = include_str!("fixtures/ed25519_public.pem");
pub(crate) const OTHER_PRIVATE: &str = include_str!("fixtures/other_private.pem");

/// `iss` of the identity provider.
pub(crate) const PROVIDER: &str = "https://id.example.com";

/// The defaults: no identity provider.
pub(crate) fn settings() -> TokenSettings {
    TokenSettings {
        issuer: None,
        audience: "hookline".to_owned(),
        public_key_file: None,
        jwks_url: None,
        local_key_file: None,
        leeway: std::time::Duration::from_secs(30),
        role_claim: "role".to_owned(),
        organization_claim: "organizationId".to_owned(),
        clubs_claim: "clubIds".to_owned(),
    }
}

/// Seconds from now, as tokens count.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    i64::try_from(Clock::start().wall().unix_seconds()).expect("a time") + seconds
}

/// What a good token of the provider says, with these claims in place of its own; `null` takes one away.
pub(crate) fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": PROVIDER, "aud": "hookline", "sub": "user_1", "exp": in_seconds(900),
        "role": "OWNER", "organizationId": "org_1",
    });
    let own = claims.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object").clone() {
        own.insert(name, value);
    }
    own.retain(|_, value| !value.is_null());
    claims
}

/// A token that this private key signed.
pub(crate) fn signed(algorithm: Algorithm, private: &str, id: Option<&str>, claims: &Value) -> String {
    let key = match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_pem(private.as_bytes()),
        Algorithm::HS256 => Ok(EncodingKey::from_secret(private.as_bytes())),
        _ => EncodingKey::from_rsa_pem(private.as_bytes()),
    };
    let mut header = Header::new(algorithm);
    header.kid = id.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, &key.expect("a key")).expect("a token")
}

/// Parts as they are, with whatever signature.
pub(crate) fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}
