//! The registry over a log: what is put into `control`, and what is known of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
use hookline_event_log::{Epoch, Log, Partition, Table, TableName};
use hookline_schemas::delivery::{OwnerMarker, encode};
use hookline_schemas::event::EventType;
use hookline_schemas::gateway::CheckPolicy;
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId, WebhookId};
use hookline_schemas::seal::{KeyBytes, Sealed, Sealer};
use hookline_schemas::secret::Secret;
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::Webhook;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{
    ApiSecret, Connection, ConnectionStatus, FollowError, GatewayRecord, Registry, SealedHeader,
    WebhookRecord, WebhookSecretRecord, follow,
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const OLD: [u8; 32] = [7; 32];
const NEW: [u8; 32] = [8; 32];
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const PREVIOUS: &str = "whsec_FxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA";

/// A log whose `control` is followed.
struct Scene {
    log: EmbeddedLog,
    sealer: Sealer,
    registry: watch::Receiver<Option<Arc<Registry>>>,
    _following: JoinSet<Result<(), FollowError>>,
    _directory: TempDir,
}

impl Scene {
    async fn with(sealer: Sealer) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut options = EmbeddedOptions::new(directory.path().join("log"));
        options.allow_page_cache = true;
        let log = EmbeddedLog::open(options, Clock::start()).expect("a log");
        let (told, registry) = watch::channel(None);
        let mut following = JoinSet::new();
        following.spawn(follow(log.clone(), sealer.clone(), told));
        let mut scene = Self { log, sealer, registry, _following: following, _directory: directory };
        scene.until(|_| true).await;
        scene
    }

    async fn put(&self, key: &str, value: Option<Vec<u8>>, epoch: u64) {
        let (key, value) = (Bytes::from(key.to_owned()), value.map(Bytes::from));
        let putting = self.log.table(TableName::Control).put(Partition(0), key, value, Epoch(epoch)).await;
        putting.expect("accepted").await.expect("acknowledged");
    }

    async fn register(&self, gateway: &GatewayRecord) {
        self.put(&gateway.key(), Some(encode(gateway)), 1).await;
    }

    async fn subscribe(&self, webhook: &WebhookRecord) {
        self.put(&webhook.key(), Some(encode(webhook)), 1).await;
    }

    async fn until(&mut self, holds: impl Fn(&Registry) -> bool) -> Arc<Registry> {
        let waiting =
            self.registry.wait_for(|registry| registry.as_ref().is_some_and(|registry| holds(registry)));
        let found = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time");
        found.expect("it is followed").clone().expect("it is known")
    }
}

fn gateway(sealer: &Sealer, id: &str, secrets: &[(&str, bool, Option<Timestamp>)]) -> GatewayRecord {
    let id = GatewayId::new(id);
    let place = GatewayRecord::secret_place(&id);
    let secrets = secrets.iter().map(|(secret, is_verified, until)| ApiSecret {
        sealed: Sealed::new(sealer, &place, &Secret::new(*secret)),
        is_verified: *is_verified,
        until: *until,
    });
    GatewayRecord {
        organization: OrganizationId::new("org"),
        public_id: format!("pk_{id}"),
        secrets: secrets.collect(),
        connection: Connection { status: ConnectionStatus::Connected, checked_at: NOW },
        is_active: true,
        default_club: None,
        shared_url: false,
        policy: CheckPolicy::lenient(),
        payment_page: None,
        description: None,
        created_at: NOW,
        id,
    }
}

fn webhook(sealer: &Sealer, id: &str) -> WebhookRecord {
    let id = WebhookId::new(id);
    let seal = |secret: &str| Sealed::new(sealer, &WebhookRecord::secret_place(&id), &Secret::new(secret));
    let value = Sealed::new(sealer, &WebhookRecord::header_place(&id, "X-Tenant"), &Secret::new("club-7"));
    WebhookRecord {
        organization: OrganizationId::new("org"),
        club: Some(ClubId::new("club")),
        url: "https://example.com/hooks".to_owned(),
        events: vec![EventType::PaymentReceived],
        secret: seal(SECRET),
        previous: Some(WebhookSecretRecord {
            sealed: seal(PREVIOUS),
            until: NOW.after(Duration::from_secs(9)),
        }),
        headers: vec![SealedHeader { name: "X-Tenant".to_owned(), value }],
        retry_schedule: Some(vec![5_000]),
        deadline: Some(60_000),
        rate_limit: None,
        is_active: true,
        description: None,
        enabled_at: None,
        probed_at: None,
        created_at: NOW,
        id,
    }
}

