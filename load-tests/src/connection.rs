//! One keep-alive HTTP/1.1 connection to hookline, opened again when it is lost.
//!
//! It never repeats a request by itself, because how often a notification was posted is evidence. One of which nothing
//! was written, as the other side had closed the connection before, has not been posted: it takes another connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
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

    /// The next request takes another one.
    pub(crate) fn close(&mut self) {
        self.open = None;
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
            let (open, response) = exchange(open, address, request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES);
            let body = body.collect().await.map_err(|error| anyhow!(error))?.to_bytes();
            anyhow::Ok((open, Response::from_parts(head, body)))
        });
        let (open, answer) = tokio::time::timeout(within, exchange).await.context("no answer")??;
        self.open = Some(open);
        Ok(answer)
    }
}

/// The head of the answer, over this connection or, if it was closed before a byte was written, over another.
async fn exchange(
    open: Option<Open>,
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> anyhow::Result<(Open, Response<Incoming>)> {
    if let Some(mut open) = open
        && open.sender.ready().await.is_ok()
    {
        match open.sender.try_send_request(request).await {
            Ok(response) => return Ok((open, response)),
            Err(mut error) => match error.take_message() {
                Some(unwritten) => request = unwritten,
                None => return Err(error.into_error().into()),
            },
        }
    }
    let mut open = connect(address).await?;
    open.sender.ready().await?;
    let response = open.sender.send_request(request).await?;
    Ok((open, response))
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
