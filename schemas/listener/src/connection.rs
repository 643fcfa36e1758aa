//! One connection of HTTP/1.1, to its end.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::Service;
use tokio_util::sync::CancellationToken;

use crate::Seldom;

/// How long a connection on which nothing has been asked yet is waited for at the end. Its head time-out is longer, and
/// whoever connects without a word must not keep the next process from starting.
pub const STRANGER_GRACE: Duration = Duration::from_secs(1);

/// Whether something has been asked on a connection.
#[derive(Debug, Default)]
pub struct Asked(AtomicBool);

impl Asked {
    /// The service, which notes that it is asked.
    pub const fn noted_by<S>(&self, service: S) -> Noted<'_, S> {
        Noted { asked: self, service }
    }

    fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A service that notes that it is asked. Made by [`Asked::noted_by`].
#[derive(Debug)]
pub struct Noted<'a, S> {
    asked: &'a Asked,
    service: S,
}

impl<R, S: Service<R>> Service<R> for Noted<'_, S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: R) -> S::Future {
        self.asked.0.store(true, Ordering::Relaxed);
        self.service.call(request)
    }
}

/// Serves a connection until the other side ends it or, from `end` on, what is in flight has been answered: hyper's
/// `graceful_shutdown` of this kind of connection sees to it. One that is idle then is closed; one on which nothing was
/// asked yet has [`STRANGER_GRACE`] to do so.
pub async fn until_ended<C>(
    connection: C,
    graceful_shutdown: impl FnOnce(Pin<&mut C>),
    asked: &Asked,
    end: &CancellationToken,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = Seldom::new(end.cancelled()) => {
            // Asked to end before it has read anything, hyper closes it with the request that is on its way.
            let stranger = tokio::time::timeout(STRANGER_GRACE, connection.as_mut());
            let ended = if asked.is_so() { None } else { stranger.await.ok() };
            match ended {
                Some(ended) => ended,
                None if asked.is_so() => {
                    graceful_shutdown(connection.as_mut());
                    connection.await
                }
                None => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
