//! Refunds on their way: asked for here, durable, and not settled yet. One place asks CloudPayments for all of them.
//!
//! A refund is written down before anybody is asked ([`Refunds::request`]), and its id is the `X-Request-ID` under which
//! CloudPayments processes it once within an hour. So within the hour we ask the same again. Where it is not known when
//! it was asked first (another process did), or that was earlier, CloudPayments is first asked what it has made: whatever
//! happens between its answer and our record of it, and whatever the clocks do, money goes back once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hookline_event_log::Log;
use hookline_schemas::ids::RefundId;
use hookline_schemas::money::Amount;
use hookline_schemas::payment::{
    NotRefundable, PaymentRecord, Refund, RefundIntent, RefundRequest, RefundState,
};
use hookline_schemas::time::{Clock, Timestamp};
use tokio::sync::Notify;

use super::ledger::Ledger;
use super::sites::{Sites, site_of};
use super::view::{Update, View, ViewError};
use crate::cloudpayments::{CloudPayments, RefundRequest as Ask, Refused, Site, TransactionStatus};
use crate::error::ApiError;
use crate::metrics;

/// For so long CloudPayments answers the same `X-Request-ID` with what it has done; an hour, and some minutes less for
/// clocks that differ.
const SAME_ID: Duration = Duration::from_secs(55 * 60);

/// A request that nobody has answered is over after this: CloudPayments takes five minutes at most.
const OVER: Duration = Duration::from_secs(6 * 60);

/// So far before a refund was asked for, by our clock, is looked for it, and so far behind now: clocks differ.
const CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);

/// So many are asked for at a time.
const AT_ONCE: usize = 32;

/// Payments with open refunds that are looked at in turn.
const PAGE: usize = 128;

/// How often those are looked for that nobody has asked for lately.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Between two tries of one refund: this, doubled each time, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// What refunds are made with.
pub(crate) struct Refunds<L: Log> {
    pub(super) ledger: Arc<Ledger<L>>,
    pub(super) view: View,
    pub(super) cloudpayments: CloudPayments,
    pub(super) sites: Sites,
    pub(super) clock: Clock,
    /// Somebody has asked for one.
    pub(super) asked: Notify,
    /// Those that nobody has shown to CloudPayments yet, with their payments.
    pub(super) fresh: Mutex<HashMap<RefundId, String>>,
}

/// A refund whose outcome is not known.
#[derive(Debug, Clone)]
struct Open {
    payment: PaymentRecord,
    id: RefundId,
    amount: Amount,
    requested_at: Timestamp,
    is_fresh: bool,
}

/// What this process knows of its tries.
#[derive(Debug, Clone, Copy)]
struct Tries {
    made: u32,
    /// When it is tried next.
    next: Timestamp,
    /// When it was asked for first, since it was looked for last; none: nobody knows, or it was not.
    asked_at: Option<Timestamp>,
    /// When a try ended without an answer; CloudPayments may be at it still. None: every try was answered.
    unanswered_at: Option<Timestamp>,
    /// Nobody has shown it to CloudPayments yet.
    is_fresh: bool,
}

/// What came of asking.
enum Outcome {
    /// The money went back, as this transaction.
    Made(u64),
    /// It will not.
    Declined(String),
    /// Nobody knows.
    Unknown(String),
}

impl<L: Log> Refunds<L> {
    /// Writes down that a refund is wanted, and has CloudPayments asked for it. When this returns, it is durable and its
    /// sum is reserved, and it will be made or declined, whatever happens to this process.
    ///
    /// # Errors
    ///
    /// If the payment has not so much left; [`ApiError::Unavailable`], if nothing was written; [`ApiError::Unknown`], if
    /// it may have been: then it is made if it was.
    pub(crate) async fn request(
        &self,
        payment: &str,
        request: RefundRequest,
    ) -> Result<(PaymentRecord, Amount), ApiError> {
        let not_refundable = |error: NotRefundable| {
            let field = match error {
                NotRefundable::Above(_) => "amount",
                NotRefundable::NotReceived(_) | NotRefundable::TooMany => "transactionId",
            };
            ApiError::Validation { field, details: error.to_string() }
        };
        let id = request.id.clone();
        let reserve = |payment: &mut PaymentRecord| payment.request_refund(request).map_err(not_refundable);
        self.fresh().insert(id.clone(), payment.to_owned());
        let reserved = self.ledger.change(payment, reserve).await;
        match &reserved {
            Ok(_) => self.asked.notify_one(),
            // If it was written after all, it is looked for like any other.
            Err(_) => drop(self.fresh().remove(&id)),
        }
        reserved
    }

