//! A sink as a child process: started, asked, measured. It never outlives its owner.

use std::net::SocketAddrV4;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::{COUNTS, Counts, Mark, TIMES, address_of, path_of};
use crate::connection::Connection;
use crate::process::cpu_of;

/// Until it says where it listens, and for each of its answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Marks in one question.
const MARKS_AT_ONCE: usize = 8192;

/// A running sink; dropping it kills it.
#[derive(Debug)]
pub struct SinkProcess {
    _child: Child,
    /// The sink ends when this does: also when its owner is killed.
    _input: ChildStdin,
    process_id: u32,
    /// Of the first webhook, and of all questions.
    address: SocketAddrV4,
}

impl SinkProcess {
    /// Starts this program once more, as a sink; it listens when this returns.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub async fn start(webhooks: u16, delay: Duration) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("failed to find the own program")?;
        let mut child = Command::new(program)
            .args(["sink", "--webhooks", &webhooks.to_string()])
            .args(["--delay-ms", &delay.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start a sink")?;
        let process_id = child.id().context("the sink has ended already")?;
        let input = child.stdin.take().context("the sink has no input")?;
        let mut lines = BufReader::new(child.stdout.take().context("the sink has no output")?).lines();
        let line = tokio::time::timeout(ANSWER_WITHIN, lines.next_line()).await;
        let line = line.context("the sink does not start")??.context("the sink has ended")?;
        let address = line.parse().with_context(|| format!("the sink says {line:?}"))?;
        Ok(Self { _child: child, _input: input, process_id, address })
    }

    /// Where the first webhook is.
    pub const fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The URL of a webhook's endpoint.
    pub fn url(&self, webhook: u16) -> String {
        format!("http://{}{}", address_of(self.address, webhook), path_of(webhook))
    }

    /// What it has counted until now.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub async fn counts(&self) -> anyhow::Result<Counts> {
        self.ask(&mut Connection::to(self.address.into()), COUNTS, Bytes::new()).await
    }

    /// How often each of these deliveries came, in their order.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub async fn times(&self, marks: &[Mark]) -> anyhow::Result<Vec<u32>> {
        let mut times = Vec::with_capacity(marks.len());
        let mut connection = Connection::to(self.address.into());
        for marks in marks.chunks(MARKS_AT_ONCE) {
            let question: Vec<u8> = marks.iter().flat_map(|mark| mark.0.to_le_bytes()).collect();
            let answer: Vec<u32> = self.ask(&mut connection, TIMES, question.into()).await?;
            ensure!(answer.len() == marks.len(), "the sink tells of {} of {}", answer.len(), marks.len());
            times.extend(answer);
        }
        Ok(times)
    }

    /// The time that it has used until now.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(&self.process_id.to_string())
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        connection: &mut Connection,
        path: &str,
        question: Bytes,
    ) -> anyhow::Result<A> {
        let request =
            Request::post(path).header("host", self.address.to_string()).body(Full::new(question))?;
        let answer = connection.send(request, ANSWER_WITHIN).await.context("failed to ask the sink")?;
        ensure!(answer.status() == StatusCode::OK, "the sink answers {path} with {}", answer.status());
        serde_json::from_slice(answer.body()).with_context(|| format!("{path} is not as documented"))
    }
}
