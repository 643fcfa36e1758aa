//! What comes over a socket: one word after the other, and not too many of them.

use async_graphql::http::ClientMessage;
use axum::extract::ws::{Message, WebSocket};
use futures::StreamExt;
use futures::stream::SplitStream;
use hookline_schemas::time::Clock;

use super::super::rate::Window;
use super::words::End;
use super::{MAX_HEARD, MAX_MESSAGE};

/// Hears one client.
pub(super) struct Ear {
    incoming: SplitStream<WebSocket>,
    /// Whatever came, so that nothing is free of which a client may send as much as he likes.
    heard: Window,
    clock: Clock,
}

impl Ear {
    pub(super) fn new(incoming: SplitStream<WebSocket>, clock: Clock) -> Self {
        Self { incoming, heard: Window::default(), clock }
    }

    /// The next word; `None` is a mere sign of life.
    pub(super) async fn hear(&mut self) -> Result<Option<ClientMessage>, End> {
        let message = self.incoming.next().await;
        if let Some(Ok(_)) = &message {
            // Before anything of it is read.
            self.heard.take(1, MAX_HEARD, self.clock.now()).map_err(|_| End::Flood)?;
        }
        match message {
            Some(Ok(Message::Text(text))) if text.len() > MAX_MESSAGE => Err(End::TooLong),
            Some(Ok(Message::Text(text))) => {
                ClientMessage::from_bytes(text.as_bytes()).map(Some).map_err(|_| End::Malformed)
            }
            Some(Ok(Message::Binary(_))) => Err(End::Malformed),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
            Some(Ok(Message::Close(_))) => Err(End::Closed),
            Some(Err(_)) => Err(End::Unreadable),
            None => Err(End::Broken),
        }
    }

    /// Hears to the end, and minds nothing of it.
    pub(super) async fn hear_out(&mut self) {
        while let Some(Ok(_)) = self.incoming.next().await {}
    }
}
