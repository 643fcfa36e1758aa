//! `[[gateways]]`: from what is written to gateways with their secrets.

use std::path::PathBuf;

use hookline_ingest::Gateways;
use hookline_schemas::gateway::{Acceptance, CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::money::Amount;
use hookline_schemas::secret::Secret;
use serde::Deserialize;

/// A gateway as it is written; `hookline.default.toml` explains each member.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GatewayConfig {
    id: GatewayId,
    organization: OrganizationId,
    public_id: String,
    #[serde(default)]
    api_secrets: Vec<Secret>,
    api_secrets_file: Option<PathBuf>,
    default_club: ClubId,
    #[serde(default)]
    shared_url: bool,
    #[serde(default)]
    paused: bool,
    #[serde(default = "accept")]
    test_payments: Acceptance,
    #[serde(default = "refuse")]
    unknown_clients: Acceptance,
    #[serde(default = "refuse")]
    unknown_invoices: Acceptance,
    #[serde(default = "refuse")]
    without_invoice: Acceptance,
    #[serde(default = "accept")]
    subscription_charges: Acceptance,
    min_amount: Option<Amount>,
    max_amount: Option<Amount>,
    currency: Option<String>,
}

const fn accept() -> Acceptance {
    Acceptance::Accept
}

const fn refuse() -> Acceptance {
    Acceptance::Refuse
}

impl GatewayConfig {
    /// Where there is no directory, a gateway that refuses what it does not know refuses every Check.
    pub(super) fn warning(&self) -> Option<String> {
        let refuses = [self.unknown_clients, self.unknown_invoices].contains(&Acceptance::Refuse);
        refuses.then(|| {
            format!(
                "gateway {} refuses unknown clients or invoices, and ingest.directory_file names none: \
                 Checks of such payments are answered 10 or 11",
                self.id
            )
        })
    }

    fn into_gateway(mut self) -> Result<Gateway, String> {
        if let Some(file) = &self.api_secrets_file {
            let text = std::fs::read_to_string(file).map_err(|error| {
                format!("gateway {}: failed to read {}: {error}", self.id, file.display())
            })?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            self.api_secrets.extend(lines.map(Secret::new));
        }
        let name = self.id.as_str();
        if name.is_empty()
            || name.len() > 100
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        {
            return Err(format!(
                "gateway {name:?}: an id is up to 100 letters, digits, _ and -, because it stands in a URL"
            ));
        }
        Ok(Gateway {
            id: self.id,
            organization: self.organization,
            public_id: self.public_id,
            api_secrets: self.api_secrets,
            default_club: self.default_club,
            shared_url: self.shared_url,
            policy: CheckPolicy {
                paused: self.paused,
                test_payments: self.test_payments,
                unknown_clients: self.unknown_clients,
                unknown_invoices: self.unknown_invoices,
                without_invoice: self.without_invoice,
                subscription_charges: self.subscription_charges,
                max_amount: self.max_amount,
                min_amount: self.min_amount,
                currency: self.currency,
            },
        })
    }
}

/// Checks all gateways beside each other.
pub(super) fn check(configs: Vec<GatewayConfig>, problems: &mut Vec<String>) -> Option<Gateways> {
    let mut gateways = Vec::new();
    for config in configs {
        match config.into_gateway() {
            Ok(gateway) => gateways.push(gateway),
            Err(problem) => problems.push(problem),
        }
    }
    match Gateways::new(gateways) {
        Ok(gateways) => Some(gateways),
        Err(conflicts) => {
            problems.extend(conflicts.into_iter().map(|conflict| conflict.to_string()));
            None
        }
    }
}
