//! Subscriptions: `GET /graphql`, upgraded to a WebSocket, in one of two protocols.
//!
//! Here is who gets a socket, how many there are, and what ends them all; `session.rs` is the life of one. What runs on
//! a socket is the schema's: this knows only that answers come until none comes. Queries and mutations are not answered
//! here, because the time-out and the log of changes belong to POST.

mod hearing;
mod places;
mod running;
mod session;
mod words;

use std::sync::Arc;
use std::time::Duration;

use async_graphql::Executor;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use hookline_schemas::time::Timestamp;
use http::request::Parts;
use http::{Method, Response, header};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use places::NoPlace;

use super::rate::{Admitted, Exceeded, TokenDigest};
use super::refusal::Refusal;
use super::{Front, PATH};
use crate::error::ApiError;
use crate::identity::{Identified, Verified};
use crate::metrics::FrontMetrics;
use places::Places;
use session::Session;
use words::{End, Protocol};

/// A message of a client may be this long.
const MAX_MESSAGE: usize = 64 * 1024;

/// What is longer than this is not even read to its end, so that its sender may not hear why he was cut off.
const MAX_READ: usize = 2 * MAX_MESSAGE;

/// What is read at once.
const READ_BUFFER: usize = 8 * 1024;

/// Messages of a client in any 10 s, of whatever kind.
const MAX_HEARD: usize = 1_000;

/// Subscriptions that may be refused in a row.
const MAX_DENIALS: usize = 100;

/// Messages that wait for a client to read them.
const MAX_WAITING: usize = 64;

/// Subscriptions that run on one socket.
const MAX_SUBSCRIPTIONS: usize = 16;

/// How many sockets there may be, and how long one waits for its client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// In the process, of those who have been identified.
    pub(super) sockets: usize,
    /// Beside them, of those who have not been yet.
    pub(super) sockets_of_strangers: usize,
    /// Of one token.
    pub(super) sockets_of_a_token: usize,
    /// For `connection_init`.
    pub(super) greeting: Duration,
    /// Between two pings.
    pub(super) ping: Duration,
    /// Without a sign of life.
    pub(super) silence: Duration,
    /// For the goodbye.
    pub(super) goodbye: Duration,
    /// Between two looks at whether this control is still the active one.
    pub(super) readiness: Duration,
}

impl Limits {
    /// For earnest.
    pub(super) const NORMAL: Self = Self {
        sockets: 1_000,
        sockets_of_strangers: 200,
        sockets_of_a_token: 32,
        greeting: Duration::from_secs(10),
        ping: Duration::from_secs(30),
        silence: Duration::from_secs(60),
        goodbye: Duration::from_secs(1),
        readiness: Duration::from_secs(1),
    };
}

/// Whom a token names.
#[derive(Debug, Clone)]
struct Client {
    identified: Identified,
    token: TokenDigest,
    /// When the token ends, by the steady clock.
    until: Timestamp,
}

/// The sockets of the process.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) limits: Limits,
    places: Arc<Places>,
    open: TaskTracker,
    going_away: CancellationToken,
    restarts: watch::Sender<()>,
}

/// Tells a socket that it has to end.
#[derive(Debug, Clone)]
struct Ending {
    going_away: CancellationToken,
    restarts: watch::Receiver<()>,
}

impl Sockets {
    pub(super) fn new(limits: Limits, metrics: FrontMetrics) -> Self {
        Self {
            limits,
            places: Arc::new(Places::new(limits, metrics)),
            open: TaskTracker::new(),
            going_away: CancellationToken::new(),
            restarts: watch::Sender::new(()),
        }
    }

    /// Ends those that are open: their clients are to come again, and find the active control.
    pub(super) fn restart(&self) {
        self.restarts.send_replace(());
    }

    /// Ends those that are open, and those to come.
    pub(super) fn go_away(&self) {
        self.going_away.cancel();
    }

