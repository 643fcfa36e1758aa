//! A front with a toy schema, listening; and a client that speaks to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_graphql::{Context, Object, Schema, Subscription};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use hookline_listener::HandedOver;
use hookline_outbound::{Outbound, Patience};
use hookline_schemas::ids::OrganizationId;
use hookline_schemas::time::Clock;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::http::sockets::Limits;
use crate::http::{Front, Server};
use crate::identity::{IssueRequest, LocalKey, Role, Verifier, caller};
use crate::settings::{Settings, TokenSettings};

/// For whatever takes milliseconds on an idle machine.
pub(super) const SOON: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Gate {
    entered: Notify,
    opened: Notify,
    left: Notify,
}

struct Query;

#[Object]
impl Query {
    async fn subject(&self, context: &Context<'_>) -> Result<String, ApiError> {
        Ok(caller(context)?.subject.clone())
    }

    async fn refused(&self) -> Result<bool, ApiError> {
        Err(ApiError::Validation { field: "amount", details: "is not positive".to_owned() })
    }

    async fn missing(&self) -> Result<bool, ApiError> {
        Err(ApiError::NotFound("webhook"))
    }

    async fn never(&self) -> bool {
        std::future::pending().await
    }

    async fn waits(&self, context: &Context<'_>) -> bool {
        let gate = context.data_unchecked::<Arc<Gate>>();
        gate.entered.notify_one();
        gate.opened.notified().await;
        true
    }

    async fn deeper(&self) -> Query {
        Query
    }
}

struct Mutation;

#[Object]
impl Mutation {
    async fn never_ends(&self) -> bool {
        std::future::pending().await
    }
}

struct Events;

/// Tells that a stream was dropped.
struct Leaves(Arc<Gate>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.left.notify_one();
    }
}

#[Subscription]
impl Events {
    async fn count(&self, to: i32) -> impl Stream<Item = i32> {
        stream::iter(1..=to)
    }

    async fn caller(&self, context: &Context<'_>) -> Result<impl Stream<Item = String>, ApiError> {
        let subject = caller(context)?.subject.clone();
        Ok(stream::once(async { subject }))
    }

    /// Nothing ever comes, and who leaves is seen.
    async fn silence(&self, context: &Context<'_>) -> impl Stream<Item = bool> {
        let leaves = Leaves(Arc::clone(context.data_unchecked::<Arc<Gate>>()));
        stream::once(async move {
            let _leaves = leaves;
            std::future::pending().await
        })
    }

    /// Faster than anybody reads, and who leaves is seen.
    async fn flood(&self, context: &Context<'_>) -> impl Stream<Item = String> {
        let leaves = Leaves(Arc::clone(context.data_unchecked::<Arc<Gate>>()));
        stream::repeat_with(move || {
            let _leaves = &leaves;
            "x".repeat(100_000)
        })
    }

    async fn fails(&self) -> impl Stream<Item = Result<i32, ApiError>> {
        stream::iter([Ok(1), Err(ApiError::NotFound("payment"))])
    }

    async fn refused(&self) -> Result<stream::Empty<i32>, ApiError> {
        Err(ApiError::Forbidden("OWNER or ADMIN is needed"))
    }

    async fn deeper(&self) -> impl Stream<Item = Query> {
        stream::once(async { Query }).chain(stream::pending())
    }
}

/// A front that runs, and what it runs with.
pub(super) struct Stage {
    pub(super) address: SocketAddr,
    pub(super) clock: Clock,
    pub(super) shutdown: CancellationToken,
    is_ready: Arc<AtomicBool>,
    gate: Arc<Gate>,
    settings: TokenSettings,
    key: LocalKey,
    client: Outbound,
    /// Cancelled once the server has ended.
    pub(super) end: CancellationToken,
    _running: JoinSet<()>,
    _directory: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Told {
    /// A header that is a number.
    pub(super) fn number(&self, name: &str) -> u64 {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("{name} in {self:?}"));
        value.to_str().expect("a text").parse().expect("a number")
    }

