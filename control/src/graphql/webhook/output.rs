//! Webhooks as they are shown.

use async_graphql::{Enum, ID, SimpleObject};
use hookline_registry::WebhookRecord;
use hookline_schemas::delivery::{Disabled, DisabledReason};
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhook as OpenWebhook;

use super::event_type::WebhookEventType;
use crate::graphql::access::AnyWebhook;
use crate::graphql::scalars::DateTime;
use crate::graphql::text::shown_duration;
use crate::lanes::LaneView;

/// How a webhook does, as it was written down about a second ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum WebhookState {
    /// Events go out.
    Active,
    /// Its endpoint does not take events: they wait, and it is probed now and then.
    Down,
    /// A probe has succeeded: what waited goes out.
    Recovering,
    /// Its owner has switched it off: events wait until their deadline.
    Paused,
    /// It gets nothing any more until it is enabled (enableWebhook): events wait until their deadline.
    Disabled,
}

/// Why a webhook was disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum WebhookDisabledReason {
    /// Its endpoint answered 410.
    Gone,
    /// Its endpoint was down for too long.
    Failing,
}

impl From<DisabledReason> for WebhookDisabledReason {
    fn from(reason: DisabledReason) -> Self {
        match reason {
            DisabledReason::Gone => Self::Gone,
            DisabledReason::Failing => Self::Failing,
        }
    }
}

/// A header that is sent with each event. Its value is shown to nobody.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct WebhookHeader {
    /// Its name.
    name: String,
}

/// Where an organization wants events to be posted.
#[derive(Clone, SimpleObject)]
pub(crate) struct Webhook {
    /// Its id.
    id: ID,
    /// Where events are posted.
    url: String,
    /// Which events.
    events: Vec<WebhookEventType>,
    /// Whether events go out or wait for its endpoint: it is switched on, and not disabled.
    is_active: bool,
    /// The club whose events it gets. Null: those of all clubs.
    club_id: Option<ID>,
    /// In its owner's words.
    description: Option<String>,
    /// Headers that are sent with each event.
    headers: Vec<WebhookHeader>,
    /// Events per second at most. Null: as many as the endpoint takes.
    rate_limit: Option<u32>,
    /// Its own retry schedule. Null: the operator's.
    retry_schedule: Option<Vec<String>>,
    /// How long an event is tried. Null: as long as the operator says.
    deadline: Option<String>,
    /// The secret that signs its events. It is in the answers of createWebhook and rotateWebhookSecret alone; it
    /// can't be read again.
    secret: Option<String>,
    /// Until when the previous secret signs as well. Null, where none does.
    secret_rotates_until: Option<DateTime>,
    /// When it was created. Null, where it stands in the operator's configuration.
    created_at: Option<DateTime>,
    /// How it does.
    state: WebhookState,
    /// Why it is disabled, if it is.
    disabled_reason: Option<WebhookDisabledReason>,
    /// Since when it is disabled, if it is.
    disabled_at: Option<DateTime>,
}

impl Webhook {
    /// As it stands now, with what its lane's owner has written down.
    pub(super) fn new(webhook: AnyWebhook<'_>, lane: Option<LaneView>, now: Timestamp) -> Self {
        match webhook {
            AnyWebhook::Registered(known) => {
                let url = known.opened.as_ref().map(OpenWebhook::url_fingerprint);
                let health = Health::new(known.record.is_active, lane, url);
                Self::of_record(&known.record, health, now)
            }
            AnyWebhook::Configured(webhook) => {
                let health = Health::new(!webhook.paused, lane, Some(webhook.url_fingerprint()));
                Self::of_configuration(webhook, health, now)
            }
        }
    }

    /// The same with its secret, for the one who has just been given it.
    pub(super) fn with_secret(self, secret: &Secret) -> Self {
        Self { secret: Some(secret.expose().to_owned()), ..self }
    }

