//! What is said over a socket: the words of both protocols, and how a socket ends.
//!
//! The modern one is `graphql-transport-ws`, the legacy one `graphql-ws` (of subscriptions-transport-ws). What a client
//! says is read by async-graphql, which takes the words of either.

use std::borrow::Cow;

use async_graphql::{Response as Answer, Value as Data};
use axum::extract::ws::{CloseFrame, close_code};
use hookline_schemas::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::errors;
use super::super::rate::Exceeded;
use super::super::refusal::Refusal;
use super::places::NoPlace;
use super::{MAX_DENIALS, MAX_HEARD, MAX_SUBSCRIPTIONS, MAX_WAITING};
use crate::error::ApiError;

/// How long the reason in a close frame may be, by RFC 6455.
const MAX_REASON: usize = 123;

/// Which words are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `graphql-transport-ws`.
    Modern,
    /// `graphql-ws`.
    Legacy,
}

/// What a client is told.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Word<'w> {
    /// Welcome.
    ConnectionAck,
    /// The legacy one: not welcome.
    ConnectionError { payload: Value },
    /// I am here, too.
    Pong,
    /// An answer, in the modern one's word.
    Next { id: &'w str, payload: &'w Answer },
    /// An answer, in the legacy one's.
    Data { id: &'w str, payload: &'w Answer },
    /// Nothing comes: it was refused.
    Error { id: &'w str, payload: Value },
    /// Nothing more comes.
    Complete { id: &'w str },
}

impl Protocol {
    /// The one that is preferred comes first.
    pub(super) const ALL: [Self; 2] = [Self::Modern, Self::Legacy];

    /// As it stands in `Sec-WebSocket-Protocol`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Modern => "graphql-transport-ws",
            Self::Legacy => "graphql-ws",
        }
    }

    pub(super) const fn answer<'w>(self, id: &'w str, payload: &'w Answer) -> Word<'w> {
        match self {
            Self::Modern => Word::Next { id, payload },
            Self::Legacy => Word::Data { id, payload },
        }
    }

    /// The modern one lists the errors, the legacy one has room for one.
    pub(super) fn refusal(self, id: &str, errors: Vec<Value>) -> Word<'_> {
        let payload = match self {
            Self::Modern => Value::Array(errors),
            Self::Legacy => errors.into_iter().next().unwrap_or_default(),
        };
        Word::Error { id, payload }
    }
}

/// Whether it was refused as a whole: resolvers' errors have a path.
pub(super) fn was_never_executed(answer: &Answer) -> bool {
    let is_empty = answer.data == Data::Null && !answer.errors.is_empty();
    is_empty && answer.errors.iter().all(|error| error.path.is_empty())
}

/// Why one subscription is not begun; the socket stays open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denial {
    RateLimited(Exceeded),
    /// A query or a mutation.
    NotHere,
    /// Another number of fields than one.
    Wide,
    /// More fields, with all its fragments, than are looked at.
    Large,
    /// As many as there may be on one socket are running.
    TooMany,
}

impl Denial {
    pub(super) fn error(&self, now: Timestamp) -> Value {
        match self {
            Self::RateLimited(exceeded) => {
                let refusal = Refusal::RateLimited(*exceeded);
                let mut error = errors::error(&refusal.message(), refusal.code(), now);
                // What a header says over HTTP.
                if let Some(extensions) = error.get_mut("extensions").and_then(Value::as_object_mut) {
                    extensions.insert("retryAfter".to_owned(), json!(refusal.retry_after()));
                }
                error
            }
            Self::NotHere => errors::error(
                "only subscriptions are answered here: queries and mutations are posted, POST /graphql",
                "INVALID_INPUT",
                now,
            ),
            Self::Wide => errors::error(
                "a subscription has exactly one field at its root, and no fragment there",
                "INVALID_INPUT",
                now,
            ),
            Self::Large => errors::error(
                "the document comes to too many fields, with all its fragments",
                "INVALID_INPUT",
                now,
            ),
            Self::TooMany => {
                let message = format!("{MAX_SUBSCRIPTIONS} subscriptions are running on this socket");
                errors::error(&message, "TOO_MANY_SUBSCRIPTIONS", now)
            }
        }
    }
}

/// How a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    // The client's doing.
    /// He said goodbye.
    Closed,
    /// He asked for it in the legacy one's word.
    Terminated,
    /// What came was no WebSocket, or far too long, or the connection broke.
    Unreadable,
    /// Longer than it may be.
    TooLong,
    /// Not a word of the protocol.
    Malformed,
    /// No good token.
    Unauthorized(ApiError),
    /// The token was good until now.
    Expired,
    /// He did not say in time who he is.
    Silent,
    /// He asked before he had said who he is.
    Uninvited,
    /// He said twice who he is.
    InvitedTwice,
    /// Two subscriptions of one name.
    Duplicate,
    /// His token has asked for too much already.
    RateLimited(Exceeded),
    /// He sends too much, whatever it is.
    Flood,
    /// He goes on asking for what he is refused.
    Denied,
    /// His token has too many sockets, or the process has.
    NoPlace(NoPlace),
    /// He does not read.
    TooSlow,
    /// Nothing was heard from him.
    Gone,
    /// What was said could not be sent.
    Broken,
    // Ours.
    /// Nobody can be identified.
    Unavailable,
    /// The process stops.
    GoingAway,
    /// Another control is the active one.
    Restarting,
}

