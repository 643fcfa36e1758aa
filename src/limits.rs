//! What the system allows the process: open files, of which every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open beside connections of the edge and those to receivers: the log, the admin address, the control plane.
const BESIDE_CONNECTIONS: u64 = 1024;

/// Raises the limit on open files as far as the process may, and warns where it is too low for these connections, of the
/// edge and to receivers: past it neither side gets any.
pub(crate) fn raise_open_files(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!(?current, ?maximum, "failed to raise the limit on open files");
    }
    let wanted = connections as u64 + BESIDE_CONNECTIONS;
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "too few open files are allowed: raise the limit, or lower ingest.max_connections and dispatcher.max_attempts"
        );
    }
}
