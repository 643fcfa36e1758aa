//! `[[webhooks]]`: from what is written to webhooks with their keys.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookline_schemas::custom_headers::CustomHeaders;
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{ClubId, OrganizationId, WebhookId};
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::secret::{Secret, WebhookSecret};
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::{Webhook, parse_url};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::problem_of_deadline;

/// A webhook as it is written; `hookline.default.toml` explains each member.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookConfig {
    id: WebhookId,
    organization: OrganizationId,
    club: Option<ClubId>,
    url: String,
    events: Vec<EventType>,
    secret: Option<Secret>,
    secret_file: Option<PathBuf>,
    previous_secret: Option<Secret>,
    previous_secret_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "quoted_time")]
    previous_secret_until: Option<String>,
    #[serde(default, deserialize_with = "names_and_secrets")]
    headers: BTreeMap<String, Secret>,
    #[serde(default)]
    retry_schedule: Option<Schedule>,
    #[serde(default, with = "humantime_serde")]
    deadline: Option<Duration>,
    rate_limit: Option<u32>,
    #[serde(default)]
    paused: bool,
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Schedule(#[serde(with = "hookline_dispatcher::durations")] Vec<Duration>);

/// Serde's own words about something else would hold it.
fn names_and_secrets<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Secret>, D::Error> {
    BTreeMap::deserialize(deserializer)
        .map_err(|_| D::Error::custom("headers are names and texts in quotes: { \"X-Tenant\" = \"club-7\" }"))
}

/// TOML's own times come as a table, which serde would complain of without saying where.
fn quoted_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
        .map_err(|_| D::Error::custom("previous_secret_until is a time in quotes: \"2026-12-01T00:00:00Z\""))
}

impl WebhookConfig {
    fn into_webhook(self, parked: Duration, allow_http: bool) -> Result<Webhook, String> {
        let url = parse_url(&self.url).map_err(|error| format!("url: {error}"))?;
        if !allow_http && url.scheme_str() == Some("http") {
            return Err(format!("url {url}: http needs dispatcher.allow_http = true"));
        }
        let keys = self.keys()?;
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value));
        let headers = CustomHeaders::parse(headers).map_err(|error| format!("headers: {error}"))?;
        if self.events.is_empty() {
            return Err("events is empty: it would never get one".to_owned());
        }
        if let Some(problem) = self.deadline.and_then(|deadline| problem_of_deadline(deadline, parked)) {
            return Err(format!("deadline {problem}"));
        }
        let retry_schedule = self.retry_schedule.map(|Schedule(delays)| delays);
        if retry_schedule.as_ref().is_some_and(Vec::is_empty) {
            return Err("retry_schedule is empty".to_owned());
        }
        let rate_limit = match self.rate_limit.map(NonZeroU32::new) {
            Some(None) => return Err("rate_limit is 0: to send nothing, set paused = true".to_owned()),
            Some(limit) => limit,
            None => None,
        };
        Ok(Webhook {
            rate_limit,
            paused: self.paused,
            id: self.id,
            organization: self.organization,
            club_id: self.club,
            url,
            events: self.events,
            keys,
            headers,
            retry_schedule,
            deadline: self.deadline,
            enabled_at: None,
            probed_at: None,
        })
    }

    /// The secret, and the one before while both count.
    fn keys(&self) -> Result<WebhookKeys, String> {
        let current = secret("secret", self.secret.as_ref(), self.secret_file.as_deref())?
            .ok_or("secret or secret_file is missing")?;
        let (inline, file) = (self.previous_secret.as_ref(), self.previous_secret_file.as_deref());
        let previous = secret("previous_secret", inline, file)?;
        match (previous, &self.previous_secret_until) {
            (None, None) => Ok(WebhookKeys::new(&current)),
            (Some(previous), Some(until)) => {
                let until = Timestamp::parse_rfc3339(until)
                    .map_err(|error| format!("previous_secret_until: {error}"))?;
                WebhookKeys::rotating(&current, &previous, until)
                    .map_err(|error| format!("previous_secret: {error}"))
            }
            (Some(_), None) => Err("previous_secret_until is missing: how long the previous secret counts \
                                    beside the new one"
                .to_owned()),
            (None, Some(_)) => {
                Err("previous_secret or previous_secret_file is missing beside previous_secret_until"
                    .to_owned())
            }
        }
    }
}

/// A secret that stands in the configuration, or in a file of its own.
fn secret(name: &str, inline: Option<&Secret>, file: Option<&Path>) -> Result<Option<WebhookSecret>, String> {
    let text = match (inline, file) {
        (None, None) => return Ok(None),
        (Some(secret), None) => secret.clone(),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| format!("failed to read {}: {error}", file.display()))?;
            Secret::new(text.trim())
        }
        (Some(_), Some(_)) => return Err(format!("{name} and {name}_file: one of them")),
    };
    WebhookSecret::parse(text.expose()).map(Some).map_err(|error| format!("{name}: {error}"))
}

