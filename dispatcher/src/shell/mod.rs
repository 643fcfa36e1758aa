//! The shell: performs the core's actions on one thread and brings back what happened.
//!
//! Everything under way is a future in one set; each ends with inputs for the core. Nothing here decides.

mod busyness;
pub(crate) mod holdings;
mod look;
mod owned;
mod perform;
mod readers;
mod report;
pub(crate) mod takeover;
mod told;
mod versions;
pub(crate) mod watched;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryFutureExt};
use hookline_event_log::{
    Change, Journal, JournalName, Log, Ownership, Partition, ReadError, Table, TableName, TableWatch,
};
use hookline_outbound::TlsError;
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::Webhooks;
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

use crate::attempt::{Ended, Sender};
use crate::core::{Action, AttemptKey, Core, Input};
use crate::endpoints::{Endpoints, Operators, Request};
use crate::metrics::DispatcherMetrics;
use crate::redelivery::{self, Redeliveries, Surroundings};
use crate::settings::Settings;
use busyness::{Busyness, busy_of_thread};
use holdings::{Holdings, TakenOver};
use look::{Looked, Looking};
use perform::{Begun, Performer};
use readers::{Readers, Source};
use report::REPORT_INTERVAL;
use versions::{Gate, Known, Taken};
use watched::WatchedLanes;

/// So many things that have happened are taken in one turn; then connections get theirs. tokio's own budget would be
/// used up by the first of what is under way; the rest, many thousands where much is parked at once, would be polled in
/// vain each time, and nobody would get any further.
const BURST: usize = 64;

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
    /// An attempt ended so.
    Attempted(AttemptKey, Begun, Ended),
    /// A partition has been taken over: after these inputs it is followed from there, once our webhooks are those
    /// of the log.
    TakenOver(Taken),
    /// They are, for these.
    CaughtUp(Vec<Taken>),
    /// A redelivery has ended, or was stopped.
    Redelivered(redelivery::Job),
    /// Everything that was read has been settled; whether that is everything there is.
    Compared { is_everything: bool },
    /// The log has been looked at.
    Looked(Looked),
    /// The log can't be read.
    Failed(ReadError),
}

type UnderWay = FuturesUnordered<LocalBoxFuture<'static, Happened>>;

/// The dispatcher of one process.
pub struct Dispatcher<L: Log> {
    settings: Settings,
    log: L,
    webhooks: Known,
    clock: Clock,
    sender: Sender,
    ready: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    endpoints: Endpoints,
    operators: Operators,
    until_drained: bool,
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
        let ready = Arc::new(AtomicBool::new(false));
        let (endpoints, operators) = Endpoints::new(clock);
        let (turns, until_drained) = (Arc::default(), false);
        Ok(Self { settings, log, webhooks, clock, sender, ready, turns, endpoints, operators, until_drained })
    }

    /// Ends by itself once nothing is left: every event and every parked delivery of the log is delivered,
    /// dead-lettered or cancelled. For a log that nobody appends to any more, and that is all its own.
    #[must_use]
    pub fn until_drained(self) -> Self {
        Self { until_drained: true, ..self }
    }

    /// Whether the webhooks and the lanes of all owners are known, and what was granted has been taken over: of
    /// the embedded log everything, in a group perhaps nothing.
    pub fn readiness(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let ready = Arc::clone(&self.ready);
        move || ready.load(Ordering::Acquire)
    }

    /// How many turns it has taken: more than before at least once a second, from its readiness on. None once it has
    /// ended.
    pub fn heartbeat(&self) -> impl Fn() -> Option<u64> + Send + Sync + 'static {
        let turns = Arc::downgrade(&self.turns);
        move || turns.upgrade().map(|turns| turns.load(Ordering::Relaxed))
    }

    /// Its endpoints, for operators.
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints.clone()
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
        let all_lanes: Vec<_> = (0..lanes).map(Partition).collect();
        let core = Core::new(self.settings.clone(), lanes, rand::random(), self.clock.now());
        let performer = Performer::new(&self.log, self.sender, self.clock);
        let surroundings = Surroundings {
            log: self.log.clone(),
            webhooks: self.webhooks.clone(),
            clock: self.clock,
            deadline: self.settings.deadline,
        };
        let mut shell = Shell {
            core,
            performer,
            readers: Readers::new(&self.log, self.webhooks.clone()),
            under_way: UnderWay::new(),
            holdings: Holdings::default(),
            gate: Gate::default(),
            watched: WatchedLanes::default(),
            redeliveries: Redeliveries::default(),
            surroundings,
            watch: Some(self.log.table(TableName::Lanes).watch(&all_lanes)),
            clock: self.clock,
            metrics: DispatcherMetrics::new(),
            report_due: Timestamp(0),
            ready: self.ready,
            turns: self.turns,
            operators: self.operators,
            looking: Looking::default(),
            dispatchers: NonZeroU32::MIN,
            repeat_memory: self.settings.repeat_memory,
            busyness: Busyness::default(),
            drained: self.until_drained.then_some(Drained::NotYet),
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
    holdings: Holdings,
    gate: Gate,
    watched: WatchedLanes,
    redeliveries: Redeliveries,
    /// What redeliveries are carried out with.
    surroundings: Surroundings<L>,
    /// Shows what is written down of all lanes; none, once the log is closed.
    watch: Option<<L::Table as Table>::Watch>,
    clock: Clock,
    metrics: DispatcherMetrics,
    report_due: Timestamp,
    ready: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    operators: Operators,
    looking: Looking,
    /// How many there are, as the core knows it.
    dispatchers: NonZeroU32,
    repeat_memory: usize,
    busyness: Busyness,
    /// Whether nothing is left, where the dispatcher ends with that.
    drained: Option<Drained>,
}

