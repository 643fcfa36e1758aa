//! Gateways, by every operation that there is.

use std::sync::Arc;
use std::time::Duration;

use hookline_registry::GatewayRecord;
use hookline_schemas::gateway::{CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::secret::Secret;
use serde_json::{Value, json};

use super::acquirer::Mood;
use super::{Rig, Setup, caller, data, error, owner, until};
use crate::error::ApiError;
use crate::graphql::Configured;
use crate::graphql::recheck;

/// As IZI's documentation prints it, with more of its fields.
const CONFIGURE: &str = r#"mutation Configure($input: PaymentGatewayInput!) {
    configurePaymentGateway(input: $input) {
        id type isActive publicId description status statusCheckedAt organizationId secretRotatesUntil
        settings {
            defaultClubId sharedUrl unknownClients unknownInvoices withoutInvoice subscriptionCharges testPayments
            minAmount maxAmount currency
        }
    }
}"#;

fn input(organization: &str, public_id: &str, secret: &str) -> Value {
    json!({ "organizationId": organization, "type": "CLOUDPAYMENTS", "publicId": public_id, "apiSecret": secret })
}

impl Rig {
    async fn configure(&self, input: Value) -> Value {
        let variables = json!({ "input": input });
        data(self.execute(&Ok(owner()), CONFIGURE, variables).await)["configurePaymentGateway"].clone()
    }

    async fn try_configure(&self, organization: &str, input: Value) -> Option<ApiError> {
        let owner = caller("OWNER", organization, None);
        error(&self.execute(&Ok(owner), CONFIGURE, json!({ "input": input })).await)
    }

    /// The secrets of a gateway, and whether each is verified and rotated out.
    fn secrets(&self, id: &Value) -> Vec<(String, bool, bool)> {
        let id = GatewayId::new(id.as_str().expect("an id"));
        let registry = self.registry();
        let known = registry.gateway(&id).expect("the gateway");
        let opened = known.opened.as_deref().expect("opened");
        let secrets = known.record.secrets.iter().zip(opened);
        secrets.map(|(one, text)| (text.expose().to_owned(), one.is_verified, one.until.is_some())).collect()
    }

    fn open_gateways(&self) -> Vec<Gateway> {
        self.registry().open_gateways(self.api().clock.wall())
    }
}

fn plain(text: &str, is_verified: bool) -> (String, bool, bool) {
    (text.to_owned(), is_verified, false)
}

#[tokio::test]
async fn a_gateway_whose_credentials_are_accepted_takes_payments() {
    let rig = Rig::new().await;
    rig.acquirer.site("pk_1", &["secret_1"]);
    let query = r#"mutation { configurePaymentGateway(input: {
        organizationId: "org_1", type: CLOUDPAYMENTS, publicId: "pk_1", apiSecret: "secret_1", description: "Main"
    }) { id type isActive publicId } }"#;
    let made = rig.owner(query).await["configurePaymentGateway"].clone();
    assert_eq!(made["type"], "CLOUDPAYMENTS");
    assert_eq!((made["isActive"].clone(), made["publicId"].clone()), (json!(true), json!("pk_1")));
    let id = made["id"].as_str().expect("an id");
    let shown = rig
        .owner(&format!(
            r#"{{ gateway(id: "{id}") {{ id description status settings {{ testPayments unknownClients
            subscriptionCharges withoutInvoice unknownInvoices sharedUrl }} callbackUrls {{ check recurrent }} }}
            gateways {{ id }} }}"#
        ))
        .await;
    let expected = json!({
        "id": id, "description": "Main", "status": "CONNECTED",
        "settings": {
            "testPayments": "ACCEPT", "unknownClients": "REFUSE", "subscriptionCharges": "ACCEPT",
            "withoutInvoice": "REFUSE", "unknownInvoices": "REFUSE", "sharedUrl": false,
        },
        "callbackUrls": {
            "check": format!("https://pay.example.com/payments/cloudpayments/{id}/check"),
            "recurrent": format!("https://pay.example.com/payments/cloudpayments/{id}/recurrent"),
        },
    });
    assert_eq!(shown, json!({ "gateway": expected, "gateways": [{ "id": id }] }));
    let open = rig.open_gateways();
    assert_eq!(open.iter().map(|gateway| gateway.public_id.as_str()).collect::<Vec<_>>(), ["pk_1"]);
}

