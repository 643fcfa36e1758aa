//! A stand-in for CloudPayments' API on the loopback: answers what it was told, one answer a request, and writes down
//! what it was asked and by how many at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hookline_outbound::Outbound;
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Clock;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::super::{CloudPayments, Site};
use crate::settings::CloudPaymentsSettings;

/// One answer.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A status and a body.
    Of(u16, String),
    /// 200 with an empty success, once the gate lets it through.
    Gated,
    /// None.
    Never,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) request_id: Option<String>,
    pub(super) body: String,
}

#[derive(Debug, Default)]
struct Book {
    answers: VecDeque<Answer>,
    asked: Vec<Asked>,
    open: usize,
    most_open: usize,
}

/// The API, running.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    url: String,
    secret: Secret,
    gate: Arc<Semaphore>,
    book: Arc<Mutex<Book>>,
}

impl Stand {
    /// Gives these answers in turn, the last of them for ever.
    pub(super) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let book = Book { answers: answers.into_iter().collect(), ..Book::default() };
        let stand = Self {
            url,
            secret: Secret::new("secret_1"),
            gate: Arc::new(Semaphore::new(0)),
            book: Arc::new(Mutex::new(book)),
        };
        let router = Router::new().fallback(answer).with_state(stand.clone());
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
        stand
    }

    /// The same with one answer, which is understood.
    pub(super) async fn saying(body: &str) -> Self {
        Self::start([Answer::Of(200, body.to_owned())]).await
    }

    /// A client that asks it, patient and with short pauses.
    pub(super) fn client(&self, max_concurrency: usize) -> CloudPayments {
        let settings = CloudPaymentsSettings {
            api_url: self.url.clone(),
            callback_url: None,
            ca_file: None,
            timeout: Duration::from_secs(60),
            max_concurrency,
        };
        let outbound = Outbound::new(None, Clock::start()).expect("a client");
        let client = CloudPayments::new(outbound, &settings, Clock::start());
        CloudPayments { first_pause: Duration::from_millis(2), ..client }
    }

    pub(super) fn site(&self) -> Site<'_> {
        Site { public_id: "pk_1", secret: &self.secret }
    }

    pub(super) fn other_site(&self) -> Site<'_> {
        Site { public_id: "pk_2", secret: &self.secret }
    }

    /// Lets so many gated requests through.
    pub(super) fn let_through(&self, requests: usize) {
        self.gate.add_permits(requests);
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.book().asked.clone()
    }

    pub(super) fn most_open(&self) -> usize {
        self.book().most_open
    }

    /// Waits until it has been asked so often.
    pub(super) async fn has_been_asked(&self, times: usize) {
        let wait = async {
            while self.asked().len() < times {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it is asked");
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(stand): State<Stand>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 64 * 1024).await.expect("a body");
    let request_id = head.headers.get("x-request-id").map(|id| id.to_str().expect("ASCII").to_owned());
    let answer = {
        let mut book = stand.book();
        let body = String::from_utf8(body.to_vec()).expect("a text");
        book.asked.push(Asked { path: head.uri.path().to_owned(), request_id, body });
        book.open += 1;
        book.most_open = book.most_open.max(book.open);
        let last = book.answers.len() == 1;
        if last { book.answers.front().cloned() } else { book.answers.pop_front() }
    };
    let answered = match answer.expect("an answer") {
        Answer::Of(status, body) => (StatusCode::from_u16(status).expect("a status"), body).into_response(),
        Answer::Never => std::future::pending().await,
        Answer::Gated => {
            stand.gate.acquire().await.expect("an open gate").forget();
            r#"{"Success":true}"#.into_response()
        }
    };
    stand.book().open -= 1;
    answered
}
