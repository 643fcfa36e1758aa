//! A server in place of hookline's edge: answers by a rule and remembers every request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Which connection, from 0.
    pub(crate) connection: usize,
}

impl Posted {
    pub(crate) fn header(&self, name: &str) -> &[u8] {
        self.headers.get(name).map_or(&[], |value| value.as_bytes())
    }
}

/// The answer to a request, by how often the same bytes came before: a status and a body. Status 0 closes
/// the connection instead.
pub(crate) type Rule = fn(&Posted, usize) -> (u16, &'static str);

#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
    _server: JoinSet<()>,
}

impl Stub {
    pub(crate) async fn start(rule: Rule) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let posted: Arc<Mutex<Vec<Posted>>> = Arc::default();
        let mut server = JoinSet::new();
        let all = Arc::clone(&posted);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.expect("a connection");
                let all = Arc::clone(&all);
                let service = service_fn(move |request| answer(Arc::clone(&all), connection, rule, request));
                connections.spawn(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, posted, _server: server }
    }

    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.posted.lock().expect("no panic").clone()
    }
}

async fn answer(
    all: Arc<Mutex<Vec<Posted>>>,
    connection: usize,
    rule: Rule,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let posted = Posted { path: head.uri.path().to_owned(), headers: head.headers, body, connection };
    let before = {
        let mut all = all.lock().expect("no panic");
        let before = all.iter().filter(|earlier| earlier.body == posted.body).count();
        all.push(posted.clone());
        before
    };
    match rule(&posted, before) {
        (0, _) => Err(std::io::Error::other("closed")),
        (status, text) => {
            let mut response = Response::new(Full::from(text));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            Ok(response)
        }
    }
}
