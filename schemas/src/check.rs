//! What Check compares with: the clients and the pending top-ups, as they stand in the tables.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{ClubId, GatewayId, OrganizationId};
use crate::money::Amount;
use crate::time::Timestamp;

/// A client of an organization; AccountId in notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Payments of a blocked client are refused.
    #[serde(default)]
    pub blocked: bool,
}

/// A top-up: what a payment with this InvoiceId has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUp {
    /// The exact sum.
    pub amount: Amount,
    /// The currency, as CloudPayments spells it (`RUB`).
    pub currency: String,
    /// Who pays; known as a client by being named here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The club that is credited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub club_id: Option<ClubId>,
    /// From here on a Check is answered 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Paid already: a Check is answered 13.
    #[serde(default)]
    pub paid: bool,
}

/// The key of a client or a top-up: 128 bits of SHA-256 over the owner and the name, each prefixed with its
/// length. Personal names do not stand in keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirectoryKey(pub [u8; 16]);

impl DirectoryKey {
    /// The key of a client in `clients`.
    pub fn of_client(organization: &OrganizationId, client_id: &str) -> Self {
        Self::hash(organization.as_str(), client_id)
    }

    /// The key of a top-up in `top_ups`.
    pub fn of_top_up(gateway: &GatewayId, invoice_id: &str) -> Self {
        Self::hash(gateway.as_str(), invoice_id)
    }

    /// Reads the key of a table's entry.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    fn hash(owner: &str, name: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [owner, name] {
            hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut key = [0; 16];
        key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_key_never_changes_because_others_compute_it_too() {
        let key = DirectoryKey::of_client(&OrganizationId::new("org_demo"), "client-1");
        let digits: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, "00d3436e097b14c93c35956fb06d974d");
    }
}
