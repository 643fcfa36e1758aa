//! Apache Kafka on loopback for tests, through the script `kafka` that lies beside this crate.
//!
//! It owns the script's process and, by the pipe to its standard input, the cluster's life: the pipe closes when
//! the value is dropped or the process ends, however it ends, and the script takes the cluster down. What a
//! cluster consists of and how it is fetched is the script's; talking to Kafka is not done here at all.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The script's exit status when Java or Maven is missing (EX_UNAVAILABLE).
const UNAVAILABLE: i32 = 69;
/// Before the bootstrap servers, once the cluster answers.
const READY: &str = "bootstrap.servers=";

/// A cluster that runs for as long as this value lives.
#[derive(Debug)]
pub struct LocalKafka {
    script: PathBuf,
    directory: PathBuf,
    child: Child,
    /// Taken when dropped: its end is the script's sign to end.
    stdin: Option<ChildStdin>,
    bootstrap_servers: String,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Java or Maven is missing; the text says which.
    #[error("{0}")]
    Unavailable(String),
    /// The script ended before the cluster answered; with what it said.
    #[error("the script ended with {status}: {output}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// Its standard error, with the end of the failed node's log.
        output: String,
    },
    /// The script could not be run at all.
    #[error("failed to run the script")]
    Script(#[from] io::Error),
}

/// The script of this checkout.
pub fn script() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/kafka"))
}

/// One cluster of a single node for the whole process: the first call starts it, and calls at the same time wait
/// for that one. It ends with the process.
///
/// `None` if Java or Maven is missing; then it says so on standard error, past the test harness, for each `name`.
///
/// # Panics
///
/// If the cluster fails to start; and if Java or Maven is missing where `CI` is `true`, as nothing is to be
/// skipped there.
pub fn for_test(name: &str) -> Option<&'static LocalKafka> {
    static CLUSTER: OnceLock<Result<LocalKafka, StartError>> = OnceLock::new();
    match CLUSTER.get_or_init(|| LocalKafka::start_secure(&script(), 1)) {
        Ok(cluster) => Some(cluster),
        Err(StartError::Unavailable(reason)) if std::env::var_os("CI").is_none_or(|ci| ci != "true") => {
            // Nobody is left to tell if standard error is closed.
            let _ = io::stderr().write_all(format!("skipped {name}: {reason}\n").as_bytes());
            None
        }
        Err(error) => panic!("failed to start Apache Kafka for {name}: {error}"),
    }
}

impl LocalKafka {
    /// Starts a cluster of this many nodes in a directory of its own; all of them answered when this returns.
    /// Blocks, for the first time until Apache Kafka is fetched as well.
    ///
    /// # Errors
    ///
    /// If Java or Maven is missing, if a node does not start, or if the script can't be run. No process and no
    /// directory of the cluster is left then.
    pub fn start(script: &Path, nodes: u16) -> Result<Self, StartError> {
        Self::launch(script, nodes, &[])
    }

    /// The same with a second listener, for TLS with SASL: [`Self::secure_servers`].
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_secure(script: &Path, nodes: u16) -> Result<Self, StartError> {
        Self::launch(script, nodes, &["--secure"])
    }

    fn launch(script: &Path, nodes: u16, options: &[&str]) -> Result<Self, StartError> {
        let directory = new_directory();
        let mut output = tempfile::tempfile()?;
        let mut child = Command::new(script)
            .args(["up", "--nodes", &nodes.to_string(), "--attached"])
            .args(options)
            .env("HOOKLINE_KAFKA_DIR", &directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output.try_clone()?)
            .process_group(0) // what kills the group of a hanging test leaves the one who cleans up
            .spawn()?;
        let stdin = child.stdin.take();
        let ready = child.stdout.take().map(bootstrap_servers).transpose()?.flatten();
        if let Some(bootstrap_servers) = ready {
            return Ok(Self { script: script.to_owned(), directory, child, stdin, bootstrap_servers });
        }
        drop(stdin);
        let status = child.wait()?;
        let output = text_of(&mut output)?;
        match status.code() {
            Some(UNAVAILABLE) => Err(StartError::Unavailable(output)),
            _ => Err(StartError::Failed { status, output }),
        }
    }

