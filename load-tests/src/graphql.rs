//! hookline's GraphQL, as a client with one token asks it.
//!
//! Each request has a connection of its own, so that it can be made whoever starts and kills the process meanwhile,
//! and is made once: nothing is asked again by itself. What the answer means is the caller's part.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::connection::Connection;

/// Where the operations are posted.
const PATH: &str = "/graphql";
/// For one answer, unless it is said otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one server.
#[derive(Clone)]
pub struct GraphQl {
    address: SocketAddr,
    token: Option<String>,
    timeout: Duration,
}

/// What a request was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphQlAnswer {
    /// The status.
    pub status: StatusCode,
    /// `X-RateLimit-*` and `Retry-After`.
    pub limits: RateLimits,
    /// The body; `Null` where it is no JSON.
    pub json: Value,
}

/// What the headers say of the rate limit; `None` where a header is missing, or no whole number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// `X-RateLimit-Limit`: what may be asked in a window.
    pub limit: Option<u64>,
    /// `X-RateLimit-Remaining`: what is left of it.
    pub remaining: Option<u64>,
    /// `X-RateLimit-Reset`: when all of it may be asked again, in Unix seconds.
    pub reset: Option<u64>,
    /// `X-RateLimit-Cost`: what this request has cost.
    pub cost: Option<u64>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

impl GraphQl {
    /// Without a token.
    pub const fn at(address: SocketAddr) -> Self {
        Self { address, token: None, timeout: TIMEOUT }
    }

    /// The same with this token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// The same, with so much time for each answer.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Asks one operation; without variables they are `Null`.
    ///
    /// # Errors
    ///
    /// If there is no answer in time. Whether the operation was carried out is not known then.
    pub async fn ask(&self, query: &str, variables: &Value) -> anyhow::Result<GraphQlAnswer> {
        self.post(&operation(query, variables)).await
    }

    /// Asks several operations in one request.
    ///
    /// # Errors
    ///
    /// As [`GraphQl::ask`].
    pub async fn ask_all(&self, operations: &[(&str, Value)]) -> anyhow::Result<GraphQlAnswer> {
        let operations = operations.iter().map(|(query, variables)| operation(query, variables));
        self.post(&Value::Array(operations.collect())).await
    }

    /// Posts any JSON, well-formed as GraphQL or not.
    ///
    /// # Errors
    ///
    /// As [`GraphQl::ask`].
    pub async fn post(&self, body: &Value) -> anyhow::Result<GraphQlAnswer> {
        let mut request = Request::post(PATH)
            .header("host", self.address.to_string())
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
        let answer = Connection::to(self.address).send(request, self.timeout).await?;
        Ok(GraphQlAnswer {
            status: answer.status(),
            limits: RateLimits::of(answer.headers()),
            json: serde_json::from_slice(answer.body()).unwrap_or_default(),
        })
    }
}

impl std::fmt::Debug for GraphQl {
    /// Without the token.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GraphQl").field("address", &self.address).finish_non_exhaustive()
    }
}

impl GraphQlAnswer {
    /// A place in `data`, as a JSON pointer (`/createWebhook/id`); `Null` where there is none.
    pub fn data(&self, pointer: &str) -> &Value {
        self.json.pointer(&format!("/data{pointer}")).unwrap_or(&Value::Null)
    }

    /// The code of the first error: its `extensions.code`.
    pub fn error_code(&self) -> Option<&str> {
        self.json.pointer("/errors/0/extensions/code")?.as_str()
    }

    /// Whether there is data and no error.
    pub fn is_good(&self) -> bool {
        self.status == StatusCode::OK && self.json.get("data").is_some() && self.json.get("errors").is_none()
    }
}

impl RateLimits {
    fn of(headers: &HeaderMap) -> Self {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.parse().ok();
        Self {
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            reset: number("x-ratelimit-reset"),
            cost: number("x-ratelimit-cost"),
            retry_after: number("retry-after"),
        }
    }
}

fn operation(query: &str, variables: &Value) -> Value {
    match variables {
        Value::Null => json!({ "query": query }),
        variables => json!({ "query": query, "variables": variables }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// A server that says this once, and the request that it heard.
    async fn saying(head: &str, body: &str) -> (SocketAddr, JoinSet<String>) {
        let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut server = JoinSet::new();
        server.spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut heard = Vec::new();
            while !heard.ends_with(b"}") && !heard.ends_with(b"]") {
                assert!(stream.read_buf(&mut heard).await.expect("a request") > 0);
            }
            stream.write_all(answer.as_bytes()).await.expect("taken");
            String::from_utf8(heard).expect("a text")
        });
        (address, server)
    }

    #[tokio::test]
    async fn asks_with_its_token_and_reads_the_limits() -> anyhow::Result<()> {
        let (address, mut server) = saying(
            "200 OK\r\nx-ratelimit-limit: 100\r\nX-RateLimit-Remaining: 99\r\nx-ratelimit-reset: 1800000000\r\n\
             x-ratelimit-cost: 1",
            r#"{"data":{"a":{"id":"7"}}}"#,
        )
        .await;
        let client = GraphQl::at(address).with_token("t0ken");
        assert!(!format!("{client:?}").contains("t0ken"));
        let answer = client.ask("query($id: ID) { a }", &json!({ "id": "7" })).await?;
        let expected = RateLimits {
            limit: Some(100),
            remaining: Some(99),
            reset: Some(1_800_000_000),
            cost: Some(1),
            retry_after: None,
        };
        assert_eq!(answer.limits, expected);
        assert!(answer.is_good() && answer.error_code().is_none());
        assert_eq!((answer.data("/a/id"), answer.data("/b")), (&json!("7"), &Value::Null));
        let heard = server.join_next().await.expect("a request")?;
        assert!(heard.starts_with("POST /graphql HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains("authorization: Bearer t0ken\r\n"), "{heard}");
        assert!(heard.ends_with(r#"{"query":"query($id: ID) { a }","variables":{"id":"7"}}"#), "{heard}");
        Ok(())
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer() -> anyhow::Result<()> {
        let (address, mut server) = saying(
            "429 Too Many Requests\r\nretry-after: 7\r\nx-ratelimit-remaining: 0",
            r#"{"errors":[{"extensions":{"code":"RATE_LIMIT_EXCEEDED"}}]}"#,
        )
        .await;
        let answer = GraphQl::at(address).ask_all(&[("{ a }", Value::Null), ("{ b }", Value::Null)]).await?;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!((answer.limits.retry_after, answer.limits.remaining), (Some(7), Some(0)));
        assert_eq!((answer.error_code(), answer.is_good()), (Some("RATE_LIMIT_EXCEEDED"), false));
        let heard = server.join_next().await.expect("a request")?;
        assert!(heard.ends_with(r#"[{"query":"{ a }"},{"query":"{ b }"}]"#), "{heard}");
        assert!(!heard.contains("authorization"), "{heard}");
        Ok(())
    }

    #[tokio::test]
    async fn what_is_no_json_is_null() -> anyhow::Result<()> {
        let (address, _server) = saying("502 Bad Gateway", "<p>").await;
        let answer = GraphQl::at(address).ask("{ a }", &Value::Null).await?;
        assert_eq!((answer.status, &answer.json), (StatusCode::BAD_GATEWAY, &Value::Null));
        Ok(())
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = GraphQl::at(address).within(Duration::from_millis(50));
        assert!(client.ask("{ a }", &Value::Null).await.is_err());
    }
}
