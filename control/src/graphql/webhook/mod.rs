//! Webhooks: where an organization wants events to be posted.

mod event_type;
mod input;
mod output;
mod secret;
mod test;

use std::sync::Arc;

use async_graphql::{Context, ID, MaybeUndefined, Object};
use hookline_event_log::Log;
use hookline_registry::{Registry, WebhookRecord};
use hookline_schemas::ids::{OrganizationId, WebhookId};
use hookline_schemas::secret::Secret;

pub(crate) use self::event_type::WebhookEventType;
pub(crate) use self::output::WebhookDisabledReason;

use self::input::{CreateWebhookInput, UpdateWebhookInput};
use self::output::Webhook;
use self::test::WebhookTest;
use super::Api;
use super::access::{AnyWebhook, member};
use super::text::{self, invalid};
use crate::error::ApiError;
use crate::identifiers::new_id;
use crate::identity::Caller;
use crate::store::Change;

/// So many webhooks of an organization: all of them are in the memory of every dispatcher.
const MAX_WEBHOOKS: usize = 100;

/// How long the previous secret signs as well, unless it is said otherwise.
const DEFAULT_OVERLAP_HOURS: i32 = 24;

/// What can be asked about webhooks.
pub(crate) struct WebhookQueries<L: Log>(pub(super) Arc<Api<L>>);

/// What can be changed about webhooks.
pub(crate) struct WebhookMutations<L: Log>(pub(super) Arc<Api<L>>);

#[Object]
impl<L: Log> WebhookQueries<L> {
    /// The webhooks of your organization. A token for some clubs sees those of its clubs.
    #[graphql(complexity = "5 + child_complexity")]
    async fn webhooks(&self, context: &Context<'_>) -> Result<Vec<Webhook>, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        let registry = api.store.registry()?;
        Ok(api.webhooks_of(caller, &registry).map(|webhook| api.shown(webhook)).collect())
    }

    /// One of them.
    async fn webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<Webhook, ApiError> {
        let (api, caller, id) = (&*self.0, member(context)?, WebhookId::new(id.as_str()));
        Ok(api.shown(api.webhook_of(caller, &*api.store.registry()?, &id)?))
    }
}

#[Object]
impl<L: Log> WebhookMutations<L> {
    /// Creates a webhook. Its secret is in this answer only: it can't be read again. OWNER or ADMIN; a token for some
    /// clubs creates webhooks of its clubs.
    #[graphql(complexity = "50 + child_complexity")]
    async fn create_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The webhook.")] input: CreateWebhookInput,
    ) -> Result<Webhook, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        caller.manages()?;
        let club = input.club_id.as_ref().map(|club| text::club("clubId", club)).transpose()?;
        caller.may_enter(club.as_ref())?;
        let (id, secret) = (WebhookId::new(new_id("wh_")), secret::generate());
        let record = api.new_webhook(id.clone(), &caller.organization, &secret, input)?;
        let create = |registry: &Registry| {
            has_room(registry, &caller.organization)?;
            Ok(Change::webhook(&record))
        };
        let registry = api.store.write(create).await?;
        Ok(api.show_webhook(&registry, &id)?.with_secret(&secret))
    }

    /// Changes a webhook; what is absent stays as it is. OWNER or ADMIN; a token for some clubs changes webhooks of
    /// its clubs.
    #[graphql(complexity = "50 + child_complexity")]
    async fn update_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
        #[graphql(desc = "What is to change.")] input: UpdateWebhookInput,
    ) -> Result<Webhook, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        let change = |record: &mut WebhookRecord| {
            match &input.club_id {
                MaybeUndefined::Undefined => {}
                MaybeUndefined::Null => caller.may_enter(None)?,
                MaybeUndefined::Value(club) => caller.may_enter(Some(&text::club("clubId", club)?))?,
            }
            input.apply(record, api.limits, &api.sealer)
        };
        api.change_webhook(caller, &WebhookId::new(id.as_str()), change).await
    }

    /// Deletes a webhook: nothing more is sent, and what waits for it is cancelled. True, once it is gone. OWNER or
    /// ADMIN; a token for some clubs deletes webhooks of its clubs.
    #[graphql(complexity = "50 + child_complexity")]
    async fn delete_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<bool, ApiError> {
        let (api, caller, id) = (&*self.0, member(context)?, WebhookId::new(id.as_str()));
        let delete =
            |registry: &Registry| Ok(Change::deletion(api.managed_webhook(caller, registry, &id)?.key()));
        api.store.write(delete).await?;
        Ok(true)
    }

    /// Gives a webhook a new secret, while the previous one signs as well for a while: then X-IZI-Signature is by the
    /// previous one, X-IZI-Signature-Next by the new one, and webhook-signature by both. Again within that time, the new
    /// one alone is replaced. The new secret is in this answer only. OWNER or ADMIN; a token for some clubs rotates those of webhooks of its clubs.
    #[graphql(complexity = "50 + child_complexity")]
    async fn rotate_webhook_secret(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
        #[graphql(
            desc = "How long both sign: 0 to 168. 0: the previous one counts no more.",
            default_with = "Some(DEFAULT_OVERLAP_HOURS)"
        )]
        overlap_hours: Option<i32>,
    ) -> Result<Webhook, ApiError> {
        let (api, caller, secret) = (&*self.0, member(context)?, secret::generate());
        let rotate = |record: &mut WebhookRecord| {
            let overlap = text::overlap(overlap_hours.unwrap_or(DEFAULT_OVERLAP_HOURS))?;
            secret::rotate(record, &secret, overlap, api.clock.wall(), &api.sealer);
            Ok(())
        };
        let shown = api.change_webhook(caller, &WebhookId::new(id.as_str()), rotate).await?;
        Ok(shown.with_secret(&secret))
    }

    /// Enables a webhook that was disabled: it is probed at once, and what waits goes out if it answers. OWNER or
    /// ADMIN; a token for some clubs enables webhooks of its clubs.
    #[graphql(complexity = "50 + child_complexity")]
    async fn enable_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<Webhook, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        let enable = |record: &mut WebhookRecord| {
            record.enabled_at = Some(api.clock.wall());
            Ok(())
        };
        api.change_webhook(caller, &WebhookId::new(id.as_str()), enable).await
    }

    /// Sends a signed test event, of type WEBHOOK_TEST, to the webhook, whatever events it asks for. It goes the way of
    /// all events: it is tried again if it fails, and waits while the webhook is paused or disabled. OWNER or ADMIN; a
    /// token for some clubs tests webhooks of its clubs.
    #[graphql(complexity = "50 + child_complexity")]
    async fn test_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<WebhookTest, ApiError> {
        let (api, caller, id) = (&*self.0, member(context)?, WebhookId::new(id.as_str()));
        let registry = api.store.registry()?;
        let webhook = api.tested_webhook(caller, &registry, &id)?;
        api.test(id, webhook, registry.version()).await
    }

    /// Probes the endpoint of a webhook now, if it is down. OWNER or ADMIN; a token for some clubs probes webhooks of
    /// its clubs.
    #[graphql(complexity = "50 + child_complexity")]
    async fn probe_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<Webhook, ApiError> {
        let (api, caller) = (&*self.0, member(context)?);
        let probe = |record: &mut WebhookRecord| {
            record.probed_at = Some(api.clock.wall());
            Ok(())
        };
        api.change_webhook(caller, &WebhookId::new(id.as_str()), probe).await
    }
}

