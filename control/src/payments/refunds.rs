//! Refunds on their way: asked for here, durable, and not settled yet. One place asks CloudPayments for all of them.
//!
//! A refund is written down before anybody is asked ([`Refunds::request`]), and its id is the `X-Request-ID` under which
//! CloudPayments processes it once within an hour. So whatever happens between its answer and our record of it, within
//! the hour we ask the same again; later CloudPayments is first asked what it has done. Money goes back once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hookline_event_log::Log;
use hookline_schemas::ids::RefundId;
use hookline_schemas::money::Amount;
use hookline_schemas::payment::{PaymentRecord, Refund, RefundRequest, RefundState};
use hookline_schemas::time::{Clock, Timestamp};
use tokio::sync::Notify;

use super::ledger::Ledger;
use super::sites::Sites;
use super::view::View;
use crate::cloudpayments::{
    CloudPayments, RefundRequest as Ask, Refused, Site, TransactionKind, TransactionStatus,
};
use crate::error::ApiError;

/// For so long CloudPayments answers the same `X-Request-ID` with what it has done; an hour, and some minutes less for
/// clocks that differ.
const SAME_ID: Duration = Duration::from_secs(55 * 60);

/// CloudPayments' clock may be behind ours by this much.
const CLOCKS: Duration = Duration::from_secs(10 * 60);

/// So many are asked for at a time.
const AT_ONCE: usize = 32;

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
}

/// A refund whose outcome is not known.
#[derive(Debug, Clone)]
struct Open {
    payment: PaymentRecord,
    id: RefundId,
    amount: Amount,
    requested_at: Timestamp,
}

