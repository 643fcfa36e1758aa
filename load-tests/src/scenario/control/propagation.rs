//! How long a change takes from its answer until every process goes by it.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::{ORGANIZATION, Scene, api_secret};
use crate::admin::Admin;
use crate::connection::Connection;
use crate::fixtures::{Encoding, Fixture, Shape, Subject};
use crate::graphql::GraphQl;
use crate::report::{Report, rounded};
use crate::scenario::fleet::Fleet;

/// A change has to be everywhere by then.
const WITHIN: Duration = Duration::from_secs(1);
/// Between two questions to one process.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// After that it is not coming.
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIGURE: &str = "mutation($input: PaymentGatewayInput!) {
    configurePaymentGateway(input: $input) { id isActive } }";
const DELETE: &str = "mutation($id: ID!) { deleteWebhook(id: $id) }";
const CREATE: &str = "mutation($input: CreateWebhookInput!) { createWebhook(input: $input) { id secret } }";

/// From the answer until the last process knew it, in milliseconds, of each change.
pub(super) struct Propagation {
    gateways: Vec<f64>,
    webhooks: Vec<f64>,
    deletions: Vec<f64>,
}

impl Propagation {
    pub(super) fn report(&self, report: &mut Report) {
        let Self { gateways, webhooks, deletions } = self;
        report.figure("gateway_changes", gateways.len());
        report.figure("gateway_everywhere_median_ms", rounded(median(gateways)));
        report.figure("gateway_everywhere_slowest_ms", rounded(slowest(gateways)));
        report.figure("webhook_changes", webhooks.len());
        report.figure("webhook_everywhere_median_ms", rounded(median(webhooks)));
        report.figure("webhook_everywhere_slowest_ms", rounded(slowest(webhooks)));
        report.figure("deletion_everywhere_slowest_ms", rounded(slowest(deletions)));
        let bound = WITHIN.as_secs_f64() * 1000.0;
        for (what, all) in [("gateway", gateways), ("webhook", webhooks), ("deletion", deletions)] {
            let slowest = slowest(all);
            report.require(!all.is_empty() && slowest <= bound, || {
                format!("a {what} was known everywhere after {slowest:.0} ms, and not within {bound:.0} ms")
            });
        }
    }
}

fn slowest(all: &[f64]) -> f64 {
    all.iter().copied().fold(0.0, f64::max)
}

