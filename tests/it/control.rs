//! The control plane as an integrator meets it: `hookline run`, a token from the command line, GraphQL over HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures::future::join_all;
use hookline_load_tests::acquirer::{Acquirer, Site};
use hookline_load_tests::config::{Config, Listener};
use hookline_load_tests::fixtures::Shape;
use hookline_load_tests::graphql::{GraphQl, GraphQlAnswer};
use hookline_load_tests::process::Hookline;
use hookline_schemas::secret::{Secret, WebhookSecret};
use hookline_schemas::signature::{StandardHeaders, WebhookKey};
use http::request::Parts;
use serde_json::{Value, json};

use crate::bench::{Bench, SOON, eventually, fixture, free_address};
use crate::client::{self, Answer};
use crate::command_line::{hookline, text};
use crate::stub::{Reply, Stub};

pub(crate) const API_SECRET: &str = "api-secret-of-a-registered-site";
pub(crate) const PUBLIC_ID: &str = "pk_registered";

/// The texts as the contract prints them, with variables for what an integrator puts in.
const CONFIGURE: &str = r#"
    mutation($input: PaymentGatewayInput!) { configurePaymentGateway(input: $input) { id type isActive publicId } }"#;
const CREATE: &str = r#"
    mutation($input: CreateWebhookInput!) { createWebhook(input: $input) { id url events secret isActive } }"#;
const LIST: &str = "query { webhooks { id url events isActive } }";
const DELETE: &str = "mutation($id: ID!) { deleteWebhook(id: $id) }";

/// hookline with a control plane, beside a simulated CloudPayments.
pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) acquirer: Acquirer,
    pub(crate) control: SocketAddr,
    graphql: GraphQl,
}

impl Scene {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Self::with(|_| {}).await
    }

    /// The same, with a configuration that is changed before it is written.
    pub(crate) async fn with(adjust: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        let acquirer = Acquirer::start(vec![Site::new(PUBLIC_ID, API_SECRET)]).await?;
        let (control, api_url) = (free_address()?, acquirer.url());
        let bench = Bench::with(&[], |config| {
            *config = config.clone().with_cloudpayments(api_url);
            config.control = Listener { listen: control };
            adjust(config);
        });
        Ok(Self { bench: bench.await?, acquirer, control, graphql: GraphQl::at(control) })
    }

    /// Starts hookline; its control plane is active when this returns.
    pub(crate) async fn start(&self) -> anyhow::Result<Hookline> {
        let running = self.bench.start().await?;
        let deadline = self.bench.clock.elapsed() + SOON;
        while self.graphql.ask("{ __typename }", &Value::Null).await?.status == 503 {
            ensure!(self.bench.clock.elapsed() < deadline, "{}", self.bench.launch.last_output());
        }
        Ok(running)
    }

    /// A client with a token from the command line.
    pub(crate) async fn client(&self, organization: &str, role: &str) -> anyhow::Result<GraphQl> {
        Ok(self.graphql.with_token(self.bench.launch.token(organization, role).await?))
    }

    /// Registers the site, and returns the gateway's id.
    pub(crate) async fn configure(&self, client: &GraphQl) -> anyhow::Result<String> {
        let answer = good(client.ask(CONFIGURE, &json!({ "input": site() })).await?)?;
        ensure!(answer.data("/configurePaymentGateway/isActive") == true, "{answer:?}");
        text_at(&answer, "/configurePaymentGateway/id")
    }

    /// Registers a webhook, and returns its id and its secret.
    pub(crate) async fn create(&self, client: &GraphQl, url: &str) -> anyhow::Result<(String, String)> {
        let input = json!({ "url": url, "events": ["PAYMENT_RECEIVED"] });
        let answer = good(client.ask(CREATE, &json!({ "input": input })).await?)?;
        Ok((text_at(&answer, "/createWebhook/id")?, text_at(&answer, "/createWebhook/secret")?))
    }

    /// Posts a payment at the gateway's own address; it has to be accepted, once the edge has heard of the gateway.
    pub(crate) async fn pay(&self, gateway: &str, number: u64) -> anyhow::Result<()> {
        let deadline = self.bench.clock.elapsed() + SOON;
        let mut answer = self.post(gateway, number).await?;
        while answer.status == 401 && self.bench.clock.elapsed() < deadline {
            answer = self.post(gateway, number).await?;
        }
        ensure!(answer.is_accepted(), "{answer:?}");
        Ok(())
    }

    async fn post(&self, gateway: &str, number: u64) -> anyhow::Result<Answer> {
        let path = format!("/payments/cloudpayments/{gateway}/pay");
        client::post(self.bench.ingest, &path, API_SECRET, &fixture(Shape::Pay2026, number)).await
    }
}

fn site() -> Value {
    json!({
        "organizationId": "org_demo", "type": "CLOUDPAYMENTS", "publicId": PUBLIC_ID, "apiSecret": API_SECRET,
        "description": "the club network",
    })
}

