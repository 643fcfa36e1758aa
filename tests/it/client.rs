//! CloudPayments, one notification at a time: what is posted where, under which secret, and all of the
//! answer that matters. The load tests' simulator does not show headers, nor that there was no answer.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hookline_load_tests::fixtures::Fixture;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The newer of the gateway's two secrets.
pub(crate) const NEW_SECRET: &str = "api-secret-new";
/// The older one, which is still good.
pub(crate) const OLD_SECRET: &str = "api-secret-old";
/// The URL that all gateways and types share.
pub(crate) const SHARED_URL: &str = "/payments/cloudpayments/callback";

/// For a request that is meant to be answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 4 * 1024 * 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    /// HTTP 200 with code 0, byte for byte.
    pub(crate) fn is_accepted(&self) -> bool {
        self.status == StatusCode::OK && self.body == r#"{"code":0}"#
    }

    /// To be sent again: 503, Retry-After, code 13.
    pub(crate) fn is_to_be_sent_again(&self) -> bool {
        let names_seconds = self.retry_after.as_ref().is_some_and(|value| value.parse::<u32>().is_ok());
        self.status == StatusCode::SERVICE_UNAVAILABLE && names_seconds && self.body == r#"{"code":13}"#
    }
}

/// The URL of a gateway and a type.
pub(crate) fn typed_url(fixture: &Fixture) -> String {
    format!("/payments/cloudpayments/gw_demo/{}", fixture.kind())
}

/// Posts a notification, on a connection of its own.
pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    secret: &str,
    fixture: &Fixture,
) -> anyhow::Result<Answer> {
    post_bytes(address, path, secret, fixture.content_type(), fixture.body.clone()).await
}

/// Posts any bytes, rightly signed with this secret.
pub(crate) async fn post_bytes(
    address: SocketAddr,
    path: &str,
    secret: &str,
    content_type: &str,
    body: Bytes,
) -> anyhow::Result<Answer> {
    let request = Request::post(path)
        .header("host", address.to_string())
        .header("content-type", content_type)
        .header("content-hmac", ContentKey::new(&Secret::new(secret)).sign(&body))
        .body(Full::new(body))?;
    send(address, request).await
}

/// GET, for the admin address.
pub(crate) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let request = Request::get(path).header("host", address.to_string()).body(Full::default())?;
    send(address, request).await
}

/// POST without a body, for the admin address.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let request = Request::post(path).header("host", address.to_string()).body(Full::default())?;
    send(address, request).await
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answering = async {
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
            let retry_after = head.headers.get("retry-after").and_then(|value| value.to_str().ok());
            anyhow::Ok(Answer {
                status: head.status,
                retry_after: retry_after.map(str::to_owned),
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        tokio::pin!(answering);
        tokio::select! {
            biased;
            answer = &mut answering => answer,
            // An end of the connection that left an answer behind is no failure.
            _ = connection => answering.await,
        }
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange).await.context("no answer")?
}
