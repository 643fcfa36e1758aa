//! The registry: the gateways and webhooks that organizations have registered, as they stand in the table `control`.
//!
//! The control plane writes it, one process at a time; every edge and every dispatcher follows it ([`follow`]), so
//! that a change reaches them without a restart. Secrets are sealed in the records ([`GatewayRecord`],
//! [`WebhookRecord`]) and opened here, in memory alone ([`Registry`]). Who may change what is not known here.

mod follow;
mod gateway;
mod known;
mod webhook;

pub use follow::{FollowError, follow};
pub use gateway::{ApiSecret, Connection, ConnectionStatus, GatewayRecord};
pub use known::{Known, Registry};
pub use webhook::{SealedHeader, WebhookRecord, WebhookSecretRecord};

#[cfg(test)]
mod tests;
