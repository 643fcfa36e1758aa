//! One attempt: one signed HTTP request, one deadline over all of it, an outcome that is data.

mod answer;
mod connect;
mod connection;
mod guard;
mod kept;
mod rationed;
mod reason;
mod request;
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
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};

use crate::core::Prepared;
use crate::settings::Settings;
pub(crate) use answer::Ended;
use answer::{BODY_TIMEOUT, beginning_of, outcome_of, readable};
use connect::GuardedConnector;
use connection::{Connection, NoAnswer};
use guard::AddressGuard;
use kept::{Keep, Kept};
use reason::{reason_of, reason_of_connecting};
use request::request_of;
use resolve::{Resolve, SystemResolver};

/// A connection is kept for the next attempt for so long.
const IDLE: Duration = Duration::from_secs(60);

/// A connection is used for so long.
const AGE: Duration = Duration::from_secs(300);

/// Makes attempts. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sender<R: Resolve = SystemResolver> {
    connector: GuardedConnector<R>,
    kept: Kept,
    timeout: Duration,
    allow_http: bool,
    clock: Clock,
}

impl Sender {
    pub(crate) fn new(settings: &Settings, clock: Clock) -> Result<Self, TlsError> {
        let keep = Keep { idle: IDLE, age: AGE, most: settings.endpoint_concurrency };
        Self::resolving(settings, SystemResolver::default(), keep, clock)
    }
}

impl<R: Resolve> Sender<R> {
    fn resolving(settings: &Settings, resolver: R, keep: Keep, clock: Clock) -> Result<Self, TlsError> {
        let guard = AddressGuard::new(settings.allow_addresses.clone());
        let (ca_file, timeout) = (settings.ca_file.as_deref(), settings.attempt_timeout);
        let connector = GuardedConnector::new(guard, resolver, ca_file, timeout)?;
        Ok(Self { connector, kept: Kept::new(keep), timeout, allow_http: settings.allow_http, clock })
    }

    /// Closes connections that nobody has needed for long. Called every now and then.
    pub(crate) fn tidy(&self) {
        self.kept.tidy(self.clock.elapsed());
    }

    /// Makes one attempt: what it sends leaves once at most.
    pub(crate) async fn attempt(&self, webhook: &Webhook, event: &Prepared) -> Ended {
        if !self.allow_http && webhook.url.scheme_str() != Some("https") {
            return Ended::failed(FailureReason::BlockedAddress);
        }
        let began = self.clock.elapsed();
        let request = request_of(webhook, event, self.clock.wall());
        match tokio::time::timeout(self.timeout, self.exchange(webhook, request)).await {
            Err(_) => Ended::failed(FailureReason::Timeout),
            Ok(Err(reason)) => Ended::failed(reason),
            Ok(Ok((response, connection))) => {
                let left = (began + self.timeout).saturating_sub(self.clock.elapsed());
                self.end(webhook, response, connection, left).await
            }
        }
    }

    /// Sends the request over a connection that is kept, or a new one. That the other side has closed one that was kept
    /// shows only here, and the next is tried.
    async fn exchange(
        &self,
        webhook: &Webhook,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Box<Connection>), FailureReason> {
        while let Some(mut connection) = self.kept.take(webhook, self.clock.elapsed()) {
            match connection.send(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(NoAnswer::NotSent(unsent)) => request = *unsent,
                Err(NoAnswer::Broken(error)) => return Err(reason_of(&error)),
            }
        }
        // Seldom, and much to remember while it lasts.
        let making = Connection::make(&self.connector, webhook.url.clone(), self.clock.elapsed());
        let mut connection = Box::pin(making).await.map_err(|error| reason_of_connecting(&*error))?;
        match connection.send(request).await {
            Ok(response) => Ok((response, connection)),
            Err(NoAnswer::NotSent(_)) => Err(FailureReason::Broken),
            Err(NoAnswer::Broken(error)) => Err(reason_of(&error)),
        }
    }

    /// Reads the answer's body, and keeps the connection where that came to its end.
    async fn end(
        &self,
        webhook: &Webhook,
        response: Response<Incoming>,
        mut connection: Box<Connection>,
        left: Duration,
    ) -> Ended {
        let (head, body) = response.into_parts();
        let outcome = outcome_of(head.status, &head.headers, self.clock.wall());
        let mut beginning = Vec::new();
        let is_whole = body.is_end_stream()
            || connection.beside(beginning_of(body, left.min(BODY_TIMEOUT), &mut beginning)).await;
        if is_whole {
            self.kept.put(webhook, connection, self.clock.elapsed());
        }
        let answer = if outcome.is_delivered() { None } else { readable(&beginning) };
        Ended { outcome, answer }
    }
}
