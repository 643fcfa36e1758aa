//! The edge as CloudPayments sees it: real sockets over a real log in a scratch directory.

mod admission;
mod answers;
mod bodies;
mod check;
mod client;
mod durability;
mod gated;
mod harness;
mod metrics;
mod notifications;
mod quarantine;
mod readiness;
mod requests;
mod shutdown;
mod signatures;
mod sources;
mod tls;
