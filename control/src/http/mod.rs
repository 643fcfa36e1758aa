//! The front of the control plane: `/graphql`, from the socket to the schema and back.
//!
//! admit (the token's budget) → ready? POST? JSON? → who is it → read → charge → execute → answer. It knows nothing of
//! what the schema does; who asks goes with every operation, and the resolvers refuse. Subscriptions have a folder of
//! their own, `sockets/`; the budget is the same.

mod errors;
mod operations;
mod rate;
mod refusal;
mod server;
mod sockets;

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Executor, Response as Answer};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use hookline_schemas::time::Clock;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

pub(crate) use server::Server;

use crate::error::ApiError;
use crate::identity::{Caller, Identified, Verifier, bearer_token};
use crate::metrics::FrontMetrics;
use crate::settings::Settings;
use operations::Operations;
use rate::{Admitted, Exceeded, RateLimit, Standing, TokenDigest};
use refusal::Refusal;
use sockets::{Limits, Sockets};

/// Where operations are posted, and subscriptions opened.
const PATH: &str = "/graphql";

/// The headers of every answer, by IZI's contract.
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const COST: HeaderName = HeaderName::from_static("x-ratelimit-cost");

/// Everything between the sockets and the schema.
pub(crate) struct Front<E> {
    schema: E,
    verifier: Verifier,
    readiness: Box<dyn Fn() -> bool + Send + Sync>,
    limit: RateLimit,
    request_timeout: Duration,
    clock: Clock,
    metrics: FrontMetrics,
    sockets: Sockets,
}

/// A request on its way: what its answer has to say even if it ends early.
struct Visit {
    admitted: Admitted,
    /// An operation has begun that may change something.
    may_have_changed: bool,
}

/// Answers of the schema, and whether they go out as an array.
struct Executed {
    answers: Vec<Answer>,
    is_batch: bool,
}

impl<E: Executor> Front<E> {
    /// Serves this schema to whom the verifier knows, while `readiness` says that this control is the active one.
    pub(crate) fn new(
        schema: E,
        verifier: Verifier,
        settings: &Settings,
        readiness: impl Fn() -> bool + Send + Sync + 'static,
        clock: Clock,
    ) -> Self {
        Self {
            schema,
            verifier,
            readiness: Box::new(readiness),
            limit: RateLimit::new(settings.rate_limit, clock),
            request_timeout: settings.request_timeout,
            clock,
            metrics: FrontMetrics::new(),
            sockets: Sockets::new(Limits::NORMAL, FrontMetrics::new()),
        }
    }

    /// The same with other limits for sockets.
    #[cfg(test)]
    fn with_sockets(self, limits: Limits) -> Self {
        Self { sockets: Sockets::new(limits, self.metrics), ..self }
    }

