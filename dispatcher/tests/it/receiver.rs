//! A receiver that does what it is told: one script per path, every request written down.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What to do with one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) after: Duration,
    pub(crate) location: Option<&'static str>,
    pub(crate) retry_after: Option<&'static str>,
}

pub(crate) const OK: Answer = status(200);

pub(crate) const fn status(status: u16) -> Answer {
    Answer { status, after: Duration::ZERO, location: None, retry_after: None }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct State {
    scripts: HashMap<String, Vec<Answer>>,
    received: Vec<Received>,
}

/// Answers each path by its script; the last answer repeats. Without a script: 200.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state: Arc<Mutex<State>> = Arc::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, _serving: serving }
    }

    pub(crate) fn script(&self, path: &str, answers: &[Answer]) {
        self.state.lock().expect("no panic").scripts.insert(path.to_owned(), answers.to_vec());
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn received(&self, path: &str) -> Vec<Received> {
        let state = self.state.lock().expect("no panic");
        state.received.iter().filter(|received| received.path == path).cloned().collect()
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            // A dispatcher that goes away in the middle is part of the tests.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let answer = {
        let mut state = state.lock().expect("no panic");
        state.received.push(Received { path: path.clone(), headers: head.headers, body });
        let script = state.scripts.entry(path).or_insert_with(|| vec![OK]);
        if script.len() > 1 { script.remove(0) } else { script.first().copied().unwrap_or(OK) }
    };
    tokio::time::sleep(answer.after).await;
    let mut response = Response::builder().status(answer.status);
    if let Some(location) = answer.location {
        response = response.header("location", location);
    }
    if let Some(retry_after) = answer.retry_after {
        response = response.header("retry-after", retry_after);
    }
    Ok(response.body(Full::new(Bytes::from_static(b"an answer"))).expect("a response"))
}
