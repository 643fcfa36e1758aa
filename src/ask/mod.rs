//! Asking a running process: `hookline dead-letters`, `hookline trace`, `hookline reconcile`, `hookline backup` and
//! `hookline rotate-key`, over its admin socket.
//!
//! The process that has the log open answers; nothing here opens one, but `hookline backup verify` a copy.

pub(crate) mod backup;
pub(crate) mod dead_letters;
pub(crate) mod ready;
pub(crate) mod reconcile;
pub(crate) mod trace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use hookline_schemas::time::{Clock, Timestamp};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::config::{Config, ConfigError};
use crate::{exit, fail};

/// A question may have days of records to be read.
const PATIENCE: Duration = Duration::from_secs(600);

/// No answer is longer.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Which process is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Asked {
    /// The configuration of the running process: says where its admin socket is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin socket itself, in place of a configuration
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "nobody listens at {}: is hookline running, with this configuration and as this user? (--config FILE or \
         --socket PATH says where it listens)",
        path.display()
    )]
    Unreachable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the process broke off")]
    Broken(#[from] hyper::Error),
    #[error("the answer was not understood: is the running hookline of another version?")]
    Answer(#[from] serde_json::Error),
    #[error("no answer within 10 minutes")]
    Late,
    #[error("the answer is too long")]
    TooLong,
    /// In the process's own words.
    #[error("{1}")]
    Refused(StatusCode, String),
}

impl AskError {
    /// What the command line exits with.
    pub(crate) const fn status(&self) -> u8 {
        match self {
            Self::Config(_) => exit::CONFIG,
            Self::Unreachable { .. } | Self::Broken(_) | Self::Late => exit::UNAVAILABLE,
            Self::Answer(_) | Self::TooLong => exit::SOFTWARE,
            Self::Refused(..) => 1,
        }
    }
}

/// A process that can be asked.
#[derive(Debug)]
pub(crate) struct Process {
    socket: PathBuf,
}

impl Process {
    /// The one that is meant.
    pub(crate) fn of(asked: &Asked) -> Result<Self, AskError> {
        let socket = match &asked.socket {
            Some(socket) => socket.clone(),
            None => Config::load(asked.config.as_deref())?.admin_socket,
        };
        Ok(Self::at(socket))
    }

    /// The one that listens there.
    pub(crate) const fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, AskError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        question: &impl Serialize,
    ) -> Result<A, AskError> {
        self.ask(Method::POST, path, serde_json::to_vec(question)?.into()).await
    }

    async fn ask<A: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<A, AskError> {
        let asking = tokio::time::timeout(PATIENCE, ask(&self.socket, method, path, body));
        let (status, answer) = asking.await.map_err(|_| AskError::Late)??;
        if status.is_success() {
            return Ok(serde_json::from_slice(&answer)?);
        }
        #[derive(serde::Deserialize)]
        struct Refusal {
            error: String,
        }
        let refusal = serde_json::from_slice::<Refusal>(&answer).map(|refusal| refusal.error);
        Err(AskError::Refused(status, refusal.unwrap_or_else(|_| format!("the process answered {status}"))))
    }
}

async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), AskError> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|source| AskError::Unreachable { path: socket.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    // A path of ids and percent-encoded text is always one.
    *request.uri_mut() = path.parse().unwrap_or_default();
    let answering = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| AskError::TooLong)?;
        Ok((head.status, body.to_bytes()))
    };
    tokio::pin!(answering);
    tokio::select! {
        biased;
        answer = &mut answering => answer,
        // An end of the connection that left an answer behind is no failure.
        _ = connection => answering.await,
    }
}

/// The exit status of a question, with the error on stderr.
pub(crate) fn ended(asked: Result<ExitCode, AskError>) -> ExitCode {
    match asked {
        Ok(code) => code,
        Err(error) => {
            let status = error.status();
            fail(&error.into(), status)
        }
    }
}

/// A time as people write it: RFC 3339, or how long ago (`6h`, `2days`).
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = Timestamp::parse_rfc3339(text) {
        return Ok(time);
    }
    match humantime_serde::re::humantime::parse_duration(text) {
        Ok(ago) => Ok(Clock::start().wall().before(ago)),
        Err(_) => Err("neither a time (2026-11-20T10:00:00Z) nor how long ago (6h, 2days)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(Timestamp(1_000)));
        assert_eq!(parse_time("1970-01-01T03:00:01+03:00"), Ok(Timestamp(1_000)));
        let hour_ago = parse_time("1h").expect("a duration");
        let passed = Clock::start().wall().since(hour_ago);
        assert!((3_600..3_700).contains(&passed.as_secs()), "{passed:?}");
        for text in ["", "yesterday", "10"] {
            assert!(parse_time(text).is_err(), "{text:?}");
        }
    }
}
