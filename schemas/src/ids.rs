//! Identities. Most are strings that somebody else chose; an [`EventId`] is computed, so that one thing that
//! happened has one id on every machine, after every crash and however often it is posted.

use std::fmt;
use std::sync::{Arc, LazyLock};

use data_encoding::{Encoding, Specification};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::time::Timestamp;

/// Characters behind the prefix of a computed id: 26 of 5 bits, 130 bits of the hash.
const CHARACTERS: usize = 26;

/// Crockford's base 32, as ULIDs have it.
#[expect(clippy::expect_used, reason = "a constant alphabet")]
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    specification.encoding().expect("the alphabet has 32 different characters")
});

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the name as it stands.
            pub fn new(name: impl AsRef<str>) -> Self {
                Self(Arc::from(name.as_ref()))
            }

            /// The name as it stands.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// A gateway: an organization's CloudPayments site; stands in the callback URL.
    GatewayId
);
name_type!(
    /// An organization: a network of clubs.
    OrganizationId
);
name_type!(
    /// A club of an organization.
    ClubId
);
name_type!(
    /// A webhook: the subscription of an integrator, and the endpoint behind it.
    WebhookId
);
name_type!(
    /// An event: `evt_` and 26 characters; the outbound `webhook-id`. Made by [`EventId::compute`],
    /// [`EventId::of_disabling`] or [`EventId::of_test`].
    EventId
);
name_type!(
    /// A payment: `pay_` and 26 characters, computed from the site and the original transaction.
    PaymentId
);
name_type!(
    /// A top-up that was asked for here: the InvoiceId of its payments.
    TopUpId
);
name_type!(
    /// A refund that was asked for here: its `X-Request-ID` at CloudPayments.
    RefundId
);

/// What an event means for the payment. Part of the event's identity: a Completed Pay and a Confirm are both
/// [`Meaning::Received`], so that a payment can't be credited twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The money has been taken.
    Received,
    /// The money is held.
    Authorized,
    /// A try has failed.
    Failed,
    /// Money went back.
    Refunded,
    /// A hold was released.
    Cancelled,
    /// Everything else.
    Other,
}

impl Meaning {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Authorized => "authorized",
            Self::Failed => "failed",
            Self::Refunded => "refunded",
            Self::Cancelled => "cancelled",
            Self::Other => "other",
        }
    }
}

impl EventId {
    /// The id of what happened: the first 130 bits of SHA-256 over the site's public id, the meaning and the
    /// key, each prefixed with its length (32 bits, big-endian). Part of the contract: it never changes.
    pub fn compute(public_id: &str, meaning: Meaning, key: &str) -> Self {
        Self::new(format!("evt_{}", digest_characters([public_id, meaning.as_str(), key])))
    }
}

impl EventId {
    /// The id of a webhook's disabling at this time.
    pub fn of_disabling(webhook: &WebhookId, at: Timestamp) -> Self {
        let parts = ["webhook disabled", webhook.as_str(), &at.0.to_string()];
        Self::new(format!("evt_{}", digest_characters(parts)))
    }

    /// The id of a test of a webhook at this time; the nonce tells tests of one moment apart.
    pub fn of_test(webhook: &WebhookId, at: Timestamp, nonce: &str) -> Self {
        let parts = ["webhook test", webhook.as_str(), &at.0.to_string(), nonce];
        Self::new(format!("evt_{}", digest_characters(parts)))
    }
}

impl PaymentId {
    /// The id of the payment that began with this transaction.
    pub fn compute(public_id: &str, transaction_id: u64) -> Self {
        Self::new(format!("pay_{}", digest_characters([public_id, "payment", &transaction_id.to_string()])))
    }
}

fn digest_characters<const PARTS: usize>(parts: [&str; PARTS]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut characters = BASE32.encode(&digest);
    characters.truncate(CHARACTERS);
    characters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_never_changes_between_versions() {
        assert_eq!(
            EventId::compute("pk_demo", Meaning::Received, "666").as_str(),
            "evt_3V8N6SS5DNNWMEA2EFWXYXS257"
        );
    }

    #[test]
    fn the_length_prefix_keeps_the_parts_apart() {
        let one = EventId::compute("pk_1", Meaning::Other, "23");
        let other = EventId::compute("pk_", Meaning::Other, "123");
        assert_ne!(one, other);
        assert_ne!(
            EventId::compute("pk", Meaning::Received, "7"),
            EventId::compute("pk", Meaning::Failed, "7")
        );
    }

    #[test]
    fn an_id_holds_no_dot_and_has_its_length() {
        for id in [
            EventId::compute("pk", Meaning::Failed, "3541977847"),
            EventId::compute("pk.example.com", Meaning::Other, "1.2.3"),
            EventId::of_disabling(&WebhookId::new("wh.club.7"), Timestamp(1_800_000_000_000)),
            EventId::of_test(&WebhookId::new("wh.club.7"), Timestamp(1_800_000_000_000), "a.b"),
        ] {
            assert_eq!(id.as_str().len(), 30);
            assert!(id.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{id}");
        }
    }

    #[test]
    fn tests_of_one_moment_are_told_apart() {
        let id = |webhook: &str, at: u64, nonce: &str| {
            EventId::of_test(&WebhookId::new(webhook), Timestamp(at), nonce)
        };
        let one = id("wh", 7, "a");
        assert_eq!(one, id("wh", 7, "a"));
        for other in [id("wh_2", 7, "a"), id("wh", 8, "a"), id("wh", 7, "b")] {
            assert_ne!(one, other);
        }
    }
}
