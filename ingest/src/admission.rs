//! Admission: permits for requests and for the bytes of their bodies, taken before a byte is read.

use std::sync::atomic::{AtomicUsize, Ordering};

use hookline_schemas::notification::NotificationType;

use crate::answer::Refusal;
use crate::route::Route;
use crate::settings::Settings;

/// Bytes are counted in units of 1 KiB.
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
    requests: Stock,
    units: Stock,
}

/// Some of which there is so much. Nobody waits for it, so it is one number and no semaphore.
#[derive(Debug)]
struct Stock {
    in_use: AtomicUsize,
    most: usize,
}

/// What was taken of a stock. Given back when dropped.
#[derive(Debug)]
struct Share<'stock> {
    stock: &'stock Stock,
    amount: usize,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let before = self.stock.in_use.fetch_sub(self.amount, Ordering::Relaxed);
        assert!(before >= self.amount, "no more is given back than was taken");
    }
}

/// How much of something is in use, and how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) in_use: u64,
    pub(crate) most: u64,
}

/// The right to read one body of a limited length. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit<'admission> {
    _request: Share<'admission>,
    _bytes: Share<'admission>,
    /// The longest body that this permit covers.
    pub(crate) max_body: u64,
}

impl Stock {
    const fn new(most: usize) -> Self {
        Self { in_use: AtomicUsize::new(0), most }
    }

    fn try_take(&self, amount: usize) -> Result<Share<'_>, Refusal> {
        let taken = |in_use: usize| in_use.checked_add(amount).filter(|in_use| *in_use <= self.most);
        let fits = self.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        fits.map(|_| Share { stock: self, amount }).map_err(|_| Refusal::Overloaded)
    }

    fn in_use(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed) as u64
    }
}

impl Permits {
    const fn new(requests: usize, units: usize) -> Self {
        Self { requests: Stock::new(requests), units: Stock::new(units) }
    }

    fn requests(&self) -> Usage {
        Usage { in_use: self.requests.in_use(), most: self.requests.most as u64 }
    }
}

impl Admission {
    /// As many permits as the settings say.
    pub(crate) fn new(settings: &Settings) -> Self {
        let units = settings.max_request_bytes.as_u64() / UNIT;
        let units = usize::try_from(units).unwrap_or(usize::MAX);
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
        let bytes = |units: u64| units.saturating_mul(UNIT);
        let both = [&self.checks.units, &self.others.units];
        let in_use = both.iter().map(|units| units.in_use()).sum();
        let most = both.iter().map(|units| units.most as u64).sum();
        [self.others.requests(), self.checks.requests(), Usage { in_use: bytes(in_use), most: bytes(most) }]
    }

    /// Admits a body of this length (`None`: unknown, so as long as the limit), without waiting.
    pub(crate) fn try_admit(
        &self,
        route: Route<'_>,
        length: Option<u64>,
        limit: u64,
    ) -> Result<Permit<'_>, Refusal> {
        if length.is_some_and(|length| length > limit) {
            return Err(Refusal::TooLarge);
        }
        let max_body = length.unwrap_or(limit);
        let units = usize::try_from(max_body.div_ceil(UNIT)).map_err(|_| Refusal::TooLarge)?;
        let permits = match route {
            Route::Typed { kind: NotificationType::Check, .. } => &self.checks,
            Route::Typed { .. } | Route::Shared => &self.others,
        };
        let request = permits.requests.try_take(1)?;
        Ok(Permit { _request: request, _bytes: permits.units.try_take(units)?, max_body })
    }
}