#[tokio::test]
async fn what_is_not_accepted_is_saved_and_takes_nothing() {
    let rig = Rig::new().await;
    rig.acquirer.site("pk_1", &["secret_1"]);
    let moods = [
        (Mood::Well, "INVALID_CREDENTIALS"),
        (Mood::Unavailable, "UNAVAILABLE"),
        (Mood::Garbage, "UNAVAILABLE"),
        (Mood::Refusing, "UNAVAILABLE"),
        (Mood::Redirecting, "UNAVAILABLE"),
    ];
    for (mood, status) in moods {
        rig.acquirer.mood(mood);
        let made = rig.configure(input("org_1", "pk_1", "wrong")).await;
        assert_eq!((&made["status"], &made["isActive"]), (&json!(status), &json!(false)), "{mood:?}");
        assert!(rig.open_gateways().is_empty(), "{mood:?}");
    }
    assert!(rig.acquirer.asked().iter().all(|asked| asked.path == "/test" && asked.login == "pk_1"));
}

#[tokio::test]
async fn the_same_public_id_again_replaces_what_is_given_and_keeps_the_rest() {
    let rig = Rig::new().await;
    rig.acquirer.site("pk_1", &["secret_1", "secret_2"]);
    let mut first = input("org_1", "pk_1", "secret_1");
    first["description"] = json!("Main");
    first["settings"] = json!({ "unknownClients": "ACCEPT", "minAmount": "1.50", "currency": "RUB",
        "defaultClubId": "club_1", "sharedUrl": true });
    let first = rig.configure(first).await;
    let mut second = input("org_1", "pk_1", "secret_2");
    second["settings"] = json!({ "testPayments": "REFUSE", "currency": null, "maxAmount": "100.00" });
    let second = rig.configure(second).await;
    assert_eq!(second["id"], first["id"]);
    assert_eq!(second["description"], "Main");
    let expected = json!({ "defaultClubId": "club_1", "sharedUrl": true, "unknownClients": "ACCEPT",
        "unknownInvoices": "REFUSE", "withoutInvoice": "REFUSE", "subscriptionCharges": "ACCEPT",
        "testPayments": "REFUSE", "minAmount": "1.50", "maxAmount": "100.00", "currency": null });
    assert_eq!(second["settings"], expected);
    assert_eq!(rig.secrets(&first["id"]), [plain("secret_2", true)], "the old one is gone at once");
}

#[tokio::test]
async fn a_secret_that_was_accepted_counts_until_another_is() {
    let rig = Rig::new().await;
    rig.acquirer.site("pk_1", &["secret_1"]);
    let id = rig.configure(input("org_1", "pk_1", "secret_1")).await["id"].clone();
    let made = rig.configure(input("org_1", "pk_1", "wrong")).await;
    assert_eq!((&made["status"], &made["isActive"]), (&json!("INVALID_CREDENTIALS"), &json!(true)));
    assert_eq!(rig.secrets(&id), [plain("wrong", false), plain("secret_1", true)]);
    rig.acquirer.mood(Mood::Unavailable);
    let made = rig.configure(input("org_1", "pk_1", "secret_2")).await;
    assert_eq!((&made["status"], &made["isActive"]), (&json!("UNAVAILABLE"), &json!(true)));
    assert_eq!(rig.secrets(&id), [plain("secret_2", false), plain("secret_1", true)]);
    rig.configure(input("org_1", "pk_1", "secret_1")).await;
    assert_eq!(rig.secrets(&id), [plain("secret_1", true)], "it is known already");
}

