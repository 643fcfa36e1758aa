//! A gateway as it is registered.

use hookline_schemas::gateway::{CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::seal::{OpenSealError, Sealed, Sealer};
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A gateway in `control`; key: [`GatewayRecord::key`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRecord {
    /// Its identity; stands in the callback URL.
    pub id: GatewayId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The Public ID of the site.
    pub public_id: String,
    /// The API secrets, the newest first.
    pub secrets: Vec<ApiSecret>,
    /// What CloudPayments says of the newest of them.
    pub connection: Connection,
    /// The owner's switch: off, every Check is refused.
    pub is_active: bool,
    /// The club of a payment that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_club: Option<ClubId>,
    /// Takes part in the URL that all gateways share.
    #[serde(default)]
    pub shared_url: bool,
    /// What Check accepts; `paused` follows from [`Self::is_active`].
    pub policy: CheckPolicy,
    /// Where its payers pay, told by the address what it is; none: at an order that CloudPayments makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_page: Option<String>,
    /// In its owner's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// An API secret of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiSecret {
    /// Sealed for [`GatewayRecord::secret_place`].
    pub sealed: Sealed,
    /// CloudPayments has accepted it: only then does it verify notifications.
    pub is_verified: bool,
    /// Another has taken its place, and it counts until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl ApiSecret {
    /// Whether notifications that it signed are taken at this time.
    pub fn counts(&self, at: Timestamp) -> bool {
        self.is_verified && self.until.is_none_or(|until| at < until)
    }
}

/// What came of asking CloudPayments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The answer.
    pub status: ConnectionStatus,
    /// When it came.
    pub checked_at: Timestamp,
}

/// Whether CloudPayments accepts the credentials of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionStatus {
    /// It does.
    Connected,
    /// It can't be reached, or has no answer.
    Unavailable,
    /// It does not.
    InvalidCredentials,
}

impl GatewayRecord {
    pub(crate) const PREFIX: &'static str = "gateway/";

    /// The key of its entry.
    pub fn key(&self) -> String {
        format!("{}{}", Self::PREFIX, self.id)
    }

    /// What its API secrets are sealed for.
    pub fn secret_place(id: &GatewayId) -> String {
        format!("gateway/{id}/api_secret")
    }

    /// Whether it takes payments: it is switched on, and CloudPayments has accepted a secret that still counts.
    pub fn takes_payments(&self, at: Timestamp) -> bool {
        self.is_active && self.secrets.iter().any(|secret| secret.counts(at))
    }

    /// Its secrets, in their order.
    ///
    /// # Errors
    ///
    /// If one was not sealed with a key that we have, for this gateway.
    pub fn open(&self, sealer: &Sealer) -> Result<Vec<Secret>, OpenSealError> {
        let place = Self::secret_place(&self.id);
        self.secrets.iter().map(|secret| secret.sealed.open(sealer, &place)).collect()
    }

    /// The gateway as the edge needs it, at this time; none, where no secret of it counts. `opened` are its
    /// secrets, in their order.
    pub fn to_gateway(&self, opened: &[Secret], at: Timestamp) -> Option<Gateway> {
        let counting = self.secrets.iter().zip(opened).filter(|(secret, _)| secret.counts(at));
        let api_secrets: Vec<_> = counting.map(|(_, opened)| opened.clone()).collect();
        (!api_secrets.is_empty()).then(|| Gateway {
            id: self.id.clone(),
            organization: self.organization.clone(),
            public_id: self.public_id.clone(),
            api_secrets,
            default_club: self.default_club.clone().unwrap_or_else(|| ClubId::new("")),
            shared_url: self.shared_url,
            policy: CheckPolicy { paused: !self.is_active, ..self.policy.clone() },
        })
    }

    /// When the next of its secrets ceases to count.
    pub(crate) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.secrets.iter().filter_map(|secret| secret.until).filter(|until| *until > now).min()
    }
}
