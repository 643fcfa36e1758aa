//! Lists that are answered page by page: how much, and from where on.

use async_graphql::SimpleObject;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::text::invalid;
use crate::error::ApiError;

/// Of a page, unless it is said otherwise.
pub(super) const DEFAULT_FIRST: i32 = 20;

/// Of a page at most.
const MAX_FIRST: i32 = 100;

/// Where a page ends.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
pub(crate) struct PageInfo {
    /// Give it as `after` for what follows. Null, where nothing was found.
    end_cursor: Option<String>,
    /// Whether there may be more behind it.
    has_next_page: bool,
}

impl PageInfo {
    pub(super) const fn new(end_cursor: Option<String>, has_next_page: bool) -> Self {
        Self { end_cursor, has_next_page }
    }
}

/// How many are wanted.
pub(super) fn first(wanted: Option<i32>) -> Result<usize, ApiError> {
    let wanted = wanted.unwrap_or(DEFAULT_FIRST);
    let in_bounds = usize::try_from(wanted).ok().filter(|_| (1..=MAX_FIRST).contains(&wanted));
    in_bounds.ok_or_else(|| invalid("first", format!("1 to {MAX_FIRST} are taken")))
}

/// A cursor of the list with this name.
pub(super) fn cursor(list: &str, place: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}:{place}"))
}

/// The place in it; `read` understands what [`cursor`] was given.
pub(super) fn after<T>(
    list: &str,
    cursor: Option<&str>,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    let Some(cursor) = cursor else { return Ok(None) };
    let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.as_deref().and_then(|text| text.strip_prefix(list)?.strip_prefix(':'));
    let refused = || invalid("after", "it is no endCursor of this list");
    place.and_then(read).map(Some).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_1_to_100() {
        for (wanted, expected) in [
            (None, Some(20)),
            (Some(1), Some(1)),
            (Some(100), Some(100)),
            (Some(0), None),
            (Some(-1), None),
            (Some(101), None),
        ] {
            assert_eq!(first(wanted).ok(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn a_cursor_is_read_by_its_own_list_alone() {
        let read = |list: &str, text: &str| after(list, Some(text), |place| place.parse::<u64>().ok());
        assert_eq!(after("letters", None, |_| Some(1)), Ok(None));
        assert_eq!(read("letters", &cursor("letters", "12")), Ok(Some(12)));
        for text in
            [cursor("attempts", "12"), cursor("letters", "x"), "12".to_owned(), String::new(), "ü".to_owned()]
        {
            assert_eq!(read("letters", &text).map_err(|error| error.field()), Err(Some("after")), "{text}");
        }
    }
}
