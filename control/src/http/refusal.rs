//! Why a request has no GraphQL answer: one exhaustive match gives status, code, metric label and words together.

use http::StatusCode;

use super::rate::Exceeded;
use super::sockets::NoPlace;
use crate::error::ApiError;

/// Why a request was not executed to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    // The caller's fault.
    /// No such URL.
    NotFound,
    /// Another method than POST.
    NotPost,
    /// Another Content-Type than JSON.
    NotJson,
    /// The body is larger than the limit.
    TooLarge,
    /// The body broke off or is not HTTP.
    BrokenBody,
    /// The body is no operation, nor a batch of them.
    Malformed(String),
    /// A WebSocket is wanted, by an upgrade that is none.
    NotWebSocket,
    /// A WebSocket is wanted, and none of the protocols that are spoken here.
    NoProtocol,
    /// Too many operations in too short a time.
    RateLimited(Exceeded),
    // Ours, or overload.
    /// There are too many sockets, of the token or at all.
    NoPlace(NoPlace),
    /// This control is not the active one.
    NotReady,
    /// The time was over before anything could be changed.
    Late,
    /// The time was over while something was being changed.
    LateChange,
}

impl Refusal {
    const fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        const INVALID: &str = "INVALID_INPUT";
        const UNAVAILABLE: &str = "SERVICE_UNAVAILABLE";
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND", "not_found"),
            Self::NotPost => (StatusCode::METHOD_NOT_ALLOWED, INVALID, "not_post"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, "not_json"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, INVALID, "too_large"),
            Self::BrokenBody => (StatusCode::BAD_REQUEST, INVALID, "broken_body"),
            Self::Malformed(_) => (StatusCode::OK, INVALID, "malformed"),
            Self::NotWebSocket => (StatusCode::BAD_REQUEST, INVALID, "not_websocket"),
            Self::NoProtocol => (StatusCode::BAD_REQUEST, INVALID, "no_protocol"),
            Self::NoPlace(NoPlace::Token) => {
                (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", "sockets_of_token")
            }
            Self::NoPlace(NoPlace::Full) => (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, "sockets"),
            Self::RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", "rate_limited"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, "not_ready"),
            Self::Late => (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, "late"),
            Self::LateChange => (StatusCode::SERVICE_UNAVAILABLE, ApiError::Unknown.code(), "late_change"),
        }
    }

    /// The status of the answer.
    pub(super) const fn status(&self) -> StatusCode {
        self.parts().0
    }

    /// `extensions.code`.
    pub(super) const fn code(&self) -> &'static str {
        self.parts().1
    }

    /// The metric label.
    pub(super) const fn label(&self) -> &'static str {
        self.parts().2
    }

    /// For people.
    pub(super) fn message(&self) -> String {
        match self {
            Self::NotFound => "there is nothing at this URL: POST /graphql".to_owned(),
            Self::NotPost => {
                "operations are posted: POST /graphql; subscriptions have a WebSocket there".to_owned()
            }
            Self::NotJson => "the body is to be application/json".to_owned(),
            Self::TooLarge => "the body is larger than 256 KiB".to_owned(),
            Self::BrokenBody => "the body broke off".to_owned(),
            Self::Malformed(problem) => problem.clone(),
            Self::NotWebSocket => "the upgrade is no WebSocket's of version 13".to_owned(),
            Self::NoProtocol => {
                "Sec-WebSocket-Protocol is to be graphql-transport-ws or graphql-ws".to_owned()
            }
            Self::NoPlace(NoPlace::Token) => "this token has too many sockets".to_owned(),
            Self::NoPlace(NoPlace::Full) => "there are too many sockets: try again".to_owned(),
            Self::RateLimited(Exceeded { standing, .. }) => {
                format!("more than {} operations in 10 seconds", standing.limit)
            }
            Self::NotReady => "this control is not the active one: try again".to_owned(),
            Self::Late => "it took too long, and nothing has changed: try again".to_owned(),
            Self::LateChange => ApiError::Unknown.to_string(),
        }
    }

    /// Seconds after which another try may end otherwise.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited(Exceeded { retry_after, .. }) => {
                Some(u64::try_from(retry_after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX))
            }
            Self::NoPlace(_) => Some(1),
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        }
    }

    /// Whether the body may not have been read to its end, so that nothing else can come behind it.
    pub(super) const fn breaks_off(&self) -> bool {
        matches!(self, Self::TooLarge | Self::BrokenBody | Self::Late | Self::LateChange)
    }
}