/// When a refund is tried next.
#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    made: u32,
    next: Timestamp,
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
        let not_refundable = |error: hookline_schemas::payment::NotRefundable| ApiError::Validation {
            field: "amount",
            details: error.to_string(),
        };
        let reserve = |payment: &mut PaymentRecord| payment.request_refund(request).map_err(not_refundable);
        let reserved = self.ledger.change(payment, reserve).await?;
        self.asked.notify_one();
        Ok(reserved)
    }

    /// Waits until a refund is settled, at most so long; how it stands then.
    pub(crate) async fn settled(
        &self,
        payment: &str,
        id: &RefundId,
        patience: Duration,
    ) -> Result<Option<Refund>, ApiError> {
        let mut updates = self.view.updates();
        let wait = async {
            loop {
                let payment = self.view.payment(payment).await?;
                let refund = payment.as_ref().and_then(|payment| payment.refund(id)).cloned();
                if refund.as_ref().is_none_or(|refund| refund.state != RefundState::Requested) {
                    return Ok(refund);
                }
                // Whoever has missed some looks again as well.
                while updates
                    .recv()
                    .await
                    .is_ok_and(|update| Some(update.key) != payment.as_ref().map(PaymentRecord::key))
                {
                }
            }
        };
        match tokio::time::timeout(patience, wait).await {
            Ok(settled) => settled,
            Err(_) => Ok(self.view.payment(payment).await?.and_then(|payment| payment.refund(id).cloned())),
        }
    }

    /// Asks CloudPayments for what is open, for as long as this control writes payments. Never ends.
    pub(super) async fn run(&self) {
        let mut active = self.ledger.active();
        while active.wait_for(Option::is_some).await.is_ok() {
            let deposed = async { drop(active.clone().wait_for(Option::is_none).await) };
            tokio::select! {
                () = self.make_all() => {}
                () = deposed => {}
            }
        }
    }

    async fn make_all(&self) {
        let mut under_way = FuturesUnordered::new();
        let mut ids = HashSet::new();
        let mut tries = HashMap::<RefundId, Tries>::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                Some((id, is_settled)) = under_way.next() => {
                    ids.remove(&id);
                    if is_settled {
                        tries.remove(&id);
                    } else {
                        let tries = tries.entry(id).or_default();
                        tries.next = self.clock.now().after(tries.pause());
                        tries.made += 1;
                    }
                    continue;
                }
                () = self.asked.notified() => {}
                _ = look.tick() => {}
            }
            let now = self.clock.now();
            for open in self.open().await {
                let is_due = tries.get(&open.id).is_none_or(|tries| tries.next <= now);
                if is_due && under_way.len() < AT_ONCE && ids.insert(open.id.clone()) {
                    under_way.push(async move { (open.id.clone(), self.make(&open).await) });
                }
            }
        }
    }

    /// The refunds whose outcome is not known, as far as they can be looked up.
    async fn open(&self) -> Vec<Open> {
        let payments = self.view.with_open_refunds(4 * AT_ONCE).await;
        let payments = payments.unwrap_or_else(|error| {
            tracing::warn!(%error, "open refunds can't be looked up: trying again");
            Vec::new()
        });
        let open = |payment: &PaymentRecord| -> Vec<Open> {
            let open = payment.open_refunds().map(|(refund, intent)| Open {
                payment: payment.clone(),
                id: intent.id.clone(),
                amount: refund.amount,
                requested_at: refund.at,
            });
            open.collect()
        };
        payments.iter().flat_map(open).collect()
    }

    /// Asks for one refund and writes down what came of it; whether it is settled. If the process dies in here, the
    /// next one finds the refund open and asks again.
    async fn make(&self, open: &Open) -> bool {
        let (payment, id) = (open.payment.key(), &open.id);
        let written = match self.outcome(open).await {
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
                return false;
            }
        };
        match written {
            Ok((payment, ())) => {
                payment.refund(id).is_none_or(|refund| refund.state != RefundState::Requested)
            }
            Err(error) => {
                tracing::warn!(payment, refund = %id, %error, "what came of a refund was not written: asking again");
                false
            }
        }
    }

    async fn outcome(&self, open: &Open) -> Outcome {
        let Ok(transaction_id) = open.payment.transaction_id.parse() else {
            return Outcome::Declined("the payment has no transaction".to_owned());
        };
        let (public_id, secret) = match self.sites.credentials(&open.payment.gateway) {
            Ok(credentials) => credentials,
            Err(error) => return Outcome::Unknown(error.to_string()),
        };
        let site = Site { public_id: &public_id, secret: &secret };
        if self.clock.wall().since(open.requested_at) >= SAME_ID {
            match self.made_before(site, open, transaction_id).await {
                Ok(Some(made)) => return Outcome::Made(made),
                Ok(None) => {}
                Err(refused) => return Outcome::Unknown(refused.to_string()),
            }
        }
        let ask = Ask { request_id: open.id.as_str(), transaction_id, amount: open.amount };
        match self.cloudpayments.refund(site, &ask).await {
            Ok(answer) => Outcome::Made(answer.transaction_id),
            Err(Refused::Declined(refusal)) => Outcome::Declined(refusal),
            // A secret that is being rotated: it is asked for with the new one.
            Err(refused @ (Refused::InvalidCredentials | Refused::Unavailable(_))) => {
                Outcome::Unknown(refused.to_string())
            }
        }
    }

    /// Whether CloudPayments has made this refund already: one of this payment, of this sum, made since it was asked
    /// for, that nobody else has asked for.
    async fn made_before(&self, site: Site<'_>, open: &Open, original: u64) -> Result<Option<u64>, Refused> {
        let payment = self.view.payment(&open.payment.key()).await;
        let payment = payment.ok().flatten().unwrap_or_else(|| open.payment.clone());
        let is_anothers = |transaction_id: u64| {
            let number = transaction_id.to_string();
            let mut refunds = payment.refunds.iter();
            refunds.any(|refund| refund.is_transaction(&number) && refund.intent.is_some())
        };
        let created = open.requested_at.before(CLOCKS)..self.clock.wall().after(CLOCKS);
        let mut page = 1;
        loop {
            let found = self.cloudpayments.transactions(site, created.clone(), page).await?;
            let made = found.transactions.iter().find(|transaction| {
                transaction.original_transaction_id == Some(original)
                    && transaction.kind == TransactionKind::Refund
                    && transaction.status == TransactionStatus::Completed
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
    /// Before the next one.
    fn pause(self) -> Duration {
        let (first, most) = PAUSES;
        first.saturating_mul(1 << self.made.min(16)).min(most)
    }
}
