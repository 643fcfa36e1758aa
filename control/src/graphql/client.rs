//! Clients: the platform that owns them says which there are. Check refuses payments of those it does not know.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use bytes::Bytes;
use hookline_event_log::{AppendError, Appending, Epoch, Log, Partition, Table};
use hookline_schemas::check::{Client, DirectoryKey};
use hookline_schemas::delivery::encode;
use hookline_schemas::ids::OrganizationId;
use tokio::time::timeout;

use super::Api;
use super::access::platform;
use super::text::{self, invalid};
use crate::error::ApiError;
use crate::writer::{NotPut, PATIENCE};

/// So many clients of a request.
const MAX_CLIENTS: usize = 1_000;

/// What can be changed about clients.
pub(crate) struct ClientMutations<L: Log>(pub(super) Arc<Api<L>>);

/// A client of an organization: the AccountId of payments.
#[derive(Debug, InputObject)]
pub(crate) struct ClientInput {
    /// Its id: the AccountId of its payments.
    client_id: ID,
    /// Whether its payments are refused.
    #[graphql(default)]
    blocked: bool,
}

/// Clients that there are from now on.
#[derive(Debug, InputObject)]
pub(crate) struct UpsertClientsInput {
    /// Whose clients.
    organization_id: ID,
    /// 1 to 1000 of them. One that is known already is now as it stands here.
    clients: Vec<ClientInput>,
}

/// Clients that there are no more.
#[derive(Debug, InputObject)]
pub(crate) struct RemoveClientsInput {
    /// Whose clients.
    organization_id: ID,
    /// 1 to 1000 of them. One that is not known is none already.
    client_ids: Vec<ID>,
}

/// How many clients were written.
#[derive(Debug, Clone, Copy, SimpleObject)]
pub(crate) struct ClientsResult {
    /// As many as were named.
    count: usize,
}

#[Object]
impl<L: Log> ClientMutations<L> {
    /// Makes clients known, or blocks them; answered once all of it is durable. The same again changes nothing, so
    /// it can be repeated. PLATFORM.
    #[graphql(complexity = "100 + child_complexity")]
    async fn upsert_clients(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The clients.")] input: UpsertClientsInput,
    ) -> Result<ClientsResult, ApiError> {
        platform(context)?;
        let organization = organization(&input.organization_id)?;
        bounded("clients", input.clients.len())?;
        let mut entries = Vec::with_capacity(input.clients.len());
        for client in &input.clients {
            let name = text::name("clientId", client.client_id.as_str())?;
            let value = encode(&Client { blocked: client.blocked });
            entries.push((DirectoryKey::of_client(&organization, name), Some(Bytes::from(value))));
        }
        self.0.put_clients(entries).await
    }

    /// Forgets clients; answered once all of it is durable. It can be repeated. PLATFORM.
    #[graphql(complexity = "100 + child_complexity")]
    async fn remove_clients(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The clients.")] input: RemoveClientsInput,
    ) -> Result<ClientsResult, ApiError> {
        platform(context)?;
        let organization = organization(&input.organization_id)?;
        bounded("clientIds", input.client_ids.len())?;
        let mut entries = Vec::with_capacity(input.client_ids.len());
        for id in &input.client_ids {
            let name = text::name("clientIds", id.as_str())?;
            entries.push((DirectoryKey::of_client(&organization, name), None));
        }
        self.0.put_clients(entries).await
    }
}

fn organization(id: &ID) -> Result<OrganizationId, ApiError> {
    text::name("organizationId", id.as_str()).map(OrganizationId::new)
}

fn bounded(field: &'static str, count: usize) -> Result<(), ApiError> {
    if (1..=MAX_CLIENTS).contains(&count) {
        Ok(())
    } else {
        Err(invalid(field, format!("1 to {MAX_CLIENTS} are taken at once")))
    }
}

impl<L: Log> Api<L> {
    /// Hands all entries to the log, then waits for all of them.
    async fn put_clients(
        &self,
        entries: Vec<(DirectoryKey, Option<Bytes>)>,
    ) -> Result<ClientsResult, ApiError> {
        let epoch = self.store.epoch()?;
        let count = entries.len();
        let mut in_flight = Vec::with_capacity(count);
        for entry in entries {
            match self.put_client(entry, epoch).await {
                Ok(appending) => in_flight.push(appending),
                Err(error) if in_flight.is_empty() => return Err(error.into()),
                Err(_) => return Err(ApiError::Unknown),
            }
        }
        let acknowledged = timeout(PATIENCE, futures::future::join_all(in_flight)).await;
        match acknowledged {
            Ok(all) if all.iter().all(Result::is_ok) => Ok(ClientsResult { count }),
            Ok(all) if all.iter().all(is_refused) => {
                let first = all.into_iter().find_map(Result::err).unwrap_or(AppendError::Closed);
                Err(NotPut::Refused(first).into())
            }
            Ok(_) | Err(_) => Err(ApiError::Unknown),
        }
    }

    async fn put_client(
        &self,
        (key, value): (DirectoryKey, Option<Bytes>),
        epoch: Epoch,
    ) -> Result<Appending, NotPut> {
        let accepted = self.clients.put(Partition(0), Bytes::copy_from_slice(&key.0), value, epoch);
        Ok(timeout(PATIENCE, accepted).await.map_err(|_| NotPut::NoRoom)??)
    }
}

fn is_refused(acknowledged: &Result<hookline_event_log::Offset, AppendError>) -> bool {
    matches!(acknowledged, Err(AppendError::NoSpace | AppendError::TooLarge(_) | AppendError::Closed))
}
