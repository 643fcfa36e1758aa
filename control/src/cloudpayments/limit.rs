//! How many requests of a site are on their way at once, and how long one that came too many waits.
//!
//! The limit is ours alone: who else uses the site's secret is counted by CloudPayments, which then answers 429.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So often is a request that came too many made again.
const REPEATS: u32 = 4;

/// The pause before the first of them, at most; each further one is twice as long.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The places of all sites. Cheap to clone; clones share the places.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    per_site: usize,
    /// By Public ID. Who has or awaits a place keeps a site's semaphore: the others are forgotten.
    sites: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

impl Limit {
    /// So many requests of a site at once.
    pub(super) fn new(per_site: usize) -> Self {
        Self { per_site, sites: Arc::default() }
    }

    /// Waits for a place of this site, which is given back when it is dropped.
    pub(super) async fn permit(&self, public_id: &str) -> OwnedSemaphorePermit {
        #[expect(clippy::expect_used, reason = "an invariant")]
        self.site(public_id).acquire_owned().await.expect("nobody closes the semaphore of a site")
    }

    fn site(&self, public_id: &str) -> Arc<Semaphore> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = sites.get(public_id).and_then(Weak::upgrade) {
            return site;
        }
        sites.retain(|_, site| site.strong_count() > 0);
        let site = Arc::new(Semaphore::new(self.per_site));
        sites.insert(public_id.to_owned(), Arc::downgrade(&site));
        site
    }
}

/// The pauses of one request that came too many: growing, and random by half, so that those who were refused together
/// don't come back together.
pub(super) fn pauses(first: Duration) -> impl Iterator<Item = Duration> {
    (0..REPEATS).map(move |repeat| {
        let longest = first.saturating_mul(1 << repeat);
        rand::random_range(longest / 2..=longest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_site_without_requests_is_forgotten() {
        let limit = Limit::new(1);
        let known = || limit.sites.lock().expect("nobody panicked").len();
        let kept = limit.permit("pk_kept").await;
        for site in ["pk_1", "pk_2", "pk_3"] {
            drop(limit.permit(site).await);
        }
        assert_eq!(known(), 2, "the one in use, and the latest");
        drop(kept);
        drop(limit.permit("pk_4").await);
        assert_eq!(known(), 1);
    }

    #[tokio::test]
    async fn a_site_has_its_places_for_itself() {
        let limit = Limit::new(2);
        let held = (limit.permit("pk_1").await, limit.permit("pk_1").await);
        assert_eq!(limit.site("pk_1").available_permits(), 0);
        assert_eq!(limit.site("pk_2").available_permits(), 2);
        drop(held.0);
        assert_eq!(limit.site("pk_1").available_permits(), 1);
    }

    #[test]
    fn pauses_grow_and_end() {
        for _ in 0..100 {
            let pauses: Vec<_> = pauses(Duration::from_millis(100)).map(|pause| pause.as_millis()).collect();
            let ranges = [50..=100, 100..=200, 200..=400, 400..=800];
            assert_eq!(pauses.len(), ranges.len());
            assert!(pauses.iter().zip(ranges).all(|(pause, range)| range.contains(pause)), "{pauses:?}");
        }
    }
}
