//! The process' own log lines. Nobody who logs waits for stderr: a line goes into a bounded queue, which a thread of its own
//! writes out, and one that finds it full is dropped and counted. What is queued at the end is still written.

use std::io::{self, BufWriter, IsTerminal, Stderr, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

use super::filter::{self, LogFilter};
use crate::config::{LogFormat, TelemetryConfig};

/// Lines that wait for stderr: some MiB, and seconds of a loud process.
const QUEUED: usize = 16_384;

/// Lines are written together, up to so many bytes of them.
const TOGETHER: usize = 64 * 1024;

/// How long the thread rests after it has written: who logs meanwhile does not wake it.
const REST: Duration = Duration::from_millis(10);

/// How many lines nobody will ever read. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dropped {
    queue_full: Option<ErrorCounter>,
    failed: Arc<AtomicU64>,
}

impl Dropped {
    /// Since the start.
    pub(crate) fn count(&self) -> u64 {
        let queue_full = self.queue_full.as_ref().map_or(0, ErrorCounter::dropped_lines);
        let queue_full = u64::try_from(queue_full).unwrap_or(u64::MAX);
        queue_full.saturating_add(self.failed.load(Ordering::Relaxed))
    }
}

/// Log lines are written while this lives. When it is dropped, those that wait are, unless stderr takes longer than a
/// second for them.
#[derive(Debug)]
pub(crate) struct Lines {
    writing: Arc<Mutex<Option<WorkerGuard>>>,
    pub(crate) dropped: Dropped,
}

impl Lines {
    /// Has everything that is logged from here on, and passes the filter, written to stderr.
    pub(crate) fn start(config: &TelemetryConfig) -> (Self, LogFilter) {
        let failed = Arc::new(AtomicU64::new(0));
        let stderr = Counted { stderr: io::stderr(), failed: Arc::clone(&failed) };
        let (queue, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUED)
            .lossy(true)
            .thread_name("log-lines")
            .finish(Unhurried(BufWriter::with_capacity(TOGETHER, stderr)));
        let dropped = Dropped { queue_full: Some(queue.error_counter()), failed };

        let filter = filter::wanted(config).expect("a configuration is checked, and its filter with it");
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(queue);
        let builder = builder.with_ansi(io::stderr().is_terminal());
        let exchanged = match config.log_format {
            LogFormat::Text => {
                let builder = builder.with_filter_reloading();
                let handle = builder.reload_handle();
                builder.init();
                LogFilter::exchanged_by(move |filter| handle.reload(filter))
            }
            LogFormat::Json => {
                let builder = builder.json().flatten_event(true).with_current_span(false);
                let builder = builder.with_span_list(false).with_filter_reloading();
                let handle = builder.reload_handle();
                builder.init();
                LogFilter::exchanged_by(move |filter| handle.reload(filter))
            }
        };
        let lines = Self { writing: Arc::new(Mutex::new(Some(guard))), dropped };
        lines.outlive_a_panic();
        if let Some(Err(error)) = filter::of_environment() {
            tracing::warn!(%error, "RUST_LOG is malformed, and telemetry.log_filter counts");
        }
        (lines, exchanged)
    }

    /// A panic ends the process at once, where it does not unwind: what was logged before is what tells why.
    fn outlive_a_panic(&self) {
        if !cfg!(panic = "abort") {
            return;
        }
        let writing = Arc::clone(&self.writing);
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            finish(&writing);
            tell(panic);
        }));
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        finish(&self.writing);
    }
}

/// Writes what waits.
fn finish(writing: &Mutex<Option<WorkerGuard>>) {
    drop(writing.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Flushed once nothing waits any more. What comes during the rest after that is written together.
#[derive(Debug)]
struct Unhurried<W: Write>(BufWriter<W>);

impl<W: Write> Write for Unhurried<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        std::thread::sleep(REST);
        flushed
    }
}

/// Counts what stderr does not take: a disk may be full behind it.
#[derive(Debug)]
struct Counted {
    stderr: Stderr,
    failed: Arc<AtomicU64>,
}

impl Write for Counted {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.stderr.write(line);
        let is_lost = |error: &io::Error| error.kind() != io::ErrorKind::Interrupted;
        if written.as_ref().is_err_and(is_lost) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stderr.flush()
    }
}
