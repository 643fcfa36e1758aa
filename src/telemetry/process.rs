//! What is measured of the process as a whole: its version, its roles, its log lines, and what the system says of it.

use hookline_telemetry::Metric;
use metrics::{counter, gauge};

const BUILD_INFO: &str = "hookline_build_info";
const READY: &str = "hookline_ready";
const STOPPING: &str = "hookline_stopping";
const LINES_DROPPED: &str = "hookline_log_lines_dropped_total";

/// What became of SIGHUPs, under the label `outcome`.
pub(crate) const RELOADS: &str = "hookline_reloads_total";

/// Every metric of the process.
pub(crate) const METRICS: &[Metric] = &[
    Metric::gauge(BUILD_INFO, &["version"], "1, with the version of the program"),
    Metric::gauge(READY, &["role"], "1, if a role of this process is ready; a control that stands by is not"),
    Metric::gauge(STOPPING, &[], "1, once the process has been asked to stop"),
    Metric::counter(
        RELOADS,
        &["outcome"],
        "Readings of configuration and keys that SIGHUP asked for, by outcome",
    ),
    Metric::counter(
        LINES_DROPPED,
        &[],
        "Lines of the process' own log that stderr did not take in time, or not at all",
    ),
    Metric::counter("process_cpu_seconds_total", &[], "User and system time of the process"),
    Metric::gauge("process_open_fds", &[], "Open files and sockets"),
    Metric::gauge("process_max_fds", &[], "The most that may be open; 0 where nothing limits it"),
    Metric::gauge(
        "process_virtual_memory_bytes",
        &[],
        "Address space, of which the embedded log's map takes most",
    ),
    Metric::gauge(
        "process_virtual_memory_max_bytes",
        &[],
        "The most address space that there may be; 0 where nothing limits it",
    ),
    Metric::gauge(
        "process_resident_memory_bytes",
        &[],
        "Memory that is resident, with the pages of the embedded log that the system keeps",
    ),
    Metric::gauge("process_start_time_seconds", &[], "When the process began, in Unix time"),
    Metric::gauge("process_threads", &[], "Threads"),
];

/// Tells which program this is.
pub(crate) fn tell_build() {
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Tells how a role does.
pub(crate) fn tell_ready(role: &'static str, is_ready: bool) {
    gauge!(READY, "role" => role).set(f64::from(u8::from(is_ready)));
}

/// Tells whether the process is stopping.
pub(crate) fn tell_stopping(is_stopping: bool) {
    gauge!(STOPPING).set(f64::from(u8::from(is_stopping)));
}

/// Tells how many lines were dropped until now.
pub(crate) fn tell_lines_dropped(lines: u64) {
    counter!(LINES_DROPPED).absolute(lines);
}
