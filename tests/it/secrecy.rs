//! What nobody may find in the log lines or in the files of the log: secrets, and who the payers are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use hookline_load_tests::receiver::Profile;
use serde_json::{Value, json};

use crate::bench::{Bench, eventually, webhook_secret};
use crate::client::{self, NEW_SECRET, OLD_SECRET, SHARED_URL};
use crate::control::{API_SECRET, Scene};

/// Fields of a notification that must not be kept, with values that stand nowhere else. Longer digits than
/// six, so that no time and no offset holds them by accident.
const PERSONAL: [(&str, &str); 10] = [
    ("Name", "QuillonBramblewick"),
    ("Email", "quillon-bramblewick@payer.example"),
    ("Token", "tk_77f0e1d2c3b4a5968778695a4b3c2d1e"),
    ("CardFirstSix", "41730259"),
    ("CardExpDate", "11_37_quill"),
    ("CardId", "c4rd1d77f0e1d2c3b4a5"),
    ("IpAddress", "198.51.100.213"),
    ("IpCity", "Brambleton-on-Wick"),
    ("IpLatitude", "59.7730421"),
    ("Data", "secretnoteofthepayer"),
];
/// The next secret of the first webhook, and the value of a header that is sent to it.
const ROTATED_SECRET: &str = "whsec_UXVpbGxvbkJyYW1ibGV3aWNrUm90YXRlZA==";
const API_KEY: &str = "ak_51b1d0f9e8a7c6b5";
const CLIENT: &str = "client-that-may-be-kept";

fn form(transaction: Option<&str>) -> Bytes {
    let mut fields = vec![
        ("Amount", "10.00"),
        ("Currency", "RUB"),
        ("OperationType", "Payment"),
        ("Status", "Completed"),
        ("DateTime", "2026-05-28+12%3a55%3a43"),
        ("GatewayName", "Test"),
        ("AuthCode", "A1B2C3"),
        ("TotalFee", "1.00"),
        ("InvoiceId", "order-1"),
        ("AccountId", CLIENT),
    ];
    fields.extend(transaction.map(|transaction| ("TransactionId", transaction)));
    fields.extend(PERSONAL.iter().filter(|(key, _)| *key != "Data"));
    let pairs: Vec<String> =
        fields.iter().map(|(key, value)| format!("{key}={}", value.replace('@', "%40"))).collect();
    let (_, note) = PERSONAL[9];
    Bytes::from(format!("{}&Data=%7B%22note%22%3A%22{note}%22%7D", pairs.join("&")))
}