#[tokio::test]
async fn what_is_anothers_is_refused_once_cloudpayments_has_accepted_it_and_not_before() {
    let configured = Configured { gateways: vec![configured_gateway()], ..Configured::default() };
    let rig = Rig::with(Setup { configured, ..Setup::default() }).await;
    for site in ["pk_1", "pk_2", "pk_configured"] {
        rig.acquirer.site(site, &["secret_1", "secret_2", "secret_configured"]);
    }
    // A stranger who guesses the public id blocks nobody.
    assert_eq!(rig.try_configure("org_2", input("org_2", "pk_1", "guessed")).await, None);
    rig.configure(input("org_1", "pk_1", "secret_1")).await;
    let exists = || Some("ALREADY_EXISTS");
    for (organization, public_id, secret, expected) in [
        ("org_2", "pk_1", "guessed", None),
        ("org_2", "pk_1", "secret_2", exists()),
        ("org_2", "pk_2", "secret_1", exists()),
        ("org_1", "pk_2", "secret_1", exists()),
        ("org_2", "pk_configured", "secret_2", exists()),
        ("org_2", "pk_2", "secret_configured", exists()),
        ("org_1", "pk_configured", "secret_2", exists()),
        ("org_2", "pk_2", "secret_2", None),
    ] {
        let before = rig.registry().version();
        let refused = rig.try_configure(organization, input(organization, public_id, secret)).await;
        assert_eq!(refused.as_ref().map(ApiError::code), expected, "{organization} {public_id} {secret}");
        assert_eq!(refused.is_some(), before == rig.registry().version(), "refused: nothing is saved");
    }
}

fn configured_gateway() -> Gateway {
    Gateway {
        id: GatewayId::new("gw_configured"),
        organization: OrganizationId::new("org_1"),
        public_id: "pk_configured".to_owned(),
        api_secrets: vec![Secret::new("secret_configured")],
        default_club: ClubId::new("club_1"),
        shared_url: false,
        policy: CheckPolicy::lenient(),
    }
}

#[tokio::test]
async fn inputs_are_checked_before_cloudpayments_is_asked() {
    let rig = Rig::new().await;
    let with = |key: &str, value: Value| {
        let mut input = input("org_1", "pk_1", "secret_1");
        input[key] = value;
        input
    };
    for (input, field) in [
        (with("publicId", json!("")), "publicId"),
        (with("publicId", json!("pk:1")), "publicId"),
        (with("apiSecret", json!(" s")), "apiSecret"),
        (with("apiSecret", json!("s".repeat(201))), "apiSecret"),
        (with("description", json!("x".repeat(1_001))), "description"),
        (with("settings", json!({ "minAmount": "-1" })), "minAmount"),
        (with("settings", json!({ "maxAmount": "1e3" })), "maxAmount"),
        (with("settings", json!({ "minAmount": "2", "maxAmount": "1.99" })), "minAmount"),
        (with("settings", json!({ "currency": "rub" })), "currency"),
        (with("settings", json!({ "defaultClubId": "" })), "defaultClubId"),
    ] {
        let refused = rig.refused_with(CONFIGURE, json!({ "input": input })).await;
        assert_eq!((refused.code(), refused.field()), ("VALIDATION_ERROR", Some(field)), "{input}");
    }
    assert_eq!(rig.acquirer.asked(), []);
}

#[tokio::test]
async fn a_rotation_changes_nothing_unless_the_new_secret_is_accepted() {
    let rig = Rig::new().await;
    rig.acquirer.site("pk_1", &["secret_1", "secret_2", "secret_3"]);
    let id = rig.configure(input("org_1", "pk_1", "secret_1")).await["id"].clone();
    let rotate = |secret: &str, overlap: &str| {
        format!(
            "mutation {{ rotateGatewaySecret(id: {id}, apiSecret: {secret:?}{overlap}) {{ status secretRotatesUntil }} }}"
        )
    };
    for (secret, overlap, expected) in [
        ("wrong", "", "VALIDATION_ERROR"),
        ("secret_1", "", "VALIDATION_ERROR"),
        ("secret_2", ", overlapHours: 169", "VALIDATION_ERROR"),
        ("secret_2", ", overlapHours: -1", "VALIDATION_ERROR"),
    ] {
        assert_eq!(rig.refused(&rotate(secret, overlap)).await.code(), expected, "{secret}{overlap}");
    }
    rig.acquirer.mood(Mood::Unavailable);
    assert_eq!(rig.refused(&rotate("secret_2", "")).await.code(), "SERVICE_UNAVAILABLE");
    assert_eq!(rig.secrets(&id), [plain("secret_1", true)]);
    rig.acquirer.mood(Mood::Well);
    let rotated = rig.owner(&rotate("secret_2", "")).await["rotateGatewaySecret"].clone();
    assert_eq!(rotated["status"], "CONNECTED");
    assert!(rotated["secretRotatesUntil"].is_string(), "{rotated}");
    assert_eq!(rig.secrets(&id), [plain("secret_2", true), ("secret_1".to_owned(), true, true)]);
    let open = rig.open_gateways();
    let both = [Secret::new("secret_2"), Secret::new("secret_1")];
    assert_eq!(open.first().map(|gateway| gateway.api_secrets.as_slice()), Some(&both[..]));
    rig.configure(input("org_1", "pk_1", "secret_2")).await;
    assert_eq!(rig.secrets(&id).len(), 2, "the same one again ends no overlap");
    let rotated = rig.owner(&rotate("secret_3", ", overlapHours: 0")).await["rotateGatewaySecret"].clone();
    assert_eq!(rotated["secretRotatesUntil"], Value::Null);
    assert_eq!(rig.secrets(&id), [plain("secret_3", true)]);
}

