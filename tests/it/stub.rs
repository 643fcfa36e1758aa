//! An HTTP server that answers as a test tells it: a receiver that errs, or an edge that is not well.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What is answered, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: &'static str,
    pub(crate) after: Duration,
}

impl Reply {
    /// At once, and empty.
    pub(crate) fn status(status: u16) -> Self {
        Self { status: StatusCode::from_u16(status).expect("a status"), ..Self::default() }
    }

    /// With a header.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("a header's value"));
        self
    }
}

/// A server; gone when it is dropped.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Stub {
    /// Starts it on the loopback.
    pub(crate) async fn start(
        reply: impl Fn(&Parts, &Bytes) -> Reply + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::new(reply)));
        Ok(Self { address, _accepting: accepting })
    }

    /// Where it is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn accept<F: Fn(&Parts, &Bytes) -> Reply + Send + Sync + 'static>(
    listener: TcpListener,
    reply: Arc<F>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let reply = Arc::clone(&reply);
        let answer = move |request: hyper::Request<hyper::body::Incoming>| {
            let reply = Arc::clone(&reply);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let reply = reply(&head, &body);
                tokio::time::sleep(reply.after).await;
                let mut response = Response::new(Full::new(Bytes::from(reply.body)));
                *response.status_mut() = reply.status;
                *response.headers_mut() = reply.headers;
                Ok::<_, hyper::Error>(response)
            }
        };
        connections.spawn(async move {
            // A caller that goes away has seen enough.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}
