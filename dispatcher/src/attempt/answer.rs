//! What comes back: how much of it is read, what it means, and what is kept of it for people.

use std::time::Duration;

use bytes::Bytes;
use hookline_schemas::delivery::{AttemptOutcome, FailureReason};
use hookline_schemas::time::Timestamp;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::retry_after;

/// The head of an answer may be this long.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// So much of an answer's body is read, so that the connection can be used again. As it comes: no encoding was
/// asked for, and none is undone, so nothing grows here.
const MAX_BODY: usize = 64 * 1024;

/// So much of an answer is read in all, with interim answers and the marks of chunks.
pub(crate) const MAX_ANSWER: usize = MAX_HEAD + MAX_BODY + 16 * 1024;

/// The outcome is known before the body: for so long it is read.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_millis(500);

/// So much of a body is kept, where the answer is no 2xx.
const KEPT: usize = 1024;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What it means for the delivery.
    pub(crate) outcome: AttemptOutcome,
    /// The beginning of what the receiver said, unless it was a 2xx or nothing.
    pub(crate) answer: Option<String>,
}

impl Ended {
    /// Without an answer.
    pub(crate) const fn failed(reason: FailureReason) -> Self {
        Self { outcome: AttemptOutcome::Retryable { reason, retry_after: None }, answer: None }
    }
}

/// What the head of an answer means. A 2xx is a delivery even if the body fails; redirects are failures.
pub(crate) fn outcome_of(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> AttemptOutcome {
    let reason = FailureReason::Status(status.as_u16());
    match status {
        _ if status.is_success() => AttemptOutcome::Delivered { status: status.as_u16() },
        StatusCode::GONE | StatusCode::PAYLOAD_TOO_LARGE => AttemptOutcome::Rejected { reason },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = asked.and_then(|value| retry_after::parse(value, now));
            AttemptOutcome::Retryable { reason, retry_after }
        }
        _ => AttemptOutcome::Retryable { reason, retry_after: None },
    }
}

/// Reads a body as far as it is read at all, for this time at most, and keeps its beginning. Neither an endless body nor
/// one that breaks changes what the status said. Whether it came to its end.
pub(crate) async fn beginning_of(mut body: Incoming, within: Duration, kept: &mut Vec<u8>) -> bool {
    let reading = async {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            let data = frame.data_ref().map_or(&[][..], Bytes::as_ref);
            kept.extend(data.iter().take(KEPT - kept.len()));
            read += data.len();
            if read > MAX_BODY {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(within, reading).await.unwrap_or(false)
}

/// The beginning of a body as a text that shows the same wherever it is shown: what is no UTF-8 is replaced, what
/// would move a cursor is a space, and what would only hide something is left out.
pub(crate) fn readable(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let shown = text.chars().filter(|character| !is_hidden(*character));
    let shown: String = shown.map(|character| if character.is_control() { ' ' } else { character }).collect();
    let shown = shown.trim();
    (!shown.is_empty()).then(|| shown.to_owned())
}

/// Marks of direction and of width zero: text could pretend to be another.
const fn is_hidden(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_can_be_shown() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b" \r\n\t", None),
            (b"{\"error\": \"no such club\"}", Some("{\"error\": \"no such club\"}")),
            (b"one\r\ntwo", Some("one  two")),
            (b"\x1b[2Jgone\x00", Some("[2Jgone")),
            ("ошибка".as_bytes(), Some("ошибка")),
            (b"\xff\xfe", Some("\u{fffd}\u{fffd}")),
            ("a\u{202e}b\u{200b}c\u{9b}d".as_bytes(), Some("abc d")),
        ] {
            assert_eq!(readable(bytes).as_deref(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn the_head_alone_decides() {
        let retry_after =
            |value: &str| HeaderMap::from_iter([(RETRY_AFTER, value.parse().expect("a value"))]);
        let retryable = |status, retry_after| AttemptOutcome::Retryable {
            reason: FailureReason::Status(status),
            retry_after,
        };
        let rejected = |status| AttemptOutcome::Rejected { reason: FailureReason::Status(status) };
        for (status, expected) in [
            (200, AttemptOutcome::Delivered { status: 200 }),
            (204, AttemptOutcome::Delivered { status: 204 }),
            (299, AttemptOutcome::Delivered { status: 299 }),
            (101, retryable(101, None)),
            (302, retryable(302, None)),
            (404, retryable(404, None)),
            (410, rejected(410)),
            (413, rejected(413)),
            (429, retryable(429, Some(Duration::from_secs(7)))),
            (500, retryable(500, None)),
            (503, retryable(503, Some(Duration::from_secs(7)))),
            (999, retryable(999, None)),
        ] {
            let code = StatusCode::from_u16(status).expect("a status");
            assert_eq!(outcome_of(code, &retry_after("7"), Timestamp(0)), expected, "{status}");
        }
    }
}