/// Posts what is accepted, what is quarantined and what is refused; all of it with every personal field.
async fn post_everything(bench: &Bench) -> anyhow::Result<()> {
    let (pay, fail) = ("/payments/cloudpayments/gw_demo/pay", "/payments/cloudpayments/gw_demo/fail");
    let (urlencoded, json) = ("application/x-www-form-urlencoded", "application/json");
    let members: Vec<String> = PERSONAL.iter().map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
    let members = members.join(",");
    for (path, secret, content_type, body, status) in [
        (pay, NEW_SECRET, urlencoded, form(Some("7001")), 200),
        (SHARED_URL, OLD_SECRET, urlencoded, form(Some("7002")), 200),
        (fail, NEW_SECRET, urlencoded, form(Some("7003")), 200),
        // Quarantined: no transaction; not JSON; no sum.
        (pay, NEW_SECRET, urlencoded, form(None), 200),
        (pay, NEW_SECRET, json, Bytes::from(format!("{{{members}")), 200),
        (pay, NEW_SECRET, json, Bytes::from(format!("{{\"TransactionId\":\"x\",{members}}}")), 200),
        // Refused.
        (pay, "api-secret-of-nobody", urlencoded, form(Some("7004")), 401),
        (SHARED_URL, "api-secret-of-nobody", urlencoded, form(Some("7005")), 401),
        (pay, NEW_SECRET, "text/plain", form(Some("7006")), 415),
    ] {
        let answer = client::post_bytes(bench.ingest, path, secret, content_type, body).await?;
        let code = if status == 200 { r#"{"code":0}"# } else { r#"{"code":13}"# };
        ensure!(answer.status == status && answer.body == code, "{path} {content_type}: {answer:?}");
    }
    Ok(())
}

/// The first webhook's secret becomes the previous one.
fn rotate_and_add_a_header(bench: &Bench) -> anyhow::Result<()> {
    let text = fs::read_to_string(&bench.launch.config)?;
    let old = format!("secret = {:?}", webhook_secret(0));
    ensure!(text.contains(&old), "{old} is not in\n{text}");
    let rotated = format!(
        "secret = {ROTATED_SECRET:?}\nprevious_{old}\nprevious_secret_until = \"9999-01-01T00:00:00Z\"\n\
         headers = {{ X-Api-Key = {API_KEY:?} }}"
    );
    Ok(fs::write(&bench.launch.config, text.replace(&old, &rotated))?)
}

#[tokio::test]
async fn no_secret_and_no_payer_is_found_in_logs_or_files() -> anyhow::Result<()> {
    // What is delivered to the second is kept in a lane, with the last failure.
    let webhooks = [("wh_1", Profile::Healthy), ("wh_down", Profile::Down)];
    let bench = Bench::new(&webhooks).await?;
    bench.configure("[telemetry]\nlog_filter = \"trace\"\n")?;
    rotate_and_add_a_header(&bench)?;
    let hookline = bench.start().await?;
    post_everything(&bench).await?;
    eventually(bench.clock, || bench.accepted_by("wh_1").len() == 3).await?;
    let quarantined = hookline.metric("hookline_ingest_answers_total", "outcome=\"quarantined\"").await?;
    ensure!((quarantined - 3.0).abs() < f64::EPSILON, "{quarantined} bodies are in quarantine");
    bench.stop(hookline).await?;

    let mut files = Vec::new();
    files_below(&bench.path().join("data"), &mut files)?;
    let kept: Vec<Vec<u8>> = files.iter().map(fs::read).collect::<Result<_, _>>()?;
    let is_kept = |needle: &str| kept.iter().any(|bytes| holds(bytes, needle.as_bytes()));
    ensure!(is_kept(CLIENT) && is_kept("7002") && is_kept("wh_down"), "the search finds what is there");

    let logged = fs::read(&bench.launch.output)?;
    ensure!(holds(&logged, b"listening"), "the search finds what was logged");
    let sent = [ROTATED_SECRET, API_KEY].map(str::to_owned);
    let secrets = [NEW_SECRET.to_owned(), OLD_SECRET.to_owned(), webhook_secret(0), webhook_secret(1)];
    let secrets = secrets.into_iter().chain(sent);
    let key = fs::read_to_string(bench.path().join("hookline.key"))?.trim().to_owned();
    let personal = PERSONAL.iter().map(|(_, value)| (*value).to_owned());
    for needle in personal.chain(secrets).chain([key]) {
        for form in forms_of(&needle) {
            for (file, bytes) in files.iter().zip(&kept) {
                ensure!(!holds(bytes, &form), "{needle} in {}", file.display());
            }
            ensure!(!holds(&logged, &form), "{needle} in the log lines");
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_secret_of_the_control_plane_is_found_in_logs_or_files() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    scene.bench.configure("[telemetry]\nlog_filter = \"trace\"\n")?;
    let running = scene.start().await?;
    let token = scene.bench.launch.token("org_demo", "OWNER").await?;
    let owner = scene.client("org_demo", "OWNER").await?;
    let gateway = scene.configure(&owner).await?;
    let (webhook, secret) = scene.create(&owner, "https://example.com/hooks").await?;
    let update = "mutation($id: ID!, $key: String!) {
        updateWebhook(id: $id, input: { headers: [{ name: \"X-Api-Key\", value: $key }] }) { id } }";
    let updated = owner.ask(update, &json!({ "id": webhook, "key": API_KEY })).await?;
    ensure!(updated.is_good(), "{updated:?}");
    let rotate = "mutation($id: ID!) { rotateWebhookSecret(id: $id) { secret } }";
    let rotated = owner.ask(rotate, &json!({ "id": webhook })).await?;
    let next = rotated.data("/rotateWebhookSecret/secret").as_str().map(str::to_owned);
    scene.pay(&gateway, 1).await?;
    // What goes wrong is told as well.
    let refused = "mutation { createWebhook(input: { url: \"nowhere\", events: [] }) { id } }";
    ensure!(!owner.ask(refused, &Value::Null).await?.is_good());
    scene.bench.stop(running).await?;

    let mut files = Vec::new();
    files_below(&scene.bench.path().join("data"), &mut files)?;
    let kept: Vec<Vec<u8>> = files.iter().map(fs::read).collect::<Result<_, _>>()?;
    for present in [&gateway, &webhook] {
        ensure!(kept.iter().any(|bytes| holds(bytes, present.as_bytes())), "the search finds what is there");
    }
    let logged = fs::read(&scene.bench.launch.output)?;
    ensure!(holds(&logged, b"listening"), "the search finds what was logged");
    let secrets = [API_SECRET, &secret, API_KEY, &next.context("a secret")?].map(str::to_owned);
    for needle in secrets.into_iter().chain([token]) {
        for form in forms_of(&needle) {
            ensure!(!kept.iter().any(|bytes| holds(bytes, &form)), "{needle} in the files");
            ensure!(!holds(&logged, &form), "{needle} in the log lines");
        }
    }
    Ok(())
}

/// As it stands, and in base64 wherever it may begin: what should be sealed may only be wrapped.
fn forms_of(needle: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![needle.as_bytes().to_vec(), needle.replace('@', "%40").into_bytes()];
    for (padding, first_whole) in [(0, 0), (1, 2), (2, 3)] {
        let padded = [&vec![0; padding], needle.as_bytes()].concat();
        let encoded = STANDARD_NO_PAD.encode(&padded).into_bytes();
        // The first and the last digits belong to what stands around it.
        let whole = encoded.get(first_whole..encoded.len() - 1).unwrap_or(&encoded);
        forms.push(whole.to_vec());
    }
    forms
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
