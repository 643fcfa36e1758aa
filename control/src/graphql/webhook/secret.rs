//! The secrets of webhooks: made here, shown once, kept sealed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookline_registry::{WebhookRecord, WebhookSecretRecord};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::seal::{Sealed, Sealer};
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Timestamp;

/// A new one: `whsec_` and base64 of 32 random bytes.
pub(super) fn generate() -> Secret {
    // A key of the sealer is 32 bytes of the system's randomness, wiped when they are dropped.
    let bytes = Sealer::generate_key();
    let mut text = String::with_capacity(64);
    text.push_str("whsec_");
    STANDARD.encode_string(*bytes, &mut text);
    Secret::new(text)
}

/// A secret as it is kept.
pub(super) fn sealed(sealer: &Sealer, id: &WebhookId, secret: &Secret) -> Sealed {
    Sealed::new(sealer, &WebhookRecord::secret_place(id), secret)
}

/// Takes a new secret; the one before signs as well until the overlap ends. While an overlap goes on, the one before
/// it stays what signs as well, for as long as was promised: it is the one that receivers have, and the one in between
/// may have reached nobody.
pub(super) fn rotate(
    record: &mut WebhookRecord,
    secret: &Secret,
    overlap: Duration,
    now: Timestamp,
    sealer: &Sealer,
) {
    let new = sealed(sealer, &record.id, secret);
    let before = std::mem::replace(&mut record.secret, new);
    let until = now.after(overlap);
    let goes_on = record.previous.as_ref().is_some_and(|previous| previous.until > now);
    if until <= now {
        record.previous = None;
    } else if !goes_on {
        record.previous = Some(WebhookSecretRecord { sealed: before, until });
    }
}
