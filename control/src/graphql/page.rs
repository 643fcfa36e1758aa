//! Pages of what is too long for one answer.

use async_graphql::SimpleObject;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::text::invalid;
use crate::error::ApiError;

/// Unless somebody asks for more or less.
pub(super) const DEFAULT_PAGE: i32 = 20;

/// The longest page.
const MAX_PAGE: i32 = 100;

/// Where a page ends.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
pub(crate) struct PageInfo {
    /// `after` of the next page. Null, where the page is empty.
    pub(crate) end_cursor: Option<String>,
    /// Whether there may be more.
    pub(crate) has_next_page: bool,
}

/// How long a page is to be.
pub(super) fn size(first: Option<i32>) -> Result<usize, ApiError> {
    let first = first.unwrap_or(DEFAULT_PAGE);
    let size = usize::try_from(first).ok().filter(|_| (1..=MAX_PAGE).contains(&first));
    size.ok_or_else(|| invalid("first", format!("1 to {MAX_PAGE} are taken")))
}

/// A place in a list, as callers get it.
pub(super) fn cursor(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

/// The place that a cursor names.
pub(super) fn place(cursor: &str) -> Result<String, ApiError> {
    let decoded = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(not_a_cursor)
}

/// What did not come from us.
pub(super) fn not_a_cursor() -> ApiError {
    invalid("after", "it is not the endCursor of a page")
}
