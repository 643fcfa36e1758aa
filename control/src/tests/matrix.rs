//! Who may what: every operation by everybody, on what is his, another's and the configuration's.

use hookline_registry::{ApiSecret, Connection, ConnectionStatus, GatewayRecord, Registry, WebhookRecord};
use hookline_schemas::event::EventType;
use hookline_schemas::gateway::{CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId, WebhookId};
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::seal::{Sealed, Sealer};
use hookline_schemas::secret::{Secret, WebhookSecret};
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::{Webhook, parse_url};
use serde_json::json;

use super::{Rig, Setup, caller, error};
use crate::error::ApiError;
use crate::graphql::Configured;
use crate::identity::Caller;
use crate::store::Change;

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

const OK: &str = "done";
const NOT_FOUND: &str = "NOT_FOUND";
const FORBIDDEN: &str = "FORBIDDEN";
const CLUB: &str = "CLUB_ACCESS_DENIED";

/// Everybody, in the order of the columns: of org_1 OWNER, ADMIN, MANAGER, an OWNER and a MANAGER confined to club_1;
/// the platform; an OWNER of org_2.
fn everybody() -> [Caller; 7] {
    let club: Option<&[&str]> = Some(&["club_1"]);
    [
        caller("OWNER", "org_1", None),
        caller("ADMIN", "org_1", None),
        caller("MANAGER", "org_1", None),
        caller("OWNER", "org_1", club),
        caller("MANAGER", "org_1", club),
        caller("PLATFORM", "", None),
        caller("OWNER", "org_2", None),
    ]
}

/// Whole organization: gateways, and webhooks of all clubs.
const WHOLE: [&str; 7] = [OK, OK, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, NOT_FOUND];
/// A webhook of club_1.
const OWN_CLUB: [&str; 7] = [OK, OK, FORBIDDEN, OK, FORBIDDEN, FORBIDDEN, NOT_FOUND];
/// A webhook of club_2.
const OTHER_CLUB: [&str; 7] = [OK, OK, FORBIDDEN, CLUB, FORBIDDEN, FORBIDDEN, NOT_FOUND];
/// What stands in the configuration.
const CONFIGURED: [&str; 7] = [FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, NOT_FOUND];
/// What everybody of the organization sees.
const SEEN: [&str; 7] = [OK, OK, OK, OK, OK, FORBIDDEN, NOT_FOUND];
/// Of everybody's own organization, whatever it is.
const LIST: [&str; 7] = [OK, OK, OK, OK, OK, FORBIDDEN, OK];
/// IZI itself.
const PLATFORM: [&str; 7] = [FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, OK, FORBIDDEN];

const CONFIGURE: &str = r#"mutation { configurePaymentGateway(input: {
    organizationId: "org_1", type: CLOUDPAYMENTS, publicId: "pk_1", apiSecret: "secret_1" }) { id } }"#;
const CREATE: &str = r#"mutation { createWebhook(input: { url: "https://example.com/", events: [PAYMENT_FAILED] CLUB }) { id } }"#;
const UPSERT: &str = r#"mutation { upsertClients(input: { organizationId: "org_1", clients: [{ clientId: "1" }] }) { count } }"#;
const REMOVE: &str =
    r#"mutation { removeClients(input: { organizationId: "org_1", clientIds: ["1"] }) { count } }"#;

/// Operations on one gateway, and on one webhook.
const GATEWAY_CHANGES: [&str; 5] = [
    "setGatewayActive(id: ID, isActive: false) { id }",
    r#"rotateGatewaySecret(id: ID, apiSecret: "secret_2") { id }"#,
    "checkGatewayConnection(id: ID) { id }",
    "setGatewayCallbacks(id: ID) { isSet }",
    "deleteGateway(id: ID)",
];
const WEBHOOK_CHANGES: [&str; 5] = [
    r#"updateWebhook(id: ID, input: { description: "x" }) { id }"#,
    "rotateWebhookSecret(id: ID) { secret }",
    "enableWebhook(id: ID) { id }",
    "probeWebhook(id: ID) { id }",
    "deleteWebhook(id: ID)",
];