    fn of_record(record: &WebhookRecord, health: Health, now: Timestamp) -> Self {
        let previous = record.previous.as_ref().map(|previous| previous.until);
        let schedule = record.retry_schedule.as_ref();
        Self {
            id: ID::from(record.id.as_str()),
            url: record.url.clone(),
            events: record.events.iter().copied().map(WebhookEventType::from).collect(),
            club_id: record.club.as_ref().map(|club| ID::from(club.as_str())),
            description: record.description.clone(),
            headers: record
                .headers
                .iter()
                .map(|header| WebhookHeader { name: header.name.clone() })
                .collect(),
            rate_limit: record.rate_limit.map(std::num::NonZeroU32::get),
            retry_schedule: schedule.map(|all| all.iter().copied().map(shown_duration).collect()),
            deadline: record.deadline.map(shown_duration),
            secret: None,
            secret_rotates_until: previous.filter(|until| *until > now).map(DateTime),
            created_at: Some(DateTime(record.created_at)),
            is_active: record.is_active && health.disabled.is_none(),
            state: health.state,
            disabled_reason: health.reason(),
            disabled_at: health.disabled.map(|disabled| DateTime(disabled.at)),
        }
    }

    fn of_configuration(webhook: &OpenWebhook, health: Health, now: Timestamp) -> Self {
        let shown = |duration: &std::time::Duration| {
            shown_duration(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
        };
        let headers = webhook.headers.as_map().keys();
        Self {
            id: ID::from(webhook.id.as_str()),
            url: webhook.url.to_string(),
            events: webhook.events.iter().copied().map(WebhookEventType::from).collect(),
            club_id: webhook.club_id.as_ref().map(|club| ID::from(club.as_str())),
            description: None,
            headers: headers.map(|name| WebhookHeader { name: name.as_str().to_owned() }).collect(),
            rate_limit: webhook.rate_limit.map(std::num::NonZeroU32::get),
            retry_schedule: webhook.retry_schedule.as_ref().map(|all| all.iter().map(shown).collect()),
            deadline: webhook.deadline.as_ref().map(shown),
            secret: None,
            secret_rotates_until: webhook.keys.overlap_ends().filter(|until| *until > now).map(DateTime),
            created_at: None,
            is_active: !webhook.paused && health.disabled.is_none(),
            state: health.state,
            disabled_reason: health.reason(),
            disabled_at: health.disabled.map(|disabled| DateTime(disabled.at)),
        }
    }
}

/// How an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Health {
    state: WebhookState,
    disabled: Option<Disabled>,
}

impl Health {
    /// What is known of a former URL says nothing of this one.
    fn new(is_switched_on: bool, lane: Option<LaneView>, url: Option<u64>) -> Self {
        let lane = lane.filter(|lane| lane.url.is_none() || url.is_none() || lane.url == url);
        let disabled = lane.and_then(|lane| lane.disabled);
        let breaker = lane.map(|lane| lane.breaker).unwrap_or_default();
        let state = match (breaker.failed_probes, breaker.failing_since) {
            _ if disabled.is_some() => WebhookState::Disabled,
            _ if !is_switched_on => WebhookState::Paused,
            (None, _) => WebhookState::Active,
            // Half-open is written down as a probe that is due, of an endpoint that has not been failing.
            (Some(_), None) => WebhookState::Recovering,
            (Some(_), Some(_)) => WebhookState::Down,
        };
        Self { state, disabled }
    }

    fn reason(&self) -> Option<WebhookDisabledReason> {
        self.disabled.map(|disabled| disabled.reason.into())
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::delivery::BreakerRecord;

    use super::*;

    #[test]
    fn the_state_is_what_the_lane_says_of_this_url() {
        let closed = BreakerRecord::default();
        let open = BreakerRecord { failed_probes: Some(2), failing_since: Some(Timestamp(5)), ..closed };
        let half_open = BreakerRecord { failed_probes: Some(0), ..closed };
        let gone = Disabled { at: Timestamp(7), reason: DisabledReason::Gone, is_announced: true };
        let lane = |url, breaker, disabled| Some(LaneView { url, breaker, disabled });
        for (is_on, lane, expected) in [
            (true, None, WebhookState::Active),
            (false, None, WebhookState::Paused),
            (true, lane(Some(1), closed, None), WebhookState::Active),
            (true, lane(Some(1), open, None), WebhookState::Down),
            (true, lane(None, open, None), WebhookState::Down),
            (true, lane(Some(2), open, None), WebhookState::Active),
            (true, lane(Some(1), half_open, None), WebhookState::Recovering),
            (false, lane(Some(1), open, None), WebhookState::Paused),
            (true, lane(Some(1), open, Some(gone)), WebhookState::Disabled),
            (false, lane(Some(1), closed, Some(gone)), WebhookState::Disabled),
            (true, lane(Some(2), closed, Some(gone)), WebhookState::Active),
        ] {
            assert_eq!(Health::new(is_on, lane, Some(1)).state, expected, "{is_on} {lane:?}");
        }
    }
}
