//! The life of one socket: who is it → what is asked for → answers, until something ends it.
//!
//! All of it is one task. What is said goes into a bounded queue, and one future writes it; whoever says something gives
//! the writer a turn, so the queue fills only if the client does not read.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use async_graphql::http::ClientMessage;
use async_graphql::{Executor, Request, Response as Answer};
use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use hookline_schemas::time::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::super::rate::TokenDigest;
use super::super::{Front, errors, operations};
use super::hearing::Ear;
use super::places::Place;
use super::running::Running;
use super::words::{Denial, End, Protocol, Word, was_never_executed};
use super::{Client, Ending, MAX_DENIALS, MAX_SUBSCRIPTIONS, MAX_WAITING, identify};
use crate::error::ApiError;
use crate::identity::bearer;

/// A socket whose client is not known yet.
pub(super) struct Session<E> {
    pub(super) front: Arc<Front<E>>,
    pub(super) protocol: Protocol,
    /// Whom the upgrade's token names.
    pub(super) client: Result<Client, ApiError>,
    pub(super) place: Place,
}

/// A socket whose client is known.
struct Conversation<'s, E> {
    session: &'s Session<E>,
    outbox: &'s Outbox,
    client: Client,
    running: Running,
    /// So many subscriptions were refused since one was not.
    denials: usize,
    /// The last sign of life.
    heard: Timestamp,
    pinged: Timestamp,
}

/// What a conversation waits for beside words.
#[derive(Clone, Copy)]
enum Due {
    Ping,
    Silence,
    Expiry,
}

/// What waits to be sent.
struct Outbox(mpsc::Sender<Message>);

/// Serves a socket to its end. When this returns, the client was told why, if he could be told.
pub(super) async fn hold<E: Executor>(mut session: Session<E>, socket: WebSocket, ending: Ending) -> End {
    let patience = session.front.sockets.limits.goodbye;
    let (sink, incoming) = socket.split();
    let mut ear = Ear::new(incoming, session.front.clock);
    let (outbox, waiting) = mpsc::channel(MAX_WAITING);
    let mut writing = pin!(write(sink, waiting));
    let end = tokio::select! {
        biased;
        end = ending.come() => end,
        _ = &mut writing => return End::Broken,
        end = session.serve(&mut ear, Outbox(outbox)) => end,
    };
    let goodbye = async {
        if let Some(frame) = end.frame() {
            let mut sink = writing.await?;
            sink.send(Message::Close(Some(frame))).await.ok()?;
        }
        // To the answer: if we left with words unread, the system would take back what was said last.
        ear.hear_out().await;
        Some(())
    };
    let _ = tokio::time::timeout(patience, goodbye).await;
    end
}

/// Sends what waits, until nothing more will come; `None` if it can't be sent.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut waiting: mpsc::Receiver<Message>,
) -> Option<SplitSink<WebSocket, Message>> {
    while let Some(message) = waiting.recv().await {
        sink.send(message).await.ok()?;
    }
    Some(sink)
}

/// Waits for `connection_init`; what stands in it.
async fn greeting(ear: &mut Ear, outbox: &Outbox) -> Result<Option<Value>, End> {
    loop {
        match ear.hear().await? {
            Some(ClientMessage::ConnectionInit { payload }) => return Ok(payload),
            Some(ClientMessage::Start { .. }) => return Err(End::Uninvited),
            Some(ClientMessage::ConnectionTerminate) => return Err(End::Terminated),
            Some(ClientMessage::Ping { .. }) => outbox.say(&Word::Pong).await?,
            Some(ClientMessage::Stop { .. } | ClientMessage::Pong { .. }) | None => {}
        }
    }
}