fn operations() -> Vec<(String, [&'static str; 7])> {
    let mut all = vec![
        ("{ gateways { id } }".to_owned(), LIST),
        ("{ webhooks { id } }".to_owned(), LIST),
        (CONFIGURE.to_owned(), WHOLE),
        (UPSERT.to_owned(), PLATFORM),
        (REMOVE.to_owned(), PLATFORM),
    ];
    for (club, expected) in [
        ("", [OK, OK, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, OK]),
        (r#", clubId: "club_1""#, [OK, OK, FORBIDDEN, OK, FORBIDDEN, FORBIDDEN, OK]),
        (r#", clubId: "club_2""#, [OK, OK, FORBIDDEN, CLUB, FORBIDDEN, FORBIDDEN, OK]),
    ] {
        all.push((CREATE.replace("CLUB", club), expected));
    }
    // A token for one club gives no webhook to another, nor to all.
    for (club, expected) in [(r#""club_2""#, CLUB), ("null", FORBIDDEN), (r#""club_1""#, OK)] {
        let query =
            format!(r#"mutation {{ updateWebhook(id: "wh_1", input: {{ clubId: {club} }}) {{ id }} }}"#);
        all.push((query, [OK, OK, FORBIDDEN, expected, FORBIDDEN, FORBIDDEN, NOT_FOUND]));
    }
    let nobodys = [NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND, FORBIDDEN, NOT_FOUND];
    let seen_by_some = |expected| [OK, OK, OK, expected, expected, FORBIDDEN, NOT_FOUND];
    for (id, seen, changed) in
        [("gw_1", SEEN, WHOLE), ("gw_conf", SEEN, CONFIGURED), ("gw_x", nobodys, nobodys)]
    {
        all.push((format!("{{ gateway(id: \"{id}\") {{ id }} }}"), seen));
        all.extend(GATEWAY_CHANGES.map(|change| (on(change, id), changed)));
    }
    // Of what stands in the configuration nothing is changed, and it may be tested all the same.
    for (id, seen, changed, tested) in [
        ("wh_all", seen_by_some(FORBIDDEN), WHOLE, WHOLE),
        ("wh_1", SEEN, OWN_CLUB, OWN_CLUB),
        ("wh_2", seen_by_some(CLUB), OTHER_CLUB, OTHER_CLUB),
        ("wh_conf", SEEN, CONFIGURED, OWN_CLUB),
        ("wh_x", nobodys, nobodys, nobodys),
    ] {
        all.push((format!("{{ webhook(id: \"{id}\") {{ id }} }}"), seen));
        all.push((on("testWebhook(id: ID) { eventId }", id), tested));
        all.extend(WEBHOOK_CHANGES.map(|change| (on(change, id), changed)));
    }
    all
}

async fn all_operations(rig: &Rig) -> Vec<(String, [&'static str; 7])> {
    let mut all = operations();
    all.extend(delivery_operations(rig).await);
    all
}

/// Those about deliveries: of webhooks of every kind, and of one that is no more.
async fn delivery_operations(rig: &Rig) -> Vec<(String, [&'static str; 7])> {
    let nobodys = [NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND, FORBIDDEN, NOT_FOUND];
    let seen_by_some = |expected| [OK, OK, OK, expected, expected, FORBIDDEN, NOT_FOUND];
    let mut all = vec![
        ("{ attempts { nodes { number } } }".to_owned(), LIST),
        ("{ deadLetters { nodes { id } } }".to_owned(), LIST),
        ("{ redeliveries { nodes { id } } }".to_owned(), LIST),
        (r#"{ deadLetter(id: "x") { id } }"#.to_owned(), nobodys),
    ];
    for (webhook, seen, changed) in [
        ("wh_all", seen_by_some(FORBIDDEN), WHOLE),
        ("wh_1", SEEN, OWN_CLUB),
        ("wh_2", seen_by_some(CLUB), OTHER_CLUB),
        ("wh_conf", SEEN, OWN_CLUB),
        ("wh_x", nobodys, nobodys),
    ] {
        let letter = rig.bury(webhook, "evt_1", 5).await;
        let redelivery = rig.wish(webhook).await;
        for query in [
            format!(r#"{{ attempts(webhookId: "{webhook}") {{ nodes {{ number }} }} }}"#),
            format!(r#"{{ deadLetters(webhookId: "{webhook}") {{ nodes {{ id }} }} }}"#),
            format!(r#"{{ deadLetter(id: "{letter}") {{ id attempts {{ number }} }} }}"#),
            format!(r#"{{ redelivery(id: "{redelivery}") {{ id }} }}"#),
        ] {
            all.push((query, seen));
        }
        for change in [
            format!(r#"redeliver(input: {{ webhookId: "{webhook}" }}) {{ id }}"#),
            format!(r#"redeliver(input: {{ letterIds: ["{letter}"] }}) {{ id }}"#),
            format!(r#"cancelRedelivery(id: "{redelivery}") {{ id }}"#),
        ] {
            all.push((format!("mutation {{ {change} }}"), changed));
        }
    }
    for (event, club, seen) in [
        ("evt_000000000000000000000000c1", "club_1", SEEN),
        ("evt_000000000000000000000000c2", "club_2", seen_by_some(CLUB)),
        ("evt_00000000000000000000000all", "", SEEN),
        ("evt_0000000000000000000000000x", "-", nobodys),
    ] {
        if event != "evt_0000000000000000000000000x" {
            rig.happened(event, "org_1", club).await;
        }
        all.push((format!(r#"{{ deliveries(eventId: "{event}") {{ webhookId }} }}"#), seen));
        all.push((format!(r#"{{ paymentTrace(id: "{event}") {{ events {{ id }} }} }}"#), seen));
    }
    all
}

fn on(change: &str, id: &str) -> String {
    format!("mutation {{ {} }}", change.replace("ID", &format!("\"{id}\"")))
}

#[tokio::test]
async fn nobody_reads_or_changes_what_is_not_his() {
    let rig = seeded().await;
    for (query, expected) in all_operations(&rig).await {
        for (caller, expected) in everybody().into_iter().zip(expected) {
            let who = format!("{} {:?} {:?}", caller.role.as_str(), caller.organization, caller.clubs);
            seed(&rig).await;
            let before = rig.registry().version();
            let refused = error(&rig.execute(&Ok(caller), &query, json!({})).await);
            let code = refused.as_ref().map_or(OK, ApiError::code);
            assert_eq!(code, expected, "{query}\nby {who}: {refused:?}");
            if code != OK {
                assert_eq!(rig.registry().version(), before, "{query}\nby {who} is refused, and has written");
            }
        }
    }
}

#[tokio::test]
async fn without_a_good_token_nothing_is_answered() {
    let rig = seeded().await;
    for (query, _) in all_operations(&rig).await {
        for (given, code) in [
            (ApiError::Unauthenticated, "UNAUTHENTICATED"),
            (ApiError::TokenExpired, "TOKEN_EXPIRED"),
            (ApiError::TokenInvalid("signature"), "TOKEN_INVALID"),
        ] {
            let response = rig.execute(&Err(given), &query, json!({})).await;
            assert_eq!(error(&response).map(|error| error.code()), Some(code), "{query}");
            assert_eq!(response.data, async_graphql::Value::Null, "{query}");
        }
        let response = rig.schema.execute(&query).await;
        assert_eq!(error(&response).map(|error| error.code()), Some("UNAUTHENTICATED"), "{query}");
    }
}

#[tokio::test]
async fn a_token_for_a_club_sees_the_webhooks_of_that_club() {
    let rig = seeded().await;
    for (clubs, expected) in [
        (None, json!(["wh_conf", "wh_1", "wh_2", "wh_all"])),
        (Some(&["club_1"][..]), json!(["wh_conf", "wh_1"])),
        (Some(&["club_2", "club_3"][..]), json!(["wh_2"])),
        (Some(&[][..]), json!([])),
    ] {
        let response =
            rig.execute(&Ok(caller("MANAGER", "org_1", clubs)), "{ webhooks { id } }", json!({})).await;
        let webhooks = super::data(response)["webhooks"].clone();
        let ids: Vec<_> = webhooks.as_array().expect("a list").iter().map(|one| one["id"].clone()).collect();
        assert_eq!(json!(ids), expected, "{clubs:?}");
    }
}

pub(super) async fn seeded() -> Rig {
    let gateway = Gateway {
        id: GatewayId::new("gw_conf"),
        organization: OrganizationId::new("org_1"),
        public_id: "pk_conf".to_owned(),
        api_secrets: vec![Secret::new("secret_conf")],
        default_club: ClubId::new("club_1"),
        shared_url: false,
        policy: CheckPolicy::lenient(),
    };
    let webhook = Webhook {
        id: WebhookId::new("wh_conf"),
        organization: OrganizationId::new("org_1"),
        club_id: Some(ClubId::new("club_1")),
        url: parse_url("https://example.com/").expect("a URL"),
        events: vec![EventType::PaymentReceived],
        keys: WebhookKeys::new(&WebhookSecret::parse(SECRET).expect("a secret")),
        headers: Default::default(),
        retry_schedule: None,
        deadline: None,
        rate_limit: None,
        paused: false,
        enabled_at: None,
        probed_at: None,
    };
    let webhooks = std::sync::Arc::new([webhook].into_iter().collect());
    let configured = Configured { gateways: vec![gateway], webhooks };
    let rig = Rig::with(Setup { configured, ..Setup::default() }).await;
    rig.acquirer.site("pk_1", &["secret_1", "secret_2"]);
    seed(&rig).await;
    rig
}

/// Puts back what was changed.
async fn seed(rig: &Rig) {
    let webhooks = [("wh_1", Some("club_1"), 1), ("wh_2", Some("club_2"), 2), ("wh_all", None, 3)];
    let records = webhooks.map(|(id, club, at)| webhook(&rig.sealer, id, club, at));
    let mut changes = records.iter().map(Change::webhook).collect::<Vec<_>>();
    changes.push(Change::gateway(&gateway(&rig.sealer)));
    // What was created beside them goes, so that there is always room.
    let registry = rig.registry();
    let known = |webhook: &&WebhookRecord| records.iter().any(|record| record.id == webhook.id);
    let others = registry.webhooks().filter(|webhook| !known(webhook));
    changes.extend(others.map(|webhook| Change::deletion(webhook.key())));
    for change in changes {
        let is_there = |registry: &Registry| match &change {
            Change::Entry { key, value } => registry.encoded(key.as_bytes()) == *value,
            Change::Nothing => true,
        };
        if !is_there(&rig.registry()) {
            rig.api().store.write(|_| Ok(change)).await.expect("written");
        }
    }
}

fn gateway(sealer: &Sealer) -> GatewayRecord {
    let id = GatewayId::new("gw_1");
    let sealed = Sealed::new(sealer, &GatewayRecord::secret_place(&id), &Secret::new("secret_1"));
    GatewayRecord {
        id,
        organization: OrganizationId::new("org_1"),
        public_id: "pk_1".to_owned(),
        secrets: vec![ApiSecret { sealed, is_verified: true, until: None }],
        connection: Connection { status: ConnectionStatus::Connected, checked_at: Timestamp(1) },
        is_active: true,
        default_club: None,
        shared_url: false,
        policy: CheckPolicy::lenient(),
        payment_page: None,
        description: None,
        created_at: Timestamp(1),
    }
}

fn webhook(sealer: &Sealer, id: &str, club: Option<&str>, at: u64) -> WebhookRecord {
    let id = WebhookId::new(id);
    WebhookRecord {
        secret: Sealed::new(sealer, &WebhookRecord::secret_place(&id), &Secret::new(SECRET)),
        id,
        organization: OrganizationId::new("org_1"),
        club: club.map(ClubId::new),
        url: "https://example.com/".to_owned(),
        events: vec![EventType::PaymentReceived],
        previous: None,
        headers: Vec::new(),
        retry_schedule: None,
        deadline: None,
        rate_limit: None,
        is_active: true,
        description: None,
        enabled_at: None,
        probed_at: None,
        created_at: Timestamp(at),
    }
}