fn median(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Registers everything, and waits for each; with the secrets that were handed out.
pub(super) async fn measure(
    scene: &Scene<'_>,
    fleet: &mut Fleet,
    client: &GraphQl,
) -> anyhow::Result<(Propagation, Vec<String>)> {
    let (gateways, webhooks, deletions) = (Vec::new(), Vec::new(), Vec::new());
    let mut propagation = Propagation { gateways, webhooks, deletions };
    let mut secrets = Vec::new();
    let dispatchers: Vec<String> =
        fleet.names().into_iter().filter(|name| name.starts_with("dispatcher")).map(str::to_owned).collect();
    let dispatchers: Vec<Admin> =
        dispatchers.iter().map(|name| fleet.admin(name)).collect::<Result<_, _>>()?;
    for number in 1..=scene.options.changes {
        let gateway = configure(client, number).await?;
        propagation.gateways.push(until_edges_know(scene, &gateway, number).await?);
        let (webhook, secret) = create(client, number).await?;
        secrets.push(secret);
        propagation.webhooks.push(until_dispatchers(scene, &dispatchers, &webhook, true).await?);
        let deleted = client.ask(DELETE, &json!({ "id": webhook })).await?;
        ensure!(deleted.is_good(), "{deleted:?}");
        propagation.deletions.push(until_dispatchers(scene, &dispatchers, &webhook, false).await?);
    }
    Ok((propagation, secrets))
}

async fn configure(client: &GraphQl, number: u16) -> anyhow::Result<String> {
    let input = json!({
        "organizationId": ORGANIZATION, "type": "CLOUDPAYMENTS", "publicId": format!("pk_registered_{number}"),
        "apiSecret": api_secret(number),
    });
    let answer = client.ask(CONFIGURE, &json!({ "input": input })).await?;
    ensure!(answer.is_good() && answer.data("/configurePaymentGateway/isActive") == true, "{answer:?}");
    let id = answer.data("/configurePaymentGateway/id").as_str().context("an id")?;
    Ok(id.to_owned())
}

async fn create(client: &GraphQl, number: u16) -> anyhow::Result<(WebhookId, String)> {
    let input = json!({ "url": format!("https://example.com/{number}"), "events": ["PAYMENT_RECEIVED"] });
    let answer = client.ask(CREATE, &json!({ "input": input })).await?;
    ensure!(answer.is_good(), "{answer:?}");
    let text = |pointer| answer.data(pointer).as_str().map(str::to_owned);
    let id = text("/createWebhook/id").context("an id")?;
    Ok((WebhookId::new(id), text("/createWebhook/secret").context("a secret")?))
}

/// An edge knows a gateway once it takes what the gateway's secret signed.
async fn until_edges_know(scene: &Scene<'_>, gateway: &str, number: u16) -> anyhow::Result<f64> {
    let subject = Subject {
        transaction_id: 8_000_000_000 + u64::from(number),
        invoice_id: format!("registered-{number}"),
        account_id: "client".to_owned(),
        amount: "10.00".parse().context("a sum")?,
        occurred_at: scene.bench.clock.wall(),
    };
    let pay = Fixture::new(Shape::Pay2026, &subject, Encoding::LowerCase);
    let signature = ContentKey::new(&Secret::new(api_secret(number))).sign(&pay.body);
    let looks = scene.bench.target.addresses.iter().map(|edge| {
        let (pay, signature) = (&pay, &signature);
        until(scene, async move || {
            let request = Request::post(format!("/payments/cloudpayments/{gateway}/pay"))
                .header("host", edge.to_string())
                .header("content-type", pay.content_type())
                .header("content-hmac", signature.as_str())
                .body(Full::<Bytes>::new(pay.body.clone()))?;
            let answer = Connection::to(*edge).send(request, PATIENCE).await?;
            Ok(answer.status() == StatusCode::OK)
        })
    });
    Ok(slowest(&try_join_all(looks).await?))
}

/// A dispatcher knows a webhook as long as it tells of it.
async fn until_dispatchers(
    scene: &Scene<'_>,
    dispatchers: &[Admin],
    webhook: &WebhookId,
    know: bool,
) -> anyhow::Result<f64> {
    let looks = dispatchers.iter().map(|admin| {
        until(scene, async move || Ok(admin.get(&format!("/webhooks/{webhook}")).await.is_ok() == know))
    });
    Ok(slowest(&try_join_all(looks).await?))
}

/// Milliseconds until this holds.
async fn until(
    scene: &Scene<'_>,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<f64> {
    let clock = scene.bench.clock;
    let began = clock.elapsed();
    while !holds().await? {
        ensure!(clock.elapsed() < began + PATIENCE, "a change did not come within {PATIENCE:?}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(clock.elapsed().saturating_sub(began).as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Verdict;

    #[test]
    fn a_change_that_came_late_fails_the_report() {
        for (gateways, webhooks, deletions, pass) in [
            (vec![5.0, 900.0], vec![7.0], vec![7.0], true),
            (vec![5.0, 1_001.0], vec![7.0], vec![7.0], false),
            (vec![5.0], vec![1_500.0], vec![7.0], false),
            (vec![5.0], vec![7.0], vec![1_500.0], false),
            (vec![5.0], Vec::new(), vec![7.0], false),
        ] {
            let mut report = Report::new("control", &Verdict { pass: true, ..Verdict::default() });
            Propagation { gateways, webhooks, deletions }.report(&mut report);
            assert_eq!(report.pass, pass, "{report:?}");
        }
    }
}
