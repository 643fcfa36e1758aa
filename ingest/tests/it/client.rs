//! A client that writes HTTP byte by byte: what is wrong on purpose must reach the socket as it stands.

use std::net::SocketAddr;
use std::time::Duration;

use hookline_schemas::notification::NotificationType;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::notifications::Pairs;

/// Longer than any answer takes that comes at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// The URL that all gateways share.
pub(crate) const SHARED_URL: &str = "/payments/cloudpayments/callback";

const FORM: &str = "application/x-www-form-urlencoded";

/// The URL of a gateway for a type.
pub(crate) fn typed_url(gateway: &str, kind: NotificationType) -> String {
    format!("/payments/cloudpayments/{gateway}/{kind}")
}

/// The signature of a body under an API secret.
pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    ContentKey::new(&Secret::new(secret)).sign(body)
}

/// A request that posts a body.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Post {
    /// A body without any header of its own.
    pub(crate) fn bare(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), headers: Vec::new(), body: body.into() }
    }

    /// A form.
    pub(crate) fn form(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::bare(path, body).header("Content-Type", FORM)
    }

    /// A JSON body.
    pub(crate) fn json(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::bare(path, body).header("Content-Type", "application/json; charset=utf-8")
    }

    /// A form of this type at its URL at the gateway `gw_club`, signed as it should be.
    pub(crate) fn notification(kind: NotificationType, pairs: &Pairs) -> Self {
        Self::form(&typed_url("gw_club", kind), pairs.form()).signed("secret of club")
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With the signature of the body under this secret.
    pub(crate) fn signed(self, secret: &str) -> Self {
        let signature = sign(secret, &self.body);
        self.header("Content-HMAC", signature)
    }

    /// The head without anything about the body's length.
    pub(crate) fn head(&self, method: &str) -> String {
        let mut head = format!("{method} {} HTTP/1.1\r\nHost: edge.example\r\n", self.path);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head
    }

    /// The head of a body of this length; the body itself is not in it.
    pub(crate) fn head_of_length(&self, length: usize) -> Vec<u8> {
        format!("{}Content-Length: {length}\r\n\r\n", self.head("POST")).into_bytes()
    }

    /// The whole request.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head_of_length(self.body.len()).as_slice(), &self.body].concat()
    }

    /// The body.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    head: String,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(present, _)| present.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Status and body together, for comparing.
    pub(crate) fn parts(&self) -> (u16, &str) {
        (self.status, &self.body)
    }
}

/// A connection to the edge.
pub(crate) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the edge listens");
        Self { stream, unread: Vec::new() }
    }

    /// Writes bytes as they stand.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the edge reads");
    }

    /// Says that nothing more is sent.
    pub(crate) async fn end_sending(&mut self) {
        self.stream.shutdown().await.expect("the edge is still there");
    }

    /// Posts, and waits for the answer.
    pub(crate) async fn post(&mut self, post: &Post) -> Answer {
        self.send(&post.bytes()).await;
        self.answer().await
    }

    /// Sends the head of a request whose body is to follow, and waits until the edge asks for the body: it
    /// has admitted the request then.
    pub(crate) async fn begin(&mut self, post: &Post) {
        let post = post.clone().header("Expect", "100-continue");
        self.send(&post.head_of_length(post.body.len())).await;
        let asked = self.answer().await;
        assert_eq!(asked.status, 100, "{asked:?}");
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_within(PATIENCE).await.expect("the edge answers in time")
    }

    /// The next answer, if it comes in this time; nothing is lost if it does not.
    pub(crate) async fn answer_within(&mut self, time: Duration) -> Option<Answer> {
        tokio::time::timeout(time, self.read_answer()).await.ok()
    }

    /// Waits until the edge has closed the connection; gives back what it sent before.
    pub(crate) async fn closed(&mut self) -> String {
        let ended = tokio::time::timeout(PATIENCE, async { while self.read_more().await > 0 {} }).await;
        ended.expect("the edge closes the connection");
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    async fn read_answer(&mut self) -> Answer {
        loop {
            if let Some((answer, length)) = parse(&self.unread) {
                self.unread.drain(..length);
                return answer;
            }
            let received = self.read_more().await;
            assert_ne!(received, 0, "closed after {:?}", String::from_utf8_lossy(&self.unread));
        }
    }

    /// A connection that was reset is as closed as one that was ended.
    async fn read_more(&mut self) -> usize {
        self.stream.read_buf(&mut self.unread).await.unwrap_or(0)
    }
}

/// The first answer in the bytes, with its length; `None` until all of it is there.
fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let text = std::str::from_utf8(bytes).expect("the edge answers in ASCII");
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().expect("a status");
    let mut answer = Answer { status, body: String::new(), head: head.to_owned() };
    let length = answer.header("Content-Length").map_or(0, |length| length.parse().expect("a length"));
    rest.get(..length)?.clone_into(&mut answer.body);
    Some((answer, head.len() + 4 + length))
}
