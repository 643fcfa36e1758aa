//! What the edge answers: one exhaustive match gives status, body and metric label together.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::check::CheckCode;

/// Why a notification was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    // The sender's fault, before the signature is checked.
    /// No such URL.
    NotFound,
    /// Another method than POST.
    NotPost,
    /// Another Content-Type than form or JSON.
    NeitherFormNorJson,
    /// The body is larger than the limit.
    TooLarge,
    /// The body broke off or is not HTTP.
    BrokenBody,
    // The signature.
    /// Neither header that could hold one.
    SignatureMissing,
    /// No key of the gateway made it.
    SignatureWrong,
    /// The URL names a gateway that does not exist.
    UnknownGateway,
    /// This source has posted too many wrong signatures.
    TooManyFailures,
    // Ours, or overload: to be sent again.
    /// No permit for another request or its bytes.
    Overloaded,
    /// The tables have not been loaded to their end.
    NotReady,
    /// The body took too long.
    SlowBody,
    /// The answer took too long: the append may still become durable.
    DeadlinePassed,
    /// The log takes no record now.
    LogNotWritable,
    // Verified, but not understood.
    /// Nobody can say which type it is: it is sent again.
    UnknownType,
}

/// What was accepted, and is answered 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// A Check, with its code.
    Check(CheckCode),
    /// The event is durable.
    Appended {
        /// When the log had taken it, by the steady clock; that it was durable is known when this is answered.
        taken_at: Duration,
    },
    /// Not understood; the quarantined body is durable.
    Quarantined,
}

impl Refusal {
    const fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::NotPost => (StatusCode::METHOD_NOT_ALLOWED, "not_post"),
            Self::NeitherFormNorJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "neither_form_nor_json"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::BrokenBody => (StatusCode::BAD_REQUEST, "broken_body"),
            Self::SignatureMissing => (StatusCode::UNAUTHORIZED, "signature_missing"),
            Self::SignatureWrong => (StatusCode::UNAUTHORIZED, "signature_wrong"),
            Self::UnknownGateway => (StatusCode::UNAUTHORIZED, "unknown_gateway"),
            Self::TooManyFailures => (StatusCode::SERVICE_UNAVAILABLE, "too_many_failures"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::SlowBody => (StatusCode::SERVICE_UNAVAILABLE, "slow_body"),
            Self::DeadlinePassed => (StatusCode::SERVICE_UNAVAILABLE, "deadline_passed"),
            Self::LogNotWritable => (StatusCode::SERVICE_UNAVAILABLE, "log_not_writable"),
            Self::UnknownType => (StatusCode::OK, "unknown_type"),
        }
    }

    /// The metric label.
    pub(crate) const fn label(self) -> &'static str {
        self.parts().1
    }

    /// Every refusal, for the table of metrics.
    pub(crate) const ALL: [Self; 15] = [
        Self::NotFound,
        Self::NotPost,
        Self::NeitherFormNorJson,
        Self::TooLarge,
        Self::BrokenBody,
        Self::SignatureMissing,
        Self::SignatureWrong,
        Self::UnknownGateway,
        Self::TooManyFailures,
        Self::Overloaded,
        Self::NotReady,
        Self::SlowBody,
        Self::DeadlinePassed,
        Self::LogNotWritable,
        Self::UnknownType,
    ];
}

/// The answer on the wire. What could not be read to its end closes the connection.
pub(crate) fn respond(outcome: Result<Accepted, Refusal>) -> Response<Full<Bytes>> {
    let (status, code) = match outcome {
        Ok(Accepted::Check(code)) => (StatusCode::OK, code),
        Ok(Accepted::Appended { .. } | Accepted::Quarantined) => (StatusCode::OK, CheckCode::MayBePaid),
        Err(refusal) => (refusal.parts().0, CheckCode::NotAccepted),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(code.body())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if matches!(
        outcome,
        Err(Refusal::TooLarge | Refusal::SlowBody | Refusal::BrokenBody | Refusal::Overloaded)
    ) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
