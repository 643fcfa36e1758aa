//! One keep-alive HTTP/1.1 connection to hookline, opened again when it is lost.
//!
//! It never repeats a request by itself: how often a notification was posted is evidence.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// No answer of hookline that is read here is longer.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A connection; closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection; ends with it.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Where it leads.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection that is opened with the first request.
    pub(crate) const fn to(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Sends one request and reads the whole answer. After an error it is not known whether the request
    /// arrived, and the connection is closed.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        within: Duration,
    ) -> anyhow::Result<Response<Bytes>> {
        // Taken out and put back only after a whole answer: whatever goes wrong drops it.
        let open = self.open.take().filter(|open| !open.sender.is_closed());
        let address = self.address;
        let exchange = Box::pin(async move {
            let mut open = match open {
                Some(open) => open,
                None => connect(address).await?,
            };
            open.sender.ready().await?;
            let (head, body) = open.sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES);
            let body = body.collect().await.map_err(|error| anyhow!(error))?.to_bytes();
            anyhow::Ok((open, Response::from_parts(head, body)))
        });
        let (open, answer) = tokio::time::timeout(within, exchange).await.context("no answer")??;
        self.open = Some(open);
        Ok(answer)
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<Open> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // The error reaches whoever waits for the answer.
        let _ = connection.await;
    });
    Ok(Open { sender, _driver: driver })
}

/// GET on a connection of its own.
pub(crate) async fn get(
    address: SocketAddr,
    path: &str,
    within: Duration,
) -> anyhow::Result<Response<Bytes>> {
    let request = Request::get(path).header("host", address.to_string()).body(Full::default())?;
    Connection::to(address).send(request, within).await
}