/// The token in the payload of `connection_init`, if there is one.
fn said_token(payload: Option<&Value>) -> Option<Result<&str, ApiError>> {
    let members = payload.and_then(Value::as_object)?;
    let mut tokens = members
        .iter()
        .filter(|(name, value)| name.eq_ignore_ascii_case("authorization") && !value.is_null())
        .map(|(_, value)| value);
    let (value, another) = (tokens.next()?, tokens.next());
    match (value.as_str(), another) {
        (Some(value), None) => Some(bearer(value)),
        _ => Some(Err(ApiError::TokenInvalid("Authorization in connection_init is not one text"))),
    }
}

impl Outbox {
    /// Says it, and gives the writer a turn: what can be sent at once does not wait.
    async fn say(&self, word: &Word<'_>) -> Result<(), End> {
        // Names are texts and there is no value that JSON lacks, so this can't fail.
        let text = serde_json::to_string(word).unwrap_or_default();
        self.send(Message::Text(Utf8Bytes::from(text))).await
    }

    async fn send(&self, message: Message) -> Result<(), End> {
        self.0.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => End::TooSlow,
            TrySendError::Closed(_) => End::Broken,
        })?;
        tokio::task::yield_now().await;
        Ok(())
    }
}

impl<E: Executor> Session<E> {
    async fn serve(&mut self, ear: &mut Ear, outbox: Outbox) -> End {
        match self.converse(ear, &outbox).await {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    async fn converse(&mut self, ear: &mut Ear, outbox: &Outbox) -> Result<Infallible, End> {
        let patience = self.front.sockets.limits.greeting;
        let greeting = tokio::time::timeout(patience, greeting(ear, outbox)).await;
        let payload = greeting.unwrap_or(Err(End::Silent))?;
        let client = match self.identify(payload.as_ref()).await {
            Ok(client) => client,
            Err(end) => {
                if self.protocol == Protocol::Legacy {
                    let payload = end.connection_error(self.front.clock.wall());
                    outbox.say(&Word::ConnectionError { payload }).await?;
                }
                return Err(end);
            }
        };
        outbox.say(&Word::ConnectionAck).await?;
        Conversation::new(self, outbox, client).hold(ear).await
    }

    /// Who it is: whom the token of `connection_init` names, or else that of the upgrade. He has a place of his own then.
    async fn identify(&mut self, payload: Option<&Value>) -> Result<Client, End> {
        let said = said_token(payload).transpose().map_err(End::of_token)?;
        let client = match (said, &self.client) {
            (Some(token), Ok(client)) if client.token == TokenDigest::of(token) => client.clone(),
            (Some(token), _) => self.verify(token).await?,
            (None, client) => client.clone().map_err(End::of_token)?,
        };
        self.place.count_for(client.token).map_err(End::NoPlace)?;
        Ok(client)
    }

    /// A token that the upgrade has not shown, or not as a good one: its signature has a price of its own.
    async fn verify(&self, token: &str) -> Result<Client, End> {
        let digest = TokenDigest::of(token);
        let admitted = self.front.limit.admit(Some(digest)).map_err(End::RateLimited)?;
        let identified = identify(&self.front, token, digest, admitted).await;
        identified.map_err(End::RateLimited)?.0.map_err(End::of_token)
    }
}

impl<'s, E: Executor> Conversation<'s, E> {
    fn new(session: &'s Session<E>, outbox: &'s Outbox, client: Client) -> Self {
        let now = session.front.clock.now();
        Self { session, outbox, client, running: Running::default(), denials: 0, heard: now, pinged: now }
    }

    async fn hold(mut self, ear: &mut Ear) -> Result<Infallible, End> {
        loop {
            let (due, wait) = self.next_due();
            // Whatever the client sends, and however fast.
            if self.client.until <= self.session.front.clock.now() {
                return Err(End::Expired);
            }
            tokio::select! {
                biased;
                // First, so that a sign of life that has come counts, and nobody is called gone for our own delay.
                heard = ear.hear() => {
                    self.heard = self.session.front.clock.now();
                    if let Some(message) = heard? {
                        self.reply(message).await?;
                    }
                }
                () = tokio::time::sleep(wait) => self.fall_due(due).await?,
                (id, answer) = self.running.next() => self.pass_on(&id, answer).await?,
            }
        }
    }

    /// What is due next, and how long that is.
    fn next_due(&self) -> (Due, std::time::Duration) {
        let limits = self.session.front.sockets.limits;
        let now = self.session.front.clock.now();
        let mut next = (Due::Expiry, self.client.until);
        for (due, at) in
            [(Due::Silence, self.heard.after(limits.silence)), (Due::Ping, self.pinged.after(limits.ping))]
        {
            if at < next.1 {
                next = (due, at);
            }
        }
        (next.0, next.1.since(now))
    }

    async fn fall_due(&mut self, due: Due) -> Result<(), End> {
        match due {
            Due::Expiry => Err(End::Expired),
            Due::Silence => Err(End::Gone),
            Due::Ping => {
                self.pinged = self.session.front.clock.now();
                self.outbox.send(Message::Ping(Bytes::new())).await
            }
        }
    }

    async fn reply(&mut self, message: ClientMessage) -> Result<(), End> {
        match message {
            ClientMessage::ConnectionInit { .. } => Err(End::InvitedTwice),
            ClientMessage::ConnectionTerminate => Err(End::Terminated),
            ClientMessage::Start { id, payload } => self.begin(id, payload).await,
            ClientMessage::Stop { id } => {
                let was_running = self.running.stop(&id);
                match (was_running, self.session.protocol) {
                    (true, Protocol::Legacy) => self.outbox.say(&Word::Complete { id: &id }).await,
                    _ => Ok(()),
                }
            }
            ClientMessage::Ping { .. } => self.outbox.say(&Word::Pong).await,
            ClientMessage::Pong { .. } => Ok(()),
        }
    }

    async fn begin(&mut self, id: String, mut request: Request) -> Result<(), End> {
        match self.session.protocol {
            Protocol::Modern if self.running.has(&id) => return Err(End::Duplicate),
            Protocol::Modern => {}
            // By its old server the later one takes the place of the earlier.
            Protocol::Legacy => drop(self.running.stop(&id)),
        }
        match self.admit(&mut request) {
            Ok(()) => {
                self.denials = 0;
                let request = request.data(self.client.identified.clone());
                self.running.begin(id, self.session.front.schema.execute_stream(request, None));
                Ok(())
            }
            Err(denial) => {
                let error = denial.error(self.session.front.clock.wall());
                self.outbox.say(&self.session.protocol.refusal(&id, vec![error])).await?;
                self.denials += 1;
                if self.denials < MAX_DENIALS { Ok(()) } else { Err(End::Denied) }
            }
        }
    }

    /// It is paid for whatever becomes of it, as a request is, and before its document is parsed.
    fn admit(&self, request: &mut Request) -> Result<(), Denial> {
        let limit = &self.session.front.limit;
        let admitted = limit.admit_known(self.client.token).map_err(Denial::RateLimited)?;
        limit.charge(admitted, operations::cost(request)).map_err(Denial::RateLimited)?;
        if operations::is_no_subscription(request) {
            return Err(Denial::NotHere);
        }
        if operations::is_too_large(request) {
            return Err(Denial::Large);
        }
        if operations::is_wide_subscription(request) {
            return Err(Denial::Wide);
        }
        if self.running.count() < MAX_SUBSCRIPTIONS { Ok(()) } else { Err(Denial::TooMany) }
    }

    /// An answer of the schema goes to the client.
    async fn pass_on(&mut self, id: &str, answer: Option<Answer>) -> Result<(), End> {
        let Some(mut answer) = answer else { return self.outbox.say(&Word::Complete { id }).await };
        errors::complete(&mut answer, self.session.front.clock.wall());
        if !was_never_executed(&answer) {
            return self.outbox.say(&self.session.protocol.answer(id, &answer)).await;
        }
        self.running.stop(id);
        let errors = answer.errors.iter().filter_map(|error| serde_json::to_value(error).ok()).collect();
        self.outbox.say(&self.session.protocol.refusal(id, errors)).await
    }
}