    /// `host:port` of every node, separated by commas. They stay while nodes end and start again.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// `host:port` of every node for TLS with SASL (PLAIN or SCRAM-SHA-512; user and password `hookline`), and
    /// the certificate to trust.
    ///
    /// # Errors
    ///
    /// If the cluster was not started so.
    pub fn secure_servers(&self) -> io::Result<(String, PathBuf)> {
        let secure = self.directory.join("secure");
        let servers = std::fs::read_to_string(secure.join("bootstrap"))?;
        Ok((servers.trim().to_owned(), secure.join("ca.pem")))
    }

    /// Where its nodes keep everything.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// SIGKILL; the node is gone when this returns. Nodes are counted from 1.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub fn kill(&self, node: u16) -> io::Result<()> {
        self.command("kill", node)
    }

    /// SIGTERM; the node has handed over its leaderships and is gone when this returns.
    ///
    /// # Errors
    ///
    /// If there is no such node, or it does not stop.
    pub fn stop(&self, node: u16) -> io::Result<()> {
        self.command("stop", node)
    }

    /// Starts a node that is down, with its ports and its data; it answered when this returns. While too few
    /// others run to elect a controller, it can't.
    ///
    /// # Errors
    ///
    /// If there is no such node, or it does not answer.
    pub fn start_node(&self, node: u16) -> io::Result<()> {
        self.command("start", node)
    }

    /// SIGSTOP: connections stay open, and nobody answers.
    ///
    /// # Errors
    ///
    /// If there is no such node, or it is down.
    pub fn pause(&self, node: u16) -> io::Result<()> {
        self.command("pause", node)
    }

    /// SIGCONT.
    ///
    /// # Errors
    ///
    /// If there is no such node, or it is down.
    pub fn resume(&self, node: u16) -> io::Result<()> {
        self.command("resume", node)
    }

    /// A line per node: number, pid, port and `running`, `paused` or `down`; then the bootstrap servers.
    ///
    /// # Errors
    ///
    /// If the script fails.
    pub fn status(&self) -> io::Result<String> {
        self.run(&["status"])
    }

    /// The node that leads a partition now.
    ///
    /// # Errors
    ///
    /// If there is no such partition, nobody leads it, or Kafka's commands can't be fetched.
    pub fn leader(&self, topic: &str, partition: u16) -> io::Result<u16> {
        node_of(&self.run(&["leader", topic, &partition.to_string()])?)
    }

    /// The node that coordinates a group of consumers now.
    ///
    /// # Errors
    ///
    /// If there is no such group, nobody coordinates it, or Kafka's commands can't be fetched.
    pub fn coordinator(&self, group: &str) -> io::Result<u16> {
        node_of(&self.run(&["coordinator", group])?)
    }

    fn command(&self, command: &str, node: u16) -> io::Result<()> {
        self.run(&[command, &node.to_string()]).map(drop)
    }

    /// Output goes to files: a pipe would stay open in a node that the script leaves behind.
    fn run(&self, arguments: &[&str]) -> io::Result<String> {
        let (mut answer, mut complaint) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let status = Command::new(&self.script)
            .args(arguments)
            .env("HOOKLINE_KAFKA_DIR", &self.directory)
            .stdin(Stdio::null())
            .stdout(answer.try_clone()?)
            .stderr(complaint.try_clone()?)
            .status()?;
        if status.success() { text_of(&mut answer) } else { Err(io::Error::other(text_of(&mut complaint)?)) }
    }
}

impl Drop for LocalKafka {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // An error means that it has ended already.
        let _ = self.child.wait();
    }
}

/// Not made here: the script makes it and deletes it.
fn new_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("cluster-{}-{number}", std::process::id());
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/kafka")).join(name)
}

/// `None` if the output ends without them.
fn bootstrap_servers(output: impl Read) -> io::Result<Option<String>> {
    for line in BufReader::new(output).lines() {
        if let Some(servers) = line?.strip_prefix(READY) {
            return Ok(Some(servers.to_owned()));
        }
    }
    Ok(None)
}

fn node_of(answer: &str) -> io::Result<u16> {
    answer.parse().map_err(|_| io::Error::other(format!("the script names no node: {answer}")))
}

fn text_of(file: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bootstrap_servers_behind_other_lines() {
        for (output, expected) in [
            ("bootstrap.servers=127.0.0.1:1,127.0.0.1:2\n", Some("127.0.0.1:1,127.0.0.1:2")),
            ("fetching\nbootstrap.servers=127.0.0.1:1", Some("127.0.0.1:1")),
            ("failed\n", None),
            ("", None),
        ] {
            let found = bootstrap_servers(output.as_bytes()).expect("bytes are read without errors");
            assert_eq!(found.as_deref(), expected, "{output}");
        }
    }
}
