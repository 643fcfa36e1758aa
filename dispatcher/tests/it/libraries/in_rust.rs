//! A receiver that believes what the Rust library of Standard Webhooks believes.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves until it is dropped.
pub(super) struct RustReceiver {
    port: u16,
    _serving: JoinSet<()>,
}

impl RustReceiver {
    pub(super) async fn start(secret: &str) -> Self {
        let webhook = Arc::new(Webhook::new(secret).expect("a secret"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, webhook));
        Self { port, _serving: serving }
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }
}

async fn serve(listener: TcpListener, webhook: Arc<Webhook>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let webhook = Arc::clone(&webhook);
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, &webhook));
            // The dispatcher closes its connections when it ends.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, webhook: &Webhook) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut response = Response::new(Empty::new());
    *response.status_mut() = match webhook.verify(&body, &head.headers) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    Ok(response)
}
