//! Changes of payments, as they are seen.

use std::sync::Arc;

use async_graphql::{Context, ID, Subscription};
use futures::Stream;
use futures::stream::unfold;
use hookline_event_log::Log;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::output::Payment;
use crate::error::ApiError;
use crate::graphql::Api;
use crate::graphql::access::member;
use crate::identity::Caller;
use crate::payments::view::Update;

/// What can be watched about payments.
pub(crate) struct PaymentSubscriptions<L: Log>(pub(in crate::graphql) Arc<Api<L>>);

/// One who watches.
struct Watching<L: Log> {
    api: Arc<Api<L>>,
    caller: Caller,
    updates: Receiver<Option<Update>>,
    id: Option<ID>,
    client: Option<ID>,
}

#[Subscription]
impl<L: Log> PaymentSubscriptions<L> {
    /// Each change of a payment, as it stands then: of one payment, of one client's, or of all that you may see. Whoever
    /// listens too slowly is told by an
    /// error, of code EVENTS_MISSED, and goes on with the next.
    async fn payment_updated(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only this one.")] id: Option<ID>,
        #[graphql(desc = "Only this client's.")] client_id: Option<ID>,
    ) -> Result<impl Stream<Item = Result<Payment, ApiError>>, ApiError> {
        let caller = member(context)?.clone();
        let api = Arc::clone(&self.0);
        if let Some(id) = &id {
            api.payment_of(&caller, id).await?;
        }
        let updates = api.payments.view.updates();
        let watching = Watching { api, caller, updates, id, client: client_id };
        Ok(unfold(watching, async |mut watching| Some((watching.next().await?, watching))))
    }
}

impl<L: Log> Watching<L> {
    /// The next change that is to be shown; none, once there are no more.
    async fn next(&mut self) -> Option<Result<Payment, ApiError>> {
        loop {
            let update = match self.updates.recv().await {
                Ok(Some(update)) => update,
                Ok(None) | Err(RecvError::Lagged(_)) => return Some(Err(ApiError::Missed)),
                Err(RecvError::Closed) => return None,
            };
            if !self.may_be_meant(&update) {
                continue;
            }
            match self.api.payment_of(&self.caller, &update.id).await {
                Ok(shown) => {
                    let payment = Payment::new(&shown, self.api.clock.wall());
                    if let Some(payment) = payment.filter(|payment| self.is_meant(payment, &update)) {
                        return Some(Ok(payment));
                    }
                }
                Err(ApiError::NotFound(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Whether it is worth looking up.
    fn may_be_meant(&self, update: &Update) -> bool {
        let is_this = |id: &ID| update.id == **id || update.invoice.as_ref() == Some(&**id);
        let is_clients = |client: &ID| update.client.as_ref().is_none_or(|own| own == &**client);
        update.organization == self.caller.organization
            && self.caller.may_enter(Some(&update.club)).is_ok()
            && self.id.as_ref().is_none_or(is_this)
            && self.client.as_ref().is_none_or(is_clients)
    }

    fn is_meant(&self, payment: &Payment, update: &Update) -> bool {
        let is_this = |id: &ID| payment.id == *id || update.id == **id;
        self.id.as_ref().is_none_or(is_this) && (self.client.is_none() || payment.client_id == self.client)
    }
}
