//! Outgoing requests: the TLS that all of them have, and the client for those that are no deliveries.
//!
//! The dispatcher sends to addresses that strangers chose, with a connector of its own; everybody else sends with
//! [`Outbound`] to addresses that the operator chose.

mod client;
mod tls;

pub use client::{Answer, NoAnswer, Outbound, Patience};
pub use tls::{TlsError, tls_config};
