//! Requests out of a connection's bytes: as much of HTTP/1.1 as hookline speaks. Nothing is copied, and nothing waits.

use httparse::{EMPTY_HEADER, Header, Request as Head, Status};

/// hookline sends ten, and an operator may add 32.
const MAX_HEADERS: usize = 64;
/// No payload is longer, and no question either.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// With its head.
pub(super) const MAX_REQUEST_BYTES: usize = MAX_BODY_BYTES + 64 * 1024;

/// A whole request; it lies in the buffer that it was read from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    /// `webhook-id`.
    pub(super) id: Option<&'a str>,
    /// `webhook-timestamp`.
    pub(super) timestamp: Option<&'a str>,
    /// `webhook-signature`.
    pub(super) standard: Option<&'a str>,
    /// `x-izi-signature`.
    pub(super) izi: Option<&'a str>,
    pub(super) body: &'a [u8],
    /// How much of the buffer it takes.
    pub(super) length: usize,
}

/// What comes is no request that could be answered, and what follows it can't be read either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The first request in the buffer, once it is there as a whole.
pub(super) fn first(buffer: &[u8]) -> Result<Option<Request<'_>>, Malformed> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut head = Head::new(&mut headers);
    let Status::Complete(head_length) = head.parse(buffer).map_err(|_| Malformed)? else {
        return if buffer.len() > MAX_REQUEST_BYTES { Err(Malformed) } else { Ok(None) };
    };
    let mut request = Request { path: head.path.unwrap_or_default(), ..Request::default() };
    let mut body_length = 0;
    for header in head.headers.iter() {
        match place(&mut request, header.name) {
            Some(place) => *place = Some(text(header)?),
            None if header.name.eq_ignore_ascii_case("content-length") => {
                body_length = text(header)?.parse().map_err(|_| Malformed)?;
            }
            // A body whose end is not known beforehand: hookline sends none.
            None if header.name.eq_ignore_ascii_case("transfer-encoding") => return Err(Malformed),
            None => {}
        }
    }
    if body_length > MAX_BODY_BYTES {
        return Err(Malformed);
    }
    request.length = head_length + body_length;
    let Some(body) = buffer.get(head_length..request.length) else { return Ok(None) };
    Ok(Some(Request { body, ..request }))
}

/// Where a header's value is kept, if it is one of those that count.
fn place<'r, 'a>(request: &'r mut Request<'a>, name: &str) -> Option<&'r mut Option<&'a str>> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        10 if is("webhook-id") => Some(&mut request.id),
        17 if is("webhook-timestamp") => Some(&mut request.timestamp),
        17 if is("webhook-signature") => Some(&mut request.standard),
        15 if is("x-izi-signature") => Some(&mut request.izi),
        _ => None,
    }
}

fn text<'a>(header: &Header<'a>) -> Result<&'a str, Malformed> {
    std::str::from_utf8(header.value).map_err(|_| Malformed)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use super::*;

    const WHOLE: &[u8] =
        b"POST /hooks/wh_1 HTTP/1.1\r\nHost: a\r\nWebhook-Id: evt_1\r\nwebhook-timestamp: 7\r\n\
        webhook-signature: v1,s\r\nx-izi-signature: ab\r\nx-other: 1\r\ncontent-length: 2\r\n\r\n{}";

    #[test]
    fn a_request_is_there_once_its_last_byte_is() {
        for length in 0..WHOLE.len() {
            assert_eq!(first(&WHOLE[..length]), Ok(None), "{length} bytes");
        }
        let expected = Request {
            path: "/hooks/wh_1",
            id: Some("evt_1"),
            timestamp: Some("7"),
            standard: Some("v1,s"),
            izi: Some("ab"),
            body: b"{}",
            length: WHOLE.len(),
        };
        assert_eq!(first(WHOLE), Ok(Some(expected)));
        assert_eq!(first(&[WHOLE, b"POST /"].concat()), Ok(Some(expected)));
    }

    #[test]
    fn what_is_no_request_ends_the_connection() {
        for text in [
            "\0\0\0\0 nothing",
            "POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(first(text.as_bytes()), Err(Malformed), "{text:?}");
        }
        let endless = format!("GET / HTTP/1.1\r\na: {}", "a".repeat(MAX_REQUEST_BYTES));
        assert_eq!(first(endless.as_bytes()), Err(Malformed));
    }
}
