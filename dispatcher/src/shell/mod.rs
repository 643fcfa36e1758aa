//! The shell: performs the core's actions on one thread and brings back what happened.
//!
//! Everything under way is a future in one set; each ends with inputs for the core. Nothing here decides.

mod perform;
mod readers;
mod takeover;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use hookline_event_log::{Journal, JournalName, Log, Ownership, OwnershipChange, ReadError};
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::Webhooks;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::attempt::{Sender, TlsError};
use crate::core::{Action, Core, Input};
use crate::metrics::DispatcherMetrics;
use crate::settings::Settings;
use perform::Performer;
use readers::{Readers, Source};

/// How often the metrics are reported.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Why the dispatcher can't go on.
#[derive(Debug, thiserror::Error)]
pub enum DispatcherError {
    /// The log can't be read.
    #[error("failed to read the log")]
    Read(#[from] ReadError),
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Attempts were still in flight when the drain's time was over; they are repeated after the restart.
    #[error("stopped with attempts in flight")]
    NotDrained,
}

/// What ends a future of the set.
#[derive(Debug)]
enum Happened {
    /// An input for the core.
    Input(Input),
    /// A partition has been taken over: after these inputs it is followed from there.
    TakenOver(Vec<Input>, Source),
    /// The log can't be read.
    Failed(ReadError),
}

type UnderWay = FuturesUnordered<LocalBoxFuture<'static, Happened>>;

/// The dispatcher of one process.
pub struct Dispatcher<L: Log> {
    settings: Settings,
    log: L,
    webhooks: watch::Receiver<Option<Arc<Webhooks>>>,
    clock: Clock,
    sender: Sender,
    ready: Arc<AtomicBool>,
}

impl<L: Log> Dispatcher<L> {
    /// A dispatcher over this log, for these webhooks (`None`: not loaded to their end yet).
    ///
    /// # Errors
    ///
    /// If TLS can't be set up.
    pub fn new(
        settings: Settings,
        log: L,
        webhooks: watch::Receiver<Option<Arc<Webhooks>>>,
        clock: Clock,
    ) -> Result<Self, DispatcherError> {
        let sender = Sender::new(&settings, clock)?;
        Ok(Self { settings, log, webhooks, clock, sender, ready: Arc::new(AtomicBool::new(false)) })
    }

    /// Whether the webhooks are loaded and its partitions taken over.
    pub fn readiness(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let ready = Arc::clone(&self.ready);
        move || ready.load(Ordering::Acquire)
    }

    /// Delivers until `shutdown`; then starts nothing new, waits for what is in flight, writes down and
    /// commits. Runs on a single-threaded runtime.
    ///
    /// # Errors
    ///
    /// If the log can't be read, or attempts were in flight for longer than the drain may take. Nothing is
    /// lost in either case.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DispatcherError> {
        let lanes = self.log.journal(JournalName::Parked).partitions();
        let core = Core::new(self.settings.clone(), lanes, rand::random(), self.clock.now());
        let performer = Performer::new(&self.log, self.sender, self.clock);
        let mut shell = Shell {
            core,
            performer,
            readers: Readers::new(&self.log),
            under_way: UnderWay::new(),
            waiting: Vec::new(),
            takeovers: 0,
            clock: self.clock,
            metrics: DispatcherMetrics::new(),
            reported_at: Timestamp(0),
            ready: self.ready,
            repeat_memory: self.settings.repeat_memory,
        };
        shell.run(self.webhooks, shutdown, self.settings.drain_timeout).await
    }
}

/// Everything that runs.
struct Shell<L: Log> {
    core: Core,
    performer: Performer<L>,
    readers: Readers<L>,
    under_way: UnderWay,
    /// Grants of `events` that wait for the lanes: what is known to be down is to be known first.
    waiting: Vec<OwnershipChange>,
    takeovers: usize,
    clock: Clock,
    metrics: DispatcherMetrics,
    reported_at: Timestamp,
    ready: Arc<AtomicBool>,
    repeat_memory: usize,
}