#[tokio::test]
async fn what_is_registered_is_known_and_what_is_removed_is_not() {
    let mut scene = Scene::with(Sealer::new(&OLD)).await;
    scene.register(&gateway(&scene.sealer, "gw", &[("s3cret", true, None)])).await;
    scene.subscribe(&webhook(&scene.sealer, "wh")).await;
    let registry = scene.until(|registry| registry.webhooks().count() == 1).await;
    let gateways = registry.open_gateways(NOW);
    let [gateway] = gateways.as_slice() else { panic!("{gateways:?}") };
    assert_eq!(gateway.api_secrets, [Secret::new("s3cret")]);
    let webhook = webhooks_of(&registry).remove(0);
    assert_eq!((webhook.url.to_string().as_str(), webhook.paused), ("https://example.com/hooks", false));
    assert_eq!(webhook.keys.overlap_ends(), Some(NOW.after(Duration::from_secs(9))));
    assert_eq!(webhook.headers.as_map().len(), 1);
    assert_eq!(webhook.deadline, Some(Duration::from_secs(60)));
    let before = registry.version();
    scene.put("webhook/wh", None, 1).await;
    scene.put("gateway/gw", None, 1).await;
    let registry = scene.until(|registry| registry.gateways().count() == 0).await;
    assert_eq!((webhooks_of(&registry).len(), registry.version() > before), (0, true));
    assert!(!format!("{registry:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_secret_counts_once_it_is_verified_and_until_its_end() {
    let mut scene = Scene::with(Sealer::new(&OLD)).await;
    let end = NOW.after(Duration::from_secs(10));
    let secrets = [("newest", false, None), ("current", true, None), ("old", true, Some(end))];
    scene.register(&gateway(&scene.sealer, "gw_1", &secrets)).await;
    scene.register(&gateway(&scene.sealer, "gw_2", &[("nobody asked", false, None)])).await;
    let registry = scene.until(|registry| registry.gateways().count() == 2).await;
    let secrets_at = |at| -> Vec<Secret> {
        let gateways = registry.open_gateways(at);
        assert!(gateways.iter().all(|gateway| gateway.id.as_str() == "gw_1"), "{gateways:?}");
        gateways.into_iter().flat_map(|gateway| gateway.api_secrets).collect()
    };
    assert_eq!(secrets_at(NOW), [Secret::new("current"), Secret::new("old")]);
    assert_eq!(secrets_at(end), [Secret::new("current")]);
    assert_eq!((registry.next_change(NOW), registry.next_change(end)), (Some(end), None));
}

#[tokio::test]
async fn without_its_key_a_webhook_waits_and_a_gateway_takes_nothing_until_the_key_is_there() {
    let mut scene = Scene::with(Sealer::new(&OLD)).await;
    let others = Sealer::new(&NEW);
    scene.register(&gateway(&others, "gw", &[("s3cret", true, None)])).await;
    scene.subscribe(&webhook(&others, "wh")).await;
    let registry = scene.until(|registry| registry.webhooks().count() == 1).await;
    assert!(registry.open_gateways(NOW).is_empty());
    assert!(
        webhooks_of(&registry).iter().all(|webhook| webhook.paused),
        "nothing is sent, nothing passed by"
    );
    scene.sealer.replace(&NEW, &[KeyBytes::new(OLD)]);
    let registry = scene.until(|registry| registry.open_gateways(NOW).len() == 1).await;
    assert!(webhooks_of(&registry).iter().all(|webhook| !webhook.paused));
}

#[tokio::test]
async fn a_change_that_no_key_opens_leaves_what_was_known() {
    let mut scene = Scene::with(Sealer::new(&OLD)).await;
    scene.subscribe(&webhook(&scene.sealer, "wh")).await;
    scene.until(|registry| registry.webhooks().count() == 1).await;
    let moved =
        WebhookRecord { url: "https://moved.example/".to_owned(), ..webhook(&Sealer::new(&NEW), "wh") };
    scene.subscribe(&moved).await;
    scene.register(&gateway(&scene.sealer, "behind", &[("s3cret", true, None)])).await;
    let registry = scene.until(|registry| registry.gateways().count() == 1).await;
    let webhook = webhooks_of(&registry).remove(0);
    assert_eq!((webhook.url.host(), webhook.paused), (Some("example.com"), false));
    scene.sealer.replace(&NEW, &[KeyBytes::new(OLD)]);
    let moved =
        |registry: &Registry| registry.webhooks().any(|record| record.url == "https://moved.example/");
    scene.until(moved).await;
}

#[tokio::test]
async fn what_a_deposed_control_writes_does_not_count() {
    let mut scene = Scene::with(Sealer::new(&OLD)).await;
    scene.subscribe(&webhook(&scene.sealer, "wh")).await;
    // A watch may report a key that changes several times only once.
    scene.until(|registry| registry.webhooks().count() == 1).await;
    let marker = OwnerMarker { epoch: 2, process: 0 };
    scene.put(&marker.key(), Some(encode(&marker)), 2).await;
    scene.put("webhook/wh", None, 1).await;
    let registry = scene.until(|registry| registry.overwritten().count() == 1).await;
    assert_eq!(registry.webhooks().count(), 1);
    let again = registry.encoded(b"webhook/wh").expect("what counts");
    scene.put("webhook/wh", Some(again), 2).await;
    let registry = scene.until(|registry| registry.overwritten().count() == 0).await;
    assert_eq!(registry.webhooks().count(), 1);
}

#[tokio::test]
async fn a_webhook_of_a_later_version_is_never_taken_for_none_and_stops_nobody_else() {
    let mut scene = Scene::with(Sealer::new(&OLD)).await;
    scene.put("webhook/wh", Some(b"{\"id\":\"wh\"}".to_vec()), 1).await;
    scene.register(&gateway(&scene.sealer, "gw", &[("s3cret", true, None)])).await;
    let registry = scene.until(|registry| registry.gateways().count() == 1).await;
    assert!(matches!(registry.open_webhooks(), Err(FollowError::Unreadable { .. })), "{registry:?}");
    assert_eq!(registry.open_gateways(NOW).len(), 1, "an edge goes on");
    scene.put("webhook/wh", None, 1).await;
    scene.until(|registry| registry.open_webhooks().is_ok()).await;
}

fn webhooks_of(registry: &Registry) -> Vec<Webhook> {
    registry.open_webhooks().expect("all of this version")
}
