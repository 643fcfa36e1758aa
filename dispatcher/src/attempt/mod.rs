//! One attempt: one signed HTTP request, one deadline over all of it, an outcome that is data.

mod answer;
mod connect;
mod guard;
mod rationed;
mod reason;
mod resolve;
mod retry_after;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use hookline_outbound::TlsError;
use hookline_schemas::delivery::FailureReason;
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::Webhook;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::core::Prepared;
use crate::settings::Settings;
pub(crate) use answer::Ended;
use answer::{BODY_TIMEOUT, MAX_HEAD, beginning_of, outcome_of, readable};
use connect::GuardedConnector;
use guard::AddressGuard;
use rationed::MadeAt;
use reason::reason_of;
use resolve::{Resolve, SystemResolver};

/// For how long connections are kept.
#[derive(Debug, Clone, Copy)]
struct Keep {
    /// For the next attempt.
    idle: Duration,
    /// At all.
    age: Duration,
}

const KEEP: Keep = Keep { idle: Duration::from_secs(60), age: Duration::from_secs(300) };

/// Makes attempts. Connections are kept per receiver.
#[derive(Debug, Clone)]
pub(crate) struct Sender<R: Resolve = SystemResolver> {
    client: Client<GuardedConnector<R>, Full<Bytes>>,
    timeout: Duration,
    allow_http: bool,
    keep: Keep,
    clock: Clock,
}

impl Sender {
    pub(crate) fn new(settings: &Settings, clock: Clock) -> Result<Self, TlsError> {
        Self::resolving(settings, SystemResolver::default(), KEEP, clock)
    }
}

impl<R: Resolve> Sender<R> {
    fn resolving(settings: &Settings, resolver: R, keep: Keep, clock: Clock) -> Result<Self, TlsError> {
        let guard = AddressGuard::new(settings.allow_addresses.clone());
        let (ca_file, timeout) = (settings.ca_file.as_deref(), settings.attempt_timeout);
        let connector = GuardedConnector::new(guard, resolver, ca_file, timeout, clock)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(keep.idle)
            .pool_max_idle_per_host(settings.endpoint_concurrency)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Ok(Self { client, timeout, allow_http: settings.allow_http, keep, clock })
    }

    /// Makes one attempt: what it sends leaves once at most. (The client takes another connection only where the
    /// one from its pool had ended before a byte of the request was written.)
    pub(crate) async fn attempt(&self, webhook: &Webhook, event: &Prepared) -> Ended {
        if !self.allow_http && webhook.url.scheme_str() != Some("https") {
            return Ended::failed(FailureReason::BlockedAddress);
        }
        let began = self.clock.elapsed();
        let mut request = self.request(webhook, event);
        let connection = capture_connection(&mut request);
        match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Err(_) => Ended::failed(FailureReason::Timeout),
            Ok(Err(error)) => Ended::failed(reason_of(&error)),
            Ok(Ok(response)) => {
                self.retire(&response, &connection);
                let left = (began + self.timeout).saturating_sub(self.clock.elapsed());
                self.end(response, left).await
            }
        }
    }

    async fn end(&self, response: Response<Incoming>, left: Duration) -> Ended {
        let (head, body) = response.into_parts();
        let outcome = outcome_of(head.status, &head.headers, self.clock.wall());
        let beginning = beginning_of(body, left.min(BODY_TIMEOUT)).await;
        let answer = if outcome.is_delivered() { None } else { readable(&beginning) };
        Ended { outcome, answer }
    }

    /// An old connection is not used again, however busy it is: what the name resolves to now has to be found out
    /// and judged some time.
    fn retire(&self, response: &Response<Incoming>, connection: &CaptureConnection) {
        let made_at = response.extensions().get::<MadeAt>();
        let is_old =
            made_at.is_some_and(|made_at| self.clock.elapsed().saturating_sub(made_at.0) >= self.keep.age);
        if is_old && let Some(connected) = connection.connection_metadata().as_ref() {
            connected.poison();
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
}