    /// Waits until a refund is settled, at most so long; how it stands then.
    pub(crate) async fn settled(
        &self,
        key: &str,
        id: &RefundId,
        patience: Duration,
    ) -> Result<Option<Refund>, ApiError> {
        let mut updates = self.view.updates();
        let wait = async {
            loop {
                self.view.is_loaded()?;
                let payment = self.view.payment(key).await?;
                let refund = payment.as_ref().and_then(|payment| payment.refund(id)).cloned();
                if refund.as_ref().is_none_or(|refund| refund.state != RefundState::Requested) {
                    return Ok(refund);
                }
                // Whoever has missed some looks again as well.
                let is_others = |update: Option<Update>| update.is_some_and(|update| update.key != key);
                while updates.recv().await.is_ok_and(is_others) {}
            }
        };
        match tokio::time::timeout(patience, wait).await {
            Ok(settled) => settled,
            Err(_) => Ok(self.view.payment(key).await?.and_then(|payment| payment.refund(id).cloned())),
        }
    }

    /// Asks CloudPayments for what is open, for as long as this control writes payments. Never ends.
    pub(super) async fn run(&self) {
        while let Some(epoch) = self.ledger.activation().await {
            tokio::select! {
                () = self.make_all() => {}
                () = self.tell_open() => {}
                () = self.ledger.deposition(epoch) => {}
            }
            // The next one tells.
            metrics::tell_open_refunds(0, Duration::ZERO);
            // Whoever writes now may have asked for them.
            self.fresh().clear();
        }
    }

