//! A receiver in a process of its own, which ends with its input: nothing is left of it, however the test ends.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// For an interpreter to start or to end while everything else is being tested.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves until it is ended or dropped.
pub(super) struct ProgramReceiver {
    port: u16,
    child: Child,
}

impl ProgramReceiver {
    pub(super) async fn start(mut command: Command, secret: &str) -> Self {
        command.env("WEBHOOK_SECRET", secret).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let line =
            tokio::time::timeout(PATIENCE, output.next_line()).await.expect("it says its port in time");
        let line = line.expect("text").expect("it says its port before it ends");
        Self { port: line.parse().expect("a port"), child }
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Ends its input, and it ends by itself.
    pub(super) async fn end(mut self) {
        drop(self.child.stdin.take());
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends in time");
        assert!(status.expect("it is ours").success());
    }
}
