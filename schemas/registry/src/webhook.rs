//! A webhook as it is registered.

use std::num::NonZeroU32;
use std::time::Duration;

use hookline_schemas::custom_headers::CustomHeaders;
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{ClubId, OrganizationId, WebhookId};
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::seal::{Sealed, Sealer};
use hookline_schemas::secret::{Secret, WebhookSecret};
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::{Webhook, parse_url};
use serde::{Deserialize, Serialize};

/// A webhook in `control`; key: [`WebhookRecord::key`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRecord {
    /// Its identity.
    pub id: WebhookId,
    /// Whose events it gets.
    pub organization: OrganizationId,
    /// Only the events of this club, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub club: Option<ClubId>,
    /// Where to.
    pub url: String,
    /// Which events.
    pub events: Vec<EventType>,
    /// Signs its attempts.
    pub secret: Sealed,
    /// The secret before, while both sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<WebhookSecretRecord>,
    /// Sent with its attempts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<SealedHeader>,
    /// Its own retry schedule, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_schedule: Option<Vec<u64>>,
    /// How long a delivery is tried, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// Attempts per second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<NonZeroU32>,
    /// The owner's switch: off, deliveries wait.
    pub is_active: bool,
    /// In its owner's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When its owner last asked for it to be enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled_at: Option<Timestamp>,
    /// When its owner last asked for it to be probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed_at: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// A secret whose place another has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecretRecord {
    /// Sealed for [`WebhookRecord::secret_place`].
    pub sealed: Sealed,
    /// It signs as well until then.
    pub until: Timestamp,
}

/// A header whose value is a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedHeader {
    /// Its name.
    pub name: String,
    /// Its value, sealed for [`WebhookRecord::header_place`].
    pub value: Sealed,
}

/// Why a webhook can't be sent to. No message holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotUsable(String);

impl WebhookRecord {
    pub(crate) const PREFIX: &'static str = "webhook/";

    /// The key of its entry.
    pub fn key(&self) -> String {
        format!("{}{}", Self::PREFIX, self.id)
    }

    /// What its secrets are sealed for.
    pub fn secret_place(id: &WebhookId) -> String {
        format!("webhook/{id}/secret")
    }

    /// What a header of it is sealed for.
    pub fn header_place(id: &WebhookId, name: &str) -> String {
        format!("webhook/{id}/header/{name}")
    }

    /// The webhook as the dispatcher needs it.
    pub(crate) fn open(&self, sealer: &Sealer) -> Result<Webhook, NotUsable> {
        let keys = self.keys(sealer)?;
        let mut values = Vec::with_capacity(self.headers.len());
        for SealedHeader { name, value } in &self.headers {
            values.push(value.open(sealer, &Self::header_place(&self.id, name)).map_err(not_usable)?);
        }
        let headers = self.headers.iter().map(|header| header.name.as_str()).zip(&values);
        let headers = CustomHeaders::parse(headers).map_err(not_usable)?;
        self.with(keys, headers, !self.is_active)
    }

    /// The same as far as it can be had without its secrets: nothing is sent to it, and what is meant for it waits.
    pub(crate) fn without_secrets(&self) -> Result<Webhook, NotUsable> {
        let nobodys = WebhookSecret::parse(NOBODYS_SECRET).map_err(not_usable)?;
        self.with(WebhookKeys::new(&nobodys), CustomHeaders::default(), true)
    }

    fn with(&self, keys: WebhookKeys, headers: CustomHeaders, paused: bool) -> Result<Webhook, NotUsable> {
        let schedule = self.retry_schedule.as_ref();
        Ok(Webhook {
            id: self.id.clone(),
            organization: self.organization.clone(),
            club_id: self.club.clone(),
            url: parse_url(&self.url).map_err(not_usable)?,
            events: self.events.clone(),
            keys,
            headers,
            retry_schedule: schedule.map(|all| all.iter().copied().map(Duration::from_millis).collect()),
            deadline: self.deadline.map(Duration::from_millis),
            rate_limit: self.rate_limit,
            paused,
            enabled_at: self.enabled_at,
            probed_at: self.probed_at,
        })
    }

    fn keys(&self, sealer: &Sealer) -> Result<WebhookKeys, NotUsable> {
        let place = Self::secret_place(&self.id);
        let open = |sealed: &Sealed| {
            let secret: Secret = sealed.open(sealer, &place).map_err(not_usable)?;
            WebhookSecret::parse(secret.expose()).map_err(not_usable)
        };
        let current = open(&self.secret)?;
        match &self.previous {
            None => Ok(WebhookKeys::new(&current)),
            Some(WebhookSecretRecord { sealed, until }) => {
                WebhookKeys::rotating(&current, &open(sealed)?, *until).map_err(not_usable)
            }
        }
    }
}

/// Signs nothing: a webhook that has it is paused.
const NOBODYS_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn not_usable(error: impl std::error::Error) -> NotUsable {
    NotUsable(error.to_string())
}