    /// Answers every request, at whatever URL.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(handle::<E>).with_state(Arc::clone(self))
    }

    /// What goes on beside the requests: keys are fetched, the past is forgotten, sockets are closed where this control
    /// is not the active one any more. Never ends.
    async fn keep(&self) {
        let tidy = async {
            loop {
                tokio::time::sleep(rate::TIDY_INTERVAL).await;
                self.limit.forget_the_past();
            }
        };
        let watch_readiness = async {
            loop {
                tokio::time::sleep(self.sockets.limits.readiness).await;
                if !(self.readiness)() {
                    self.sockets.restart();
                }
            }
        };
        tokio::join!(self.verifier.keep_keys(), tidy, watch_readiness);
    }

    async fn answer(self: &Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let token = bearer_token(&head.headers).map(|token| (token, TokenDigest::of(token)));
        if sockets::is_wanted(&head) {
            let token = token.map(|(token, digest)| (token.to_owned(), digest));
            return self.open_socket(head, token).await;
        }
        let digest = token.as_ref().ok().map(|(_, digest)| *digest);
        let admitted = match self.limit.admit(digest) {
            Ok(admitted) => admitted,
            Err(exceeded) => return self.refuse(&Refusal::RateLimited(exceeded), exceeded.standing),
        };
        let mut visit = Visit { admitted, may_have_changed: false };
        let executed = self.serve(&head, token, body, &mut visit);
        let executed = tokio::time::timeout(self.request_timeout, executed).await;
        let executed = executed.unwrap_or_else(|_| Err(visit.late()));
        match executed {
            Ok(executed) => self.tell(executed, self.limit.standing(visit.admitted)),
            Err(Refusal::RateLimited(exceeded)) => {
                self.refuse(&Refusal::RateLimited(exceeded), exceeded.standing)
            }
            Err(refusal) => self.refuse(&refusal, self.limit.standing(visit.admitted)),
        }
    }

    async fn open_socket(
        self: &Arc<Self>,
        head: Parts,
        token: Result<(String, TokenDigest), ApiError>,
    ) -> Response<Body> {
        let mut paid = None;
        let opened = sockets::open(self, head, token, &mut paid).await;
        let standing = match (&opened, paid) {
            (Err(Refusal::RateLimited(exceeded)), _) => exceeded.standing,
            (_, Some(admitted)) => self.limit.standing(admitted),
            (_, None) => self.limit.standing_of_strangers(),
        };
        match opened {
            Ok(mut response) => {
                self.metrics.answered("upgraded");
                tell_standing(response.headers_mut(), standing);
                response
            }
            Err(refusal) => self.refuse(&refusal, standing),
        }
    }

    async fn serve(
        &self,
        head: &Parts,
        token: Result<(&str, TokenDigest), ApiError>,
        body: Body,
        visit: &mut Visit,
    ) -> Result<Executed, Refusal> {
        if !(self.readiness)() {
            return Err(Refusal::NotReady);
        }
        is_acceptable(head)?;
        let identified = self.identify(token, visit).await?;
        let Operations { mut requests, is_batch } = operations::parse(&operations::read(body).await?)?;
        let cost = operations::cost_of_all(&mut requests);
        visit.admitted = self.limit.charge(visit.admitted, cost)?;
        // One after the other: a batch may use what it has just made.
        let mut answers = Vec::with_capacity(requests.len());
        for mut request in requests {
            let may_change = operations::may_change(&mut request);
            visit.may_have_changed |= may_change;
            if let (true, Identified(Ok(Caller { subject, role, organization, .. }))) =
                (may_change, &identified)
            {
                tracing::info!(%organization, role = role.as_str(), subject, "a change is asked for");
            }
            let mut answer = self.schema.execute(request.data(identified.clone())).await;
            errors::complete(&mut answer, self.clock.wall());
            answers.push(answer);
        }
        Ok(Executed { answers, is_batch })
    }

    /// Who asks. A signature is verified only after its price was taken.
    async fn identify(
        &self,
        token: Result<(&str, TokenDigest), ApiError>,
        visit: &mut Visit,
    ) -> Result<Identified, Refusal> {
        let (token, digest) = match token {
            Ok(token) => token,
            Err(error) => return Ok(Identified(Err(error))),
        };
        let caller = self.verifier.verify(token).await;
        visit.admitted = self.limit.verified(visit.admitted, digest, caller.is_ok())?;
        Ok(Identified(caller))
    }

    fn tell(&self, executed: Executed, standing: Standing) -> Response<Body> {
        let has_errors = executed.answers.iter().any(|answer| !answer.errors.is_empty());
        self.metrics.answered(if has_errors { "errors" } else { "ok" });
        let body = match (executed.is_batch, executed.answers.first()) {
            (false, Some(answer)) => serde_json::to_vec(answer),
            _ => serde_json::to_vec(&executed.answers),
        };
        // Names are texts and there is no value that JSON lacks, so this can't fail.
        respond(StatusCode::OK, body.unwrap_or_default(), standing)
    }

    fn refuse(&self, refusal: &Refusal, standing: Standing) -> Response<Body> {
        self.metrics.answered(refusal.label());
        let body = errors::body(&refusal.message(), refusal.code(), self.clock.wall());
        let mut response = respond(refusal.status(), body.to_string().into_bytes(), standing);
        let headers = response.headers_mut();
        if let Some(seconds) = refusal.retry_after() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if *refusal == Refusal::NotPost {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if refusal.breaks_off() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Visit {
    const fn late(&self) -> Refusal {
        if self.may_have_changed { Refusal::LateChange } else { Refusal::Late }
    }
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        Self::RateLimited(exceeded)
    }
}

async fn handle<E: Executor>(State(front): State<Arc<Front<E>>>, request: Request<Body>) -> Response<Body> {
    let began = front.clock.elapsed();
    let response = front.answer(request).await;
    front.metrics.took(front.clock.elapsed().saturating_sub(began));
    response
}

/// What its head alone says.
fn is_acceptable(head: &Parts) -> Result<(), Refusal> {
    if head.uri.path() != PATH {
        return Err(Refusal::NotFound);
    }
    if head.method != Method::POST {
        return Err(Refusal::NotPost);
    }
    if is_json(&head.headers) { Ok(()) } else { Err(Refusal::NotJson) }
}

/// `application/json`, with whatever parameters. Nothing else: a form that a browser posts from another site must not
/// count as an operation.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

fn respond(status: StatusCode, body: Vec<u8>, standing: Standing) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    tell_standing(headers, standing);
    response
}

fn tell_standing(headers: &mut HeaderMap, standing: Standing) {
    headers.insert(LIMIT, standing.limit.into());
    headers.insert(REMAINING, standing.remaining.into());
    // The second in which it has left for certain.
    headers.insert(RESET, standing.reset.0.div_ceil(1000).into());
    headers.insert(COST, standing.cost.into());
}

#[cfg(test)]
mod tests;