impl End {
    /// What is wrong with a token. Where it is not known, the client is to come again.
    pub(super) fn of_token(error: ApiError) -> Self {
        match error {
            ApiError::Unavailable(_) => Self::Unavailable,
            error => Self::Unauthorized(error),
        }
    }

    /// Code and metric label; where nobody listens any more there is no code.
    const fn parts(&self) -> (Option<u16>, &'static str) {
        match self {
            Self::Closed => (None, "client"),
            Self::Terminated => (Some(close_code::NORMAL), "client"),
            Self::Unreadable => (Some(close_code::PROTOCOL), "broken"),
            Self::Broken => (None, "broken"),
            Self::TooLong => (Some(close_code::SIZE), "too_long"),
            Self::Malformed => (Some(4400), "malformed"),
            Self::Unauthorized(_) => (Some(4401), "unauthorized"),
            Self::Expired => (Some(4401), "expired"),
            Self::Uninvited => (Some(4401), "uninvited"),
            Self::Silent => (Some(4408), "silent"),
            Self::Duplicate => (Some(4409), "duplicate"),
            Self::InvitedTwice => (Some(4429), "invited_twice"),
            Self::RateLimited(_) => (Some(4429), "rate_limited"),
            Self::Flood => (Some(4429), "flood"),
            Self::Denied => (Some(4429), "denied"),
            Self::NoPlace(NoPlace::Token) => (Some(4429), "no_place"),
            // Not 4429, after which clients don't come again.
            Self::NoPlace(NoPlace::Full) => (Some(close_code::AGAIN), "no_place"),
            Self::TooSlow => (Some(4430), "too_slow"),
            // As IANA's registry has it: timeout.
            Self::Gone => (Some(3008), "gone"),
            Self::Unavailable => (Some(close_code::AGAIN), "unavailable"),
            Self::GoingAway => (Some(close_code::AWAY), "going_away"),
            Self::Restarting => (Some(close_code::RESTART), "restarting"),
        }
    }

    /// The metric label.
    pub(super) const fn label(&self) -> &'static str {
        self.parts().1
    }

    /// For people. Nothing of what the client said is repeated.
    fn reason(&self) -> Cow<'static, str> {
        match self {
            Self::Closed | Self::Terminated | Self::Broken => "".into(),
            Self::Unreadable => "what came is no WebSocket message, or far too long".into(),
            Self::TooLong => "a message may have 64 KiB".into(),
            Self::Malformed => "what came is not of the protocol".into(),
            Self::Unauthorized(error) => error.to_string().into(),
            Self::Expired => ApiError::TokenExpired.to_string().into(),
            Self::Uninvited => "connection_init and its answer come first".into(),
            Self::Silent => "connection_init did not come in time".into(),
            Self::Duplicate => "a subscription of this id is running".into(),
            Self::InvitedTwice => "connection_init came twice".into(),
            Self::RateLimited(exceeded) => Refusal::RateLimited(*exceeded).message().into(),
            Self::Flood => format!("more than {MAX_HEARD} messages in 10 seconds").into(),
            Self::Denied => format!("{MAX_DENIALS} subscriptions in a row were refused").into(),
            Self::NoPlace(no_place) => Refusal::NoPlace(*no_place).message().into(),
            Self::TooSlow => format!("too slow: {MAX_WAITING} messages wait to be read").into(),
            Self::Gone => "nothing was heard, not even a pong".into(),
            Self::Unavailable => "the identity provider's keys are not to be had: try again".into(),
            Self::GoingAway => "going away".into(),
            Self::Restarting => "service restart: another control is the active one".into(),
        }
    }

    /// What goes over the wire, if there is somebody to tell.
    pub(super) fn frame(&self) -> Option<CloseFrame> {
        let code = self.parts().0?;
        let reason = self.reason();
        let end = (0..=MAX_REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
        let reason = end.and_then(|end| reason.get(..end)).unwrap_or_default();
        Some(CloseFrame { code, reason: reason.into() })
    }

    /// The legacy one's answer to who is not welcome.
    pub(super) fn connection_error(&self, now: Timestamp) -> Value {
        let code = match self {
            Self::Unauthorized(error) => error.code(),
            Self::Unavailable | Self::NoPlace(NoPlace::Full) => "SERVICE_UNAVAILABLE",
            _ => "RATE_LIMITED",
        };
        errors::error(&self.reason(), code, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_to_what_a_frame_holds() {
        let long = "ж".repeat(100);
        let frame = End::Unauthorized(ApiError::AlreadyExists(long)).frame().expect("a frame");
        assert_eq!(frame.reason.as_str(), "ж".repeat(61));
    }
}
