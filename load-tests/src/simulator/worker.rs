//! One worker: one connection, one payment at a time, a ledger of its own.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hookline_schemas::ids::GatewayId;
use hookline_schemas::signature::ContentKey;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::ledger::{Entry, Ledger, Unanswered, micros};
use super::plan::{CallbackUrl, Payment, Step};
use super::post::{Signed, answered_code};
use super::{Connections, Shared};
use crate::connection::Connection;
use crate::fixtures::Fixture;

/// A signed body on its way to the gateway of its site.
struct Posting<'a> {
    signed: Signed<'a>,
    /// In the typed URL.
    gateway_id: GatewayId,
}

impl Posting<'_> {
    /// Tells one body from another.
    fn body_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.signed.content_hmac().hash(&mut hasher);
        hasher.finish()
    }
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    /// To each of the target's addresses.
    connections: Vec<Connection>,
    /// Posts until now, and where this worker began among the addresses.
    turn: usize,
    keeps_connections: bool,
    ledger: Ledger,
}

impl Worker {
    /// Workers begin at different addresses, so that these get the same load from the start.
    pub(super) fn new(number: usize, shared: Arc<Shared>) -> Self {
        let connections = shared.target.addresses.iter().copied().map(Connection::to).collect();
        let keeps_connections = shared.connections == Connections::Kept || number.is_multiple_of(2);
        Self { shared, connections, turn: number, keeps_connections, ledger: Ledger::new() }
    }

    pub(super) fn into_ledger(self) -> Ledger {
        self.ledger
    }

    /// Posts everything of one payment that was due at `due`.
    pub(super) async fn play(&mut self, payment: &Payment, due: Duration) {
        self.ledger.began = self.ledger.began.min(due);
        // How late the worker was is added to what follows the Check as well: the payer did not wait for it.
        let lateness = self.shared.clock.elapsed().saturating_sub(due);
        if let Some(check) = &payment.check {
            if !self.ask(payment.number, check, due).await {
                return;
            }
            if !payment.payer_delay.is_zero() {
                tokio::time::sleep(payment.payer_delay).await;
            }
        }
        for step in &payment.steps {
            let due = self.shared.clock.elapsed().saturating_sub(lateness);
            let accepted = self.notify(payment.number, step, step.url, due).await;
            if let (true, Some(other)) = (accepted, step.again) {
                self.notify(payment.number, step, other, self.shared.clock.elapsed()).await;
            }
        }
        self.ledger.ended = self.ledger.ended.max(self.shared.clock.elapsed());
    }

    /// Posts a Check once: no retry of it is documented. Whether the payment goes on.
    async fn ask(&mut self, payment: u64, check: &Step, due: Duration) -> bool {
        let posting = self.sign(payment, &check.fixture);
        let code = self.post(&posting, check.url).await;
        let now = self.shared.clock.elapsed();
        match code {
            Some(code) => {
                *self.ledger.checks_by_code.entry(code).or_default() += 1;
                self.ledger.check_micros.saturating_record(micros(now.saturating_sub(due)));
            }
            None => {
                self.ledger.checks_unanswered += 1;
                // A receiver that is down is not asked as fast as a refused connection returns.
                tokio::time::sleep(self.shared.options.retry.wait_after(1).unwrap_or_default()).await;
            }
        }
        code == Some(0)
    }

