//! One connection to a receiver: made, used for one request at a time, and driven by whoever uses it.
//!
//! It has no task of its own. An attempt polls its connection beside what it waits for, so that an answer wakes one task
//! and not three, and an attempt that is dropped takes its connection with it. One that is kept rests until the next
//! attempt finds out whether it is still there.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use tower_service::Service;

use super::answer::MAX_HEAD;
use super::connect::{GuardedConnector, Stream};
use super::resolve::Resolve;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    requests: SendRequest<Full<Bytes>>,
    transport: http1::Connection<Stream, Full<Bytes>>,
    has_ended: bool,
    made_at: Duration,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The connection had ended before: nothing of the request has left.
    NotSent(Box<Request<Full<Bytes>>>),
    /// The request, or a part of it, is gone.
    Broken(hyper::Error),
}

impl Connection {
    /// Connects to the receiver behind this URL at this time.
    pub(crate) async fn make<R: Resolve>(
        connector: &GuardedConnector<R>,
        url: Uri,
        now: Duration,
    ) -> Result<Box<Self>, BoxError> {
        let mut connector = connector.clone();
        poll_fn(|context| connector.poll_ready(context)).await?;
        let connected = connector.call(url).await?;
        let mut builder = http1::Builder::new();
        // Head and body in one piece: copied, they are cheaper to write than apart, and one record where there is TLS.
        let (requests, transport) = builder.max_buf_size(MAX_HEAD).writev(false).handshake(connected).await?;
        Ok(Box::new(Self { requests, transport, has_ended: false, made_at: now }))
    }

    /// When it was made.
    pub(crate) fn made_at(&self) -> Duration {
        self.made_at
    }

    /// Whether it can't be used any more, as far as is known without waiting.
    pub(crate) fn has_ended(&mut self) -> bool {
        let _pending = self.beside(std::future::pending::<()>()).now_or_never();
        self.has_ended || self.requests.is_closed()
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        if self.has_ended() {
            return Err(NoAnswer::NotSent(Box::new(request)));
        }
        let Self { requests, transport, has_ended, .. } = self;
        let sending = async {
            if requests.ready().await.is_err() {
                return Err(NoAnswer::NotSent(Box::new(request)));
            }
            requests.try_send_request(request).await.map_err(|mut error| match error.take_message() {
                Some(request) => NoAnswer::NotSent(Box::new(request)),
                None => NoAnswer::Broken(error.into_error()),
            })
        };
        drive(transport, has_ended, sending).await
    }

    /// Waits for something that comes over this connection: the body of an answer.
    pub(crate) async fn beside<F: Future>(&mut self, waiting: F) -> F::Output {
        drive(&mut self.transport, &mut self.has_ended, waiting).await
    }
}

/// Polls a connection until what is waited for is there. How the connection ends is told to whoever waits.
async fn drive<F: Future>(
    transport: &mut http1::Connection<Stream, Full<Bytes>>,
    has_ended: &mut bool,
    waiting: F,
) -> F::Output {
    let mut waiting = pin!(waiting);
    poll_fn(|context| {
        if let Poll::Ready(output) = waiting.as_mut().poll(context) {
            return Poll::Ready(output);
        }
        if !*has_ended {
            *has_ended = transport.poll_unpin(context).is_ready();
        }
        waiting.as_mut().poll(context)
    })
    .await
}
