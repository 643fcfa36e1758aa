//! Secrets are in no answer but the two that hand one out, nor in the bytes of the log, nor in what is printed of the
//! request.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::acquirer::Mood;
use super::{Rig, owner};

const API_SECRETS: [&str; 3] = ["t0ps3cret-one", "t0ps3cret-two", "t0ps3cret-three"];
const HEADER: &str = "Bearer t0ps3cret-header";

/// Every answer that an OWNER can get, good or bad.
async fn answers(rig: &Rig) -> Vec<String> {
    let [one, two, three] = API_SECRETS;
    let configure = |secret: &str| {
        format!(
            r#"mutation {{ configurePaymentGateway(input: {{ organizationId: "org_1", type: CLOUDPAYMENTS,
            publicId: "pk_1", apiSecret: "{secret}" }}) {{ id status description callbackUrls {{ pay }} }} }}"#
        )
    };
    let mut answers = Vec::new();
    for (mood, secret) in
        [(Mood::Refusing, three), (Mood::Well, three), (Mood::Garbage, one), (Mood::Well, one)]
    {
        rig.acquirer.mood(mood);
        answers.push(said(rig, &configure(secret)).await);
    }
    let gateway = rig.registry().gateways().next().expect("a gateway").id.to_string();
    let webhook = rig.registry().webhooks().next().map(|webhook| webhook.id.to_string()).expect("a webhook");
    for mood in [Mood::Refusing, Mood::Unavailable, Mood::Well] {
        rig.acquirer.mood(mood);
        for query in [
            format!(r#"mutation {{ rotateGatewaySecret(id: "{gateway}", apiSecret: "{three}") {{ id }} }}"#),
            format!(r#"mutation {{ setGatewayCallbacks(id: "{gateway}") {{ message }} }}"#),
            format!(r#"mutation {{ checkGatewayConnection(id: "{gateway}") {{ status }} }}"#),
            format!(r#"mutation {{ setGatewayActive(id: "{gateway}", isActive: true) {{ status }} }}"#),
            format!(r#"mutation {{ enableWebhook(id: "{webhook}") {{ secret headers {{ name }} }} }}"#),
            format!(
                r#"mutation {{ updateWebhook(id: "{webhook}", input: {{ isActive: true }}) {{ secret }} }}"#
            ),
        ] {
            answers.push(said(rig, &query).await);
        }
    }
    let rotate =
        format!(r#"mutation {{ rotateGatewaySecret(id: "{gateway}", apiSecret: "{two}") {{ id }} }}"#);
    answers.push(said(rig, &rotate).await);
    let everything =
        "{ gateways { id publicId description status settings { currency } callbackUrls { pay } }
        webhooks { id url secret description headers { name } } }";
    answers.push(said(rig, everything).await);
    answers
}

async fn said(rig: &Rig, query: &str) -> String {
    let response = rig.execute(&Ok(owner()), query, json!({})).await;
    format!("{} {response:?}", serde_json::to_string(&response).expect("JSON"))
}

#[tokio::test]
async fn secrets_are_in_two_answers_and_nowhere_else() {
    let rig = Rig::new().await;
    rig.acquirer.site("pk_1", &API_SECRETS[..2]);
    let create = format!(
        r#"mutation {{ createWebhook(input: {{ url: "https://example.com/", events: [PAYMENT_FAILED],
        headers: [{{ name: "Authorization", value: "{HEADER}" }}] }}) {{ id secret headers {{ name }} }} }}"#
    );
    let made = rig.owner(&create).await["createWebhook"].clone();
    assert_eq!(made["headers"], json!([{ "name": "Authorization" }]));
    let rotate = format!("mutation {{ rotateWebhookSecret(id: {}) {{ secret }} }}", made["id"]);
    let rotated = rig.owner(&rotate).await["rotateWebhookSecret"].clone();
    let handed_out = [&made["secret"], &rotated["secret"]].map(|secret| secret.as_str().expect("a secret"));
    let secrets: Vec<&str> = API_SECRETS.into_iter().chain([HEADER]).chain(handed_out).collect();
    for answer in answers(&rig).await {
        for secret in &secrets {
            assert!(!answer.contains(secret), "{secret} in {answer}");
        }
        assert!(!answer.contains("whsec_"), "{answer}");
    }
    rig.log.close().await;
    let bytes = all_bytes(rig.directory.path());
    assert!(contains(&bytes, b"pk_1"), "what is no secret is there");
    for secret in secrets {
        assert!(!contains(&bytes, secret.as_bytes()), "{secret} stands in the log");
    }
}

fn all_bytes(directory: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        bytes.extend(if path.is_dir() { all_bytes(&path) } else { fs::read(&path).expect("a file") });
    }
    bytes
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn an_error_about_a_secret_does_not_repeat_what_stood_there() {
    let rig = Rig::new().await;
    let query = "mutation ($input: PaymentGatewayInput!) { configurePaymentGateway(input: $input) { id } }";
    for wrong in [json!(8_417_236), json!(["8417236"]), json!({ "a": "8417236" })] {
        let input = json!({ "organizationId": "org_1", "type": "CLOUDPAYMENTS", "publicId": "pk_1", "apiSecret": wrong });
        let response = rig.execute(&Ok(owner()), query, json!({ "input": input })).await;
        assert!(!response.errors.is_empty());
        let text = format!("{response:?}");
        assert!(!text.contains("8417236"), "{text}");
    }
    let literal = r#"mutation { rotateGatewaySecret(id: "gw_1", apiSecret: 8417236) { id } }"#;
    let text = format!("{:?}", rig.execute(&Ok(owner()), literal, json!({})).await);
    assert!(!text.contains("8417236"), "{text}");
}
