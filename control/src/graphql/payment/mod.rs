//! Payments: what a client is to pay, what became of it, and money that goes back.

mod input;
mod output;
mod subscription;
mod top_up;

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Context, ID, Object};
use hookline_event_log::Log;
use hookline_schemas::ids::RefundId;
use hookline_schemas::payment::{PaymentRecord, RefundRequest, RefundState};

use self::input::{InitiatePaymentInput, PaymentFilterInput, RefundInput, read_cursor, write_cursor};
pub(crate) use self::output::PaymentSource;
use self::output::{ClientTotals, InitiatedPayment, Payment, PaymentConnection, RefundResult, RefundStatus};
pub(crate) use self::subscription::PaymentSubscriptions;
use super::Api;
use super::access::member;
use super::decimal::Decimal;
use super::page::{self, DEFAULT_FIRST, PageInfo};
use super::text::{self, invalid};
use crate::error::ApiError;
use crate::identifiers::new_id;
use crate::identity::Caller;
use crate::payments::view::Shown;

/// The list, in its cursors.
const PAYMENTS: &str = "payments";

/// A refund is waited for so long before it is said to be on its way: three in one request are answered in its time.
const SETTLED_WITHIN: Duration = Duration::from_secs(9);

/// What can be asked about payments.
pub(crate) struct PaymentQueries<L: Log>(pub(super) Arc<Api<L>>);

/// What can be done about payments.
pub(crate) struct PaymentMutations<L: Log>(pub(super) Arc<Api<L>>);

#[Object]
impl<L: Log> PaymentQueries<L> {
    /// One payment, by its id, by the `paymentId` of its webhooks or the `transactionId` of initiateTopUpPayment.
    #[graphql(complexity = "5 + child_complexity")]
    async fn payment(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<Payment, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        let shown = api.payment_of(caller, &id).await?;
        Payment::new(&shown, api.clock.wall()).ok_or(ApiError::NotFound("payment"))
    }

    /// The payments of your organization, the latest first. A token for some clubs sees those of its clubs.
    #[graphql(complexity = "20 + child_complexity")]
    async fn payments(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which; all, where it is left out.")] filter: Option<PaymentFilterInput>,
        #[graphql(desc = "How many: 1 to 100.", default_with = "Some(DEFAULT_FIRST)")] first: Option<i32>,
        #[graphql(desc = "The endCursor of the page before.")] after: Option<String>,
    ) -> Result<PaymentConnection, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        let (now, size) = (api.clock.wall(), page::first(first)?);
        let filter = filter.unwrap_or_default().confined(caller, now)?;
        let behind = page::after(PAYMENTS, after.as_deref(), read_cursor)?;
        api.payments.view.is_loaded()?;
        // One more tells whether there are more.
        let mut listed = api.payments.view.list(filter, behind, size + 1).await?;
        let has_next_page = listed.len() > size;
        listed.truncate(size);
        let end_cursor = listed.last().map(|last| page::cursor(PAYMENTS, &write_cursor(&last.cursor)));
        let nodes = listed.iter().filter_map(|listed| Payment::new(&listed.shown, now)).collect();
        Ok(PaymentConnection { nodes, page_info: PageInfo::new(end_cursor, has_next_page) })
    }

    /// What a client was credited with and got back: sums over his payments. A token for some clubs sums up those of
    /// its clubs.
    #[graphql(complexity = "10 + child_complexity")]
    async fn client_totals(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Whose.")] client_id: ID,
        #[graphql(desc = "Payments in test mode, in place of real ones.", default)] test_mode: bool,
    ) -> Result<ClientTotals, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        api.payments.view.is_loaded()?;
        let clubs = caller.clubs.clone();
        let totals = api.payments.view.totals(&caller.organization, &client_id, clubs, test_mode).await?;
        Ok(ClientTotals { client_id, totals: totals.into_iter().map(Into::into).collect() })
    }
}

#[Object]
impl<L: Log> PaymentMutations<L> {
    /// Has a client pay: from here on a payment of exactly this sum, by this client, is accepted until it expires. The
    /// same again, while it can still be paid, is refused as "Duplicate transaction". OWNER or ADMIN; a token for some
    /// clubs tops up in its clubs.
    #[graphql(complexity = "100 + child_complexity")]
    async fn initiate_top_up_payment(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What is to be paid.")] input: InitiatePaymentInput,
    ) -> Result<InitiatedPayment, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        caller.manages()?;
        api.initiate(caller, input).await
    }

    /// Gives money back: all of what is left of a payment, or a part. The sum of all refunds is never above what was
    /// paid. Answered once CloudPayments has said what came of it; where it says nothing for a while, the refund is
    /// PENDING, and is made once, whatever happens. OWNER or ADMIN; a token for some clubs refunds payments of its clubs.
    #[graphql(complexity = "100 + child_complexity")]
    async fn refund_payment(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What is to go back.")] input: RefundInput,
    ) -> Result<RefundResult, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        caller.manages()?;
        let payment = api.payment_of(caller, &input.transaction_id).await?.payment;
        let nothing_paid = || invalid("transactionId", "nobody has paid it: there is nothing to give back");
        api.refund(caller, &payment.ok_or_else(nothing_paid)?, input).await
    }
}

impl<L: Log> Api<L> {
    /// A payment that the caller may see.
    async fn payment_of(&self, caller: &Caller, id: &str) -> Result<Shown, ApiError> {
        self.payments.view.is_loaded()?;
        let shown = self.payments.view.shown(&caller.organization, id).await?;
        let shown = shown.ok_or(ApiError::NotFound("payment"))?;
        let club = match (&shown.top_up, &shown.payment) {
            (Some(top_up), _) => Some(&top_up.club_id),
            (None, payment) => payment.as_ref().map(|payment| &payment.club_id),
        };
        caller.may_enter(club)?;
        Ok(shown)
    }

    async fn refund(
        &self,
        caller: &Caller,
        payment: &PaymentRecord,
        input: RefundInput,
    ) -> Result<RefundResult, ApiError> {
        let amount = input.amount.map(|amount| top_up::payable("amount", amount)).transpose()?;
        let (key, id) = (payment.key(), RefundId::new(new_id("rf_")));
        let request = RefundRequest {
            id: id.clone(),
            amount,
            requested_by: caller.subject.clone(),
            reason: input.reason.map(text::description).transpose()?,
            at: self.clock.wall(),
        };
        let (_, amount) = self.payments.refunds.request(&key, request).await?;
        tracing::info!(organization = %caller.organization, payment = key, refund = %id, %amount, "a refund is asked for");
        // It is durable: whatever keeps us from seeing how it stands, it is on its way.
        let refund = self.payments.refunds.settled(&key, &id, SETTLED_WITHIN).await.unwrap_or_default();
        let state = refund.as_ref().map_or(RefundState::Requested, |refund| refund.state);
        if state == RefundState::Declined {
            let refusal = refund.and_then(|refund| refund.intent).and_then(|intent| intent.refusal);
            return Err(ApiError::Declined(refusal.unwrap_or_else(|| "the bank did not make it".to_owned())));
        }
        Ok(RefundResult {
            success: state == RefundState::Completed,
            refund_id: ID::from(id.as_str()),
            amount: Decimal(amount),
            status: RefundStatus::of(state),
        })
    }
}