/// Whether anything is left in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    NotYet,
    Comparing,
    Yes,
}

impl<L: Log> Shell<L> {
    async fn run(
        &mut self,
        mut webhooks: Known,
        shutdown: CancellationToken,
        drain_timeout: Duration,
    ) -> Result<(), DispatcherError> {
        if !self.wait_for_webhooks(&mut webhooks, &shutdown).await {
            return Ok(());
        }
        self.take_first_grants();
        let mut drain_deadline: Option<Timestamp> = None;
        loop {
            self.turns.fetch_add(1, Ordering::Relaxed);
            if drain_deadline.is_none() {
                self.take_over_waiting();
                self.begin_redeliveries();
            }
            let is_bottleneck = self.busyness.look(self.clock.elapsed(), busy_of_thread);
            self.readers.start_where_there_is_room(&self.core, is_bottleneck);
            // Not later, whatever is due: whoever watches wants to see that it turns.
            let latest = self.clock.now().after(REPORT_INTERVAL);
            let due = self.core.next_due().map_or(latest, |due| due.min(latest));
            let due = drain_deadline.map_or(due, |deadline| due.min(deadline));
            if self.drained == Some(Drained::Yes) {
                tracing::info!("nothing is left in the log");
                shutdown.cancel();
            }
            tokio::select! {
                () = shutdown.cancelled(), if drain_deadline.is_none() => {
                    drain_deadline = Some(self.clock.now().after(drain_timeout));
                    self.redeliveries.stop();
                    self.step(Input::DrainRequested);
                }
                Some(happened) = unconstrained(self.under_way.next()), if !self.under_way.is_empty() => {
                    self.take(happened)?;
                    self.take_what_else_happened().await?;
                }
                change = self.performer.lanes.next() => self.change_ownership(JournalName::Parked, change),
                change = self.performer.events.next() => self.change_ownership(JournalName::Events, change),
                Some(seen) = next_change(&mut self.watch) => self.see_lanes(seen)?,
                Some(request) = self.operators.requests.recv() => self.answer(request),
                Ok(()) = webhooks.changed() => self.take_webhooks(),
                fetched = self.readers.next(), if self.readers.are_reading() => {
                    if let Some(input) = fetched? {
                        // It may have waited for them.
                        self.take_webhooks();
                        self.step(input);
                    }
                }
                () = tokio::time::sleep(due.since(self.clock.now())) => self.step(Input::TimerFired),
            }
            self.report();
            if self.core.is_drained() && self.redeliveries.are_idle() {
                return Ok(());
            }
            if drain_deadline.is_some_and(|deadline| deadline <= self.clock.now()) {
                return Err(DispatcherError::NotDrained);
            }
        }
    }

    /// Missing webhooks mean *not ready*, never *no webhooks*.
    async fn wait_for_webhooks(&mut self, webhooks: &mut Known, shutdown: &CancellationToken) -> bool {
        let loaded = async { webhooks.wait_for(Option::is_some).await.is_ok() };
        let loaded = tokio::select! {
            () = shutdown.cancelled() => false,
            loaded = loaded => loaded,
        };
        if loaded {
            self.take_webhooks();
        }
        loaded
    }

    fn take_webhooks(&mut self) {
        let current = self.surroundings.webhooks.borrow().clone();
        if let Some(webhooks) = current.filter(|webhooks| !self.core.knows(webhooks)) {
            self.step(Input::Webhooks(webhooks));
        }
    }

