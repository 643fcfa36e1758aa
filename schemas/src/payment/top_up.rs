//! A top-up that was asked for here: what its payer has to pay, and where.

use serde::{Deserialize, Serialize};

use crate::check::TopUp;
use crate::ids::{ClubId, GatewayId, OrganizationId, TopUpId};
use crate::money::Amount;
use crate::time::Timestamp;

/// A top-up in `payments`; key: [`TopUpRecord::key`]. What Check compares with stands in `top_ups`, and whether it has
/// been paid the payments tell that name it as their InvoiceId.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpRecord {
    /// Its id: the InvoiceId of its payments.
    pub id: TopUpId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Through which gateway it is to be paid.
    pub gateway: GatewayId,
    /// The club that is credited.
    pub club_id: ClubId,
    /// Who pays.
    pub client_id: String,
    /// The exact sum.
    pub amount: Amount,
    /// Its currency.
    pub currency: String,
    /// What the payer reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where the payer comes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_url: Option<String>,
    /// Where it is paid; none, as long as CloudPayments has not said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_url: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// From here on it can't be paid.
    pub expires_at: Timestamp,
    /// Check knows it no more.
    #[serde(default)]
    pub is_forgotten: bool,
}

impl TopUpRecord {
    /// Before the keys of top-ups in `payments`.
    pub const PREFIX: &'static str = "top_up/";

    /// The key of its entry.
    pub fn key(&self) -> String {
        format!("{}{}/{}", Self::PREFIX, self.gateway, self.id)
    }

    /// What Check compares with.
    pub fn for_check(&self) -> TopUp {
        TopUp {
            amount: self.amount,
            currency: self.currency.clone(),
            client_id: Some(self.client_id.clone()),
            club_id: Some(self.club_id.clone()),
            expires_at: Some(self.expires_at),
            paid: false,
        }
    }
}
