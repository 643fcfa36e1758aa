//! One attempt: one signed HTTP request, one deadline over all of it, an outcome that is data.

mod connect;
mod guard;
mod retry_after;

use std::time::Duration;

use bytes::Bytes;
use hookline_schemas::delivery::{AttemptOutcome, FailureReason};
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::Webhook;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::core::Prepared;
use crate::settings::Settings;
use connect::{GuardedConnector, ReachError, cause_of};
pub use connect::{TlsError, tls_config};
use guard::AddressGuard;

/// The head of an answer may be this long.
const MAX_HEAD: usize = 16 * 1024;

/// So much of an answer's body is read, so that the connection can be used again.
const MAX_BODY: usize = 64 * 1024;

/// And for so long: the outcome is known before the body.
const BODY_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a connection is kept for the next attempt.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes attempts. Connections are kept per receiver.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    client: Client<GuardedConnector, Full<Bytes>>,
    timeout: Duration,
    allow_http: bool,
    clock: Clock,
}

impl Sender {
    pub(crate) fn new(settings: &Settings, clock: Clock) -> Result<Self, TlsError> {
        let guard = AddressGuard::new(settings.allow_addresses.clone());
        let connector = GuardedConnector::new(guard, settings.ca_file.as_deref())?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(settings.endpoint_concurrency)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Ok(Self { client, timeout: settings.attempt_timeout, allow_http: settings.allow_http, clock })
    }

    /// Makes one attempt. A 2xx is a delivery even if the body of the answer fails; redirects are failures.
    pub(crate) async fn attempt(&self, webhook: &Webhook, event: &Prepared) -> AttemptOutcome {
        let retryable = |reason| AttemptOutcome::Retryable { reason, retry_after: None };
        if !self.allow_http && webhook.url.scheme_str() != Some("https") {
            return retryable(FailureReason::BlockedAddress);
        }
        let began = self.clock.elapsed();
        let request = self.request(webhook, event);
        match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Err(_) => retryable(FailureReason::Timeout),
            Ok(Err(error)) => retryable(reason_of(&error)),
            Ok(Ok(response)) => {
                let left = (began + self.timeout).saturating_sub(self.clock.elapsed());
                self.outcome(response, left).await
            }
        }
    }

    fn request(&self, webhook: &Webhook, event: &Prepared) -> Request<Full<Bytes>> {
        let (id, now) = (event.event.id.as_str(), self.clock.wall());
        let signatures = webhook.keys.sign(id, now, &event.body);
        let mut request = Request::new(Full::new(event.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = webhook.url.clone();
        // Ours come later, and replace what has their name.
        request.headers_mut().clone_from(webhook.headers.as_map());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("hookline/", env!("CARGO_PKG_VERSION"))));
        headers.insert("webhook-timestamp", HeaderValue::from(now.unix_seconds()));
        let values = [
            ("webhook-id", Some(id)),
            ("webhook-signature", Some(signatures.standard.as_str())),
            ("x-izi-signature", Some(signatures.izi.as_str())),
            ("x-izi-signature-next", signatures.izi_next.as_deref()),
        ];
        for (name, value) in values {
            // Ids and signatures are letters, digits and a few marks.
            if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
                headers.insert(name, value);
            }
        }
        request
    }

    async fn outcome(&self, response: Response<Incoming>, left: Duration) -> AttemptOutcome {
        let status = response.status();
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|value| retry_after::parse(value, self.clock.wall()));
        // Neither an endless body nor one that breaks changes what the status said.
        let _ = tokio::time::timeout(left.min(BODY_TIMEOUT), drain(response.into_body())).await;
        let reason = FailureReason::Status(status.as_u16());
        match status {
            _ if status.is_success() => AttemptOutcome::Delivered { status: status.as_u16() },
            StatusCode::GONE | StatusCode::PAYLOAD_TOO_LARGE => AttemptOutcome::Rejected { reason },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                AttemptOutcome::Retryable { reason, retry_after }
            }
            _ => AttemptOutcome::Retryable { reason, retry_after: None },
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MAX_BODY {
            return;
        }
    }
}

fn reason_of(error: &Error) -> FailureReason {
    match cause_of::<ReachError>(error) {
        Some(ReachError::Resolve) => FailureReason::Resolve,
        Some(ReachError::Blocked) => FailureReason::BlockedAddress,
        None if cause_of::<rustls::Error>(error).is_some() => FailureReason::Tls,
        None if error.is_connect() => FailureReason::Connect,
        None => FailureReason::Broken,
    }
}
