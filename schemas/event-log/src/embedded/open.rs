//! Opening the log: the directory, both environments, what earlier lives left, and then the threads.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use hookline_schemas::time::Clock;
use tokio::sync::watch;

use super::Shared;
use super::backup::Backups;
use super::cursors::Cursors;
use super::directory;
use super::environment::{Environment, EnvironmentName};
use super::faults::Faults;
use super::options::EmbeddedOptions;
use super::positions::{self, EndWatch, Positions};
use super::queue::{self, WriteQueue};
use super::readers::{self, Environments};
use super::released::Released;
use super::reserve::{Reserve, Usage};
use super::retention::Sweep;
use super::writer::{Pace, Writer};
use crate::metrics::{self, WriterMetrics};
use crate::{Epoch, LogFailure, OpenError};

/// The reserve of `attempts`, whose loss would cost no delivery.
const ATTEMPTS_RESERVE: u64 = 16 * 1024 * 1024;

/// What both writers are given alike.
struct Common {
    life: Epoch,
    clock: Clock,
    cursors: Arc<Cursors>,
    released: Arc<Released>,
    failure: Arc<watch::Sender<Option<LogFailure>>>,
}

/// A writer that runs, with the ways to it.
struct Started {
    queue: WriteQueue,
    ends: EndWatch,
    thread: JoinHandle<()>,
}

/// Opens everything. The faults are those of the log's writer.
pub(super) fn open(options: &EmbeddedOptions, clock: Clock, faults: Faults) -> Result<Shared, OpenError> {
    let root = &options.directory;
    directory::prepare(root)?;
    let durability = directory::judge(root, options.allow_page_cache)?;
    let lock = Arc::new(directory::lock(root)?);
    let environment = |name| Environment::open(name, root, options.map_size, Arc::clone(&lock)).map(Arc::new);
    let log = environment(EnvironmentName::Log)?;
    let attempts = environment(EnvironmentName::Attempts)?;
    directory::sync(root)?;
    metrics::tell_retention(&options.retention);
    metrics::tell_reserve(options.reserve);
    let life = log.start_life(options.partitions)?;
    attempts.start_life(options.partitions)?;

    let (failure, failed) = watch::channel(None);
    let common = Common {
        life,
        clock,
        cursors: Arc::new(Cursors::load(&log, options.partitions)?),
        released: Arc::new(Released::new(options.partitions)),
        failure: Arc::new(failure),
    };
    let log_writer = start_writer(options, &common, &log, Pace::AtOnce, faults)?;
    let pace = Pace::Lazily(options.lazy_sync);
    let attempts_writer = start_writer(options, &common, &attempts, pace, Faults::default())?;
    let environments = Arc::new(Environments { log, attempts });
    let backups = Backups::new(&environments, options.reserve, clock);
    let (readers, mut threads) =
        readers::start(environments).map_err(|source| not_started(options, source))?;
    threads.extend([log_writer.thread, attempts_writer.thread]);
    Ok(Shared {
        counts: options.partitions,
        life,
        durability,
        log_writer: log_writer.queue,
        attempts_writer: attempts_writer.queue,
        readers,
        backups,
        log_ends: log_writer.ends,
        attempts_ends: attempts_writer.ends,
        released: common.released,
        cursors: common.cursors,
        failure: failed,
        threads: Mutex::new(threads),
    })
}

fn start_writer(
    options: &EmbeddedOptions,
    common: &Common,
    environment: &Arc<Environment>,
    pace: Pace,
    faults: Faults,
) -> Result<Started, OpenError> {
    let name = environment.name.as_str();
    let positions = Positions::load(environment, options.partitions)?;
    let sweep =
        Sweep::open(environment, options.partitions, options.retention, Arc::clone(&common.released))?;
    let now = common.clock.elapsed();
    let used = used_bytes(environment)?;
    let usage = Usage { used, file_end: environment.file_end() };
    let reserve = match environment.name {
        EnvironmentName::Log => options.reserve,
        EnvironmentName::Attempts => options.reserve.min(ATTEMPTS_RESERVE),
    };
    let reserve = Reserve::open(&environment.data_file, options.map_size, reserve, usage, now)
        .map_err(|source| not_started(options, source))?;
    let (queue, intake) = queue::bounded(common.clock).map_err(|source| not_started(options, source))?;
    let (publisher, ends) = positions::published(&positions);
    let metrics = WriterMetrics::of(name);
    metrics.opened(name, options.map_size, reserve.disk_free());
    let writer = Writer {
        environment: Arc::clone(environment),
        intake,
        positions,
        publisher,
        cursors: Arc::clone(&common.cursors),
        reserve,
        used,
        sweep,
        pace,
        life: common.life,
        clock: common.clock,
        committed_at: now,
        looked_at: now,
        failure: Arc::clone(&common.failure),
        metrics,
        faults,
    };
    let thread = std::thread::Builder::new()
        .name(format!("log-writer-{name}"))
        .spawn(move || writer.run())
        .map_err(|source| not_started(options, source))?;
    Ok(Started { queue, ends, thread })
}

fn used_bytes(environment: &Environment) -> Result<u64, OpenError> {
    environment.read().and_then(|snapshot| environment.used_bytes(&snapshot)).map_err(|error| {
        OpenError::Backend { path: environment.data_file.clone(), reason: error.to_string() }
    })
}

fn not_started(options: &EmbeddedOptions, source: std::io::Error) -> OpenError {
    OpenError::Directory { path: options.directory.clone(), source }
}
