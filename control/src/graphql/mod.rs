//! The GraphQL contract: what integrators and administrators ask, one file per thing.
//!
//! A resolver judges who may, then what is asked for, then writes once; errors are [`ApiError`]s, which the HTTP
//! layer dresses. Who calls is put into the request's data as [`crate::identity::Identified`].

mod access;
mod client;
mod decimal;
mod delivery;
mod gateway;
mod page;
mod payment;
mod scalars;
mod text;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{MergedObject, MergedSubscription, Schema};
use hookline_event_log::{JournalName, Log, TableName};
use hookline_history::History;
use hookline_schemas::gateway::Gateway;
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::Webhooks;

use crate::attempts::Attempts;
use crate::cloudpayments::CloudPayments;
use crate::lanes::Lanes;
use crate::payments::Payments;
use crate::store::Store;

use self::client::ClientMutations;
pub(crate) use self::delivery::Turns;
use self::delivery::{DeliveryMutations, DeliveryQueries, DeliverySubscriptions};
pub(crate) use self::gateway::recheck;
use self::gateway::{GatewayMutations, GatewayQueries};
use self::payment::{PaymentMutations, PaymentQueries, PaymentSubscriptions};
use self::webhook::{WebhookMutations, WebhookQueries};

/// Fields in fields: the introspection of GraphiQL needs 15.
const MAX_DEPTH: usize = 20;

/// Fields in all; a mutation counts for many, because it may ask CloudPayments or wait for the disk.
const MAX_COMPLEXITY: usize = 1_000;

/// What stands in the operator's configuration: shown with the rest, and changed there alone.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    /// `[[gateways]]`.
    pub gateways: Vec<Gateway>,
    /// `[[webhooks]]`.
    pub webhooks: Arc<Webhooks>,
}

/// What webhooks may be.
#[derive(Debug, Clone, Copy)]
pub struct WebhookLimits {
    /// Plain http is allowed.
    pub allow_http: bool,
    /// The longest time for which a delivery is tried.
    pub max_deadline: Duration,
}

/// What resolvers work with.
pub(crate) struct Api<L: Log> {
    pub(crate) store: Store<L>,
    pub(crate) payments: Payments<L>,
    pub(crate) clients: L::Table,
    pub(crate) events: L::Journal,
    pub(crate) lanes: Lanes,
    pub(crate) attempts: Attempts<L>,
    pub(crate) history: History<L>,
    pub(crate) turns: Turns,
    pub(crate) cloudpayments: CloudPayments,
    /// Where CloudPayments reaches the edge, without a slash at its end.
    pub(crate) callback_url: Option<String>,
    pub(crate) configured: Configured,
    pub(crate) limits: WebhookLimits,
    pub(crate) sealer: Sealer,
    pub(crate) clock: Clock,
}

impl<L: Log> Api<L> {
    pub(crate) fn clients_of(log: &L) -> L::Table {
        log.table(TableName::Clients)
    }

    pub(crate) fn events_of(log: &L) -> L::Journal {
        log.journal(JournalName::Events)
    }
}

/// Everything that can be asked.
#[derive(MergedObject)]
#[graphql(name = "Query")]
pub(crate) struct Query<L: Log>(GatewayQueries<L>, WebhookQueries<L>, PaymentQueries<L>, DeliveryQueries<L>);

/// Everything that can be changed. The changes of one request are made one after the other.
#[derive(MergedObject)]
#[graphql(name = "Mutation")]
pub(crate) struct Mutation<L: Log>(
    GatewayMutations<L>,
    WebhookMutations<L>,
    ClientMutations<L>,
    PaymentMutations<L>,
    DeliveryMutations<L>,
);

/// Everything that can be listened to.
#[derive(MergedSubscription)]
#[graphql(name = "Subscription")]
pub(crate) struct Subscription<L: Log>(PaymentSubscriptions<L>, DeliverySubscriptions<L>);

/// The schema over this log.
pub(crate) type ControlSchema<L> = Schema<Query<L>, Mutation<L>, Subscription<L>>;

/// The schema. Depth and complexity of a request are bounded.
pub(crate) fn schema<L: Log>(api: &Arc<Api<L>>) -> ControlSchema<L> {
    let query = Query(
        GatewayQueries(Arc::clone(api)),
        WebhookQueries(Arc::clone(api)),
        PaymentQueries(Arc::clone(api)),
        DeliveryQueries(Arc::clone(api)),
    );
    let mutation = Mutation(
        GatewayMutations(Arc::clone(api)),
        WebhookMutations(Arc::clone(api)),
        ClientMutations(Arc::clone(api)),
        PaymentMutations(Arc::clone(api)),
        DeliveryMutations(Arc::clone(api)),
    );
    let subscription =
        Subscription(PaymentSubscriptions(Arc::clone(api)), DeliverySubscriptions(Arc::clone(api)));
    Schema::build(query, mutation, subscription)
        .limit_depth(MAX_DEPTH)
        .limit_complexity(MAX_COMPLEXITY)
        .finish()
}
