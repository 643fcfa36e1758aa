//! What is counted of each gateway. Gateways come and go while the process runs, and a recorder keeps every series that it
//! was ever told of, so that one that is gone would look silent for ever: these two families are written out at each
//! look, from the gateways that there are.

use std::collections::{HashMap, HashSet};
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
    "Verified notifications, by gateway: of 2000, the rest together as other; a place is kept",
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

    /// What was counted since this was asked last.
    fn take(&self) -> u64 {
        self.notifications.swap(0, Ordering::Relaxed)
    }
}

/// The tallies of the gateways that something has come for; they outlive the snapshots of the gateways.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: HashMap<GatewayId, Arc<Tally>>,
    /// Those that have series of their own, until they are gone: what another gateway's coming and going moved
    /// between series would let counters fall.
    placed: HashSet<GatewayId>,
    /// What came for those without, ever; none, as long as everybody had a place.
    others: Option<u64>,
}

impl State {
    /// Forgets what is gone, gives places that are free, the first by name first, and takes what came for the rest.
    fn settle(&mut self, gateways: &Gateways, sorted: &[&GatewayId]) {
        let Self { all, placed, others } = self;
        let is_there = |id: &GatewayId| gateways.find(id.as_str()).is_some();
        all.retain(|id, _| is_there(id) || !placed.contains(id));
        placed.retain(is_there);
        for id in sorted {
            if placed.len() == MOST {
                break;
            }
            if !placed.contains(*id) {
                placed.insert(GatewayId::clone(id));
            }
        }
        let without = all.iter().filter(|(id, _)| !placed.contains(*id));
        let came: u64 = without.map(|(_, tally)| tally.take()).sum();
        if came > 0 || placed.len() < sorted.len() {
            *others = Some(others.unwrap_or_default() + came);
        }
        all.retain(|id, _| is_there(id));
    }
}

impl Tallies {
    /// The tally of a gateway.
    pub(crate) fn of(&self, gateway: &GatewayId) -> Arc<Tally> {
        Arc::clone(self.state().all.entry(gateway.clone()).or_default())
    }

    /// Both families, and forgets what belongs to gateways that are gone.
    pub(crate) fn render(&self, gateways: &ArcSwapOption<Gateways>) -> String {
        let mut state = self.state();
        // Loaded under the lock: a gateway that an earlier snapshot lacks may have its tally by now.
        let Some(gateways) = gateways.load_full() else { return String::new() };
        let mut ids: Vec<&GatewayId> = gateways.iter().map(|gateway| &gateway.id).collect();
        ids.sort_unstable_by_key(|id| id.as_str());
        state.settle(&gateways, &ids);
        ids.retain(|id| state.placed.contains(*id));
        let notifications = |id: &GatewayId| state.all.get(id).map_or(0, |tally| tally.notifications());
        let mut page = Page::default();
        page.family(&GATEWAY_NOTIFICATIONS);
        for id in &ids {
            page.sample(&GATEWAY_NOTIFICATIONS, &[id.as_str()], notifications(id));
        }
        if let Some(together) = state.others {
            page.sample(&GATEWAY_NOTIFICATIONS, &[OTHERS], together);
        }
        page.family(&GATEWAY_LAST_NOTIFICATION);
        for (id, tally) in ids.iter().filter_map(|id| state.all.get_key_value(*id)) {
            let seconds = Timestamp(tally.last.load(Ordering::Relaxed)).unix_seconds();
            page.sample(&GATEWAY_LAST_NOTIFICATION, &[id.as_str()], seconds);
        }
        page.into_text()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock can be left half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::gateway::{CheckPolicy, Gateway};
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
            policy: CheckPolicy::lenient(),
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
        assert!(tallies.state().all.is_empty(), "and forgotten");
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

    #[test]
    fn the_rest_together_never_falls_and_a_place_is_kept() {
        let tallies = Tallies::default();
        let names: Vec<String> = (0..MOST + 2).map(|number| format!("gw_{number:05}")).collect();
        let (last, placed) = (format!("gw_{:05}", MOST + 1), format!("gw_{:05}", MOST - 1));
        let told = |text: &str, name: &str| {
            let begin = format!("{}{{gateway=\"{name}\"}} ", GATEWAY_NOTIFICATIONS.name);
            text.lines().find_map(|line| line.strip_prefix(&begin).map(str::to_owned))
        };
        let first = gateways(&names);
        tallies.render(&first);
        for name in [&last, &last, &placed] {
            verify(&first, &tallies, name, 1_000);
        }
        let text = tallies.render(&first);
        assert_eq!(told(&text, OTHERS).as_deref(), Some("2"));
        let with_another = [vec!["gw_!".to_owned()], names.clone()].concat();
        let text = tallies.render(&gateways(&with_another));
        assert_eq!(told(&text, &placed).as_deref(), Some("1"), "who comes first by name takes no place");
        assert_eq!(told(&text, "gw_!"), None);
        let few = gateways(std::slice::from_ref(&last));
        verify(&few, &tallies, &last, 2_000);
        let text = tallies.render(&few);
        assert_eq!((told(&text, OTHERS).as_deref(), told(&text, &last).as_deref()), (Some("2"), Some("1")));
    }
}
