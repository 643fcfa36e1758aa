//! A client of subscriptions, over a real socket.

use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::stage::{SOON, Stage};

pub(super) const MODERN: &str = "graphql-transport-ws";
pub(super) const LEGACY: &str = "graphql-ws";

/// A socket that is open.
pub(super) struct Client {
    socket: WebSocketStream<TcpStream>,
    pub(super) protocol: &'static str,
    /// Of the answer to the upgrade.
    pub(super) headers: HeaderMap,
}

/// What was heard.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    Word(Value),
    /// A close frame: its code and its reason.
    Closed(u16, String),
}

impl Heard {
    pub(super) fn word(self) -> Value {
        match self {
            Self::Word(word) => word,
            Self::Closed(code, reason) => panic!("closed: {code} {reason}"),
        }
    }

    pub(super) fn closed(self) -> (u16, String) {
        match self {
            Self::Closed(code, reason) => (code, reason),
            Self::Word(word) => panic!("not closed: {word}"),
        }
    }
}

impl Client {
    /// Opens a socket, and says nothing.
    pub(super) async fn open(stage: &Stage, protocol: &'static str, token: Option<&str>) -> Self {
        Self::try_open(stage, protocol, token).await.expect("a socket")
    }

    /// The same for whoever may be refused; of several protocols that are offered one is selected.
    pub(super) async fn try_open(
        stage: &Stage,
        protocols: &'static str,
        token: Option<&str>,
    ) -> Result<Self, Error> {
        let url = format!("ws://{}/graphql", stage.address);
        let mut request = url.into_client_request().expect("a request");
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocols));
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().expect("a header");
            headers.insert(header::AUTHORIZATION, bearer);
        }
        let stream = TcpStream::connect(stage.address).await.expect("a connection");
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
        let headers = response.headers().clone();
        let selected = headers.get(header::SEC_WEBSOCKET_PROTOCOL).expect("one");
        let protocol = if selected == MODERN { MODERN } else { LEGACY };
        assert_eq!(selected, protocol);
        Ok(Self { socket, protocol, headers })
    }

    /// Opens a socket with this token, and is welcome.
    pub(super) async fn welcome(stage: &Stage, protocol: &'static str, token: &str) -> Self {
        let mut client = Self::open(stage, protocol, Some(token)).await;
        client.say(&json!({ "type": "connection_init" })).await;
        assert_eq!(client.word().await, json!({ "type": "connection_ack" }));
        client
    }

    pub(super) async fn say(&mut self, word: &Value) {
        self.send(Message::text(word.to_string())).await;
    }

    pub(super) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.expect("sent");
    }

    /// Asks for it under this id.
    pub(super) async fn subscribe(&mut self, id: &str, query: &str) {
        let word = if self.protocol == MODERN { "subscribe" } else { "start" };
        self.say(&json!({ "type": word, "id": id, "payload": { "query": query } })).await;
    }

    /// The next word, or the end; a ping is answered and passed over.
    pub(super) async fn hear(&mut self) -> Heard {
        loop {
            let message = tokio::time::timeout(SOON, self.socket.next()).await.expect("nothing came");
            match message {
                Some(Ok(Message::Text(text))) => {
                    return Heard::Word(serde_json::from_str(text.as_str()).expect("JSON"));
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Heard::Closed(frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn word(&mut self) -> Value {
        self.hear().await.word()
    }

    /// Whatever comes first, until the end.
    pub(super) async fn end(&mut self) -> (u16, String) {
        loop {
            if let Heard::Closed(code, reason) = self.hear().await {
                return (code, reason);
            }
        }
    }

    /// It is open, and nothing that was not heard is on its way.
    pub(super) async fn is_open_and_quiet(&mut self) {
        self.say(&json!({ "type": "ping" })).await;
        assert_eq!(self.word().await, json!({ "type": "pong" }));
    }

    /// Says goodbye, and hears it.
    pub(super) async fn close(mut self) {
        self.socket.close(None).await.expect("sent");
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}
