//! How a log ends: by being closed, or because it can't go on.

use std::future::pending;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::LogFailure;

/// Waits for the threads of a log that has been closed.
pub(crate) async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    });
    if joined.await.is_err() {
        tracing::error!("the threads of the log could not be waited for");
    }
}

/// Waits until the log can't go on.
pub(crate) async fn failure(mut told: watch::Receiver<Option<LogFailure>>) -> LogFailure {
    let failed = told.wait_for(Option::is_some).await.ok().and_then(|failed| failed.clone());
    match failed {
        Some(failure) => failure,
        // Whoever could tell has ended without a failure: the log was closed.
        None => pending().await,
    }
}
