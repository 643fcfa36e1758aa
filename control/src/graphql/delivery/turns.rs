//! Turns: what everybody may ask for, and what only few are given at once in the whole process.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::error::ApiError;

/// So many look whole journals through at once.
const LOOKING: usize = 2;

/// Who looks one through waits so long for his turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// The turns of a process.
#[derive(Debug)]
pub(crate) struct Turns {
    looking: Semaphore,
    wishing: Mutex<()>,
}

impl Turns {
    /// Everybody is free to go.
    pub(crate) fn new() -> Self {
        Self { looking: Semaphore::new(LOOKING), wishing: Mutex::new(()) }
    }

    /// A turn to look a journal through: events and quarantine are days of everybody's payments, so that a few tokens
    /// could keep the process from everything else.
    pub(crate) async fn to_look(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        match timeout(PATIENCE, self.looking.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                Err(ApiError::Unavailable("too many traces are being looked up".to_owned()))
            }
        }
    }

    /// A turn to count the redeliveries and write another one down: nobody else does in between.
    pub(super) async fn to_wish(&self) -> MutexGuard<'_, ()> {
        self.wishing.lock().await
    }
}