    fn see_lanes(&mut self, seen: Result<Change, ReadError>) -> Result<(), ReadError> {
        match seen {
            Ok(Change::Entry(entry)) if self.redeliveries.see(&entry) => {}
            Ok(change) => {
                for input in self.watched.take(change, |partition| self.core.owns_lanes(partition)) {
                    self.step(input);
                }
                let dispatchers = self.watched.dispatchers();
                if std::mem::replace(&mut self.dispatchers, dispatchers) != dispatchers {
                    self.step(Input::Dispatchers(dispatchers));
                }
            }
            Err(ReadError::Closed) => self.watch = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What operators want.
    fn answer(&mut self, request: Request) {
        match request {
            // Who asked may have gone.
            Request::Statuses(asker) => drop(asker.send(self.core.statuses())),
            Request::ByHand { webhook, wanted, answer } => {
                let request = self.performer.ask(answer);
                self.step(Input::ByHand { request, webhook, wanted });
            }
        }
    }

    fn take_over_waiting(&mut self) {
        while let Some(grant) = self.holdings.next_takeover(self.watched.is_loaded()) {
            self.under_way.push(self.performer.take_over(grant, self.repeat_memory));
        }
        if self.watched.is_loaded() && self.holdings.are_taken_over() {
            self.ready.store(true, Ordering::Release);
        }
    }

    fn begin_redeliveries(&mut self) {
        if !self.watched.is_loaded() {
            return;
        }
        let holdings = &self.holdings;
        while let Some(job) =
            self.redeliveries.next_job(|partition| holdings.epoch_of(JournalName::Parked, partition))
        {
            let working = redelivery::work(job, self.surroundings.clone());
            self.under_way.push(working.map(Happened::Redelivered).boxed_local());
        }
    }

    /// Where much happens, it is taken at one go: everything else that may come is looked at once for all of it.
    async fn take_what_else_happened(&mut self) -> Result<(), DispatcherError> {
        for _ in 1..BURST {
            match unconstrained(self.under_way.next()).now_or_never() {
                Some(Some(happened)) => self.take(happened)?,
                Some(None) | None => return Ok(()),
            }
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    fn take(&mut self, happened: Happened) -> Result<(), DispatcherError> {
        match happened {
            Happened::Input(input) => self.step(input),
            Happened::Attempted(attempt, begun, ended) => {
                self.performer.observe(begun, &ended, &self.metrics);
                self.step(Input::AttemptFinished { attempt, outcome: ended.outcome });
            }
            Happened::TakenOver(taken) => {
                self.gate.wait(taken);
                self.catch_up();
            }
            Happened::CaughtUp(taken) => {
                self.take_webhooks();
                taken.into_iter().for_each(|taken| self.finish_takeover(taken));
                self.gate.end();
                self.catch_up();
            }
            Happened::Redelivered(job) => self.redeliveries.ended(job),
            Happened::Compared { is_everything } => {
                let settled =
                    is_everything && self.redeliveries.are_idle() && self.core.settled_positions().is_some();
                self.drained = Some(if settled { Drained::Yes } else { Drained::NotYet });
            }
            Happened::Looked(looked) => self.take_look(looked),
            Happened::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What has been taken over waits until our webhooks are those of the log.
    fn catch_up(&mut self) {
        if let Some(taken) = self.gate.begin() {
            let Surroundings { log, webhooks, .. } = &self.surroundings;
            let catching_up = versions::catch_up(log.table(TableName::Control), webhooks.clone());
            let caught_up = |_| Happened::CaughtUp(taken);
            self.under_way.push(catching_up.map_ok_or_else(Happened::Failed, caught_up).boxed_local());
        }
    }

    fn finish_takeover(&mut self, (inputs, source): Taken) {
        let Source { journal, partition, epoch, .. } = source;
        match self.holdings.finish(journal, partition, epoch) {
            TakenOver::Held => {
                self.readers.add(source);
                self.redeliveries.look_again();
                for input in inputs {
                    self.step(input);
                }
            }
            TakenOver::Revoked => self.performer.let_go(journal, partition, epoch),
            TakenOver::Outdated => {}
        }
    }

    fn step(&mut self, input: Input) {
        let mut actions: Vec<Action> = Vec::new();
        self.core.step(input, self.clock.now(), &mut actions);
        for action in actions {
            let gone = match &action {
                Action::LetGo { journal, partition, .. } => Some((*journal, *partition)),
                _ => None,
            };
            self.under_way.extend(self.performer.perform(action));
            if let Some((journal, partition)) = gone {
                self.holdings.forget(journal, partition);
                self.readers.remove(journal, partition);
                self.give_up_redeliveries(journal, partition);
                self.show_lanes(journal, partition);
            }
        }
    }
}

/// The next change that the watch shows; none, once the log is closed.
async fn next_change<W: TableWatch>(watch: &mut Option<W>) -> Option<Result<Change, ReadError>> {
    Some(watch.as_mut()?.next().await)
}
