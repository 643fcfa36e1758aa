//! Names to judged addresses: asked once for all who want to know at the same time, every answer judged.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use super::guard::AddressGuard;
use super::reason::is_local;

/// Why an endpoint can't be reached, before a byte of it has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReachError {
    /// The name has no address, or nobody could be asked.
    #[error("the name could not be resolved")]
    Resolve,
    /// One of the addresses is not one that webhooks are sent to.
    #[error("an address is not permitted")]
    Blocked,
    /// The deadline of the attempt passed.
    #[error("the connection was not made in time")]
    Late,
    /// This machine could not even ask.
    #[error("the name could not be asked for")]
    Local,
}

/// The addresses of a name.
pub(crate) type Resolved = Result<Vec<SocketAddr>, ReachError>;

/// Whoever knows the addresses of names.
pub(crate) trait Resolve: Clone + Send + Sync + 'static {
    /// Asks for the addresses of a name, which may be an address in any of the forms that the system reads.
    fn resolve(&self, name: &str) -> impl Future<Output = Resolved> + Send + 'static;
}

/// The system's resolver. It blocks a thread per question, and can't be told to stop: so a name is not asked for
/// again while an answer is waited for, or a name that hangs would take all of these threads.
#[derive(Debug, Clone, Default)]
pub(crate) struct SystemResolver {
    asking: Arc<Mutex<HashMap<String, Asking>>>,
}

type Asking = Shared<BoxFuture<'static, Resolved>>;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> impl Future<Output = Resolved> + Send + 'static {
        // Not every system knows that with a dot it is the same host (RFC 6761).
        let name = if name.eq_ignore_ascii_case("localhost.") { "localhost" } else { name };
        self.ask_with(name, |name| (name, 0).to_socket_addrs().map(Iterator::collect))
    }
}

impl SystemResolver {
    fn ask_with(&self, name: &str, ask: fn(&str) -> io::Result<Vec<SocketAddr>>) -> Asking {
        // A panic elsewhere leaves the map as it is.
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = asking.get(name) {
            return asked.clone();
        }
        let (answered, asked_for) = (Arc::clone(&self.asking), name.to_owned());
        let question = tokio::task::spawn_blocking(move || {
            let answer = ask(&asked_for);
            answered.lock().unwrap_or_else(PoisonError::into_inner).remove(&asked_for);
            answer.map_err(|error| if is_local(&error) { ReachError::Local } else { ReachError::Resolve })
        });
        let asked = question.map(|answer| answer.unwrap_or(Err(ReachError::Resolve))).boxed().shared();
        asking.insert(name.to_owned(), asked.clone());
        asked
    }
}

/// Resolves names to judged addresses.
#[derive(Debug, Clone)]
pub(crate) struct GuardedResolver<R> {
    guard: Arc<AddressGuard>,
    resolver: R,
}

impl<R: Resolve> GuardedResolver<R> {
    pub(crate) const fn new(guard: Arc<AddressGuard>, resolver: R) -> Self {
        Self { guard, resolver }
    }
}

impl<R: Resolve> Service<Name> for GuardedResolver<R> {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ReachError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ReachError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReachError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (guard, resolving) = (Arc::clone(&self.guard), self.resolver.resolve(name.as_str()));
        Box::pin(async move {
            let addresses = resolving.await?;
            if addresses.is_empty() {
                return Err(ReachError::Resolve);
            }
            // One bad answer among good ones is an attempt to slip through: none is used.
            if addresses.iter().all(|address| guard.permits(address.ip())) {
                Ok(addresses.into_iter())
            } else {
                Err(ReachError::Blocked)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_name_is_asked_for_once_at_a_time() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let resolver = SystemResolver::default();
        let ask = || {
            resolver.ask_with("slow.example", |_| {
                ASKED.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(100));
                Ok(vec![SocketAddr::from(([192, 0, 2, 1], 0))])
            })
        };
        // Whoever gives up waiting does not make the next one ask again.
        assert!(tokio::time::timeout(Duration::from_millis(10), ask()).await.is_err());
        let (one, other) = tokio::join!(ask(), ask());
        assert_eq!((one.map(|found| found.len()), other.map(|found| found.len())), (Ok(1), Ok(1)));
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        assert!(ask().await.is_ok());
        assert_eq!(ASKED.load(Ordering::SeqCst), 2, "what was answered is not kept");
        assert!(resolver.asking.lock().expect("no panic").is_empty());
    }

    #[tokio::test]
    async fn a_machine_that_is_out_of_descriptors_says_nothing_of_the_name() {
        let resolver = SystemResolver::default();
        let exhausted = resolver.ask_with("a.example", |_| Err(io::Error::from_raw_os_error(24)));
        assert_eq!(exhausted.await, Err(ReachError::Local));
        let unknown = resolver.ask_with("a.example", |_| Err(io::Error::other("no such name")));
        assert_eq!(unknown.await, Err(ReachError::Resolve));
    }
}
