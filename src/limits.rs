//! What the system allows the process: open files, of which every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open beside connections of the edge: the log, outbound connections, the admin address.
const BESIDE_CONNECTIONS: u64 = 2048;

/// Raises the limit on open files as far as the process may, and warns where it is too low for the connections
/// that the edge takes: past it neither side gets any, and every endpoint would look down.
pub(crate) fn raise_open_files(max_connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!(?current, ?maximum, "failed to raise the limit on open files");
    }
    let wanted = max_connections as u64 + BESIDE_CONNECTIONS;
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "too few open files are allowed: raise the limit, or lower ingest.max_connections where the edge runs"
        );
    }
}
