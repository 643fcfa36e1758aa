//! Testing a webhook: an event for it alone, on the way that all events take.

use async_graphql::SimpleObject;
use hookline_event_log::{AppendError, Log};
use hookline_schemas::event::Event;
use hookline_schemas::ids::WebhookId;

use crate::error::ApiError;
use crate::events::hand_over;
use crate::graphql::Api;
use crate::graphql::access::AnyWebhook;
use crate::identifiers::new_id;

/// A test that is under way.
#[derive(SimpleObject)]
pub(crate) struct WebhookTest {
    /// The id of its event: the header webhook-id of what arrives.
    event_id: String,
}

impl<L: Log> Api<L> {
    /// Appends the event; it is durable when this returns, and goes out as any other does. `version` is that of the
    /// registry in which the webhook is: who has not heard of it yet waits for it.
    pub(super) async fn test(
        &self,
        id: WebhookId,
        webhook: AnyWebhook<'_>,
        version: u64,
    ) -> Result<WebhookTest, ApiError> {
        let (organization, club) = (webhook.organization().clone(), webhook.club().cloned());
        let event = Event::webhook_test(id, organization, club, self.clock.wall(), &new_id(""), version);
        let appending = hand_over(&self.events, &event).await;
        appending.map_err(not_appended)?.await.map_err(not_appended)?;
        Ok(WebhookTest { event_id: event.id.to_string() })
    }
}

fn not_appended(error: AppendError) -> ApiError {
    match error {
        AppendError::Unknown => ApiError::Unknown,
        AppendError::TooLarge(_) | AppendError::NoSpace | AppendError::Closed => {
            ApiError::Unavailable(format!("nothing is sent: {error}"))
        }
    }
}
