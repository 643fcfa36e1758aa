//! Accepting: as many connections at once as the cap allows, and no more than the system can give.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// How long to wait after the system refused a connection for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket that listens.
pub trait Accept: Sync {
    /// A connection.
    type Stream: Send;
    /// Who made it.
    type Peer: Send;

    /// The next connection. Dropping the future loses none.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = self.accept().await;
        // Small answers are sent at once; a stream that refuses the option works all the same.
        let _ = accepted.as_ref().map(|(stream, _)| stream.set_nodelay(true));
        accepted
    }
}

/// Nobody ever comes where there is none.
impl<A: Accept> Accept for Option<A> {
    type Stream = A::Stream;
    type Peer = A::Peer;

    async fn accept(&self) -> io::Result<(A::Stream, A::Peer)> {
        match self {
            Some(socket) => socket.accept().await,
            None => std::future::pending().await,
        }
    }
}

/// Has each connection served as a task among these, at most so many at once, until `stop`. What comes later waits in
/// the socket, until somebody else accepts it or the socket is closed.
pub async fn serve<A, F>(
    listener: &A,
    most: usize,
    tasks: &TaskTracker,
    stop: impl Future<Output = ()>,
    connection: impl Fn(A::Stream, A::Peer) -> F,
) where
    A: Accept,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    let mut stop = std::pin::pin!(stop);
    loop {
        // The cap bites before accept: the kernel's queue holds the rest.
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.as_mut() => return,
            accepted = accepted => accepted,
        };
        match (place, accepted) {
            (Ok(place), Ok((stream, peer))) => {
                let serving = connection(stream, peer);
                tasks.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            (Err(_), _) => return,
            (_, Err(error)) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn what_is_above_the_cap_waits_in_the_socket_and_what_comes_after_the_end_stays_there() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (sender, mut served) = mpsc::channel(8);
        let connection = |mut stream: TcpStream, peer: SocketAddr| {
            let sender = sender.clone();
            async move {
                sender.send(peer.port()).await.expect("the test listens");
                // Until the caller goes.
                let _ = stream.read_u8().await;
            }
        };
        let mut callers = Vec::new();
        let calling = async {
            for _ in 0..3 {
                callers.push(TcpStream::connect(address).await.expect("the socket holds it"));
            }
            let ports: Vec<u16> =
                callers.iter().map(|caller| caller.local_addr().expect("an address").port()).collect();
            let first = [served.recv().await, served.recv().await];
            assert_eq!(first, [ports.first().copied(), ports.get(1).copied()]);
            let early = tokio::time::timeout(Duration::from_millis(50), served.recv()).await;
            assert!(early.is_err(), "only two places");
            drop(callers.remove(0));
            assert_eq!(served.recv().await, ports.last().copied());
            drop(callers.drain(..));
            stop.cancel();
        };
        tokio::join!(serve(&listener, 2, &tasks, stop.cancelled(), connection), calling);
        tasks.close();
        tasks.wait().await;

        let late = TcpStream::connect(address).await.expect("the socket holds it");
        let (_, peer) = listener.accept().await.expect("whoever accepts next gets it");
        assert_eq!(peer, late.local_addr().expect("an address"));
    }
}
