//! The control plane: organizations and integrators manage gateways, webhooks and clients by IZI's GraphQL contract.
//!
//! One control is active and writes the table `control`; the others stand by, not ready. What is written reaches
//! every edge and dispatcher by the registry that they follow; nothing here is on the way of a payment.

mod error;
mod http;
mod identity;
mod metrics;
mod settings;

pub use http::BindError;
pub use identity::{IdentityError, IssueRequest, KeyProblem, LocalKey, LocalKeyError, Role, local_key};
pub use metrics::describe;
pub use settings::{CloudPaymentsSettings, Settings, TokenSettings};
