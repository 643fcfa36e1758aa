//! A small CloudPayments on the loopback: knows its sites, and writes down what it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, LOCATION};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// How a site's API does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    Unavailable,
    Garbage,
    Refusing,
    Redirecting,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) login: String,
    pub(super) body: Value,
}

#[derive(Debug, Default)]
struct Sites {
    secrets: HashMap<String, Vec<String>>,
    mood: Option<Mood>,
    asked: Vec<Asked>,
}

/// The API, running.
#[derive(Debug, Clone)]
pub(super) struct Acquirer {
    pub(super) url: String,
    sites: Arc<Mutex<Sites>>,
}

impl Acquirer {
    pub(super) async fn start(tasks: &TaskTracker) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let acquirer = Self { url, sites: Arc::default() };
        let router = Router::new().fallback(answer).with_state(acquirer.clone());
        tasks.spawn(async move { axum::serve(listener, router).await });
        acquirer
    }

    /// From now on this site has these secrets.
    pub(super) fn site(&self, public_id: &str, secrets: &[&str]) {
        let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        self.with(|sites| sites.secrets.insert(public_id.to_owned(), secrets));
    }

    pub(super) fn mood(&self, mood: Mood) {
        self.with(|sites| sites.mood = Some(mood));
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.with(|sites| sites.asked.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Sites) -> T) -> T {
        act(&mut self.sites.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn answer(State(acquirer): State<Acquirer>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 64 * 1024).await.expect("a body");
    let path = head.uri.path().to_owned();
    let credentials = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credentials = credentials.and_then(|value| STANDARD.decode(value.strip_prefix("Basic ")?).ok());
    let credentials = String::from_utf8(credentials.unwrap_or_default()).expect("a text");
    let (login, password) = credentials.split_once(':').unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let asked = Asked { path: path.clone(), login: login.to_owned(), body };
    let (mood, is_known) = acquirer.with(|sites| {
        sites.asked.push(asked);
        let known = sites.secrets.get(login).is_some_and(|secrets| secrets.iter().any(|one| one == password));
        (sites.mood.unwrap_or(Mood::Well), known)
    });
    match mood {
        Mood::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Garbage => "<html>".into_response(),
        Mood::Redirecting => (StatusCode::FOUND, [(LOCATION, "/elsewhere")]).into_response(),
        // It repeats the password, as no API should.
        Mood::Refusing => said(false, &format!("no, {password}")),
        Mood::Well if !is_known => StatusCode::UNAUTHORIZED.into_response(),
        Mood::Well if path == "/site/notifications/Refund/update" => said(false, "Refund is not for you"),
        Mood::Well => said(true, "bd6353c3-0ed6-4a65-946f-083664bf8dbd"),
    }
}

fn said(success: bool, message: &str) -> Response {
    json!({ "Model": null, "Success": success, "Message": message }).to_string().into_response()
}