pub(crate) fn good(answer: GraphQlAnswer) -> anyhow::Result<GraphQlAnswer> {
    ensure!(answer.is_good(), "{answer:?}");
    Ok(answer)
}

pub(crate) fn text_at(answer: &GraphQlAnswer, pointer: &str) -> anyhow::Result<String> {
    let text = answer.data(pointer).as_str();
    Ok(text.with_context(|| format!("{pointer} in {answer:?}"))?.to_owned())
}

/// A receiver that keeps what it gets.
pub(crate) struct Inbox {
    pub(crate) stub: Stub,
    got: Arc<Mutex<Vec<(Parts, Bytes)>>>,
}

impl Inbox {
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let got: Arc<Mutex<Vec<(Parts, Bytes)>>> = Arc::default();
        let kept = Arc::clone(&got);
        let stub = Stub::start(move |head, body| {
            locked(&kept).push((head.clone(), body.clone()));
            Reply::status(200)
        });
        Ok(Self { stub: stub.await?, got })
    }

    pub(crate) fn all(&self) -> Vec<(Parts, Bytes)> {
        locked(&self.got).clone()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether both signatures are this secret's.
fn is_signed(secret: &str, (head, body): &(Parts, Bytes)) -> anyhow::Result<bool> {
    let key = WebhookKey::new(&WebhookSecret::parse(secret)?);
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let standard = StandardHeaders {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
    };
    let at = header("webhook-timestamp").unwrap_or_default().parse()?;
    let izi = header("x-izi-signature").unwrap_or_default();
    Ok(key.verify_standard(&standard, body, at, 0).is_ok() && key.verifies_izi(body, izi))
}

#[tokio::test]
async fn the_texts_of_the_contract_run_and_a_webhook_that_was_created_gets_its_events() -> anyhow::Result<()>
{
    let scene = Scene::new().await?;
    let running = scene.start().await?;
    let owner = scene.client("org_demo", "OWNER").await?;
    let gateway = scene.configure(&owner).await?;
    let inbox = Inbox::open().await?;
    let url = inbox.stub.url("/hooks");
    // Events as strings, as the contract's own example has them.
    let create = format!(
        r#"mutation {{ createWebhook(input: {{ url: "{url}", events: ["PAYMENT_RECEIVED", "PAYMENT_FAILED"] }})
           {{ id url events secret isActive }} }}"#
    );
    let created = good(owner.ask(&create, &Value::Null).await?)?;
    let (id, secret) = (text_at(&created, "/createWebhook/id")?, text_at(&created, "/createWebhook/secret")?);
    scene.pay(&gateway, 1).await?;
    eventually(scene.bench.clock, || inbox.all().len() == 1)
        .await
        .context(scene.bench.launch.last_output())?;
    let first = inbox.all().remove(0);
    ensure!(is_signed(&secret, &first)?, "{first:?}");

    let listed = good(owner.ask(LIST, &Value::Null).await?)?;
    let events = ["PAYMENT_RECEIVED", "PAYMENT_FAILED"];
    let expected = json!([{ "id": id, "url": url, "events": events, "isActive": true }]);
    ensure!(listed.data("/webhooks") == &expected, "{listed:?}");

    let deleted = good(owner.ask(DELETE, &json!({ "id": id })).await?)?;
    ensure!(deleted.data("/deleteWebhook") == true, "{deleted:?}");
    // What another one gets shows that the next payment has been passed by.
    let other = Inbox::open().await?;
    let (young, secret) = scene.create(&owner, &other.stub.url("/")).await?;
    let test = "mutation($id: ID!) { testWebhook(id: $id) { eventId } }";
    let tested = good(owner.ask(test, &json!({ "id": young })).await?)?;
    scene.pay(&gateway, 2).await?;
    eventually(scene.bench.clock, || other.all().len() == 2)
        .await
        .context(scene.bench.launch.last_output())?;
    let event = text_at(&tested, "/testWebhook/eventId")?;
    let has_its_id = |got: &(Parts, Bytes)| got.0.headers.get("webhook-id").is_some_and(|id| *id == *event);
    ensure!(other.all().iter().any(has_its_id), "the test arrives: {:?}", other.all());
    ensure!(other.all().iter().all(|got| is_signed(&secret, got).unwrap_or(false)), "{:?}", other.all());
    ensure!(inbox.all().len() == 1, "nothing more is sent: {:?}", inbox.all());
    scene.bench.stop(running).await
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill_and_nothing_is_half_written() -> anyhow::Result<()> {
    const WRITERS: usize = 4;
    let scene = Scene::new().await?;
    let running = scene.start().await?;
    let owner = scene.client("org_demo", "OWNER").await?;
    let answered: Mutex<Vec<String>> = Mutex::default();
    let writing = join_all((0..WRITERS).map(async |writer| {
        for number in 0_u32.. {
            let url = format!("https://example.com/{writer}/{number}");
            if scene.create(&owner, &url).await.is_err() {
                return;
            }
            locked(&answered).push(url);
        }
    }));
    let killing = async {
        eventually(scene.bench.clock, || locked(&answered).len() >= 12).await?;
        running.kill().await
    };
    let (_, killed) = tokio::join!(writing, killing);
    killed?;

    let running = scene.start().await?;
    let owner = scene.client("org_demo", "OWNER").await?;
    let listed = good(owner.ask("{ webhooks { id url events isActive createdAt } }", &Value::Null).await?)?;
    let listed = listed.data("/webhooks").as_array().context("a list")?.clone();
    let urls: Vec<&str> = listed.iter().filter_map(|webhook| webhook.get("url")?.as_str()).collect();
    let answered = locked(&answered).clone();
    for url in &answered {
        ensure!(urls.contains(&url.as_str()), "{url} was answered and is not in {urls:?}");
    }
    ensure!(listed.len() <= answered.len() + WRITERS, "{} of {}", listed.len(), answered.len());
    scene.bench.stop(running).await
}