    /// Until all have ended; after [`Sockets::go_away`] and once no request is in flight that may open another.
    pub(super) async fn ended(&self) {
        self.open.close();
        self.open.wait().await;
    }

    fn ending(&self) -> Ending {
        Ending { going_away: self.going_away.clone(), restarts: self.restarts.subscribe() }
    }
}

impl Ending {
    async fn come(mut self) -> End {
        tokio::select! {
            biased;
            () = self.going_away.cancelled() => End::GoingAway,
            _ = self.restarts.changed() => End::Restarting,
        }
    }
}

/// Whether a socket is wanted; the rest is found out by [`open`].
pub(super) fn is_wanted(head: &Parts) -> bool {
    let upgrade = head.headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    head.method == Method::GET
        && head.uri.path() == PATH
        && upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

/// Lets a socket be opened behind this answer. Who shows no good token with the upgrade may do so on the socket itself,
/// as browsers have no other place for one; until then he has a stranger's place. `paid` is who has paid, if it was not
/// free.
pub(super) async fn open<E: Executor>(
    front: &Arc<Front<E>>,
    mut head: Parts,
    token: Result<(String, TokenDigest), ApiError>,
    paid: &mut Option<Admitted>,
) -> Result<Response<Body>, Refusal> {
    // Without a token it is free. If it spent the strangers' window, whoever empties that would lock browsers out; and
    // how many sockets strangers have is bounded by itself.
    let token = match token {
        Ok((token, digest)) => Ok((token, digest, *paid.insert(front.limit.admit(Some(digest))?))),
        Err(error) => Err(error),
    };
    // Before a look at whether this control is the active one, so that a change behind it is not missed.
    let ending = front.sockets.ending();
    if !(front.readiness)() {
        return Err(Refusal::NotReady);
    }
    let upgrade = WebSocketUpgrade::from_request_parts(&mut head, &()).await;
    let upgrade = upgrade.map_err(|_| Refusal::NotWebSocket)?.protocols(Protocol::ALL.map(Protocol::name));
    let selected = upgrade.selected_protocol().cloned();
    let protocol =
        Protocol::ALL.into_iter().find(|known| selected.as_ref().is_some_and(|it| it == known.name()));
    let protocol = protocol.ok_or(Refusal::NoProtocol)?;
    let client = match token {
        Ok((token, digest, admitted)) => {
            let (client, admitted) = identify(front, &token, digest, admitted).await?;
            *paid = Some(admitted);
            client
        }
        Err(error) => Err(error),
    };
    let token = client.as_ref().ok().map(|client| client.token);
    let place = front.sockets.places.take(token).map_err(Refusal::NoPlace)?;
    let session = Session { front: Arc::clone(front), protocol, client, place };
    // Whoever waits for the sockets waits for this one from here on.
    let open = front.sockets.open.token();
    let upgrade = upgrade.max_message_size(MAX_READ).max_frame_size(MAX_READ).read_buffer_size(READ_BUFFER);
    Ok(upgrade.on_upgrade(async move |socket: WebSocket| {
        let metrics = session.front.metrics;
        let end = session::hold(session, socket, ending).await;
        metrics.socket_ended(end.label());
        tracing::debug!(?end, "a socket has ended");
        drop(open);
    }))
}

/// Whom the token names, or what is wrong with it, and who has paid for finding that out.
async fn identify<E: Executor>(
    front: &Front<E>,
    token: &str,
    digest: TokenDigest,
    admitted: Admitted,
) -> Result<(Result<Client, ApiError>, Admitted), Exceeded> {
    let verified = front.verifier.verify_until(token).await;
    let admitted = front.limit.verified(admitted, digest, verified.is_ok())?;
    let client = verified.map(|Verified { caller, until }| {
        let until = front.clock.now().after(until.since(front.clock.wall()));
        Client { identified: Identified(Ok(caller)), token: digest, until }
    });
    Ok((client, admitted))
}