impl<L: Log> Api<L> {
    fn shown(&self, webhook: AnyWebhook<'_>) -> Webhook {
        Webhook::new(webhook, self.lanes.view(webhook.id()), self.clock.wall())
    }

    /// A webhook that has just been written.
    fn show_webhook(&self, registry: &Registry, id: &WebhookId) -> Result<Webhook, ApiError> {
        let known = registry.webhook(id).ok_or(ApiError::NotFound("webhook"))?;
        Ok(self.shown(AnyWebhook::Registered(known)))
    }

    /// Changes a webhook that the caller manages.
    async fn change_webhook(
        &self,
        caller: &Caller,
        id: &WebhookId,
        change: impl FnOnce(&mut WebhookRecord) -> Result<(), ApiError>,
    ) -> Result<Webhook, ApiError> {
        let write = |registry: &Registry| {
            let mut record = self.managed_webhook(caller, registry, id)?.clone();
            change(&mut record)?;
            Ok(Change::webhook(&record))
        };
        let registry = self.store.write(write).await?;
        self.show_webhook(&registry, id)
    }

    fn new_webhook(
        &self,
        id: WebhookId,
        organization: &OrganizationId,
        secret: &Secret,
        input: CreateWebhookInput,
    ) -> Result<WebhookRecord, ApiError> {
        let mut record = WebhookRecord {
            secret: secret::sealed(&self.sealer, &id, secret),
            id,
            organization: organization.clone(),
            club: None,
            url: String::new(),
            events: Vec::new(),
            previous: None,
            headers: Vec::new(),
            retry_schedule: None,
            deadline: None,
            rate_limit: None,
            is_active: true,
            description: None,
            enabled_at: None,
            probed_at: None,
            created_at: self.clock.wall(),
        };
        UpdateWebhookInput::from(input).apply(&mut record, self.limits, &self.sealer)?;
        Ok(record)
    }
}

fn has_room(registry: &Registry, organization: &OrganizationId) -> Result<(), ApiError> {
    let count = registry.webhooks().filter(|webhook| webhook.organization == *organization).count();
    if count >= MAX_WEBHOOKS {
        return Err(invalid("url", format!("an organization has at most {MAX_WEBHOOKS} webhooks")));
    }
    Ok(())
}
