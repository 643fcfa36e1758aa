//! The keys of a webhook: one, and beside it the one before while its secret is rotated.
//!
//! During the overlap an integrator may hold either secret: every attempt is signed with both. When it ends is
//! decided by the time of the attempt, so that nothing has to happen at that moment. Who chose the secrets, and
//! the end, is not known here.

use crate::secret::WebhookSecret;
use crate::signature::{SignatureHeaders, WebhookKey};
use crate::time::Timestamp;

/// What signs for a webhook.
#[derive(Debug, Clone)]
pub struct WebhookKeys {
    current: WebhookKey,
    previous: Option<PreviousKey>,
}

/// The key before, and until when it signs as well.
#[derive(Debug, Clone)]
struct PreviousKey {
    key: WebhookKey,
    until: Timestamp,
}

/// The new secret is the old one: whoever is to lose it would keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the new secret is the previous one")]
pub struct SameSecret;

impl WebhookKeys {
    /// The keys of a webhook whose secret is not being rotated.
    pub fn new(secret: &WebhookSecret) -> Self {
        Self { current: WebhookKey::new(secret), previous: None }
    }

    /// The keys of a webhook whose previous secret counts until then, beside the current one.
    ///
    /// # Errors
    ///
    /// If both are the same but for the prefix.
    pub fn rotating(
        current: &WebhookSecret,
        previous: &WebhookSecret,
        until: Timestamp,
    ) -> Result<Self, SameSecret> {
        if current.decoded() == previous.decoded() {
            return Err(SameSecret);
        }
        let previous = PreviousKey { key: WebhookKey::new(previous), until };
        Ok(Self { previous: Some(previous), ..Self::new(current) })
    }

    /// When the overlap ends, if there is one.
    pub fn overlap_ends(&self) -> Option<Timestamp> {
        self.previous.as_ref().map(|previous| previous.until)
    }

    /// Signs an attempt that is made at this time; `id` holds no dot. The old signature comes first, as long as
    /// it counts: who looks at one alone has not changed over yet.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> SignatureHeaders {
        let current = self.current.sign(id, at.unix_seconds(), body);
        match &self.previous {
            Some(previous) if at < previous.until => {
                let previous = previous.key.sign(id, at.unix_seconds(), body);
                SignatureHeaders {
                    izi: previous.izi,
                    izi_next: Some(current.izi),
                    standard: format!("{} {}", previous.standard, current.standard),
                }
            }
            Some(_) | None => current,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::StandardHeaders;

    const OLD: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    const NEW: &str = "whsec_FxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA";
    const ID: &str = "evt_1";
    const BODY: &[u8] = b"{}";
    const UNTIL: Timestamp = Timestamp(1_800_000_000_500);

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::parse(text).expect("a secret")
    }

    fn rotating() -> WebhookKeys {
        WebhookKeys::rotating(&secret(NEW), &secret(OLD), UNTIL).expect("two secrets")
    }

    /// Whether who holds this secret takes `webhook-signature`.
    fn is_taken(holder: &WebhookKey, signed: &SignatureHeaders, at: Timestamp) -> bool {
        let timestamp = at.unix_seconds().to_string();
        let headers =
            StandardHeaders { id: Some(ID), timestamp: Some(&timestamp), signature: Some(&signed.standard) };
        holder.verify_standard(&headers, BODY, at.unix_seconds(), 0).is_ok()
    }

    #[test]
    fn both_sign_until_the_overlap_ends_and_the_current_one_alone_from_then_on() {
        let (old, new) = (WebhookKey::new(&secret(OLD)), WebhookKey::new(&secret(NEW)));
        for (at, is_overlap) in [(0, true), (UNTIL.0 - 1, true), (UNTIL.0, false), (UNTIL.0 + 1, false)] {
            let at = Timestamp(at);
            let signed = rotating().sign(ID, at, BODY);
            assert_eq!(
                (is_taken(&old, &signed, at), is_taken(&new, &signed, at)),
                (is_overlap, true),
                "{at:?}"
            );
            let (now, next) = (&signed.izi, signed.izi_next.as_deref());
            assert_eq!((old.verifies_izi(BODY, now), next.is_some()), (is_overlap, is_overlap), "{at:?}");
            assert!(new.verifies_izi(BODY, next.unwrap_or(now)), "{at:?}");
        }
    }

    #[test]
    fn without_a_rotation_the_headers_are_those_of_the_one_key() {
        let at = Timestamp(1_800_000_000_000);
        let alone = WebhookKey::new(&secret(NEW)).sign(ID, at.unix_seconds(), BODY);
        assert_eq!(WebhookKeys::new(&secret(NEW)).sign(ID, at, BODY), alone);
        assert_eq!(rotating().sign(ID, UNTIL, BODY), alone, "and after it");
        assert_eq!((alone.izi_next, alone.standard.contains(' ')), (None, false));
    }

    #[test]
    fn the_one_who_looks_at_the_first_signature_alone_holds_the_old_secret() {
        let signed = rotating().sign(ID, Timestamp(0), BODY);
        let first = WebhookKey::new(&secret(OLD)).sign(ID, 0, BODY).standard;
        assert_eq!(signed.standard.split(' ').next(), Some(first.as_str()));
    }

    #[test]
    fn a_secret_does_not_follow_itself() {
        for (current, expected) in [(NEW, None), (OLD, Some(SameSecret)), (&OLD[6..], Some(SameSecret))] {
            let keys = WebhookKeys::rotating(&secret(current), &secret(OLD), UNTIL);
            assert_eq!(keys.as_ref().err().copied(), expected, "{current}");
            assert_eq!(keys.ok().and_then(|keys| keys.overlap_ends()), expected.is_none().then_some(UNTIL));
        }
    }
}
