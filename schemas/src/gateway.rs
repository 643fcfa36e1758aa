//! A gateway: an organization's CloudPayments site, and what it accepts.

use serde::{Deserialize, Serialize};

use crate::ids::{ClubId, GatewayId, OrganizationId};
use crate::money::Amount;
use crate::secret::Secret;

/// How many gateways may take part in the shared URL: each costs one HMAC per body nobody signed.
pub const MAX_SHARED: usize = 64;

/// A gateway with its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Stands in the callback URL.
    pub id: GatewayId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The Public ID of the site; part of every event's identity.
    pub public_id: String,
    /// The API secrets, the newest first; more than one while they are rotated.
    pub api_secrets: Vec<Secret>,
    /// The club of a payment that names none.
    pub default_club: ClubId,
    /// Takes part in the URL that all gateways share.
    pub shared_url: bool,
    /// What Check accepts.
    pub policy: CheckPolicy,
}

/// What a gateway accepts at Check beyond a pending top-up that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckPolicy {
    /// Every Check is refused with 13.
    pub paused: bool,
    /// Payments in test mode.
    pub test_payments: Acceptance,
    /// An AccountId that is in no list, or none at all.
    pub unknown_clients: Acceptance,
    /// An InvoiceId that belongs to no top-up.
    pub unknown_invoices: Acceptance,
    /// A payment without InvoiceId.
    pub without_invoice: Acceptance,
    /// An automatic charge of a subscription: SubscriptionId without InvoiceId.
    pub subscription_charges: Acceptance,
    /// The largest sum, inclusive.
    pub max_amount: Option<Amount>,
    /// The smallest sum, inclusive.
    pub min_amount: Option<Amount>,
    /// The only currency, as CloudPayments spells it.
    pub currency: Option<String>,
}

impl CheckPolicy {
    /// Accepts whatever it does not know, in any sum.
    pub const fn lenient() -> Self {
        Self {
            paused: false,
            test_payments: Acceptance::Accept,
            unknown_clients: Acceptance::Accept,
            unknown_invoices: Acceptance::Accept,
            without_invoice: Acceptance::Accept,
            subscription_charges: Acceptance::Accept,
            max_amount: None,
            min_amount: None,
            currency: None,
        }
    }
}

/// A gateway's word on what it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acceptance {
    /// Let it pass.
    Accept,
    /// Answer with the code of the rule.
    Refuse,
}
