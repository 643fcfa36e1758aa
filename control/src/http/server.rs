//! The listener: connections, their cap and time-outs, and the end of all that.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Executor;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Front;

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;

/// For a request's head, and for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The head of a request may be this long.
const MAX_HEAD: usize = 16 * 1024;

/// How long to wait after the system refused a connection for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the control plane can't listen.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Bound to its address; not yet answering.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    ///
    /// If the system does not give it.
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let listener = TcpListener::bind(address).await.map_err(|source| BindError { address, source })?;
        Ok(Self { listener })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then finishes what is in flight. When it returns, every connection is closed and every
    /// answer has been written; sockets are told that we go.
    pub(crate) async fn run<E: Executor>(self, front: Front<E>, shutdown: CancellationToken) {
        let front = Arc::new(front);
        let tasks = TaskTracker::new();
        let serving = async {
            accept(&self.listener, &front.router(), &tasks, &shutdown).await;
            drop(self.listener);
            front.sockets.go_away();
            tasks.close();
            tasks.wait().await;
            front.sockets.ended().await;
        };
        tokio::select! {
            () = serving => {}
            // What is in flight at the end may still want keys.
            () = front.keep() => {}
        }
    }
}

async fn accept(listener: &TcpListener, router: &Router, tasks: &TaskTracker, shutdown: &CancellationToken) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The cap on connections bites before accept: the kernel's queue holds the rest.
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accepted => accepted,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((stream, _))) => {
                tasks.spawn(connection(stream, router.clone(), shutdown.clone(), permit));
            }
            (Err(_), _) => return,
            (_, Err(error)) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    // Small answers are sent at once; a stream that refuses the option works all the same.
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        // A socket has a bound of its own: its connection does not count here any more.
        .with_upgrades();
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
