//! The listener: connections, their cap and time-outs, and the end of all that.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Executor;
use axum::Router;
use hookline_listener::{Asked, BindError, HandedOver, listen, until_ended};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Front;

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;

/// For a request's head, and for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The head of a request may be this long.
const MAX_HEAD: usize = 16 * 1024;

/// Bound to its address; not yet answering.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    /// Binds the address, or takes it over.
    ///
    /// # Errors
    ///
    /// If the system does not give it.
    pub(crate) async fn bind(address: SocketAddr, handed_over: &HandedOver) -> Result<Self, BindError> {
        Ok(Self { listener: listen(address, handed_over).await? })
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
        let router = front.router();
        let connection = |stream, _| connection(stream, router.clone(), shutdown.clone());
        let serving = async {
            let stop = shutdown.cancelled();
            hookline_listener::serve(&self.listener, MAX_CONNECTIONS, &tasks, stop, connection).await;
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

async fn connection(stream: TcpStream, router: Router, end: CancellationToken) {
    let asked = Asked::default();
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), asked.noted_by(TowerToHyperService::new(router)))
        // A socket has a bound of its own: its connection does not count here any more.
        .with_upgrades();
    until_ended(served, http1::UpgradeableConnection::graceful_shutdown, &asked, &end).await;
}
