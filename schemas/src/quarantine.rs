//! Quarantine: verified notifications that are not understood, kept sealed until somebody can read them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::ids::GatewayId;
use crate::notification::NotificationType;
use crate::time::Timestamp;

/// A record of `quarantine`: one JSON object. Its key is [`key_of`] the body, so that a hundred repetitions
/// are one entry to whoever reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedNotification {
    /// The gateway whose secret signed it.
    pub gateway: GatewayId,
    /// The type that the URL or the fields named.
    pub notification: NotificationType,
    /// Whether the body is JSON rather than a form.
    pub json: bool,
    /// What was not understood.
    pub reason: String,
    /// When the edge accepted it.
    pub accepted_at: Timestamp,
    /// The raw body, sealed for the place that [`place_of`] names; base64.
    pub sealed_body: String,
}

impl QuarantinedNotification {
    /// A sealed body as it stands in the record.
    pub fn encode_sealed(sealed: &[u8]) -> String {
        STANDARD.encode(sealed)
    }

    /// The sealed body; `None` if it is not base64.
    pub fn decode_sealed(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.sealed_body).ok()
    }
}

/// The key of a body: 32 hexadecimal digits of its SHA-256.
pub fn key_of(body: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::digest(body).into();
    data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or_default())
}

/// The place that a quarantined body is sealed for.
pub fn place_of(key: &str) -> String {
    format!("quarantine/{key}/body")
}
