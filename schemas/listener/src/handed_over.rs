//! Sockets that the service manager has bound and hands over, by systemd's protocol (`LISTEN_FDS`, `LISTEN_PID`).
//!
//! They outlive the process: what connects between two of its lives waits in them instead of being refused.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use listenfd::ListenFd;

/// The sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct HandedOver {
    sockets: Mutex<Vec<(SocketAddr, TcpListener)>>,
}

/// Why sockets that were handed over can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// It is of another kind.
    #[error("socket {number} that the service manager hands over is no listening TCP socket")]
    NotTcp {
        /// Counted from 1, in the order of the unit.
        number: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system does not let it be used.
    #[error("the sockets that the service manager hands over can't be used")]
    NotUsable(#[source] io::Error),
    /// Nothing of the configuration listens there: what connects to it would wait for ever.
    #[error(
        "the service manager hands over a socket that listens on {socket}, and nothing here does: {configured}. Make \
         ListenStream= of the socket unit and the configuration name the same address"
    )]
    Unexpected {
        /// Where it listens.
        socket: SocketAddr,
        /// What listens according to the configuration.
        configured: Configured,
    },
}

/// Settings that name addresses, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured(Vec<(&'static str, SocketAddr)>);

impl fmt::Display for Configured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (setting, address)) in self.0.iter().enumerate() {
            write!(formatter, "{}{setting} is {address}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl HandedOver {
    /// None: every address is bound.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// These sockets, which listen.
    ///
    /// # Errors
    ///
    /// If one can't be used.
    pub fn of(sockets: impl IntoIterator<Item = TcpListener>) -> io::Result<Self> {
        let usable = |socket: TcpListener| {
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        };
        let sockets = sockets.into_iter().map(usable).collect::<io::Result<_>>()?;
        Ok(Self { sockets: Mutex::new(sockets) })
    }

    /// Those that the environment tells of, if it means this process. It forgets them there, so that no child takes them
    /// for its own: to be called once, before there are other threads.
    ///
    /// # Errors
    ///
    /// If one of them is no TCP socket.
    pub fn from_environment() -> Result<Self, HandOverError> {
        let mut received = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..received.len() {
            let not_tcp = |source| HandOverError::NotTcp { number: index + 1, source };
            sockets.extend(received.take_tcp_listener(index).map_err(not_tcp)?);
        }
        Self::of(sockets).map_err(HandOverError::NotUsable)
    }

    /// Demands that each of them is meant for one of these settings, which this process listens on.
    ///
    /// # Errors
    ///
    /// If one is not, or two are for the same.
    pub fn demand_all_meant(&self, configured: &[(&'static str, SocketAddr)]) -> Result<(), HandOverError> {
        let mut free: Vec<SocketAddr> = configured.iter().map(|(_, address)| *address).collect();
        for (socket, _) in self.sockets.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let Some(place) = free.iter().position(|address| address == socket) else {
                return Err(HandOverError::Unexpected {
                    socket: *socket,
                    configured: Configured(configured.to_vec()),
                });
            };
            free.swap_remove(place);
        }
        Ok(())
    }

    /// Whether there is one that listens there, and nobody has taken it yet.
    pub fn includes(&self, address: SocketAddr) -> bool {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().any(|(listens, _)| *listens == address)
    }

    /// The one that listens there, if there is one.
    pub(crate) fn take(&self, address: SocketAddr) -> Option<TcpListener> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let place = sockets.iter().position(|(listens, _)| *listens == address)?;
        Some(sockets.swap_remove(place).1)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::listen;

    fn bound() -> (SocketAddr, TcpListener) {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        (socket.local_addr().expect("an address"), socket)
    }

    #[test]
    fn a_socket_for_which_nothing_is_configured_is_refused_with_both_addresses() {
        let ((one, first), (other, second)) = (bound(), bound());
        let both = HandedOver::of([first, second]).expect("both listen");
        both.demand_all_meant(&[("admin.listen", other), ("ingest.listen", one)]).expect("all are meant");
        for configured in [&[("ingest.listen", one)][..], &[("ingest.listen", one), ("admin.listen", one)]] {
            let refused = both.demand_all_meant(configured).expect_err("one is not meant").to_string();
            assert!(refused.contains(&format!("listens on {other}")), "{refused}");
            assert!(refused.contains(&format!("ingest.listen is {one}")), "{refused}");
        }
        HandedOver::nothing().demand_all_meant(&[]).expect("nothing is handed over");
    }

    #[tokio::test]
    async fn what_connected_before_the_socket_was_taken_over_is_accepted() {
        let (address, socket) = bound();
        let handed_over = HandedOver::of([socket]).expect("it listens");
        let early = std::net::TcpStream::connect(address).expect("it waits in the socket");
        let listener = listen(address, &handed_over).await.expect("taken over");
        let (_, peer) = listener.accept().await.expect("accepted");
        assert_eq!(peer, early.local_addr().expect("an address"));
        // Taken once: the next one binds, and finds it in use.
        assert_eq!(listen(address, &handed_over).await.expect_err("in use").address, address);
    }
}
