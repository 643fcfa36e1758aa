//! How each sender is spoken to. Adapters build requests and read answers; they send nothing, so that every sender gets
//! its load from the same publisher.

mod convoy;
mod django_webhook;
mod hookline;
mod outpost;
mod svix;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use hookline::Hookline;

/// The type of every event.
const EVENT_TYPE: &str = "payment.received";
/// What is published where the sender takes any JSON: about as much as hookline makes of a Pay.
const BODY_BYTES: usize = 700;

/// A request, ready to be sent.
pub(super) type Call = Request<Full<Bytes>>;

/// Who gets events.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) url: String,
    /// `whsec_` and base64.
    pub(super) secret: String,
}

/// A sender's API.
pub(super) trait Adapter: Debug {
    /// Registers these endpoints for every event, call by call; each has to be answered with 2xx.
    ///
    /// # Errors
    ///
    /// If what the peers' file says makes no request.
    fn registration(&self, endpoints: &[Endpoint]) -> anyhow::Result<Vec<Call>>;

    /// What an answer to one of these makes necessary besides.
    ///
    /// # Errors
    ///
    /// If the answer lacks what the next request needs.
    fn follow_up(&self, _answer: &Value) -> anyhow::Result<Option<Call>> {
        Ok(None)
    }

    /// Publishes the event of this number to all endpoints.
    ///
    /// # Errors
    ///
    /// As for registering.
    fn publication(&self, number: u64) -> anyhow::Result<Call>;

    /// Whether the sender has taken it upon itself to deliver what was published.
    fn is_accepted(&self, answer: &Response<Bytes>) -> bool {
        answer.status().is_success()
    }
}

/// The peers for which there is an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// `convoy`
    Convoy,
    /// `django-webhook`
    DjangoWebhook,
    /// `outpost`
    Outpost,
    /// `svix`
    Svix,
}

impl Kind {
    /// As it stands in the peers' file.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Convoy => "convoy",
            Self::DjangoWebhook => "django-webhook",
            Self::Outpost => "outpost",
            Self::Svix => "svix",
        }
    }

    /// Whether sending webhooks is what it is there for: only then is it a yardstick.
    pub(super) const fn is_service(self) -> bool {
        match self {
            Self::Convoy | Self::Outpost | Self::Svix => true,
            Self::DjangoWebhook => false,
        }
    }

    pub(super) fn adapter(self, access: Access) -> Arc<dyn Adapter> {
        match self {
            Self::Convoy => Arc::new(convoy::Convoy(access)),
            Self::DjangoWebhook => Arc::new(django_webhook::DjangoWebhook(access)),
            Self::Outpost => Arc::new(outpost::Outpost(access)),
            Self::Svix => Arc::new(svix::Svix(access)),
        }
    }
}

/// Where a peer's API is, and what it asks of its callers.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) address: SocketAddr,
    /// A bearer token, for those that want one.
    pub(super) token: Option<String>,
    /// For those whose URLs name a project.
    pub(super) project: String,
    /// A name that no other run has: endpoints of earlier runs get nothing of this one.
    pub(super) run: String,
}

impl Access {
    fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Call> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Ok(request.body(Full::new(Bytes::from(body.to_string())))?)
    }
}

/// The content of the event of this number, in the shape of what hookline sends. What is missing for its size is
/// written into the description.
fn content(number: u64) -> Value {
    let mut content = json!({
        "id": format!("evt_{number:026}"),
        "type": "PAYMENT_RECEIVED",
        "timestamp": "2026-05-30T14:32:00Z",
        "clubId": "club_1",
        "data": {
            "paymentId": number.to_string(),
            "gateway": "CLOUDPAYMENTS",
            "gatewayTransactionId": number.to_string(),
            "invoiceId": format!("order-{number}"),
            "clientId": format!("client-{}", number % 5000),
            "amount": "1490.00",
            "currency": "RUB",
            "status": "CONFIRMED",
            "testMode": false,
            "description": "",
        },
    });
    let missing = BODY_BYTES.saturating_sub(content.to_string().len());
    if let Some(description) = content.pointer_mut("/data/description") {
        *description = "x".repeat(missing).into();
    }
    content
}

#[cfg(test)]
mod tests;