    /// Tells how many are open, again and again. Never ends.
    async fn tell_open(&self) {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            look.tick().await;
            // Where it can't be looked up, others say so.
            let Ok((count, oldest)) = self.view.open_refunds().await else { continue };
            let age = oldest.map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest));
            metrics::tell_open_refunds(count, age);
        }
    }

    async fn make_all(&self) {
        let mut under_way = FuturesUnordered::new();
        let mut ids = HashSet::new();
        let mut all = HashMap::<RefundId, Tries>::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        let mut behind = String::new();
        loop {
            tokio::select! {
                Some((id, tries)) = under_way.next() => {
                    ids.remove(&id);
                    match tries {
                        None => drop(all.remove(&id)),
                        Some(tries) => drop(all.insert(id, tries)),
                    }
                    continue;
                }
                () = self.asked.notified() => {}
                _ = look.tick() => {}
            }
            let now = self.clock.now();
            for open in self.open(&mut behind).await {
                let tries = *all.entry(open.id.clone()).or_insert_with(|| Tries::begin(now, open.is_fresh));
                let has_room = tries.next <= now && under_way.len() < AT_ONCE;
                if has_room && ids.insert(open.id.clone()) {
                    self.fresh().remove(&open.id);
                    under_way.push(async move { (open.id.clone(), self.make(&open, tries).await) });
                }
            }
        }
    }

    /// The refunds whose outcome is not known: those that were just asked for, and the next page of the others.
    async fn open(&self, behind: &mut String) -> Vec<Open> {
        let fresh = self.fresh().clone();
        let page = async {
            let mut payments = self.view.payments(fresh.values().cloned().collect()).await?;
            let page = self.view.with_open_refunds(behind, PAGE).await?;
            *behind = page.last().filter(|_| page.len() == PAGE).map(PaymentRecord::key).unwrap_or_default();
            payments.extend(page);
            Ok(payments)
        };
        let payments = page.await.unwrap_or_else(|error: ViewError| {
            tracing::warn!(%error, "open refunds can't be looked up: trying again");
            Vec::new()
        });
        let open = |payment: &PaymentRecord| -> Vec<Open> {
            let open = payment.open_refunds().map(|(refund, intent)| Open {
                payment: payment.clone(),
                id: intent.id.clone(),
                amount: refund.amount,
                requested_at: refund.at,
                is_fresh: fresh.contains_key(&intent.id),
            });
            open.collect()
        };
        payments.iter().flat_map(open).collect()
    }

    fn fresh(&self) -> MutexGuard<'_, HashMap<RefundId, String>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for one refund and writes down what came of it; none, once it is settled. If the process dies in here, the
    /// next one finds the refund open, and looks for it.
    async fn make(&self, open: &Open, mut tries: Tries) -> Option<Tries> {
        let (payment, id) = (open.payment.key(), &open.id);
        let written = match self.outcome(open, &mut tries).await {
            Outcome::Made(transaction_id) => {
                let transaction_id = transaction_id.to_string();
                let made = |payment: &mut PaymentRecord| {
                    payment.refund_made(id, &transaction_id);
                    Ok(())
                };
                self.ledger.change(&payment, made).await
            }
            Outcome::Declined(refusal) => {
                tracing::warn!(payment, refund = %id, refusal, "CloudPayments has declined a refund");
                let declined = |payment: &mut PaymentRecord| {
                    payment.refund_declined(id, &refusal);
                    Ok(())
                };
                self.ledger.change(&payment, declined).await
            }
            Outcome::Unknown(reason) => {
                tracing::warn!(payment, refund = %id, reason, "a refund is not settled: asking again");
                return Some(tries.again(self.clock.now()));
            }
        };
        match written {
            Ok((payment, ())) => {
                let is_open = |refund: &Refund| refund.state == RefundState::Requested;
                payment.refund(id).is_some_and(is_open).then(|| tries.again(self.clock.now()))
            }
            Err(error) => {
                tracing::warn!(payment, refund = %id, %error, "what came of a refund was not written: asking again");
                Some(tries.again(self.clock.now()))
            }
        }
    }

    async fn outcome(&self, open: &Open, tries: &mut Tries) -> Outcome {
        let Ok(transaction_id) = open.payment.transaction_id.parse() else {
            return Outcome::Declined("the payment has no transaction".to_owned());
        };
        let gateway = match self.sites.gateway(&open.payment.gateway) {
            Ok(gateway) => gateway,
            Err(error) => return Outcome::Unknown(error.to_string()),
        };
        let site = match site_of(&gateway) {
            Ok(site) => site,
            Err(error) => return Outcome::Unknown(error.to_string()),
        };
        if tries.has_to_look(self.clock.now()) {
            match self.made_before(site, open, transaction_id).await {
                Ok(Some(made)) => return Outcome::Made(made),
                Ok(None) => tries.asked_at = None,
                Err(refused) => return Outcome::Unknown(refused.to_string()),
            }
        }
        let now = self.clock.now();
        (tries.asked_at, tries.is_fresh) = (tries.asked_at.or(Some(now)), false);
        let ask = Ask { request_id: open.id.as_str(), transaction_id, amount: open.amount };
        match self.cloudpayments.refund(site, &ask).await {
            Ok(answer) => Outcome::Made(answer.transaction_id),
            Err(Refused::Declined(refusal)) => {
                self.declined(site, open, transaction_id, (refusal, tries)).await
            }
            Err(Refused::InvalidCredentials) => Outcome::Unknown(Refused::InvalidCredentials.to_string()),
            Err(refused @ Refused::Unavailable(_)) => {
                tries.unanswered_at = Some(self.clock.now());
                Outcome::Unknown(refused.to_string())
            }
        }
    }

    /// Whether a no is the last word. Behind a try that was not answered it may only say that CloudPayments is at that
    /// one: it is believed once that try is over, and has left nothing.
    async fn declined(
        &self,
        site: Site<'_>,
        open: &Open,
        transaction_id: u64,
        (refusal, tries): (String, &mut Tries),
    ) -> Outcome {
        let Some(unanswered_at) = tries.unanswered_at else { return Outcome::Declined(refusal) };
        if self.clock.now().since(unanswered_at) < OVER {
            return Outcome::Unknown(format!("declined, while an earlier try may be under way: {refusal}"));
        }
        match self.made_before(site, open, transaction_id).await {
            Ok(Some(made)) => Outcome::Made(made),
            Ok(None) => Outcome::Declined(refusal),
            Err(refused) => Outcome::Unknown(refused.to_string()),
        }
    }

    /// Whether CloudPayments has made this refund already, or is about to: one of this payment, of this sum, made since it
    /// was asked for, that nobody else has asked for and nobody has declined.
    async fn made_before(&self, site: Site<'_>, open: &Open, original: u64) -> Result<Option<u64>, Refused> {
        let payment = self.view.payment(&open.payment.key()).await;
        let payment = payment.ok().flatten().unwrap_or_else(|| open.payment.clone());
        let is_anothers = |transaction_id: u64| {
            let number = transaction_id.to_string();
            let is_known =
                |intent: &RefundIntent| intent.id == open.id && intent.known_before.contains(&number);
            let mut refunds = payment.refunds.iter();
            refunds.any(|refund| {
                refund
                    .intent
                    .as_ref()
                    .is_some_and(|intent| refund.is_transaction(&number) || is_known(intent))
            })
        };
        let created =
            open.requested_at.before(CLOCKS).max(payment.created_at)..self.clock.wall().after(CLOCKS);
        let mut page = 1;
        loop {
            let found = self.cloudpayments.transactions(site, created.clone(), page).await?;
            let made = found.transactions.iter().find(|transaction| {
                transaction.original_transaction_id == Some(original)
                    && !matches!(
                        transaction.status,
                        TransactionStatus::Declined | TransactionStatus::Cancelled
                    )
                    && transaction.amount == open.amount
                    && !is_anothers(transaction.transaction_id)
            });
            if let Some(made) = made {
                return Ok(Some(made.transaction_id));
            }
            if found.unreadable > 0 {
                return Err(Refused::Unavailable(
                    "a transaction among which it may be is not readable".to_owned(),
                ));
            }
            if found.is_last {
                return Ok(None);
            }
            page += 1;
        }
    }
}

