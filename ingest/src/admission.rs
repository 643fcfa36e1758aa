//! Admission: permits for requests and for the bytes of their bodies, taken before a byte is read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Refusal;
use crate::settings::Settings;

/// Bytes are counted in units of 1 KiB, because a semaphore counts to 2^32 at a time.
const UNIT: u64 = 1024;

/// The permits there are.
#[derive(Debug)]
pub(crate) struct Admission {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The right to read one body of a limited length. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    /// The longest body that this permit covers.
    pub(crate) max_body: u64,
}

impl Admission {
    /// As many permits as the settings say.
    pub(crate) fn new(settings: &Settings) -> Self {
        let units = settings.max_request_bytes.as_u64() / UNIT;
        Self {
            requests: Arc::new(Semaphore::new(settings.max_requests)),
            bytes: Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(Semaphore::MAX_PERMITS))),
        }
    }

    /// Admits a body of this length (`None`: unknown, so as long as the limit), without waiting.
    pub(crate) fn try_admit(&self, length: Option<u64>, limit: u64) -> Result<Permit, Refusal> {
        if length.is_some_and(|length| length > limit) {
            return Err(Refusal::TooLarge);
        }
        let max_body = length.unwrap_or(limit);
        let units = u32::try_from(max_body.div_ceil(UNIT)).map_err(|_| Refusal::TooLarge)?;
        let request = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(units).map_err(|_| Refusal::Overloaded)?;
        Ok(Permit { _request: request, _bytes: bytes, max_body })
    }
}
