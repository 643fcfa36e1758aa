//! The settings of the control plane; `hookline.default.toml` explains each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// The section `[control]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where `/graphql` is.
    pub listen: SocketAddr,
    /// Requests of a token in any 10 s.
    pub rate_limit: u32,
    /// For a whole request: its body, and what it asks for.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Whom it believes.
    pub tokens: TokenSettings,
    /// What it does about payments.
    pub payments: PaymentSettings,
}

/// The section `[control.payments]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentSettings {
    /// How long a top-up can be paid.
    #[serde(with = "humantime_serde")]
    pub top_up_lifetime: Duration,
    /// How long payments are kept.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// How often payments are compared with CloudPayments'; zero: by hand alone.
    #[serde(with = "humantime_serde")]
    pub reconcile_every: Duration,
    /// What is younger is not compared on schedule: its notification may be on its way.
    #[serde(with = "humantime_serde")]
    pub reconcile_after: Duration,
    /// Whether what is missing becomes events, where nobody has asked for the comparison.
    pub repair: bool,
    /// Where the view of payments has its file.
    pub view_dir: Option<PathBuf>,
}

/// The section `[control.tokens]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// `iss` of the identity provider's tokens.
    pub issuer: Option<String>,
    /// `aud` of every token.
    pub audience: String,
    /// The identity provider's public key (PEM).
    pub public_key_file: Option<PathBuf>,
    /// Where the identity provider publishes its keys (JWKS).
    pub jwks_url: Option<String>,
    /// Signs the tokens of `hookline token issue` (PEM, Ed25519).
    pub local_key_file: Option<PathBuf>,
    /// How far the clocks may be apart.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// The claim that names the role.
    pub role_claim: String,
    /// The claim that names the organization.
    pub organization_claim: String,
    /// The claim that lists the clubs.
    pub clubs_claim: String,
}

/// The section `[cloudpayments]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudPaymentsSettings {
    /// CloudPayments' API.
    pub api_url: String,
    /// Where CloudPayments reaches our edge.
    pub callback_url: Option<String>,
    /// Certificates (PEM) that are trusted beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// For an answer of the API, with all that is waited for until it comes.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Requests of a site at once.
    pub max_concurrency: usize,
}