    /// The code of the only error of the only answer.
    pub(super) fn code(&self) -> &str {
        match self.body.pointer("/errors").and_then(Value::as_array).map(Vec::as_slice) {
            Some([error]) => error.pointer("/extensions/code").and_then(Value::as_str).expect("a code"),
            _ => panic!("one error in {self:?}"),
        }
    }
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(100, Duration::from_secs(30)).await
    }

    pub(super) async fn with(rate_limit: u32, request_timeout: Duration) -> Self {
        Self::with_sockets(rate_limit, request_timeout, Limits::NORMAL).await
    }

    pub(super) async fn with_sockets(rate_limit: u32, request_timeout: Duration, sockets: Limits) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline-tokens.pem");
        let (clock, tokens) = (Clock::start(), crate::identity::fixtures::settings());
        let listen = "127.0.0.1:0".parse().expect("an address");
        let payments = crate::tests::payment_settings();
        let settings = Settings { listen, rate_limit, request_timeout, tokens: tokens.clone(), payments };
        let gate = Arc::new(Gate::default());
        let schema = Schema::build(Query, Mutation, Events).data(Arc::clone(&gate));
        let schema = schema.limit_depth(5).limit_complexity(20).finish();
        let verifier = Verifier::new(&tokens, &path, clock).expect("a verifier");
        let is_ready = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&is_ready);
        let readiness = move || asked.load(Ordering::SeqCst);
        let front = Front::new(schema, verifier, &settings, readiness, clock).with_sockets(sockets);
        let server = Server::bind(listen, &HandedOver::nothing()).await.expect("a port");
        let (address, shutdown) = (server.local_address().expect("an address"), CancellationToken::new());
        let mut running = JoinSet::new();
        let (end, stop) = (CancellationToken::new(), shutdown.clone());
        let ended = end.clone();
        running.spawn(async move {
            server.run(front, stop).await;
            ended.cancel();
        });
        Self {
            address,
            clock,
            shutdown,
            is_ready,
            gate,
            settings: tokens,
            key: LocalKey::load(&path).expect("the verifier's key"),
            client: Outbound::new(None, clock).expect("a client"),
            end,
            _running: running,
            _directory: directory,
        }
    }

    pub(super) fn is_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::SeqCst);
    }

    /// Until somebody waits in the resolver.
    pub(super) async fn entered(&self) {
        tokio::time::timeout(SOON, self.gate.entered.notified()).await.expect("nobody has come");
    }

    /// Lets him go on.
    pub(super) fn open(&self) {
        self.gate.opened.notify_one();
    }

    /// Until a stream was dropped.
    pub(super) async fn left(&self) {
        tokio::time::timeout(SOON, self.gate.left.notified()).await.expect("it is there still");
    }

    /// Until the server has ended.
    pub(super) async fn ended(&self) {
        tokio::time::timeout(SOON, self.end.cancelled()).await.expect("it has not ended");
    }

    /// A token of this subject, so old.
    pub(super) fn token(&self, subject: &str, age: Duration) -> String {
        let request = IssueRequest {
            subject: subject.to_owned(),
            role: Role::Owner,
            organization: OrganizationId::new("org_1"),
            clubs: None,
            ttl: Duration::from_secs(900),
        };
        self.key.issue(&request, &self.settings, self.clock.wall().before(age))
    }

    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Told {
        let answer = self.client.send(request, Patience { head: SOON, body: SOON }).await.expect("an answer");
        assert!(answer.is_whole);
        let (head, body) = answer.response.into_parts();
        let body = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error} in {body:?}"));
        Told { status: head.status, headers: head.headers, body }
    }

    /// A request as it should be, with this body.
    pub(super) fn request(&self, token: Option<&str>, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("http://{}/graphql", self.address).parse().expect("a URL");
        let json = "application/json; charset=utf-8".parse().expect("a header");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().expect("a header");
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        request
    }

    pub(super) async fn post(&self, token: Option<&str>, body: &Value) -> Told {
        self.send(self.request(token, body.to_string())).await
    }

    /// One operation without variables.
    pub(super) async fn ask(&self, token: Option<&str>, query: &str) -> Told {
        self.post(token, &json!({ "query": query })).await
    }
}
