//! The control plane: organizations and integrators manage gateways, webhooks and clients by IZI's GraphQL contract.
//!
//! One control is active and writes the table `control`; the others stand by, not ready. What is written reaches
//! every edge and dispatcher by the registry that they follow; nothing here is on the way of a payment.

mod attempts;
mod cloudpayments;
mod control;
mod error;
mod events;
mod graphql;
mod http;
mod identifiers;
mod identity;
mod lanes;
mod leader;
mod metrics;
mod payments;
mod plane;
mod reseal;
mod settings;
mod store;
#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests;
mod writer;

pub use control::{Control, ControlError, NotResealed, Parts, ViewProblem};
pub use graphql::{Configured, WebhookLimits};
pub use identity::{
    IdentityError, IssueRequest, KeyProblem, LocalKey, LocalKeyError, Role, local_key, make_key_file,
};
pub use metrics::METRICS;
pub use payments::{MissingEvent, ReconcileError, ReconcileRequest, Reconciled};
pub use plane::{ControlPlane, StartError};
pub use settings::{CloudPaymentsSettings, PaymentSettings, Settings, TokenSettings};
