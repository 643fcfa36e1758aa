//! CloudPayments' API, as far as the control plane asks it: whether credentials are good, where notifications go, orders,
//! refunds, and what became of transactions.
//!
//! Every method is a POST with HTTP Basic (login: Public ID, password: API secret) and an answer in one envelope,
//! `{"Model": .., "Success": bool, "Message": string|null}`. The secret stands in the request's header alone.
//!
//! A request is made once; only one that came too many (429), which CloudPayments has not looked at, is made again.
//! CloudPayments may take five minutes over one that nobody here waits for any more: what became of it is not known.

mod as_notification;
mod envelope;
mod limit;
mod orders;
mod refunds;
#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests;
mod transaction;
mod transactions;
mod values;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookline_outbound::{Outbound, Patience};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Clock;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use zeroize::Zeroizing;

use self::envelope::Envelope;
use self::limit::Limit;
use crate::metrics;
use crate::settings::CloudPaymentsSettings;

pub(crate) use self::as_notification::as_notification;
pub(crate) use self::orders::Order;
pub(crate) use self::refunds::RefundRequest;
pub(crate) use self::transaction::{Transaction, TransactionStatus};

/// By this CloudPayments knows a request that it has answered.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer may be this long, where the method knows no better.
const MAX_ANSWER: usize = 64 * 1024;

/// Asks CloudPayments. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct CloudPayments {
    outbound: Outbound,
    api_url: String,
    timeout: Duration,
    first_pause: Duration,
    limit: Limit,
    clock: Clock,
}

/// Who asks: a site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    /// Its Public ID.
    pub(crate) public_id: &'a str,
    /// Its API secret.
    pub(crate) secret: &'a Secret,
}

/// Why something was not done, or is not known to have been. No message holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// 401: not this Public ID with this secret.
    #[error("CloudPayments does not accept the Public ID with this API secret")]
    InvalidCredentials,
    /// It can't be reached, or answers what it never should; the reason is for people. What was asked for may have been
    /// done, or be done yet.
    #[error("CloudPayments can't be asked: {0}")]
    Unavailable(String),
    /// It was asked and said no, in its own words. What was asked for has not been done.
    #[error("CloudPayments refuses: {0}")]
    Declined(String),
}

/// A method.
#[derive(Debug, Clone, Copy)]
struct Method<'a> {
    path: &'a str,
    /// Its name in metrics.
    operation: &'static str,
    /// `X-Request-ID`: requests with the same one are one to CloudPayments, for an hour.
    request_id: Option<&'a str>,
    /// The answer may be this long, in bytes.
    max_answer: usize,
}

impl<'a> Method<'a> {
    /// With a short answer, and without an id.
    const fn named(path: &'a str, operation: &'static str) -> Self {
        Self { path, operation, request_id: None, max_answer: MAX_ANSWER }
    }
}

/// What `/site/notifications/{Type}/update` takes. The defaults of the API are others: each is named.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NotificationSettings<'a> {
    is_enabled: bool,
    address: &'a str,
    http_method: &'static str,
    encoding: &'static str,
    format: &'static str,
}

/// The body of a method that takes nothing.
#[derive(Debug, Serialize)]
struct Nothing {}

impl CloudPayments {
    /// Asks as the settings say.
    pub(crate) fn new(outbound: Outbound, settings: &CloudPaymentsSettings, clock: Clock) -> Self {
        Self {
            outbound,
            api_url: settings.api_url.trim_end_matches('/').to_owned(),
            timeout: settings.timeout,
            first_pause: limit::FIRST_PAUSE,
            limit: Limit::new(settings.max_concurrency),
            clock,
        }
    }

    /// Asks whether the credentials are good. They are, once this returns.
    ///
    /// # Errors
    ///
    /// [`Refused::InvalidCredentials`] if CloudPayments says so; [`Refused::Unavailable`] whatever else happens.
    pub(crate) async fn test(&self, site: Site<'_>) -> Result<(), Refused> {
        match self.post(site, Method::named("/test", "test"), &Nothing {}).await {
            Err(Refused::Declined(message)) => {
                Err(Refused::Unavailable(format!("it neither accepts nor refuses them: {message}")))
            }
            tested => tested,
        }
    }

    /// Has notifications of this type sent to this address. They are, once this returns.
    ///
    /// # Errors
    ///
    /// Every [`Refused`]; after [`Refused::Unavailable`] they may be sent there or not. Check is always declined: it is
    /// set in the cabinet alone.
    pub(crate) async fn set_notification(
        &self,
        site: Site<'_>,
        notification: NotificationType,
        address: &str,
    ) -> Result<(), Refused> {
        let settings = NotificationSettings {
            is_enabled: true,
            address,
            http_method: "POST",
            encoding: "UTF8",
            format: "CloudPayments",
        };
        let path = format!("/site/notifications/{}/update", type_in_path(notification));
        self.post(site, Method::named(&path, "set_notification"), &settings).await
    }

