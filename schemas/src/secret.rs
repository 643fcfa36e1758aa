//! Secrets: readable by those who sign, invisible to everybody else.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret text. `Debug` shows nothing; memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one who signs or seals with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own words would hold what stands there: a number, perhaps, that is a secret without its quotes.
        String::deserialize(deserializer)
            .map(Self)
            .map_err(|_| D::Error::custom("a secret is a text, in quotes"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// The secret of a webhook: `whsec_` (optional) and base64 of 24 to 64 bytes, as Standard Webhooks says.
#[derive(Clone, PartialEq, Eq, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(try_from = "String")]
pub struct WebhookSecret {
    text: String,
    key: Vec<u8>,
}

/// Why a text is not a webhook's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookSecretError {
    /// What follows `whsec_` is not base64.
    #[error("a webhook secret is whsec_ and base64")]
    NotBase64,
    /// Too short to protect or longer than receivers take.
    #[error("a webhook secret holds 24 to 64 bytes, not {0}")]
    Length(usize),
}

impl WebhookSecret {
    /// Reads a secret; an empty or short one is refused here, never signed with.
    ///
    /// # Errors
    ///
    /// If it is not base64, or of another length than 24 to 64 bytes.
    pub fn parse(text: &str) -> Result<Self, WebhookSecretError> {
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let key = STANDARD.decode(encoded).map_err(|_| WebhookSecretError::NotBase64)?;
        if !(24..=64).contains(&key.len()) {
            return Err(WebhookSecretError::Length(key.len()));
        }
        Ok(Self { text: text.to_owned(), key })
    }

    /// The text as it was handed out: the key of X-IZI-Signature.
    pub fn handed_out(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The decoded bytes: the key of Standard Webhooks.
    pub fn decoded(&self) -> &[u8] {
        &self.key
    }
}

impl TryFrom<String> for WebhookSecret {
    type Error = WebhookSecretError;

    fn try_from(text: String) -> Result<Self, WebhookSecretError> {
        Self::parse(&text)
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_length(bytes: usize) -> String {
        format!("whsec_{}", STANDARD.encode(vec![7; bytes]))
    }

    #[test]
    fn refuses_what_must_never_sign() {
        for (text, expected) in [
            ("", WebhookSecretError::Length(0)),
            ("whsec_", WebhookSecretError::Length(0)),
            ("whsec_c2hvcnQ=", WebhookSecretError::Length(5)),
            (&of_length(23), WebhookSecretError::Length(23)),
            (&of_length(65), WebhookSecretError::Length(65)),
            ("whsec_not base64", WebhookSecretError::NotBase64),
        ] {
            assert_eq!(WebhookSecret::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn takes_24_to_64_bytes() {
        for length in [24, 32, 64] {
            let secret = WebhookSecret::parse(&of_length(length)).expect("a secret");
            assert_eq!(secret.decoded().len(), length);
        }
    }

    #[test]
    fn the_prefix_is_no_part_of_the_key() {
        let prefixed = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
        let bare = WebhookSecret::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
        assert_eq!(prefixed.decoded(), bare.decoded());
        assert_ne!(prefixed.handed_out(), bare.handed_out());
    }

    #[test]
    fn no_error_shows_what_stands_in_a_secrets_place() {
        let read: Secret = serde_json::from_str("\"s3cret\"").expect("a text");
        assert_eq!(read.expose(), "s3cret");
        for wrong in ["1234567", "[\"1234567\"]", "{\"a\": 1234567}"] {
            let error = serde_json::from_str::<Secret>(wrong).expect_err(wrong).to_string();
            assert!(error.contains("in quotes") && !error.contains("1234567"), "{error}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
        assert_eq!(format!("{secret:?} {:?}", Secret::new("s3cret")), "WebhookSecret(..) Secret(..)");
    }
}
