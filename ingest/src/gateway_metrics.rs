//! What is counted of each gateway. Gateways come and go while the process runs, and a recorder keeps every series that it
//! was ever told of, so that one that is gone would look silent for ever: these two families are written out at each
//! look, from the gateways that there are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use hookline_schemas::ids::GatewayId;
use hookline_schemas::time::Timestamp;
use hookline_telemetry::{Metric, Page};

use crate::gateways::Gateways;

/// So many gateways, by their names, have series of their own.
const MOST: usize = 2_000;

/// The label of the rest together.
const OTHERS: &str = "other";

pub(crate) const GATEWAY_NOTIFICATIONS: Metric = Metric::counter(
    "hookline_ingest_gateway_notifications_total",
    &["gateway"],
    "Verified notifications, by gateway: the first 2000 by name, the rest together as other",
);

pub(crate) const GATEWAY_LAST_NOTIFICATION: Metric = Metric::gauge(
    "hookline_ingest_gateway_last_notification_timestamp_seconds",
    &["gateway"],
    "When the last verified notification of a gateway came, in Unix time; of the same 2000, once one came",
);

/// What is counted of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    notifications: AtomicU64,
    /// In milliseconds since the epoch.
    last: AtomicU64,
}

impl Tally {
    /// A notification was verified that came now.
    pub(crate) fn verified(&self, now: Timestamp) {
        self.notifications.fetch_add(1, Ordering::Relaxed);
        self.last.store(now.0, Ordering::Relaxed);
    }

    fn notifications(&self) -> u64 {
        self.notifications.load(Ordering::Relaxed)
    }
}

/// The tallies of the gateways that something has come for; they outlive the snapshots of the gateways.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<HashMap<GatewayId, Arc<Tally>>>);

impl Tallies {
    /// The tally of a gateway.
    pub(crate) fn of(&self, gateway: &GatewayId) -> Arc<Tally> {
        Arc::clone(self.all().entry(gateway.clone()).or_default())
    }

    /// Both families, and forgets what belongs to gateways that are gone.
    pub(crate) fn render(&self, gateways: &ArcSwapOption<Gateways>) -> String {
        let mut all = self.all();
        // Loaded under the lock: a gateway that an earlier snapshot lacks may have its tally by now.
        let Some(gateways) = gateways.load_full() else { return String::new() };
        let mut ids: Vec<&GatewayId> = gateways.iter().map(|gateway| &gateway.id).collect();
        ids.sort_unstable_by_key(|id| id.as_str());
        all.retain(|id, _| gateways.find(id.as_str()).is_some());
        let notifications = |id: &GatewayId| all.get(id).map_or(0, |tally| tally.notifications());
        let (own, others) = ids.split_at(ids.len().min(MOST));
        let mut page = Page::default();
        page.family(&GATEWAY_NOTIFICATIONS);
        for id in own {
            page.sample(&GATEWAY_NOTIFICATIONS, &[id.as_str()], notifications(id));
        }
        if !others.is_empty() {
            let together: u64 = others.iter().map(|id| notifications(id)).sum();
            page.sample(&GATEWAY_NOTIFICATIONS, &[OTHERS], together);
        }
        page.family(&GATEWAY_LAST_NOTIFICATION);
        for (id, tally) in own.iter().filter_map(|id| all.get_key_value(*id)) {
            let seconds = Timestamp(tally.last.load(Ordering::Relaxed)).unix_seconds();
            page.sample(&GATEWAY_LAST_NOTIFICATION, &[id.as_str()], seconds);
        }
        page.into_text()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<GatewayId, Arc<Tally>>> {
        // Nothing between lock and unlock can be left half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::gateway::{Acceptance, CheckPolicy, Gateway};
    use hookline_schemas::ids::{ClubId, OrganizationId};
    use hookline_schemas::secret::Secret;

    use super::*;

    fn gateways(names: &[String]) -> ArcSwapOption<Gateways> {
        let gateway = |name: &String| Gateway {
            id: GatewayId::new(name),
            organization: OrganizationId::new("org"),
            public_id: format!("pk of {name}"),
            api_secrets: vec![Secret::new(format!("secret of {name}"))],
            default_club: ClubId::new("club"),
            shared_url: false,
            policy: CheckPolicy {
                paused: false,
                test_payments: Acceptance::Refuse,
                unknown_clients: Acceptance::Refuse,
                unknown_invoices: Acceptance::Refuse,
                without_invoice: Acceptance::Refuse,
                subscription_charges: Acceptance::Accept,
                max_amount: None,
                min_amount: None,
                currency: None,
            },
        };
        ArcSwapOption::from_pointee(Gateways::new(names.iter().map(gateway).collect()).expect("no conflicts"))
    }

    fn verify(gateways: &ArcSwapOption<Gateways>, tallies: &Tallies, name: &str, at: u64) {
        let gateways = gateways.load_full().expect("they are known");
        gateways.find(name).expect("a gateway").tally(tallies).verified(Timestamp(at));
    }

    #[test]
    fn counts_outlive_a_snapshot_and_end_with_the_gateway() {
        let tallies = Tallies::default();
        let both = ["gw_a".to_owned(), "gw_b".to_owned()];
        let first = gateways(&both);
        verify(&first, &tallies, "gw_a", 1_000);
        let second = gateways(&both);
        verify(&second, &tallies, "gw_a", 7_900);
        let text = tallies.render(&second);
        for line in [
            "hookline_ingest_gateway_notifications_total{gateway=\"gw_a\"} 2\n",
            "hookline_ingest_gateway_notifications_total{gateway=\"gw_b\"} 0\n",
            "hookline_ingest_gateway_last_notification_timestamp_seconds{gateway=\"gw_a\"} 7\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("timestamp_seconds{gateway=\"gw_b\"}"), "nothing came: {text}");
        let text = tallies.render(&gateways(&["gw_b".to_owned()]));
        assert!(!text.contains("gw_a"), "gone: {text}");
        assert!(tallies.all().is_empty(), "and forgotten");
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let tallies = Tallies::default();
        let names: Vec<String> = (0..MOST + 10).map(|number| format!("gw_{number:05}")).collect();
        let many = gateways(&names);
        for (number, name) in names.iter().enumerate() {
            verify(&many, &tallies, name, 1_000 * number as u64);
        }
        let text = tallies.render(&many);
        let samples = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(samples(GATEWAY_NOTIFICATIONS.name), MOST + 1);
        assert_eq!(samples(GATEWAY_LAST_NOTIFICATION.name), MOST);
        assert!(text.contains("hookline_ingest_gateway_notifications_total{gateway=\"other\"} 10\n"));
    }
}