    /// Asks a method whose answer is yes or no.
    async fn post(&self, site: Site<'_>, method: Method<'_>, body: &impl Serialize) -> Result<(), Refused> {
        let answer = self.ask(site, method, body).await?;
        Envelope::read(&answer)?.done(site.secret)
    }

    /// Asks one method, in a place of its site and within the time for all of it; the answer's body. The place is kept
    /// while a request that came too many waits: the site has more of them than CloudPayments takes.
    async fn ask(&self, site: Site<'_>, method: Method<'_>, body: &impl Serialize) -> Result<Bytes, Refused> {
        let began = self.clock.elapsed();
        let answered = self.ask_in_time(site, method, body).await;
        let took = self.clock.elapsed().saturating_sub(began);
        metrics::acquirer_asked(method.operation, outcome(answered.as_ref()), took);
        answered
    }

    async fn ask_in_time(
        &self,
        site: Site<'_>,
        method: Method<'_>,
        body: &impl Serialize,
    ) -> Result<Bytes, Refused> {
        let body = Bytes::from(serde_json::to_vec(body).map_err(|error| unavailable(&error))?);
        let asking = async {
            let _place = self.limit.permit(site.public_id).await;
            let mut pauses = limit::pauses(self.first_pause);
            loop {
                if let Some(answer) = self.ask_once(site, method, body.clone()).await? {
                    return Ok(answer);
                }
                let Some(pause) = pauses.next() else {
                    return Err(answered_with(StatusCode::TOO_MANY_REQUESTS));
                };
                tokio::time::sleep(pause).await;
            }
        };
        let late = |_| Err(Refused::Unavailable(format!("no answer within {:?}", self.timeout)));
        tokio::time::timeout(self.timeout, asking).await.unwrap_or_else(late)
    }

    /// Makes one request; no answer, if it came too many.
    async fn ask_once(
        &self,
        site: Site<'_>,
        method: Method<'_>,
        body: Bytes,
    ) -> Result<Option<Bytes>, Refused> {
        let mut request = Request::post(format!("{}{}", self.api_url, method.path))
            .header(AUTHORIZATION, basic(site))
            .header(CONTENT_TYPE, "application/json");
        if let Some(id) = method.request_id {
            request = request.header(REQUEST_ID, id);
        }
        let request = request.body(Full::new(body)).map_err(|error| unavailable(&error))?;
        let patience = Patience { head: self.timeout, body: self.timeout };
        let answer = self.outbound.send_bounded(request, patience, method.max_answer).await;
        let answer = answer.map_err(|error| unavailable(&error))?;
        match answer.response.status() {
            StatusCode::OK if answer.is_whole => Ok(Some(answer.response.into_body())),
            StatusCode::OK => Err(Refused::Unavailable("its answer broke off, or is too long".to_owned())),
            StatusCode::UNAUTHORIZED => Err(Refused::InvalidCredentials),
            StatusCode::TOO_MANY_REQUESTS => Ok(None),
            status => Err(answered_with(status)),
        }
    }
}

/// The outcome in metrics. Whether an answer is a yes or a no is read later.
const fn outcome(answered: Result<&Bytes, &Refused>) -> &'static str {
    match answered {
        Ok(_) | Err(Refused::Declined(_)) => "answered",
        Err(Refused::InvalidCredentials) => "invalid_credentials",
        Err(Refused::Unavailable(_)) => "unavailable",
    }
}

fn unavailable(error: &dyn std::error::Error) -> Refused {
    Refused::Unavailable(error.to_string())
}

fn answered_with(status: StatusCode) -> Refused {
    Refused::Unavailable(format!("it answered with status {}", status.as_u16()))
}

/// `Authorization` of a site; nothing but the header keeps it.
fn basic(Site { public_id, secret }: Site<'_>) -> HeaderValue {
    let credentials = Zeroizing::new(format!("{public_id}:{}", secret.expose()));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(credentials.as_bytes())));
    // Base64 is visible ASCII: it always is a header's value.
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// The type as the API's paths have it.
const fn type_in_path(notification: NotificationType) -> &'static str {
    match notification {
        NotificationType::Check => "Check",
        NotificationType::Pay => "Pay",
        NotificationType::Fail => "Fail",
        NotificationType::Confirm => "Confirm",
        NotificationType::Refund => "Refund",
        NotificationType::Cancel => "Cancel",
        NotificationType::Recurrent => "Recurrent",
        NotificationType::Receipt => "Receipt",
        NotificationType::Kkt => "Kkt",
        NotificationType::SbpToken => "SbpToken",
    }
}
