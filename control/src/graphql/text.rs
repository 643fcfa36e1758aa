//! Texts, numbers and times that callers choose: each is bounded before it is kept.

use std::time::Duration;

use async_graphql::{ID, MaybeUndefined};
use hookline_schemas::ids::ClubId;
use hookline_schemas::secret::Secret;
use humantime_serde::re::humantime;

use crate::error::ApiError;

/// A name or an id.
pub(super) const MAX_NAME: usize = 200;

/// What an owner says of a thing.
const MAX_DESCRIPTION: usize = 1_000;

/// A week.
const MAX_OVERLAP_HOURS: i32 = 168;

/// What is wrong with a field.
pub(super) fn invalid(field: &'static str, details: impl Into<String>) -> ApiError {
    ApiError::Validation { field, details: details.into() }
}

/// A text of 1 to so many bytes, without control characters.
pub(super) fn name<'a>(field: &'static str, text: &'a str) -> Result<&'a str, ApiError> {
    if text.trim().is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
        return Err(invalid(field, format!("1 to {MAX_NAME} bytes without control characters are taken")));
    }
    Ok(text)
}

/// What goes into a header of ours: visible ASCII.
fn is_visible(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The Public ID of a site: the login of HTTP Basic, in which a colon would end it.
pub(super) fn public_id(text: &str) -> Result<&str, ApiError> {
    if is_visible(text) && !text.contains(':') {
        Ok(text)
    } else {
        Err(invalid(
            "publicId",
            "it is what CloudPayments' cabinet shows: letters, digits and signs, no blank",
        ))
    }
}

/// The API secret of a site.
pub(super) fn api_secret(secret: &Secret) -> Result<(), ApiError> {
    if is_visible(secret.expose()) {
        Ok(())
    } else {
        Err(invalid(
            "apiSecret",
            "it is what CloudPayments' cabinet shows: letters, digits and signs, no blank",
        ))
    }
}

/// What an owner says of a thing.
pub(super) fn description(text: String) -> Result<String, ApiError> {
    let is_strange = |letter: char| letter.is_control() && letter != '\n';
    if text.len() > MAX_DESCRIPTION || text.chars().any(is_strange) {
        let details = format!("at most {MAX_DESCRIPTION} bytes without control characters are taken");
        return Err(invalid("description", details));
    }
    Ok(text)
}

/// The id of a club.
pub(super) fn club(field: &'static str, id: &ID) -> Result<ClubId, ApiError> {
    name(field, id.as_str()).map(ClubId::new)
}

/// How long two secrets count.
pub(super) fn overlap(hours: i32) -> Result<Duration, ApiError> {
    let seconds = u64::try_from(hours).ok().filter(|_| hours <= MAX_OVERLAP_HOURS).map(|hours| hours * 3_600);
    let refused = || invalid("overlapHours", format!("0 to {MAX_OVERLAP_HOURS} hours are taken"));
    seconds.map(Duration::from_secs).ok_or_else(refused)
}

/// A duration like `30s`, `5min`, `24h` of 1 s to `most`.
pub(super) fn duration(field: &'static str, text: &str, most: Duration) -> Result<Duration, ApiError> {
    let refused = || {
        let most = humantime::format_duration(most);
        invalid(field, format!("durations like 30s, 5min or 24h are taken, from 1s to {most}"))
    };
    let parsed = humantime::parse_duration(text).map_err(|_| refused())?;
    if (Duration::from_secs(1)..=most).contains(&parsed) { Ok(parsed) } else { Err(refused()) }
}

/// As [`duration`] reads it.
pub(super) fn shown_duration(milliseconds: u64) -> String {
    humantime::format_duration(Duration::from_millis(milliseconds)).to_string()
}

/// Absent: as it was. Null: none. Otherwise what is made of it.
pub(super) fn update<T, U>(
    current: &mut Option<U>,
    wanted: MaybeUndefined<T>,
    make: impl FnOnce(T) -> Result<U, ApiError>,
) -> Result<(), ApiError> {
    match wanted {
        MaybeUndefined::Undefined => {}
        MaybeUndefined::Null => *current = None,
        MaybeUndefined::Value(value) => *current = Some(make(value)?),
    }
    Ok(())
}