#[tokio::test]
async fn an_unverified_gateway_accepts_nothing() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    scene.acquirer.set_secrets(PUBLIC_ID, vec![Secret::new("another")]);
    let running = scene.start().await?;
    let owner = scene.client("org_demo", "OWNER").await?;
    let configure = "mutation($input: PaymentGatewayInput!) {
        configurePaymentGateway(input: $input) { id isActive status } }";
    let answer = good(owner.ask(configure, &json!({ "input": site() })).await?)?;
    ensure!(answer.data("/configurePaymentGateway/status") == "INVALID_CREDENTIALS", "{answer:?}");
    ensure!(answer.data("/configurePaymentGateway/isActive") == false, "{answer:?}");
    let gateway = text_at(&answer, "/configurePaymentGateway/id")?;
    let posted = scene.post(&gateway, 1).await?;
    ensure!(posted.status == 401, "{posted:?}");

    scene.acquirer.set_secrets(PUBLIC_ID, vec![Secret::new(API_SECRET)]);
    let check = "mutation($id: ID!) { checkGatewayConnection(id: $id) { status isActive } }";
    let answer = good(owner.ask(check, &json!({ "id": gateway })).await?)?;
    ensure!(answer.data("/checkGatewayConnection/status") == "CONNECTED", "{answer:?}");
    scene.pay(&gateway, 2).await?;
    scene.bench.stop(running).await
}

#[tokio::test]
async fn forged_and_missing_tokens_are_refused_with_their_codes() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    let running = scene.start().await?;
    let token = scene.bench.launch.token("org_demo", "OWNER").await?;
    let (head, rest) = token.split_once('.').context("a token")?;
    let (claims, _) = rest.split_once('.').context("a token")?;
    // {"alg":"none","typ":"JWT"}
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.");
    let cut = format!("{head}.{claims}.AAAA");
    for (client, code) in [
        (scene.graphql.clone(), "UNAUTHENTICATED"),
        (scene.graphql.with_token(unsigned), "TOKEN_INVALID"),
        (scene.graphql.with_token(cut), "TOKEN_INVALID"),
        (scene.graphql.with_token("nonsense"), "TOKEN_INVALID"),
    ] {
        let answer = client.ask(LIST, &Value::Null).await?;
        ensure!(answer.error_code() == Some(code), "{code}: {answer:?}");
        ensure!(answer.json.get("data") == Some(&Value::Null) && answer.status == 200, "{answer:?}");
    }
    let answer = scene.graphql.with_token(token).ask(LIST, &Value::Null).await?;
    ensure!(answer.is_good() && answer.limits.remaining.is_some(), "{answer:?}");
    scene.bench.stop(running).await
}

#[tokio::test]
async fn what_is_registered_is_sealed_anew_and_needs_the_old_key_no_more() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    let running = scene.start().await?;
    let owner = scene.client("org_demo", "OWNER").await?;
    let gateway = scene.configure(&owner).await?;
    let inbox = Inbox::open().await?;
    let (_, secret) = scene.create(&owner, &inbox.stub.url("/")).await?;
    let rotated = hookline(scene.bench.path(), &["rotate-key", "--config", "hookline.toml"]).await?;
    ensure!(rotated.status.success(), "{rotated:?}");
    let said = text(&rotated.stdout);
    ensure!(said.contains("2 records were sealed anew"), "a gateway and a webhook: {said}");
    scene.bench.stop(running).await?;

    let file = scene.bench.path().join("hookline.key");
    let keys = std::fs::read_to_string(&file)?;
    let is_key = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let first = keys.lines().find(is_key).context("a key")?;
    ensure!(keys.lines().filter(is_key).count() == 2, "the old one stays");
    std::fs::write(&file, format!("{first}\n"))?;
    let running = scene.start().await?;
    scene.pay(&gateway, 1).await?;
    eventually(scene.bench.clock, || inbox.all().len() == 1)
        .await
        .context(scene.bench.launch.last_output())?;
    ensure!(is_signed(&secret, &inbox.all().remove(0))?);
    scene.bench.stop(running).await
}
