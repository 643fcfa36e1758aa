//! A webhook: an integrator's subscription, and the set of all of them.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::custom_headers::CustomHeaders;
use crate::event::{Event, EventType};
use crate::ids::{ClubId, OrganizationId, WebhookId};
use crate::payload::EventData;
use crate::rotation::WebhookKeys;
use crate::time::Timestamp;

/// A webhook with the keys that sign for it.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its identity; an endpoint *is* its webhook id, not its URL.
    pub id: WebhookId,
    /// Whose events it gets.
    pub organization: OrganizationId,
    /// Only the events of this club, where it names one.
    pub club_id: Option<ClubId>,
    /// Where to; from [`parse_url`].
    pub url: Uri,
    /// Which events.
    pub events: Vec<EventType>,
    /// Sign its attempts.
    pub keys: WebhookKeys,
    /// Sent with its attempts, beside ours.
    pub headers: CustomHeaders,
    /// Its own retry schedule in place of the default one.
    pub retry_schedule: Option<Vec<Duration>>,
    /// How long a delivery is tried, counted from its acceptance, in place of the default.
    pub deadline: Option<Duration>,
    /// Attempts per second at most; without it only the endpoint's answers slow them down.
    pub rate_limit: Option<NonZeroU32>,
    /// Nothing is sent: deliveries wait in the lane, and their deadlines run.
    pub paused: bool,
    /// When its owner last asked for it to be enabled; of the configuration nobody asks.
    pub enabled_at: Option<Timestamp>,
    /// When its owner last asked for it to be probed.
    pub probed_at: Option<Timestamp>,
}

impl Webhook {
    /// Whether this event is for this webhook. What happened to another webhook of the organization concerns
    /// every club; a test is for the one that is tested, whatever it asks for, and for no other.
    pub fn wants(&self, event: &Event) -> bool {
        let asks_for_it = || self.events.contains(&event.event_type);
        let is_concerned = match &event.data {
            EventData::Test(data) => data.webhook_id == self.id,
            EventData::Webhook(data) => asks_for_it() && data.webhook_id != self.id,
            _ => asks_for_it() && self.club_id.as_ref().is_none_or(|club| *club == event.club_id),
        };
        self.organization == event.organization && is_concerned
    }

    /// XXH3 of the URL: tells whether what is known of the endpoint is known of this one.
    pub fn url_fingerprint(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.url.to_string().as_bytes())
    }
}

/// Why a text is not a webhook's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not an absolute URL.
    #[error("not an absolute URL")]
    Malformed,
    /// Neither http nor https.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// `user:password@` before the host: it would stand in logs.
    #[error("the URL holds a user name")]
    UserInfo,
    /// The host is neither a name of letters, digits, `-`, `_` and dots, nor an IPv6 address in brackets.
    #[error("the host is neither a name nor an address")]
    Host,
}

/// Reads the URL of a webhook.
///
/// # Errors
///
/// If it is not absolute, of another scheme than http or https, holds a user name, or its host is neither a name
/// nor an address.
pub fn parse_url(text: &str) -> Result<Uri, UrlError> {
    let url: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
    let authority = url.authority().ok_or(UrlError::Malformed)?;
    if authority.as_str().contains('@') {
        return Err(UrlError::UserInfo);
    }
    match url.scheme_str() {
        Some("http" | "https") if authority.host().is_empty() => Err(UrlError::Malformed),
        Some("http" | "https") if !is_host(authority.host()) => Err(UrlError::Host),
        Some("http" | "https") => Ok(url),
        None => Err(UrlError::Malformed),
        Some(_) => Err(UrlError::Scheme),
    }
}

/// What two parsers could read in two ways is no host: a colon without brackets, brackets around anything but an
/// IPv6 address, a zone, an escape. Names in other scripts are written in Punycode.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(address) => address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
    }
}

/// All webhooks, as of one moment. Immutable; a change makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Webhooks {
    by_id: HashMap<WebhookId, Arc<Webhook>>,
    by_organization: HashMap<OrganizationId, Vec<Arc<Webhook>>>,
    version: u64,
}

impl FromIterator<Webhook> for Webhooks {
    fn from_iter<I: IntoIterator<Item = Webhook>>(webhooks: I) -> Self {
        let mut all = Self::default();
        for webhook in webhooks.into_iter().map(Arc::new) {
            all.by_organization.entry(webhook.organization.clone()).or_default().push(Arc::clone(&webhook));
            all.by_id.insert(webhook.id.clone(), webhook);
        }
        all
    }
}

impl Webhooks {
    /// The same, as of this position in `control`.
    #[must_use]
    pub fn with_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// The position in `control` up to which these are known, behind the last entry that they are made of; 0
    /// where they come from the configuration alone. Who is behind may not know a webhook; who is not behind and
    /// does not know it knows that it is no more.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The webhook with this id, unless it has been deleted.
    pub fn find(&self, id: &WebhookId) -> Option<&Arc<Webhook>> {
        self.by_id.get(id)
    }

    /// The webhooks that this event is for.
    pub fn matching<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a Arc<Webhook>> {
        let of_organization = self.by_organization.get(&event.organization);
        of_organization.into_iter().flatten().filter(|webhook| webhook.wants(event))
    }

    /// Every webhook.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        self.by_id.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_absolute_http_urls_alone() {
        for (text, expected) in [
            ("https://example.com/hooks", Ok(())),
            ("http://127.0.0.1:9999/hooks?a=b", Ok(())),
            ("https://user:pass@example.com/", Err(UrlError::UserInfo)),
            ("ftp://example.com/", Err(UrlError::Scheme)),
            ("/hooks", Err(UrlError::Malformed)),
            ("", Err(UrlError::Malformed)),
            ("https://xn--e1afmkfd.example:8443/", Ok(())),
            ("https://my_host.example./", Ok(())),
            ("https://[2001:db8::1]:8443/hooks", Ok(())),
            ("https://[::ffff:127.0.0.1]/", Ok(())),
            ("https://[127.0.0.1]", Err(UrlError::Host)),
            ("https://[::1%lo]", Err(UrlError::Host)),
            ("https://[::1%25lo]/", Err(UrlError::Host)),
            ("https://::1", Err(UrlError::Malformed)),
            ("https://127.0.0.1%2fexample.com/", Err(UrlError::Malformed)),
            ("https://a;b.example/", Err(UrlError::Host)),
            ("https://@[::1]:9876", Err(UrlError::UserInfo)),
            ("https://1:2@[::1]:9876", Err(UrlError::UserInfo)),
        ] {
            assert_eq!(parse_url(text).map(|_| ()), expected, "{text:?}");
        }
    }
}
