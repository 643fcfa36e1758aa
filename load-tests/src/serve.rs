//! What the servers of these tests have in common: accepting until they are stopped, and what their connections share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Serves each connection beside the others. When it is stopped, or dropped, the connections end with it.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    stop: CancellationToken,
    connection: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            // Too many open files, or a connection that went before it was taken: the next may do better.
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(connection(stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A panic elsewhere does not make the record untrue.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
