//! The file that names the peers that run: where each is, of which processes it consists, and how it is started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::adapter::Kind;

/// What is to be done where no peer runs.
const ADVICE: &str =
    "start one as load-tests/peers/README.md says and name it in the file given with --peers";
/// For a command of the file; a start waits until the peer answers.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);

/// Peers that somebody has started.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeersFile {
    #[serde(default)]
    pub(super) peers: Vec<PeerEntry>,
}

/// One of them. Commands are run by `sh` in the file's directory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerEntry {
    pub(super) adapter: Kind,
    /// Which version it is; told in the report.
    pub(super) version: String,
    /// Of its API, on the loopback.
    pub(super) address: SocketAddr,
    #[serde(default)]
    pub(super) token: Option<String>,
    #[serde(default)]
    pub(super) project: String,
    /// Prints the ids of all its processes, databases and brokers included; their children are found by themselves.
    pub(super) processes: String,
    /// Prints the ids of those that send: what is killed.
    pub(super) sender: String,
    /// Starts the sender again after that, and ends once it has started.
    pub(super) start: String,
    /// Where the commands are run.
    #[serde(skip)]
    pub(super) directory: PathBuf,
}

impl PeersFile {
    /// Reads the file; every peer in it took a connection once this returns.
    ///
    /// # Errors
    ///
    /// If there is none, or it names none, or one of those that it names does not run here; with what to do.
    pub(super) async fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(file) = file else { bail!("no peer is named: {ADVICE}") };
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("no peers can be read in {}: {ADVICE}", file.display()))?;
        let directory = file.canonicalize()?.parent().context("a file has a directory")?.to_owned();
        let mut read = Self::parse(&text).with_context(|| format!("{} is no peers' file", file.display()))?;
        for peer in &mut read.peers {
            peer.directory.clone_from(&directory);
            let connected = TcpStream::connect(peer.address).await;
            connected
                .with_context(|| format!("{} does not run at {}: {ADVICE}", peer.name(), peer.address))?;
        }
        Ok(read)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: Self = toml::from_str(text)?;
        ensure!(!file.peers.is_empty(), "no peer is named: {ADVICE}");
        for peer in &file.peers {
            ensure!(peer.address.ip().is_loopback(), "{} is not on the loopback", peer.address);
        }
        Ok(file)
    }
}

impl PeerEntry {
    pub(super) const fn name(&self) -> &'static str {
        self.adapter.name()
    }

    /// The ids of all its processes but those whose parents are among them.
    pub(super) async fn process_ids(&self) -> anyhow::Result<Vec<u32>> {
        self.ids(&self.processes).await
    }

    /// The ids of those that send.
    pub(super) async fn sender_ids(&self) -> anyhow::Result<Vec<u32>> {
        self.ids(&self.sender).await
    }

    /// Starts the sender again.
    pub(super) async fn start(&self) -> anyhow::Result<()> {
        self.said(&self.start).await.map(drop)
    }

    async fn ids(&self, command: &str) -> anyhow::Result<Vec<u32>> {
        let said = self.said(command).await?;
        let ids: Vec<u32> = said.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(!ids.is_empty(), "`{command}` names no process of {}", self.name());
        Ok(ids)
    }

    async fn said(&self, command: &str) -> anyhow::Result<String> {
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", command]).current_dir(&self.directory).kill_on_drop(true).output();
        let output = tokio::time::timeout(COMMAND_WITHIN, output).await;
        let output = output.with_context(|| format!("`{command}` does not end"))??;
        if !output.status.success() {
            bail!("`{command}` failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: SocketAddr) -> String {
        format!(
            "[[peers]]\nadapter = \"outpost\"\nversion = \"1.0\"\naddress = \"{address}\"\ntoken = \"t\"\n\
             processes = \"echo 7 8; echo 9\"\nsender = \"true\"\nstart = \"exit 3\"\n"
        )
    }

    fn said(result: anyhow::Result<impl std::fmt::Debug>) -> String {
        format!("{:#}", result.expect_err("no peer runs"))
    }

    #[tokio::test]
    async fn where_no_peer_runs_it_says_what_to_do() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("peers.toml");
        assert_eq!(said(PeersFile::read(None).await), format!("no peer is named: {ADVICE}"));
        assert!(said(PeersFile::read(Some(&file)).await).contains(ADVICE));
        std::fs::write(&file, "").expect("a file");
        assert!(said(PeersFile::read(Some(&file)).await).ends_with(&format!("no peer is named: {ADVICE}")));

        // Bound and closed: nobody listens there.
        let nowhere = std::net::TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr());
        let nowhere = nowhere.expect("a port");
        std::fs::write(&file, entry(nowhere)).expect("a file");
        let expected = format!("outpost does not run at {nowhere}: {ADVICE}");
        assert!(said(PeersFile::read(Some(&file)).await).starts_with(&expected));
    }

    #[tokio::test]
    async fn its_commands_tell_the_processes() {
        let peer = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("peers.toml");
        std::fs::write(&file, entry(peer.local_addr().expect("an address"))).expect("a file");
        let read = PeersFile::read(Some(&file)).await.expect("peers");
        let [entry] = &read.peers[..] else { panic!("one peer") };
        assert_eq!(entry.process_ids().await.expect("ids"), [7, 8, 9]);
        assert!(said(entry.sender_ids().await).contains("names no process of outpost"));
        assert!(said(entry.start().await).contains("`exit 3` failed"));
    }

    #[test]
    fn a_peer_elsewhere_or_of_an_unknown_kind_is_refused() {
        let elsewhere = ([192, 0, 2, 1], 80).into();
        assert!(said(PeersFile::parse(&entry(elsewhere))).contains("is not on the loopback"));
        let unknown = entry(([127, 0, 0, 1], 80).into()).replace("outpost", "pigeons");
        assert!(said(PeersFile::parse(&unknown)).contains("unknown variant `pigeons`"));
    }
}
