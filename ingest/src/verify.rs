//! Verification: the only place that makes a [`VerifiedNotification`].
//!
//! One HMAC over the raw bytes, compared in constant time with `Content-HMAC`. `X-Content-HMAC` counts only
//! where `Content-HMAC` is absent and the body is not a form: over a form's decoded text it does not bind
//! the borders of fields.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hookline_schemas::notification::{BodyFormat, NotificationType, read_fields};
use http::HeaderMap;

use crate::answer::Refusal;
use crate::directory::Directory;
use crate::gateways::{Gateways, ReadyGateway};
use crate::route::Route;
use crate::source::FailureLimit;

/// A notification that one of our gateways' secrets signed.
#[derive(Debug)]
pub(crate) struct VerifiedNotification {
    gateway: Arc<ReadyGateway>,
    declared: Option<NotificationType>,
    format: BodyFormat,
    body: Bytes,
}

impl VerifiedNotification {
    /// The gateway whose secret signed it.
    pub(crate) fn gateway(&self) -> &ReadyGateway {
        &self.gateway
    }

    /// The type that the URL names, if it does.
    pub(crate) fn declared(&self) -> Option<NotificationType> {
        self.declared
    }

    /// How the body is written.
    pub(crate) fn format(&self) -> BodyFormat {
        self.format
    }

    /// The raw body.
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }
}

/// What is to be verified.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    /// Where it was posted.
    pub(crate) route: Route<'a>,
    /// How the body is written.
    pub(crate) format: BodyFormat,
    /// The head of the request.
    pub(crate) headers: &'a HeaderMap,
    /// The raw body.
    pub(crate) body: Bytes,
    /// Who posts.
    pub(crate) source: IpAddr,
}

/// Verifies a notification against the gateways.
pub(crate) fn verify(
    gateways: &Gateways,
    directory: &Directory,
    failures: &FailureLimit,
    unverified: Unverified<'_>,
) -> Result<VerifiedNotification, Refusal> {
    let signature = signature(unverified.headers, unverified.format).ok_or(Refusal::SignatureMissing)?;
    let (gateway, declared) = match unverified.route {
        Route::Typed { gateway, kind } => {
            (of_typed_url(gateways, gateway, &unverified.body, signature)?, Some(kind))
        }
        Route::Shared => (of_shared_url(gateways, directory, failures, &unverified, signature)?, None),
    };
    Ok(VerifiedNotification { gateway, declared, format: unverified.format, body: unverified.body })
}

fn signature(headers: &HeaderMap, format: BodyFormat) -> Option<&[u8]> {
    let over_decoded_text = || match format {
        BodyFormat::Json => headers.get("x-content-hmac"),
        BodyFormat::Form => None,
    };
    headers.get("content-hmac").or_else(over_decoded_text).map(http::HeaderValue::as_bytes)
}

fn of_typed_url(
    gateways: &Gateways,
    id: &str,
    body: &[u8],
    signature: &[u8],
) -> Result<Arc<ReadyGateway>, Refusal> {
    let Some(gateway) = gateways.find(id) else {
        gateways.pretend(body, signature);
        return Err(Refusal::UnknownGateway);
    };
    if gateway.signed(body, signature) { Ok(Arc::clone(gateway)) } else { Err(Refusal::SignatureWrong) }
}

/// The gateway that the fields hint at is tried first, then the others; a source that has posted too many
/// wrong signatures gets the hint alone.
fn of_shared_url(
    gateways: &Gateways,
    directory: &Directory,
    failures: &FailureLimit,
    unverified: &Unverified<'_>,
    signature: &[u8],
) -> Result<Arc<ReadyGateway>, Refusal> {
    let body = &unverified.body;
    let shared = gateways.shared();
    let hint = read_fields(unverified.format, body)
        .ok()
        .and_then(|fields| shared.iter().position(|ready| directory.hints_at(&ready.gateway, &fields)));
    if let Some(ready) = hint.and_then(|position| shared.get(position))
        && ready.signed(body, signature)
    {
        return Ok(Arc::clone(ready));
    }
    if failures.is_exhausted(unverified.source) {
        return Err(Refusal::TooManyFailures);
    }
    let mut others = shared.iter().enumerate().filter(|(position, _)| hint != Some(*position));
    match others.find(|(_, ready)| ready.signed(body, signature)) {
        Some((_, ready)) => Ok(Arc::clone(ready)),
        None => {
            failures.count(unverified.source);
            Err(Refusal::SignatureWrong)
        }
    }
}