/// Checks all webhooks beside each other.
pub(super) fn check(
    configs: Vec<WebhookConfig>,
    parked: Duration,
    allow_http: bool,
    now: Timestamp,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Vec<Webhook> {
    let mut ids = HashSet::new();
    let mut webhooks = Vec::new();
    for config in configs {
        let id = config.id.clone();
        if id.as_str().is_empty() || id.as_str().len() > 200 || !ids.insert(id.clone()) {
            problems
                .push(format!("webhook {:?}: an id has 1 to 200 bytes and stands there once", id.as_str()));
        }
        match config.into_webhook(parked, allow_http) {
            Ok(webhook) => {
                warnings.extend(warning(&webhook, now));
                webhooks.push(webhook);
            }
            Err(problem) => problems.push(format!("webhook {id}: {problem}")),
        }
    }
    webhooks
}

/// Whoever still has the previous secret gets nothing that he can verify: he is to know at once.
fn warning(webhook: &Webhook, now: Timestamp) -> Option<String> {
    let ended = webhook.keys.overlap_ends().filter(|end| *end <= now)?;
    let (id, ended) = (&webhook.id, ended.to_rfc3339());
    Some(format!("webhook {id}: its previous secret counts no more since {ended}: it may be taken out"))
}

#[cfg(test)]
mod tests {
    use figment::Figment;
    use figment::providers::{Format, Toml};

    use super::*;
    use crate::config::{Config, ConfigError, DEFAULTS};

    const OLD: &str = "whsec_FxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA";

    /// A webhook with these keys.
    fn with(keys: &str) -> Result<Config, ConfigError> {
        let webhook = r#"
            [[webhooks]]
            id = "wh_demo"
            organization = "org_demo"
            url = "https://example.com/hooks"
            events = ["PAYMENT_RECEIVED"]
            secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
        "#;
        let keys = keys.replace("OLD", &format!("{OLD:?}"));
        let figment =
            Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(&format!("{webhook}\n{keys}")));
        Config::check(&figment, Path::new("/etc/hookline"))
    }

    #[test]
    fn a_rotation_has_a_previous_secret_and_its_end() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("{OLD}\n")).expect("written");
        let by_file = format!("previous_secret_file = {:?}", file.path());
        for (keys, ends, warnings) in [
            (String::new(), None, 0),
            (
                "previous_secret = OLD\nprevious_secret_until = \"9999-01-01T00:00:00Z\"".to_owned(),
                Some(()),
                0,
            ),
            (
                "previous_secret = OLD\nprevious_secret_until = \"2001-01-01T03:00:00+03:00\"".to_owned(),
                Some(()),
                1,
            ),
            (format!("{by_file}\nprevious_secret_until = \"9999-01-01T00:00:00Z\""), Some(()), 0),
        ] {
            let config = with(&keys).expect(&keys);
            let webhook = config.webhooks.iter().next().expect("a webhook");
            assert_eq!(webhook.keys.overlap_ends().map(drop), ends, "{keys}");
            assert_eq!(config.warnings.len(), warnings, "{keys}: {:?}", config.warnings);
            assert!(
                config.warnings.iter().all(|warning| warning.contains("wh_demo")),
                "{:?}",
                config.warnings
            );
        }
    }

    #[test]
    fn half_a_rotation_is_a_problem() {
        let until = "previous_secret_until = \"9999-01-01T00:00:00Z\"";
        for (keys, part) in [
            ("previous_secret = OLD", "previous_secret_until is missing"),
            ("previous_secret_file = \"nowhere\"\nUNTIL", "failed to read nowhere"),
            ("UNTIL", "previous_secret or previous_secret_file is missing"),
            ("previous_secret = OLD\nprevious_secret_file = \"nowhere\"\nUNTIL", "one of them"),
            ("previous_secret = \"whsec_c2hvcnQ=\"\nUNTIL", "previous_secret: a webhook secret holds 24"),
            (
                "previous_secret = \"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\"\nUNTIL",
                "previous_secret: the new secret is the previous one",
            ),
            (
                "previous_secret = OLD\nprevious_secret_until = \"2026-12-01\"",
                "previous_secret_until: \"2026-12-01\"",
            ),
            ("previous_secret = OLD\nprevious_secret_until = 2026-12-01T00:00:00Z", "is a time in quotes"),
            ("previous_secret = 1234567\nUNTIL", "in quotes"),
        ] {
            let all = with(&keys.replace("UNTIL", until)).expect_err(keys).0.join("\n");
            assert!(all.contains(part), "{part} in {all}");
            assert!(!all.contains(OLD) && !all.contains("1234567"), "{all}");
        }
    }

    #[test]
    fn headers_are_checked_and_their_values_never_shown() {
        let config = with("headers = { \"X-Tenant\" = \"club-7\", Authorization = \"Bearer s3cret\" }");
        let config = config.expect("a configuration");
        let webhook = config.webhooks.iter().next().expect("a webhook");
        let sent = webhook.headers.as_map();
        assert_eq!(sent.get("x-tenant").map(|value| value.as_bytes()), Some(&b"club-7"[..]));
        assert_eq!(sent.get("authorization").map(|value| value.as_bytes()), Some(&b"Bearer s3cret"[..]));
        assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
        for (headers, part) in [
            ("{ \"X-IZI-Signature\" = \"s3cret\" }", "headers: x-izi-signature is reserved"),
            ("{ \"X-A\" = \"s3cret\", \"x-a\" = \"s3cret\" }", "headers: x-a is there twice"),
            ("{ \"X A\" = \"s3cret\" }", "headers: \"X A\" is not a header's name"),
            ("{ \"X-A\" = \"s3cret\\n\" }", "headers: the value of x-a"),
            ("{ \"X-A\" = 1234567 }", "in quotes"),
            ("\"Bearer s3cret\"", "in quotes"),
        ] {
            let all = with(&format!("headers = {headers}")).expect_err(headers).0.join("\n");
            assert!(all.contains(part), "{part} in {all}");
            assert!(!all.contains("s3cret") && !all.contains("1234567"), "{all}");
        }
    }
}