    /// Posts a notification until it is answered with code 0, or given up. Whether it was answered.
    async fn notify(&mut self, payment: u64, step: &Step, url: CallbackUrl, due: Duration) -> bool {
        let fixture = &step.fixture;
        let site = self.shared.options.plan.site(payment);
        let public_id = site.map_or(&self.shared.target.public_id, |site| &site.public_id);
        let addressee = site.map(|site| site.webhook.clone());
        let Some((id, event_type)) = fixture.event_id(public_id).zip(fixture.event_type()) else {
            return false;
        };
        let posting = self.sign(payment, fixture);
        let mut posted = 0_u32;
        loop {
            posted += 1;
            let entry = self.ledger.entries.entry(id.clone()).or_insert_with(|| Entry {
                kind: fixture.kind(),
                event_type,
                transaction_id: fixture.transaction_id,
                payment,
                addressee: addressee.clone(),
                posted: 0,
                bodies: BTreeSet::new(),
                first_posted: self.shared.clock.elapsed(),
                answered: None,
            });
            // Counted before it is sent: from here on hookline may know of it.
            entry.posted = entry.posted.saturating_add(1);
            entry.bodies.insert(posting.body_hash());
            if self.post(&posting, url).await == Some(0) {
                let now = self.shared.clock.elapsed();
                if let Some(entry) = self.ledger.entries.get_mut(&id) {
                    entry.answered.get_or_insert(now);
                }
                if posted == 1 {
                    self.ledger.answer_micros.saturating_record(micros(now.saturating_sub(due)));
                }
                self.ledger.accepted += 1;
                self.shared.progress.accepted.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            match self.shared.options.retry.wait_after(posted) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    self.ledger.given_up += 1;
                    return false;
                }
            }
        }
    }

    /// One request to the next address; the code of the answer, if it was HTTP 200 with one.
    async fn post(&mut self, posting: &Posting<'_>, url: CallbackUrl) -> Option<u64> {
        self.ledger.posts += 1;
        let within = self.shared.options.retry.answer_timeout;
        self.turn = self.turn.wrapping_add(1);
        let connection = self.connections.get_mut(self.shared.pick(self.turn)?)?;
        if !self.keeps_connections {
            connection.close();
        }
        let answer = match request(connection.address(), posting, url) {
            Ok(request) => connection.send(request, within).await,
            Err(error) => Err(error),
        };
        let code = answer.as_ref().ok().and_then(answered_code);
        if code.is_none() {
            self.ledger.unanswered.add(instead(answer.as_ref().ok()));
            self.shared.progress.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        code
    }

    fn sign<'a>(&self, payment: u64, fixture: &'a Fixture) -> Posting<'a> {
        let site = self.shared.options.plan.site(payment);
        let gateway_id = site.map_or(&self.shared.target.gateway_id, |site| &site.gateway_id);
        let key = site.map(|site| ContentKey::new(&site.api_secret));
        let key = key.as_ref().unwrap_or(&self.shared.key);
        Posting { signed: Signed::new(fixture, key), gateway_id: gateway_id.clone() }
    }
}

fn request(
    address: SocketAddr,
    posting: &Posting<'_>,
    url: CallbackUrl,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let path = url.path(&posting.gateway_id, posting.signed.fixture().kind());
    let mut request = posting.signed.request(path.parse()?);
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(&address.to_string())?);
    Ok(request)
}

/// What came instead of a code; nothing if no answer did.
fn instead(answer: Option<&Response<Bytes>>) -> Unanswered {
    let mut unanswered = Unanswered::default();
    let count = match answer {
        None => &mut unanswered.silent,
        Some(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
            match answer.headers().contains_key(header::RETRY_AFTER) {
                true => &mut unanswered.put_off,
                false => &mut unanswered.put_off_without_term,
            }
        }
        Some(_) => &mut unanswered.refused,
    };
    *count = 1;
    unanswered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::from(body)).expect("an answer")
    }

    #[test]
    fn what_came_instead_of_a_code_is_told_apart() {
        let mut put_off = answer(503, "");
        put_off.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        for (answer, expected) in [
            (Some(put_off), Unanswered { put_off: 1, ..Unanswered::default() }),
            (Some(answer(503, "")), Unanswered { put_off_without_term: 1, ..Unanswered::default() }),
            (Some(answer(401, "")), Unanswered { refused: 1, ..Unanswered::default() }),
            (Some(answer(200, "{}")), Unanswered { refused: 1, ..Unanswered::default() }),
            (None, Unanswered { silent: 1, ..Unanswered::default() }),
        ] {
            assert_eq!(instead(answer.as_ref()), expected, "{answer:?}");
        }
    }
}
