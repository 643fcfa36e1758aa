//! Payments' notifications, posted without their Checks and remembered in a few bytes each: for loads and times at which
//! the [`simulator`](crate::simulator)'s ledger would grow without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use hookline_schemas::signature::ContentKey;
use hookline_schemas::time::Clock;
use http::{HeaderValue, header};
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::simulator::{
    CallbackUrl, Mix, Pace, PlanOptions, RetryRule, Signed, Target, answered_code, payment,
};
use crate::sink::EventHash;

/// What is posted, and when.
#[derive(Debug)]
pub(super) struct Poster {
    target: Target,
    key: ContentKey,
    plan: PlanOptions,
    pace: Pace,
    payments: u64,
    connections: usize,
    clock: Clock,
    progress: Arc<Posting>,
}

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Posting {
    next: AtomicU64,
    accepted: AtomicU64,
    unanswered: AtomicU64,
}

/// Events that were answered with code 0, and how many never were.
#[derive(Debug, Default)]
pub(super) struct Posted {
    /// By number of the payment and hash of the event's id; in no order.
    pub(super) accepted: Vec<(u64, EventHash)>,
    /// Those whose posts were used up. Whether hookline knows of them is open.
    pub(super) given_up: u64,
    /// Posts that were not answered as they should be.
    pub(super) unanswered: u64,
}

/// What it posts: payments of which each is one event, at the URL of their type, once.
pub(super) fn plan(seed: u64) -> PlanOptions {
    PlanOptions {
        seed,
        mix: Mix::received_and_failed(),
        shared_url_share: 0.0,
        duplicate_share: 0.0,
        ..PlanOptions::default()
    }
}

impl Posting {
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }
}

impl Poster {
    /// So many payments over so many connections, each of which becomes one event.
    pub(super) fn new(
        target: &Target,
        seed: u64,
        payments: u64,
        pace: Pace,
        connections: usize,
        clock: Clock,
    ) -> Self {
        let plan = plan(seed);
        let (target, key) = (target.clone(), ContentKey::new(&target.api_secret));
        Self { target, key, plan, pace, payments, connections, clock, progress: Arc::default() }
    }

    pub(super) fn progress(&self) -> Arc<Posting> {
        Arc::clone(&self.progress)
    }

    /// Posts all of them, each until it was answered with code 0 or given up. Dropping the future ends it at once.
    pub(super) async fn run(self) -> anyhow::Result<Posted> {
        let began = self.clock.elapsed();
        let connections = self.connections.max(1);
        let poster = Arc::new(self);
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            workers.spawn(Arc::clone(&poster).work(began));
        }
        let mut all = Posted::default();
        while let Some(part) = workers.join_next().await {
            let part = part.context("a poster has failed")??;
            all.accepted.extend(part.accepted);
            all.given_up += part.given_up;
        }
        all.unanswered = poster.progress.unanswered();
        Ok(all)
    }

    async fn work(self: Arc<Self>, began: Duration) -> anyhow::Result<Posted> {
        let address = *self.target.addresses.first().context("there is no edge")?;
        let host = HeaderValue::from_str(&address.to_string())?;
        let mut connection = Connection::to(address);
        let mut posted = Posted::default();
        loop {
            let number = self.progress.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.payments {
                return Ok(posted);
            }
            self.wait_for_turn(number, began).await;
            match self.post(number, &mut connection, &host).await? {
                Some(event) => posted.accepted.push((number, event)),
                None => posted.given_up += 1,
            }
        }
    }

    async fn wait_for_turn(&self, number: u64, began: Duration) {
        let Some(due) = self.pace.due(number) else { return };
        let wait = (began + due).saturating_sub(self.clock.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Posts one payment's notification; its event, once that was accepted.
    async fn post(
        &self,
        number: u64,
        connection: &mut Connection,
        host: &HeaderValue,
    ) -> anyhow::Result<Option<EventHash>> {
        let retry = RetryRule::scaled_down();
        let payment = payment(&self.plan, number);
        let fixture = &payment.steps.first().context("each of these payments has a notification")?.fixture;
        let id = fixture.event_id(&self.target.public_id).context("and becomes an event")?;
        let signed = Signed::new(fixture, &self.key);
        let path = CallbackUrl::Typed.path(&self.target.gateway_id, fixture.kind());
        for times in 1.. {
            let mut request = signed.request(path.parse()?);
            request.headers_mut().insert(header::HOST, host.clone());
            let answer = connection.send(request, retry.answer_timeout).await;
            if answer.as_ref().ok().and_then(answered_code) == Some(0) {
                self.progress.accepted.fetch_add(1, Ordering::Relaxed);
                return Ok(Some(EventHash::of(id.as_str())));
            }
            self.progress.unanswered.fetch_add(1, Ordering::Relaxed);
            let Some(wait) = retry.wait_after(times) else { break };
            tokio::time::sleep(wait).await;
        }
        Ok(None)
    }
}
