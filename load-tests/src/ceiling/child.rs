//! A ceiling as a child process, from the side of who has started it. Dropped, it is killed.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::affinity;
use crate::process::{Usage, usage_of};

/// Until a server listens: it makes records before.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);

/// A ceiling that answers requests.
#[derive(Debug)]
pub struct Server {
    child: Child,
    process_id: u32,
    /// Where.
    pub address: SocketAddr,
}

impl Server {
    /// Starts the server that these arguments name, on a core where one is named; it listened when this returns.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn start(arguments: &[&str], core: Option<usize>) -> anyhow::Result<Self> {
        let mut child = spawn(arguments, core)?;
        let process_id = child.id().context("the ceiling has ended already")?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        tokio::time::timeout(LISTENS_WITHIN, output.read_line(&mut line)).await??;
        let address = line.trim().parse();
        let address = address.with_context(|| format!("the ceiling {arguments:?} does not listen"))?;
        Ok(Self { child, process_id, address })
    }

    /// What it has used until now.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        usage_of(&self.process_id.to_string())
    }

    /// Kills it; it is gone when this returns.
    ///
    /// # Errors
    ///
    /// If the system can't.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("failed to kill a ceiling")
    }
}

/// Runs the ceiling that these arguments name to its end, and reads what it has measured.
///
/// # Errors
///
/// If it fails, or is not over within this time; then it is killed.
pub async fn measure<T: DeserializeOwned>(
    arguments: &[&str],
    core: Option<usize>,
    within: Duration,
) -> anyhow::Result<T> {
    let child = spawn(arguments, core)?;
    let output = tokio::time::timeout(within, child.wait_with_output()).await;
    let output = output.with_context(|| format!("the ceiling {arguments:?} does not end"))??;
    ensure!(output.status.success(), "the ceiling {arguments:?} failed: {}", output.status);
    let told = serde_json::from_slice(&output.stdout);
    told.with_context(|| format!("the ceiling {arguments:?} tells nothing"))
}

/// This program again; what it complains about comes out where ours does.
fn spawn(arguments: &[&str], core: Option<usize>) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe().context("failed to find the own program")?);
    command.arg("ceiling").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let started = affinity::start_on(core, || command.spawn())?;
    started.with_context(|| format!("failed to start the ceiling {arguments:?}"))
}
