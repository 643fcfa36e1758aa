//! `[[webhooks]]`: from what is written to webhooks with their keys.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use hookline_schemas::event::EventType;
use hookline_schemas::ids::{ClubId, OrganizationId, WebhookId};
use hookline_schemas::secret::{Secret, WebhookSecret};
use hookline_schemas::signature::WebhookKey;
use hookline_schemas::webhook::{Webhook, parse_url};
use serde::Deserialize;

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

impl WebhookConfig {
    fn into_webhook(self, parked: Duration, allow_http: bool) -> Result<Webhook, String> {
        let url = parse_url(&self.url).map_err(|error| format!("url: {error}"))?;
        if !allow_http && url.scheme_str() == Some("http") {
            return Err(format!("url {url}: http needs dispatcher.allow_http = true"));
        }
        let secret = WebhookSecret::parse(self.secret()?.expose()).map_err(|error| error.to_string())?;
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
            key: WebhookKey::new(&secret),
            retry_schedule,
            deadline: self.deadline,
        })
    }

    fn secret(&self) -> Result<Secret, String> {
        match (&self.secret, &self.secret_file) {
            (Some(secret), None) => Ok(secret.clone()),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("failed to read {}: {error}", file.display()))?;
                Ok(Secret::new(text.trim()))
            }
            (Some(_), Some(_)) => Err("secret and secret_file: one of them".to_owned()),
            (None, None) => Err("secret or secret_file is missing".to_owned()),
        }
    }
}

/// Checks all webhooks beside each other.
pub(super) fn check(
    configs: Vec<WebhookConfig>,
    parked: Duration,
    allow_http: bool,
    problems: &mut Vec<String>,
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
            Ok(webhook) => webhooks.push(webhook),
            Err(problem) => problems.push(format!("webhook {id}: {problem}")),
        }
    }
    webhooks
}
