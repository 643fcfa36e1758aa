//! Admission: permits for requests and for the bytes of their bodies, taken before a byte is read.

use std::sync::Arc;

use hookline_schemas::notification::NotificationType;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Refusal;
use crate::route::Route;
use crate::settings::Settings;

/// Bytes are counted in units of 1 KiB, because a semaphore counts to 2^32 at a time.
const UNIT: u64 = 1024;

/// The share of all permits that Checks have for themselves: one in so many. Everything else waits for the
/// disk with its permit in hand, and when the disk stalls Check must still be answered.
const CHECK_SHARE: usize = 8;

/// The permits there are.
#[derive(Debug)]
pub(crate) struct Admission {
    checks: Permits,
    others: Permits,
}

#[derive(Debug)]
struct Permits {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    most_requests: usize,
    most_units: usize,
}

/// How much of something is in use, and how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) in_use: u64,
    pub(crate) most: u64,
}

/// The right to read one body of a limited length. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    /// The longest body that this permit covers.
    pub(crate) max_body: u64,
}

impl Permits {
    fn new(requests: usize, units: usize) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            bytes: Arc::new(Semaphore::new(units)),
            most_requests: requests,
            most_units: units,
        }
    }

    fn requests(&self) -> Usage {
        let in_use = self.most_requests.saturating_sub(self.requests.available_permits());
        Usage { in_use: in_use as u64, most: self.most_requests as u64 }
    }

    fn units_in_use(&self) -> usize {
        self.most_units.saturating_sub(self.bytes.available_permits())
    }
}

impl Admission {
    /// As many permits as the settings say.
    pub(crate) fn new(settings: &Settings) -> Self {
        let units = settings.max_request_bytes.as_u64() / UNIT;
        let units = usize::try_from(units).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        // At least one body of the largest size on either side.
        let largest = usize::try_from(settings.max_body.as_u64().div_ceil(UNIT)).unwrap_or(units);
        let check_requests = (settings.max_requests / CHECK_SHARE).max(1);
        let check_units = (units / CHECK_SHARE).max(largest);
        Self {
            checks: Permits::new(check_requests, check_units),
            others: Permits::new(
                settings.max_requests.saturating_sub(check_requests).max(1),
                units.saturating_sub(check_units).max(largest),
            ),
        }
    }

    /// The permits of everything but Checks, those of Checks, and the bytes of both.
    pub(crate) fn usage(&self) -> [Usage; 3] {
        let bytes = |units: usize| (units as u64).saturating_mul(UNIT);
        let in_use = self.checks.units_in_use().saturating_add(self.others.units_in_use());
        let most = self.checks.most_units.saturating_add(self.others.most_units);
        [self.others.requests(), self.checks.requests(), Usage { in_use: bytes(in_use), most: bytes(most) }]
    }

    /// Admits a body of this length (`None`: unknown, so as long as the limit), without waiting.
    pub(crate) fn try_admit(
        &self,
        route: &Route,
        length: Option<u64>,
        limit: u64,
    ) -> Result<Permit, Refusal> {
        if length.is_some_and(|length| length > limit) {
            return Err(Refusal::TooLarge);
        }
        let max_body = length.unwrap_or(limit);
        let units = u32::try_from(max_body.div_ceil(UNIT)).map_err(|_| Refusal::TooLarge)?;
        let permits = match route {
            Route::Typed { kind: NotificationType::Check, .. } => &self.checks,
            Route::Typed { .. } | Route::Shared => &self.others,
        };
        let request = Arc::clone(&permits.requests).try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
        let bytes =
            Arc::clone(&permits.bytes).try_acquire_many_owned(units).map_err(|_| Refusal::Overloaded)?;
        Ok(Permit { _request: request, _bytes: bytes, max_body })
    }
}