impl Tries {
    /// Of a refund that nobody has tried, or of one that others may have: CloudPayments may be at it still.
    const fn begin(now: Timestamp, is_fresh: bool) -> Self {
        let unanswered_at = if is_fresh { None } else { Some(now) };
        Self { made: 0, next: now, asked_at: None, unanswered_at, is_fresh }
    }

    /// Whether CloudPayments may have forgotten what it has done under this id.
    fn has_to_look(&self, now: Timestamp) -> bool {
        match self.asked_at {
            Some(asked_at) => now.since(asked_at) >= SAME_ID,
            None => !self.is_fresh,
        }
    }

    /// After a pause.
    fn again(self, now: Timestamp) -> Self {
        let (first, most) = PAUSES;
        let pause = first.saturating_mul(1 << self.made.min(16)).min(most);
        Self { made: self.made + 1, next: now.after(pause), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_have_asked_for_is_looked_for_first() {
        let now = Timestamp(1_000_000);
        let later = |minutes: u64| now.after(Duration::from_secs(60 * minutes));
        let asked = |tries: Tries| Tries { asked_at: Some(now), is_fresh: false, ..tries };
        for (tries, at, expected) in [
            (Tries::begin(now, true), now, false),
            (Tries::begin(now, false), now, true),
            (asked(Tries::begin(now, true)), later(54), false),
            (asked(Tries::begin(now, true)), later(55), true),
            (asked(Tries::begin(now, false)), later(54), false),
            (asked(Tries::begin(now, false)), later(55), true),
        ] {
            assert_eq!(tries.has_to_look(at), expected, "{tries:?} at {at:?}");
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        let (mut tries, mut now) = (Tries::begin(Timestamp(0), true), Timestamp(0));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            tries = tries.again(now);
            pauses.push(tries.next.since(now).as_secs());
            now = tries.next;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }
}
