//! Attempts as they are made.

use std::sync::Arc;

use async_graphql::{Context, ID, Subscription};
use futures::Stream;
use futures::stream::unfold;
use hookline_event_log::Log;
use hookline_schemas::delivery::AttemptRecord;
use hookline_schemas::ids::WebhookId;
use tokio::sync::broadcast::error::RecvError;

use super::attempt::WebhookAttempt;
use crate::attempts::Live;
use crate::error::ApiError;
use crate::graphql::Api;
use crate::graphql::access::member;
use crate::identity::Caller;

/// What can be listened to.
pub(crate) struct DeliverySubscriptions<L: Log>(pub(in crate::graphql) Arc<Api<L>>);

#[Subscription]
impl<L: Log> DeliverySubscriptions<L> {
    /// Every attempt at your webhooks, as it ends. A token for some clubs is told of those at webhooks of its clubs. Who
    /// listens too slowly is told by an error, of code EVENTS_MISSED, and goes on with the next.
    async fn webhook_attempted(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Those at this webhook. Absent: at all of them.")] webhook_id: Option<ID>,
    ) -> Result<impl Stream<Item = Result<WebhookAttempt, ApiError>> + use<L>, ApiError> {
        let (api, caller) = (Arc::clone(&self.0), member(context)?.clone());
        let webhook = webhook_id.map(|id| WebhookId::new(id.as_str()));
        if let Some(webhook) = &webhook {
            api.webhook_of(&caller, &*api.store.registry()?, webhook)?;
        }
        let live = api.attempts.subscribe();
        Ok(unfold((live, api, caller, webhook), async |(mut live, api, caller, webhook)| {
            let told = loop {
                match live.recv().await {
                    Ok(Live::Attempted(attempt)) if !api.tells(&caller, webhook.as_ref(), &attempt) => {}
                    Ok(Live::Attempted(attempt)) => {
                        break Ok(WebhookAttempt::new(AttemptRecord::clone(&attempt), &caller));
                    }
                    // How much it was says what others do.
                    Ok(Live::Missed) | Err(RecvError::Lagged(_)) => break Err(ApiError::Missed),
                    Err(RecvError::Closed) => return None,
                }
            };
            Some((told, (live, api, caller, webhook)))
        }))
    }
}

impl<L: Log> Api<L> {
    /// Whether the caller may see, as of now, at whose webhook the attempt was, and wants to.
    fn tells(&self, caller: &Caller, webhook: Option<&WebhookId>, attempt: &AttemptRecord) -> bool {
        let is_wanted = webhook.is_none_or(|webhook| *webhook == attempt.webhook);
        let registry = is_wanted.then(|| self.store.registry().ok()).flatten();
        registry.is_some_and(|registry| self.webhook_of(caller, &registry, &attempt.webhook).is_ok())
    }
}
