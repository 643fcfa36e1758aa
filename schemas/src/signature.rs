//! Signatures, inbound and outbound. All are HMAC-SHA256 with the keyed state prepared once.
//!
//! Inbound: CloudPayments' `Content-HMAC` over the raw bytes of the body. The second header that it sends,
//! `X-Content-HMAC`, is made over the form-*decoded* text, which does not bind the borders of fields: it is
//! never accepted for a form body. Outbound: `X-IZI-Signature` and the headers of Standard Webhooks.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::{Secret, WebhookSecret};

/// A key of a gateway, ready to verify with.
#[derive(Clone)]
pub struct ContentKey(Hmac<Sha256>);

impl ContentKey {
    /// Prepares the key: the bytes of the API secret.
    pub fn new(secret: &Secret) -> Self {
        Self(keyed(secret.expose().as_bytes()))
    }

    /// Whether the header is base64 of the body's HMAC. In constant time, once the header has the length of
    /// a signature; anything but canonical base64 with padding is refused.
    pub fn verifies(&self, body: &[u8], header: &[u8]) -> bool {
        let mut claimed = [0_u8; 33];
        let Ok(32) = STANDARD.decode_slice(header, &mut claimed) else { return false };
        let claimed = claimed.get(..32).unwrap_or_default();
        let mut mac = self.0.clone();
        mac.update(body);
        mac.verify_slice(claimed).is_ok()
    }

    /// The header for a body, as CloudPayments makes it; for simulators and tests.
    pub fn sign(&self, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(body);
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ContentKey(..)")
    }
}

/// The secret of a webhook, ready to sign with.
#[derive(Clone)]
pub struct WebhookKey {
    izi: Hmac<Sha256>,
    standard: Hmac<Sha256>,
}

/// The signature headers of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// `X-IZI-Signature`: lower-case hex of the HMAC over the body, key: the secret as handed out. While that
    /// is rotated: the previous one.
    pub izi: String,
    /// `X-IZI-Signature-Next`: the same with the current secret, while the other holds the previous one's.
    pub izi_next: Option<String>,
    /// `webhook-signature`: `v1,` and base64 of the HMAC over `id.timestamp.body`, key: the decoded secret.
    /// While that is rotated: one with each, separated by a space.
    pub standard: String,
}

impl WebhookKey {
    /// Prepares both keys.
    pub fn new(secret: &WebhookSecret) -> Self {
        Self { izi: keyed(secret.handed_out()), standard: keyed(secret.decoded()) }
    }

    /// Signs one attempt. `id` holds no dot (an [`crate::ids::EventId`] never does); `timestamp` in Unix
    /// seconds.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> SignatureHeaders {
        let mut izi = self.izi.clone();
        izi.update(body);
        let mut standard = self.standard.clone();
        update_with_content(&mut standard, id, timestamp, body);
        SignatureHeaders {
            izi: HEXLOWER.encode(&izi.finalize().into_bytes()),
            izi_next: None,
            standard: format!("v1,{}", STANDARD.encode(standard.finalize().into_bytes())),
        }
    }

    /// Whether `X-IZI-Signature` is right, as a receiver checks it.
    pub fn verifies_izi(&self, body: &[u8], header: &str) -> bool {
        let Ok(claimed) = HEXLOWER.decode(header.as_bytes()) else { return false };
        let mut mac = self.izi.clone();
        mac.update(body);
        mac.verify_slice(&claimed).is_ok()
    }

    /// Verifies the three headers of Standard Webhooks, as a receiver does.
    ///
    /// # Errors
    ///
    /// [`SignatureError`] says which of the rules was broken.
    pub fn verify_standard(
        &self,
        headers: &StandardHeaders<'_>,
        body: &[u8],
        now: u64,
        tolerance: u64,
    ) -> Result<(), SignatureError> {
        let id = headers.id.ok_or(SignatureError::MissingHeader)?;
        let timestamp = headers.timestamp.ok_or(SignatureError::MissingHeader)?;
        let signatures = headers.signature.ok_or(SignatureError::MissingHeader)?;
        if id.is_empty() || id.contains('.') {
            return Err(SignatureError::BadId);
        }
        let text = timestamp;
        let timestamp: u64 = text.parse().map_err(|_| SignatureError::BadTimestamp)?;
        if timestamp.to_string() != text {
            // A sign or a leading zero: not the text that was signed.
            return Err(SignatureError::BadTimestamp);
        }
        if timestamp < now.saturating_sub(tolerance) {
            return Err(SignatureError::TooOld);
        }
        if timestamp > now.saturating_add(tolerance) {
            return Err(SignatureError::TooNew);
        }
        let mut mac = self.standard.clone();
        update_with_content(&mut mac, id, timestamp, body);
        let matches = |signature: &str| {
            let claimed = signature.strip_prefix("v1,").and_then(|code| STANDARD.decode(code).ok());
            claimed.is_some_and(|claimed| mac.clone().verify_slice(&claimed).is_ok())
        };
        if signatures.split(' ').any(matches) { Ok(()) } else { Err(SignatureError::NoMatch) }
    }
}

impl fmt::Debug for WebhookKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookKey(..)")
    }
}

/// The headers of Standard Webhooks as they arrived.
#[derive(Debug, Clone, Copy, Default)]
pub struct StandardHeaders<'a> {
    /// `webhook-id`.
    pub id: Option<&'a str>,
    /// `webhook-timestamp`, Unix seconds.
    pub timestamp: Option<&'a str>,
    /// `webhook-signature`, several separated by spaces.
    pub signature: Option<&'a str>,
}

/// Why a webhook's signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// One of the three headers is missing.
    #[error("a webhook header is missing")]
    MissingHeader,
    /// The id is empty or holds a dot, which would let bytes move between id and timestamp.
    #[error("the webhook id is malformed")]
    BadId,
    /// The timestamp is not a whole number of seconds.
    #[error("the webhook timestamp is malformed")]
    BadTimestamp,
    /// Older than the tolerance.
    #[error("the webhook is too old")]
    TooOld,
    /// Newer than the tolerance.
    #[error("the webhook is from the future")]
    TooNew,
    /// No `v1` signature matches.
    #[error("no signature matches")]
    NoMatch,
}

fn update_with_content(mac: &mut Hmac<Sha256>, id: &str, timestamp: u64, body: &[u8]) {
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}
