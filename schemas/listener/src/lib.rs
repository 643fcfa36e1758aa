//! Where a role listens: an address that it binds or that was handed over, its connections, and their end.
//!
//! The three listeners of a process (edge, control plane, admin) share this, so that a cap bites, an end is orderly and
//! a socket is taken over in the same way for all of them. It knows HTTP/1.1 only as something that can be asked to
//! end; what is served is its caller's business. Nothing here is allocated per request.

mod accept;
mod connection;
mod handed_over;
mod seldom;

use std::io;
use std::net::SocketAddr;

pub use accept::{Accept, serve};
pub use connection::{Asked, Noted, STRANGER_GRACE, until_ended};
pub use handed_over::{HandOverError, HandedOver};
pub use seldom::Seldom;
use tokio::net::TcpListener;

/// Why nothing can listen there.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Listens on this address: with the socket that was handed over for it, where there is one. What has connected to that
/// one before waits in it.
///
/// # Errors
///
/// If the system does not give the address.
pub async fn listen(address: SocketAddr, handed_over: &HandedOver) -> Result<TcpListener, BindError> {
    let listener = match handed_over.take(address) {
        Some(socket) => TcpListener::from_std(socket),
        None => TcpListener::bind(address).await,
    };
    listener.map_err(|source| BindError { address, source })
}
