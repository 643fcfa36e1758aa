//! The log of the process: opened, declared and closed the same way over either backend.

use hookline_event_log::embedded::{Backups, EmbeddedLog, EmbeddedOptions};
use hookline_event_log::kafka::{KafkaLog, KafkaOptions};
use hookline_event_log::{DURABILITY_METRIC, Durability, Log, OpenError};
use hookline_schemas::time::Clock;

use crate::admin::durability_label;
use crate::run::RunError;

/// A log with a beginning and an end. What lies between them is [`Log`].
pub(crate) trait Backend: Log {
    /// How it is set up.
    type Options: Send + 'static;

    /// Whether other processes can take the place of this one.
    const IS_SHARED: bool;

    /// Where it stands, for people.
    fn place(options: &Self::Options) -> String;

    /// Opens it. Blocks until the log can be worked on.
    fn open(options: Self::Options, clock: Clock) -> Result<Self, OpenError>;

    /// Copies of it, where they are not the backend's own affair.
    fn backups(&self) -> Option<Backups>;

    /// Finishes what was accepted and lets go. Everything acknowledged is durable anyway.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

impl Backend for EmbeddedLog {
    type Options = EmbeddedOptions;
    const IS_SHARED: bool = false;

    fn place(options: &EmbeddedOptions) -> String {
        options.directory.display().to_string()
    }

    fn open(options: EmbeddedOptions, clock: Clock) -> Result<Self, OpenError> {
        Self::open(options, clock)
    }

    fn backups(&self) -> Option<Backups> {
        Some(self.backups())
    }

    async fn close(&self) {
        self.close().await;
    }
}

impl Backend for KafkaLog {
    type Options = KafkaOptions;
    const IS_SHARED: bool = true;

    fn place(options: &KafkaOptions) -> String {
        format!("{}* at {}", options.topic_prefix, options.bootstrap_servers.join(","))
    }

    fn open(options: KafkaOptions, clock: Clock) -> Result<Self, OpenError> {
        Self::open(options, clock)
    }

    fn backups(&self) -> Option<Backups> {
        None
    }

    async fn close(&self) {
        self.close().await;
    }
}

/// Opens the log, and declares what an acknowledged append survives: to the reader of the start-up lines, and
/// as a metric.
pub(crate) async fn open<L: Backend>(options: L::Options, clock: Clock) -> Result<L, RunError> {
    let place = L::place(&options);
    let opened = tokio::task::spawn_blocking(move || <L as Backend>::open(options, clock));
    let log = opened.await.map_err(|_| RunError::Panicked)??;
    let durability = durability_label(log.durability());
    tracing::info!(%place, %durability, "opened the log");
    if log.durability() == Durability::PageCache {
        tracing::warn!("an acknowledged notification would not survive the power going out");
    }
    metrics::gauge!(DURABILITY_METRIC, "durability" => durability).set(1.0);
    Ok(log)
}