#[tokio::test]
async fn a_gateway_that_could_not_be_checked_is_checked_again() {
    let rig = Rig::new().await;
    rig.acquirer.mood(Mood::Unavailable);
    let id = rig.configure(input("org_1", "pk_1", "secret_1")).await["id"].clone();
    let before = rig.registry().version();
    let check = format!("mutation {{ checkGatewayConnection(id: {id}) {{ status isActive }} }}");
    let checked = rig.owner(&check).await["checkGatewayConnection"].clone();
    assert_eq!(checked, json!({ "status": "UNAVAILABLE", "isActive": false }));
    assert!(rig.registry().version() > before, "with the time of the check");
    rig.acquirer.mood(Mood::Well);
    rig.acquirer.site("pk_1", &["secret_1"]);
    let every = Duration::from_millis(10);
    rig.tasks.spawn(recheck::run(Arc::clone(rig.api()), every));
    until(async || !rig.open_gateways().is_empty()).await;
    assert_eq!(rig.secrets(&id), [plain("secret_1", true)]);
    let (asked, version) = (rig.acquirer.asked().len(), rig.registry().version());
    tokio::time::sleep(every * 5).await;
    assert_eq!((rig.acquirer.asked().len(), rig.registry().version()), (asked, version), "and no more");
    rig.acquirer.site("pk_1", &[]);
    let checked = rig.owner(&check).await["checkGatewayConnection"].clone();
    assert_eq!(checked, json!({ "status": "INVALID_CREDENTIALS", "isActive": true }), "it counted once");
}

#[tokio::test]
async fn a_check_of_what_another_has_by_now_is_refused() {
    let rig = Rig::new().await;
    rig.acquirer.site("pk_1", &["secret_1"]);
    rig.acquirer.mood(Mood::Unavailable);
    let id = rig.configure(input("org_1", "pk_1", "secret_1")).await["id"].clone();
    rig.acquirer.mood(Mood::Well);
    assert_eq!(rig.try_configure("org_2", input("org_2", "pk_1", "secret_1")).await, None);
    let check = format!("mutation {{ checkGatewayConnection(id: {id}) {{ status }} }}");
    assert_eq!(rig.refused(&check).await.code(), "ALREADY_EXISTS");
    assert_eq!(rig.secrets(&id), [plain("secret_1", false)]);
}

