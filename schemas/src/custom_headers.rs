//! Headers that the owner of a webhook wants on its attempts: a token of his gateway, a tenant's name.
//!
//! Checked once, here, so that whoever holds [`CustomHeaders`] may send them: nothing that says what we send, for
//! whom or over which connection, and nothing that could end a header early. Values are secrets.

use http::header::{CONNECTION, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::secret::Secret;

/// So many headers at most.
pub const MAX_HEADERS: usize = 32;

/// So many bytes at most, names and values together: receivers take heads of 8 to 16 KiB, and ours are in them too.
pub const MAX_BYTES: usize = 8 * 1024;

/// What begins so is ours, says what our body is, or is for a proxy on the way.
const RESERVED_PREFIXES: [&str; 4] = ["webhook-", "x-izi-", "content-", "proxy-"];

/// What belongs to the connection, and our name.
const RESERVED: [HeaderName; 9] = [
    HOST,
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    TRANSFER_ENCODING,
    TE,
    TRAILER,
    UPGRADE,
    EXPECT,
    USER_AGENT,
];

/// Headers that may be sent beside ours. `Debug` shows the names alone.
#[derive(Debug, Clone, Default)]
pub struct CustomHeaders(HeaderMap);

/// Why a set of headers is refused. No message holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustomHeadersError {
    /// More than [`MAX_HEADERS`].
    #[error("{0} headers, and {MAX_HEADERS} are taken at most")]
    TooMany(usize),
    /// More than [`MAX_BYTES`].
    #[error("{0} bytes of headers, and {MAX_BYTES} are taken at most, names and values together")]
    TooLong(usize),
    /// Not a name as HTTP has it (RFC 9110, 5.1).
    #[error("{0:?} is not a header's name")]
    Name(String),
    /// A value that would not arrive as it stands.
    #[error("the value of {0} holds more than visible ASCII characters, or begins or ends with a blank")]
    Value(HeaderName),
    /// Ours, or the protocol's.
    #[error("{0} is reserved: hookline sets it itself, or the connection needs it")]
    Reserved(HeaderName),
    /// Twice the same name; case makes no difference.
    #[error("{0} is there twice: the case of a header's name makes no difference")]
    Duplicate(HeaderName),
}

impl CustomHeaders {
    /// Checks names and values.
    ///
    /// # Errors
    ///
    /// [`CustomHeadersError`] names the first header that can't be sent, or the limit that all together exceed.
    pub fn parse<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a Secret)>,
    ) -> Result<Self, CustomHeadersError> {
        let headers: Vec<_> = headers.into_iter().collect();
        if headers.len() > MAX_HEADERS {
            return Err(CustomHeadersError::TooMany(headers.len()));
        }
        let bytes = headers.iter().map(|(name, value)| name.len() + value.expose().len()).sum();
        if bytes > MAX_BYTES {
            return Err(CustomHeadersError::TooLong(bytes));
        }
        let mut checked = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| CustomHeadersError::Name(name.to_owned()))?;
            if is_reserved(&name) {
                return Err(CustomHeadersError::Reserved(name));
            }
            let value = parse_value(value).ok_or_else(|| CustomHeadersError::Value(name.clone()))?;
            if checked.insert(&name, value).is_some() {
                return Err(CustomHeadersError::Duplicate(name));
            }
        }
        Ok(Self(checked))
    }

    /// The headers, each name once, each value marked as sensitive.
    pub const fn as_map(&self) -> &HeaderMap {
        &self.0
    }
}

fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(name) || RESERVED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// Blanks around a value are no part of it, and what is not ASCII is read in different ways (RFC 9110, 5.5): the
/// receiver would get another value.
fn parse_value(value: &Secret) -> Option<HeaderValue> {
    let text = value.expose();
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if !is_visible || text.trim_ascii().len() != text.len() {
        return None;
    }
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(headers: &[(&str, &str)]) -> Result<CustomHeaders, CustomHeadersError> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Secret::new(*value))).collect();
        CustomHeaders::parse(headers.iter().map(|(name, value)| (*name, value)))
    }

    #[test]
    fn takes_names_and_values_as_http_has_them() {
        for (name, value, expected) in [
            ("X-Tenant", "club-7", Ok(())),
            ("authorization", "Bearer a b", Ok(())),
            ("x-empty", "", Ok(())),
            ("", "a", Err(CustomHeadersError::Name(String::new()))),
            ("x tenant", "a", Err(CustomHeadersError::Name("x tenant".to_owned()))),
            ("x-tenant:", "a", Err(CustomHeadersError::Name("x-tenant:".to_owned()))),
            ("x\r\nhost", "a", Err(CustomHeadersError::Name("x\r\nhost".to_owned()))),
            ("x-ключ", "a", Err(CustomHeadersError::Name("x-ключ".to_owned()))),
            ("x-a", "b\r\nhost: c", Err(CustomHeadersError::Value(HeaderName::from_static("x-a")))),
            ("x-a", "b\0", Err(CustomHeadersError::Value(HeaderName::from_static("x-a")))),
            ("x-a", "b\tc", Err(CustomHeadersError::Value(HeaderName::from_static("x-a")))),
            ("x-a", "клуб", Err(CustomHeadersError::Value(HeaderName::from_static("x-a")))),
            ("x-a", " b", Err(CustomHeadersError::Value(HeaderName::from_static("x-a")))),
            ("x-a", "b ", Err(CustomHeadersError::Value(HeaderName::from_static("x-a")))),
        ] {
            let parsed = parse(&[(name, value)]);
            if expected.is_ok() {
                let sent = parsed.as_ref().ok().and_then(|headers| headers.as_map().get(name));
                assert_eq!(sent.and_then(|sent| sent.to_str().ok()), Some(value), "{name:?}");
            }
            assert_eq!(parsed.map(drop), expected, "{name:?}: {value:?}");
        }
    }

    #[test]
    fn ours_and_the_protocols_are_reserved_in_every_spelling() {
        for name in [
            "webhook-id",
            "Webhook-Signature",
            "webhook-anything",
            "x-izi-signature",
            "X-IZI-Signature-Next",
            "content-type",
            "Content-Length",
            "content-encoding",
            "transfer-encoding",
            "HOST",
            "connection",
            "keep-alive",
            "proxy-authorization",
            "Proxy-Connection",
            "te",
            "trailer",
            "upgrade",
            "expect",
            "user-agent",
        ] {
            let expected = CustomHeadersError::Reserved(name.parse().expect("a name"));
            assert_eq!(parse(&[("x-tenant", "a"), (name, "b")]).map(drop), Err(expected), "{name}");
        }
        for name in ["webhook", "x-izi", "x-webhook-id", "hostname", "x-te", "cookie"] {
            assert!(parse(&[(name, "a")]).is_ok(), "{name}");
        }
    }

    #[test]
    fn two_spellings_are_one_name() {
        let twice = parse(&[("X-Tenant", "a"), ("x-tenant", "b")]).map(drop);
        assert_eq!(twice, Err(CustomHeadersError::Duplicate(HeaderName::from_static("x-tenant"))));
    }

    #[test]
    fn there_are_not_too_many_and_not_too_long() {
        let names: Vec<String> = (0..=MAX_HEADERS).map(|number| format!("x-{number}")).collect();
        let headers: Vec<_> = names.iter().map(|name| (name.as_str(), "a")).collect();
        assert_eq!(parse(&headers).map(drop), Err(CustomHeadersError::TooMany(MAX_HEADERS + 1)));
        assert!(parse(headers.get(1..).expect("one less")).is_ok());
        for (length, expected) in
            [(MAX_BYTES - 3, Ok(())), (MAX_BYTES - 2, Err(CustomHeadersError::TooLong(MAX_BYTES + 1)))]
        {
            assert_eq!(parse(&[("x-a", &"b".repeat(length))]).map(drop), expected, "{length}");
        }
    }

    #[test]
    fn no_value_is_shown() {
        let headers = parse(&[("Authorization", "Bearer s3cret")]).expect("headers");
        assert_eq!(format!("{headers:?}"), "CustomHeaders({\"authorization\": Sensitive})");
        let error = parse(&[("x-a", "s3cret\n")]).expect_err("a line's end");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}
