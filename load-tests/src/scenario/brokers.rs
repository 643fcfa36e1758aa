//! Kafka's brokers as processes that a scenario starts, kills and pauses.
//!
//! What is blocking there happens beside the runtime here.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use hookline_local_kafka::{LocalKafka, StartError};
use tokio::task::{JoinSet, spawn_blocking};

/// A cluster of a scenario's own, on the loopback; ends when this is dropped.
#[derive(Debug, Clone)]
pub(super) struct Brokers {
    kafka: Arc<LocalKafka>,
    count: u16,
}

impl Brokers {
    /// Starts so many, and Kafka's fetching before that, where it is not there yet; all answer when this
    /// returns.
    ///
    /// # Errors
    ///
    /// If Java or Maven is missing, or one does not start.
    pub(super) async fn start(script: &Path, count: u16) -> anyhow::Result<Self> {
        eprintln!("starting Kafka ({count} brokers); the first time it is fetched, which takes a while");
        let script = script.to_owned();
        let started = spawn_blocking(move || LocalKafka::start(&script, count)).await?;
        match started {
            Ok(kafka) => Ok(Self { kafka: Arc::new(kafka), count }),
            Err(StartError::Unavailable(reason)) => bail!("there can be no Kafka here: {reason}"),
            Err(error) => Err(error).context("failed to start Kafka"),
        }
    }

    /// `host:port` of each.
    pub(super) fn bootstrap_servers(&self) -> Vec<String> {
        self.kafka.bootstrap_servers().split(',').map(str::to_owned).collect()
    }

    /// Their numbers.
    pub(super) fn all(&self) -> Vec<u16> {
        (1..=self.count).collect()
    }

    /// `kill -9`, all at once; they are gone when this returns.
    pub(super) async fn kill(&self, nodes: &[u16]) -> anyhow::Result<()> {
        self.each(nodes, LocalKafka::kill).await.context("failed to kill a broker")
    }

    /// Starts them again, all at once: a majority may be needed before one of them answers. They answered when
    /// this returns.
    pub(super) async fn start_again(&self, nodes: &[u16]) -> anyhow::Result<()> {
        self.each(nodes, LocalKafka::start_node).await.context("failed to start a broker again")
    }

    /// SIGSTOP.
    pub(super) async fn pause(&self, node: u16) -> anyhow::Result<()> {
        self.each(&[node], LocalKafka::pause).await.context("failed to pause a broker")
    }

    /// SIGCONT.
    pub(super) async fn resume(&self, node: u16) -> anyhow::Result<()> {
        self.each(&[node], LocalKafka::resume).await.context("failed to resume a broker")
    }

    /// The broker that leads a partition now.
    pub(super) async fn leader(&self, topic: String, partition: u16) -> anyhow::Result<u16> {
        let kafka = Arc::clone(&self.kafka);
        let found = spawn_blocking(move || kafka.leader(&topic, partition)).await?;
        found.context("failed to find a partition's leader")
    }

    /// The broker that coordinates a consumer group now.
    pub(super) async fn coordinator(&self, group: String) -> anyhow::Result<u16> {
        let kafka = Arc::clone(&self.kafka);
        let found = spawn_blocking(move || kafka.coordinator(&group)).await?;
        found.context("failed to find a group's coordinator")
    }

    /// Which of these texts stand in clear in a broker's files, and that this one does, which has to.
    ///
    /// # Errors
    ///
    /// If the files can't be read, or the search does not find what is there.
    pub(super) async fn holds(&self, texts: &[String], must_hold: &str) -> anyhow::Result<Vec<String>> {
        let (directory, texts) = (self.kafka.directory().to_owned(), texts.to_vec());
        let must_hold = must_hold.to_owned();
        spawn_blocking(move || {
            let mut files = Vec::new();
            files_below(&directory, &mut files)?;
            let is_held = |text: &str| files.iter().any(|bytes| memmem(bytes, text.as_bytes()));
            ensure!(is_held(&must_hold), "{must_hold} is not found in {}", directory.display());
            Ok(texts.into_iter().filter(|text| is_held(text)).collect())
        })
        .await?
    }

    async fn each(
        &self,
        nodes: &[u16],
        act: fn(&LocalKafka, u16) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut acts = JoinSet::new();
        for node in nodes.iter().copied() {
            let kafka = Arc::clone(&self.kafka);
            acts.spawn_blocking(move || act(&kafka, node));
        }
        while let Some(acted) = acts.join_next().await {
            acted??;
        }
        Ok(())
    }
}

fn memmem(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// What stands in all files of a directory. Kafka makes and deletes some meanwhile.
fn files_below(directory: &Path, files: &mut Vec<Vec<u8>>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)?.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path(), files)?,
            Ok(kind) if kind.is_file() => files.extend(std::fs::read(entry.path())),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}