#[tokio::test]
async fn the_callbacks_are_set_and_check_is_left_to_the_cabinet() {
    let rig = Rig::new().await;
    rig.acquirer.site("pk_1", &["secret_1"]);
    let id = rig.configure(input("org_1", "pk_1", "secret_1")).await["id"].clone();
    let set = format!("mutation {{ setGatewayCallbacks(id: {id}) {{ type url isSet message }} }}");
    let results = rig.owner(&set).await["setGatewayCallbacks"].clone();
    let results = results.as_array().expect("a list");
    let outcome = results.iter().map(|one| (one["type"].as_str().unwrap_or(""), one["isSet"] == true));
    let expected = [
        ("PAY", true),
        ("FAIL", true),
        ("CONFIRM", true),
        ("REFUND", false),
        ("CANCEL", true),
        ("RECURRENT", true),
        ("CHECK", false),
    ];
    assert_eq!(outcome.collect::<Vec<_>>(), expected);
    let messages: Vec<_> = results.iter().filter_map(|one| one["message"].as_str()).collect();
    assert!(messages.iter().any(|message| message.contains("Refund is not for you")), "{messages:?}");
    assert!(messages.iter().any(|message| message.contains("cabinet alone")), "{messages:?}");
    let asked = rig.acquirer.asked();
    let pay = asked.iter().find(|asked| asked.path == "/site/notifications/Pay/update").expect("asked");
    let url = format!("https://pay.example.com/payments/cloudpayments/{}/pay", id.as_str().expect("an id"));
    let body = json!({ "IsEnabled": true, "Address": url, "HttpMethod": "POST", "Encoding": "UTF8",
        "Format": "CloudPayments" });
    assert_eq!((pay.login.as_str(), &pay.body), ("pk_1", &body));
    assert!(!asked.iter().any(|asked| asked.path.contains("Check")));
}

#[tokio::test]
async fn callbacks_need_an_address_and_an_accepted_secret() {
    let rig = Rig::with(Setup { callback_url: None, ..Setup::default() }).await;
    rig.acquirer.site("pk_1", &["secret_1"]);
    let id = rig.configure(input("org_1", "pk_1", "secret_1")).await["id"].clone();
    let set = |id: &Value| format!("mutation {{ setGatewayCallbacks(id: {id}) {{ isSet }} }}");
    let refused = rig.refused(&set(&id)).await;
    assert!(refused.to_string().contains("cloudpayments.callback_url"), "{refused}");
    let shown = rig.owner("{ gateways { callbackUrls { pay } } }").await;
    assert_eq!(shown, json!({ "gateways": [{ "callbackUrls": null }] }));
    let rig = Rig::new().await;
    let id = rig.configure(input("org_1", "pk_1", "secret_1")).await["id"].clone();
    assert_eq!(rig.refused(&set(&id)).await.code(), "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_gateway_is_switched_off_and_on_and_deleted() {
    let rig = Rig::new().await;
    rig.acquirer.site("pk_1", &["secret_1"]);
    let id = rig.configure(input("org_1", "pk_1", "secret_1")).await["id"].clone();
    for is_active in [false, true] {
        let switch =
            format!("mutation {{ setGatewayActive(id: {id}, isActive: {is_active}) {{ isActive status }} }}");
        let expected = json!({ "isActive": is_active, "status": "CONNECTED" });
        assert_eq!(rig.owner(&switch).await["setGatewayActive"], expected);
        let paused = rig.open_gateways().first().map(|gateway| gateway.policy.paused);
        assert_eq!(paused, Some(!is_active), "its notifications are taken all the same");
    }
    let delete = format!("mutation {{ deleteGateway(id: {id}) }}");
    assert_eq!(rig.owner(&delete).await, json!({ "deleteGateway": true }));
    assert!(rig.open_gateways().is_empty());
    assert_eq!(rig.refused(&delete).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn no_more_than_64_gateways_share_the_url() {
    let rig = Rig::new().await;
    for number in 0..64 {
        let (public_id, secret) = (format!("pk_{number}"), format!("secret_{number}"));
        rig.acquirer.site(&public_id, &[&secret]);
        let mut input = input("org_1", &public_id, &secret);
        input["settings"] = json!({ "sharedUrl": true });
        rig.configure(input).await;
    }
    rig.acquirer.site("pk_64", &["secret_64"]);
    let mut one_more = input("org_1", "pk_64", "secret_64");
    rig.configure(one_more.clone()).await;
    one_more["settings"] = json!({ "sharedUrl": true });
    let refused = rig.refused_with(CONFIGURE, json!({ "input": one_more })).await;
    assert_eq!((refused.code(), refused.field()), ("VALIDATION_ERROR", Some("sharedUrl")));
    let shared = |gateway: &&GatewayRecord| gateway.shared_url;
    assert_eq!(rig.registry().gateways().filter(shared).count(), 64);
}
