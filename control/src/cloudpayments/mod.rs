//! CloudPayments' API, as far as the control plane asks it: whether credentials are good, and where notifications go.
//!
//! Every method is a POST with HTTP Basic (login: Public ID, password: API secret) and an answer in one envelope,
//! `{"Model": .., "Success": bool, "Message": string|null}`. The secret stands in the request's header alone.

mod envelope;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookline_outbound::{Outbound, Patience};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::secret::Secret;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use zeroize::Zeroizing;

use self::envelope::Envelope;

/// Asks CloudPayments. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct CloudPayments {
    outbound: Outbound,
    api_url: String,
    patience: Patience,
}

/// Who asks: a site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    /// Its Public ID.
    pub(crate) public_id: &'a str,
    /// Its API secret.
    pub(crate) secret: &'a Secret,
}

/// Why something was not done. No message holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// 401: not this Public ID with this secret.
    #[error("CloudPayments does not accept the Public ID with this API secret")]
    InvalidCredentials,
    /// It can't be reached, or answers what it never should; the reason is for people.
    #[error("CloudPayments can't be asked: {0}")]
    Unavailable(String),
    /// It was asked and said no, in its own words.
    #[error("CloudPayments refuses: {0}")]
    Declined(String),
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
    /// Asks at this address, and waits so long for each answer.
    pub(crate) fn new(outbound: Outbound, api_url: &str, timeout: Duration) -> Self {
        let patience = Patience { head: timeout, body: timeout };
        Self { outbound, api_url: api_url.trim_end_matches('/').to_owned(), patience }
    }

    /// Asks whether the credentials are good. They are, once this returns.
    ///
    /// # Errors
    ///
    /// [`Refused::InvalidCredentials`] if CloudPayments says so; [`Refused::Unavailable`] whatever else happens.
    pub(crate) async fn test(&self, site: Site<'_>) -> Result<(), Refused> {
        match self.post(site, "/test", &Nothing {}).await {
            Ok(_) => Ok(()),
            Err(Refused::Declined(message)) => {
                Err(Refused::Unavailable(format!("it neither accepts nor refuses them: {message}")))
            }
            Err(refused) => Err(refused),
        }
    }

    /// Has notifications of this type sent to this address. They are, once this returns.
    ///
    /// # Errors
    ///
    /// Every [`Refused`]. Check is always declined: it is set in the cabinet alone.
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
        self.post(site, &path, &settings).await.map(drop)
    }

    /// Asks one method. An envelope is returned only if it says `"Success": true`.
    async fn post(&self, site: Site<'_>, path: &str, body: &impl Serialize) -> Result<Envelope, Refused> {
        let unavailable = |error: &dyn std::error::Error| Refused::Unavailable(error.to_string());
        let body = serde_json::to_vec(body).map_err(|error| unavailable(&error))?;
        let request = Request::post(format!("{}{path}", self.api_url))
            .header(AUTHORIZATION, basic(site))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unavailable(&error))?;
        let answer = self.outbound.send(request, self.patience).await.map_err(|error| unavailable(&error))?;
        let status = answer.response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(Refused::InvalidCredentials);
        }
        if status != StatusCode::OK || !answer.is_whole {
            return Err(Refused::Unavailable(format!("it answered with status {}", status.as_u16())));
        }
        Envelope::read(answer.response.body(), site.secret)
    }
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
