//! What a webhook is made of, and what of it is changed.

use std::num::NonZeroU32;
use std::time::Duration;

use async_graphql::{ID, InputObject, MaybeUndefined};
use hookline_registry::{SealedHeader, WebhookRecord};
use hookline_schemas::custom_headers::CustomHeaders;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::seal::{Sealed, Sealer};
use hookline_schemas::webhook::parse_url;

use super::event_type::{self, WebhookEventType};
use crate::error::ApiError;
use crate::graphql::WebhookLimits;
use crate::graphql::scalars::SecretText;
use crate::graphql::text::{self, invalid, update};

/// Of a URL.
const MAX_URL: usize = 2_000;

/// Of a retry schedule.
const MAX_RETRIES: usize = 50;

/// A header that is sent with each event.
#[derive(Debug, InputObject)]
pub(crate) struct WebhookHeaderInput {
    /// Its name. Those that hookline sets itself, and those of the connection, are refused.
    name: String,
    /// Its value: visible ASCII. It is stored encrypted and never returned.
    #[graphql(secret)]
    value: SecretText,
}

/// A new webhook.
#[derive(Debug, InputObject)]
pub(crate) struct CreateWebhookInput {
    /// Where events are to be posted: https, and http only where the operator allows it.
    url: String,
    /// Which events.
    events: Vec<WebhookEventType>,
    /// Only the events of this club. Absent: those of all clubs.
    pub(super) club_id: Option<ID>,
    /// In your own words.
    description: Option<String>,
    /// Headers to be sent with each event: 32 at most, 8 KiB together.
    headers: Option<Vec<WebhookHeaderInput>>,
    /// Events per second at most. Absent: as many as the endpoint takes.
    rate_limit: Option<i32>,
    /// When a failed event is tried again, as ["5s", "30min"]; the last delay repeats. Absent: as the operator says.
    retry_schedule: Option<Vec<String>>,
    /// How long an event is tried, as "24h". Absent: as long as the operator says.
    deadline: Option<String>,
}

/// What is to change. Absent: as it was. Null, where it is said so: none.
#[derive(Debug, Default, InputObject)]
pub(crate) struct UpdateWebhookInput {
    /// Where events are to be posted. What waits goes there too.
    pub(super) url: Option<String>,
    /// Which events.
    pub(super) events: Option<Vec<WebhookEventType>>,
    /// Only the events of this club. Null: those of all clubs.
    pub(super) club_id: MaybeUndefined<ID>,
    /// On, or off: then events wait until their deadline.
    pub(super) is_active: Option<bool>,
    /// In your own words. Null: none.
    pub(super) description: MaybeUndefined<String>,
    /// Headers to be sent with each event, in place of those before. Null: none.
    pub(super) headers: MaybeUndefined<Vec<WebhookHeaderInput>>,
    /// Events per second at most. Null: as many as the endpoint takes.
    pub(super) rate_limit: MaybeUndefined<i32>,
    /// When a failed event is tried again, as ["5s", "30min"]. Null: as the operator says.
    pub(super) retry_schedule: MaybeUndefined<Vec<String>>,
    /// How long an event is tried, as "24h". Null: as long as the operator says.
    pub(super) deadline: MaybeUndefined<String>,
}

impl From<CreateWebhookInput> for UpdateWebhookInput {
    fn from(new: CreateWebhookInput) -> Self {
        fn given<T>(value: Option<T>) -> MaybeUndefined<T> {
            value.map_or(MaybeUndefined::Undefined, MaybeUndefined::Value)
        }
        Self {
            url: Some(new.url),
            events: Some(new.events),
            club_id: given(new.club_id),
            is_active: None,
            description: given(new.description),
            headers: given(new.headers),
            rate_limit: given(new.rate_limit),
            retry_schedule: given(new.retry_schedule),
            deadline: given(new.deadline),
        }
    }
}

impl UpdateWebhookInput {
    /// Writes it into the record.
    pub(super) fn apply(
        self,
        record: &mut WebhookRecord,
        limits: WebhookLimits,
        sealer: &Sealer,
    ) -> Result<(), ApiError> {
        if let Some(url) = self.url {
            record.url = checked_url(url, limits)?;
        }
        if let Some(events) = self.events {
            record.events = event_type::parse(&events)?;
        }
        update(&mut record.club, self.club_id, |club| text::club("clubId", &club))?;
        record.is_active = self.is_active.unwrap_or(record.is_active);
        update(&mut record.description, self.description, text::description)?;
        match self.headers {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => record.headers.clear(),
            MaybeUndefined::Value(headers) => record.headers = sealed_headers(&record.id, &headers, sealer)?,
        }
        update(&mut record.rate_limit, self.rate_limit, rate_limit)?;
        update(&mut record.retry_schedule, self.retry_schedule, |delays| schedule(&delays, limits))?;
        update(&mut record.deadline, self.deadline, |deadline| {
            text::duration("deadline", &deadline, limits.max_deadline).map(milliseconds)
        })
    }
}

fn checked_url(url: String, limits: WebhookLimits) -> Result<String, ApiError> {
    if url.len() > MAX_URL {
        return Err(invalid("url", format!("at most {MAX_URL} bytes are taken")));
    }
    let parsed = parse_url(&url).map_err(|error| invalid("url", error.to_string()))?;
    if parsed.scheme_str() == Some("http") && !limits.allow_http {
        return Err(invalid("url", "https is needed"));
    }
    Ok(url)
}

fn sealed_headers(
    id: &WebhookId,
    headers: &[WebhookHeaderInput],
    sealer: &Sealer,
) -> Result<Vec<SealedHeader>, ApiError> {
    let pairs = headers.iter().map(|header| (header.name.as_str(), &header.value.0));
    CustomHeaders::parse(pairs).map_err(|error| invalid("headers", error.to_string()))?;
    let sealed = headers.iter().map(|WebhookHeaderInput { name, value }| SealedHeader {
        name: name.clone(),
        value: Sealed::new(sealer, &WebhookRecord::header_place(id, name), &value.0),
    });
    Ok(sealed.collect())
}

fn rate_limit(limit: i32) -> Result<NonZeroU32, ApiError> {
    let limit = u32::try_from(limit).ok().and_then(NonZeroU32::new);
    limit.ok_or_else(|| invalid("rateLimit", "1 or more per second: to send nothing, set isActive to false"))
}

fn schedule(delays: &[String], limits: WebhookLimits) -> Result<Vec<u64>, ApiError> {
    if !(1..=MAX_RETRIES).contains(&delays.len()) {
        return Err(invalid("retrySchedule", format!("1 to {MAX_RETRIES} delays are taken")));
    }
    let read = |delay: &String| text::duration("retrySchedule", delay, limits.max_deadline).map(milliseconds);
    delays.iter().map(read).collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