impl<L: Log> Shell<L> {
    async fn run(
        &mut self,
        mut webhooks: watch::Receiver<Option<Arc<Webhooks>>>,
        shutdown: CancellationToken,
        drain_timeout: Duration,
    ) -> Result<(), DispatcherError> {
        if !self.wait_for_webhooks(&mut webhooks, &shutdown).await {
            return Ok(());
        }
        // The lanes that are ours from the start come first: what is down is to be known before it is sent to.
        while let Some(change) = self.performer.lanes.next().now_or_never() {
            self.take_over(JournalName::Parked, change);
        }
        let mut drain_deadline: Option<Timestamp> = None;
        loop {
            self.take_over_waiting();
            self.readers.start_where_there_is_room(&self.core);
            let due = self.core.next_due().unwrap_or_else(|| self.clock.now().after(REPORT_INTERVAL));
            let due = drain_deadline.map_or(due, |deadline| due.min(deadline));
            tokio::select! {
                () = shutdown.cancelled(), if drain_deadline.is_none() => {
                    drain_deadline = Some(self.clock.now().after(drain_timeout));
                    self.step(Input::DrainRequested);
                }
                Some(happened) = self.under_way.next(), if !self.under_way.is_empty() => {
                    self.take(happened)?;
                }
                change = self.performer.lanes.next() => self.take_over(JournalName::Parked, change),
                change = self.performer.events.next() => self.waiting.push(change),
                Ok(()) = webhooks.changed() => self.take_webhooks(&webhooks),
                fetched = self.readers.next(), if self.readers.are_reading() => {
                    for input in fetched? {
                        self.step(input);
                    }
                }
                () = tokio::time::sleep(due.since(self.clock.now())) => self.step(Input::TimerFired),
            }
            self.report();
            if self.core.is_drained() {
                return Ok(());
            }
            if drain_deadline.is_some_and(|deadline| deadline <= self.clock.now()) {
                return Err(DispatcherError::NotDrained);
            }
        }
    }

    /// Missing webhooks mean *not ready*, never *no webhooks*.
    async fn wait_for_webhooks(
        &mut self,
        webhooks: &mut watch::Receiver<Option<Arc<Webhooks>>>,
        shutdown: &CancellationToken,
    ) -> bool {
        let loaded = async { webhooks.wait_for(Option::is_some).await.is_ok() };
        let loaded = tokio::select! {
            () = shutdown.cancelled() => false,
            loaded = loaded => loaded,
        };
        if loaded {
            self.take_webhooks(webhooks);
        }
        loaded
    }

    fn take_webhooks(&mut self, webhooks: &watch::Receiver<Option<Arc<Webhooks>>>) {
        let current = webhooks.borrow().clone();
        if let Some(webhooks) = current {
            self.step(Input::Webhooks(webhooks));
        }
    }

    fn take_over(&mut self, journal: JournalName, change: OwnershipChange) {
        match change {
            OwnershipChange::Granted { partition, epoch, committed } => {
                self.takeovers += 1;
                let repeat_memory = self.repeat_memory;
                let takeover = self.performer.take_over(journal, partition, epoch, committed, repeat_memory);
                self.under_way.push(takeover);
            }
            OwnershipChange::Revoking { partition } | OwnershipChange::Lost { partition } => {
                // The embedded log never takes a partition back.
                tracing::warn!(journal = journal.as_str(), partition = partition.0, "ownership changed");
            }
        }
    }

    fn take_over_waiting(&mut self) {
        if self.takeovers == 0 && !self.waiting.is_empty() {
            for change in std::mem::take(&mut self.waiting) {
                self.take_over(JournalName::Events, change);
            }
        }
    }

    fn take(&mut self, happened: Happened) -> Result<(), DispatcherError> {
        match happened {
            Happened::Input(input) => self.step(input),
            Happened::TakenOver(inputs, source) => self.finish_takeover(inputs, source),
            Happened::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn finish_takeover(&mut self, inputs: Vec<Input>, source: Source) {
        self.takeovers -= 1;
        self.readers.add(source);
        for input in inputs {
            self.step(input);
        }
        if self.takeovers == 0 && self.waiting.is_empty() && self.readers.follow_events() {
            self.ready.store(true, Ordering::Release);
        }
    }

    fn step(&mut self, input: Input) {
        let mut actions: Vec<Action> = Vec::new();
        self.performer.observe(&input, &self.metrics);
        self.core.step(input, self.clock.now(), &mut actions);
        for action in actions {
            let under_way = self.performer.perform(action);
            self.under_way.push(under_way);
        }
    }

    fn report(&mut self) {
        let now = self.clock.now();
        if now.since(self.reported_at) >= REPORT_INTERVAL {
            self.reported_at = now;
            self.metrics.report(self.core.counts(), self.core.totals(), self.core.gauges());
        }
    }
}
