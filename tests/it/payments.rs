//! Payments from the top-up to the refund: hookline between an integrator and a CloudPayments that takes payments, and
//! posts what becomes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::join_all;
use futures::{SinkExt, StreamExt};
use hookline_load_tests::acquirer::{Fault, Paid, Payer, Status};
use hookline_load_tests::graphql::{GraphQl, GraphQlAnswer};
use hookline_load_tests::process::Hookline;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::bench::SOON;
use crate::command_line::{hookline, text};
use crate::control::{Inbox, PUBLIC_ID, Scene, good, text_at};
use crate::faulty_disk::{Fault as DiskFault, FaultyDisk};

/// The texts as the contract prints them, with variables for what an integrator puts in.
const INITIATE: &str = "mutation($input: InitiatePaymentInput!) {
    initiateTopUpPayment(input: $input) { paymentUrl transactionId expiresAt } }";
const PAYMENT: &str = "query($id: ID!) {
    payment(id: $id) { id status amount clientId createdAt confirmedAt gatewayTransactionId } }";
const REFUND: &str =
    "mutation($input: RefundInput!) { refundPayment(input: $input) { success refundId amount } }";

/// How a payment stands, and what was done about it.
const STANDING: &str = "query($id: ID!, $client: ID!) {
    payment(id: $id) { status refundedAmount refundableAmount refunds { status } }
    clientTotals(clientId: $client) { totals { currency credited refunded payments } } }";

/// As the slowest machine needs it, and well within a test.
const LIFETIME: Duration = Duration::from_secs(15);

/// Between two questions: a token has 100 in 10 s.
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// A scene with a connected gateway, to which CloudPayments posts, and a webhook for every event of a payment.
struct Shop {
    scene: Scene,
    owner: GraphQl,
    gateway: String,
    inbox: Inbox,
}

impl Shop {
    async fn open(scene: Scene) -> anyhow::Result<(Self, Hookline)> {
        let running = scene.start().await?;
        let owner = scene.client("org_demo", "OWNER").await?.within(SOON * 2);
        let gateway = scene.configure(&owner).await?;
        let base = format!("http://{}/payments/cloudpayments/{gateway}", scene.bench.ingest);
        scene.acquirer.post_to(PUBLIC_ID, &base);
        let inbox = Inbox::open().await?;
        let events = [
            "PAYMENT_RECEIVED",
            "PAYMENT_FAILED",
            "PAYMENT_REFUNDED",
            "PAYMENT_AUTHORIZED",
            "PAYMENT_CANCELLED",
        ];
        let input = json!({ "url": inbox.stub.url("/"), "events": events });
        let create = "mutation($input: CreateWebhookInput!) { createWebhook(input: $input) { id } }";
        good(owner.ask(create, &json!({ "input": input })).await?)?;
        let shop = Self { scene, owner, gateway, inbox };
        shop.is_known_to_the_edge().await?;
        Ok((shop, running))
    }

    /// A Check of nobody's is refused for what it says once the edge has heard of the gateway.
    async fn is_known_to_the_edge(&self) -> anyhow::Result<()> {
        let deadline = self.scene.bench.clock.elapsed() + SOON;
        while self.pay(Payer::new("1.00")).await?.check_code != Some(11) {
            ensure!(self.scene.bench.clock.elapsed() < deadline, "{}", self.scene.bench.launch.last_output());
            tokio::time::sleep(ASK_INTERVAL).await;
        }
        Ok(())
    }

    async fn top_up(&self, client: &str) -> anyhow::Result<String> {
        let input = json!({ "clientId": client, "clubId": "club_7", "amount": "100.00",
            "returnUrl": "https://club.example/back", "description": "Two hours" });
        let answer = good(self.owner.ask(INITIATE, &json!({ "input": input })).await?)?;
        ensure!(answer.data("/initiateTopUpPayment/paymentUrl").is_string(), "{answer:?}");
        text_at(&answer, "/initiateTopUpPayment/transactionId")
    }

    async fn pay(&self, payer: Payer) -> anyhow::Result<Paid> {
        self.scene.acquirer.pay(PUBLIC_ID, &payer).await
    }

    /// What the edge answers to the Check of a payer of this top-up, once it has heard of it.
    async fn pays(&self, top_up: &str, client: &str, amount: &str) -> anyhow::Result<Paid> {
        let payer = || Payer {
            invoice_id: Some(top_up.to_owned()),
            account_id: Some(client.to_owned()),
            ..Payer::new(amount)
        };
        let deadline = self.scene.bench.clock.elapsed() + SOON;
        loop {
            let paid = self.pay(payer()).await?;
            // 10 and 11: it has not heard of the top-up, which makes its client known.
            if !matches!(paid.check_code, Some(10)) || self.scene.bench.clock.elapsed() > deadline {
                return Ok(paid);
            }
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    }

    async fn refund(&self, id: &str, amount: &str) -> anyhow::Result<GraphQlAnswer> {
        let input = json!({ "transactionId": id, "amount": amount, "reason": "the club was closed" });
        self.owner.ask(REFUND, &json!({ "input": input })).await
    }

    async fn standing(&self, id: &str, client: &str) -> anyhow::Result<GraphQlAnswer> {
        self.owner.ask(STANDING, &json!({ "id": id, "client": client })).await
    }

    /// Waits until the payment stands so.
    async fn becomes(
        &self,
        id: &str,
        client: &str,
        expected: (&str, &Value),
    ) -> anyhow::Result<GraphQlAnswer> {
        let (pointer, value) = expected;
        let deadline = self.scene.bench.clock.elapsed() + SOON;
        loop {
            let standing = self.standing(id, client).await?;
            if standing.data(pointer) == value {
                return Ok(standing);
            }
            let output = || self.scene.bench.launch.last_output();
            ensure!(self.scene.bench.clock.elapsed() < deadline, "{value} {standing:?}\n{}", output());
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    }

    /// The events that the webhook has got, each once, by its type.
    fn events(&self) -> anyhow::Result<BTreeMap<String, Vec<Value>>> {
        let mut by_id = BTreeMap::new();
        for (_, body) in self.inbox.all() {
            let event: Value = serde_json::from_slice(&body)?;
            by_id.insert(at(&event, "/id").to_string(), event);
        }
        let mut by_type: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for event in by_id.into_values() {
            let event_type = at(&event, "/type").as_str().context("a type")?.to_owned();
            by_type.entry(event_type).or_default().push(event);
        }
        Ok(by_type)
    }

    /// Waits until so many different events of a type have come.
    async fn gets(&self, event_type: &str, count: usize) -> anyhow::Result<()> {
        let deadline = self.scene.bench.clock.elapsed() + SOON;
        loop {
            let got = self.events()?.get(event_type).map_or(0, Vec::len);
            if got == count {
                return Ok(());
            }
            let waits = got < count && self.scene.bench.clock.elapsed() < deadline;
            ensure!(waits, "{got} of {count} {event_type}\n{}", self.scene.bench.launch.last_output());
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    }

    fn refunds_at_the_bank(&self) -> usize {
        let all = self.scene.acquirer.transactions(PUBLIC_ID);
        all.iter().filter(|view| view.original.is_some()).count()
    }
}

/// A place in JSON; `Null`, where there is none.
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// A scene in which the organization's one gateway is the one that it registers, and a top-up can be paid for so long.
async fn scene() -> anyhow::Result<Scene> {
    let scene = Scene::with(|config| config.gateways.clear()).await?;
    scene.bench.configure(&format!("[control.payments]\ntop_up_lifetime = \"{}s\"", LIFETIME.as_secs()))?;
    Ok(scene)
}

#[tokio::test]
async fn a_top_up_is_checked_paid_credited_once_refunded_and_told_of() -> anyhow::Result<()> {
    let (shop, running) = Shop::open(scene().await?).await?;
    let forgotten = shop.top_up("client_2").await?;
    let made_at = shop.scene.bench.clock.elapsed();
    let id = shop.top_up("client_1").await?;
    ensure!(shop.pays(&id, "client_1", "99.99").await?.check_code == Some(12), "another sum");
    ensure!(shop.pays(&id, "a stranger", "100.00").await?.check_code == Some(11), "another client");
    let paid = shop.pays(&id, "client_1", "100.00").await?;
    ensure!((paid.check_code, paid.status) == (Some(0), Status::Completed), "{paid:?}");
    shop.becomes(&id, "client_1", ("/payment/status", &json!("CONFIRMED"))).await?;
    ensure!(shop.pays(&id, "client_1", "100.00").await?.check_code == Some(13), "it has been paid");

    // CloudPayments did not like our answers, and posts everything twice more.
    for seed in 1..=2 {
        shop.scene.acquirer.post_again(PUBLIC_ID, seed).await?;
    }
    let answer = good(shop.owner.ask(PAYMENT, &json!({ "id": id })).await?)?;
    ensure!(
        answer.data("/payment/gatewayTransactionId") == &json!(paid.transaction_id.to_string()),
        "{answer:?}"
    );
    ensure!(answer.data("/payment/confirmedAt").is_string(), "{answer:?}");
    let standing = shop.standing(&id, "client_1").await?;
    let credited = json!([{ "currency": "RUB", "credited": "100.00", "refunded": "0", "payments": 1 }]);
    ensure!(standing.data("/clientTotals/totals") == &credited, "{standing:?}");

    let answers = join_all((0..4).map(|_| shop.refund(&id, "40.00"))).await;
    let answers: Vec<_> = answers.into_iter().collect::<anyhow::Result<_>>()?;
    let made = answers.iter().filter(|answer| answer.data("/refundPayment/success") == true).count();
    ensure!(made == 2 && shop.refunds_at_the_bank() == 2, "{answers:?}");
    ensure!(answers.iter().filter(|answer| answer.error_code() == Some("VALIDATION_ERROR")).count() == 2);
    good(shop.refund(&id, "20.00").await?)?;
    shop.becomes(&id, "client_1", ("/payment/refundedAmount", &json!("100.00"))).await?;

    shop.gets("PAYMENT_RECEIVED", 1).await?;
    shop.gets("PAYMENT_REFUNDED", 3).await?;
    shop.scene.acquirer.settled(SOON).await?;
    let standing = shop.standing(&id, "client_1").await?;
    let settled = json!([{ "currency": "RUB", "credited": "100.00", "refunded": "100.00", "payments": 1 }]);
    ensure!(standing.data("/clientTotals/totals") == &settled, "{standing:?}");
    let events = shop.events()?;
    let received = events.get("PAYMENT_RECEIVED").and_then(|events| events.first()).context("an event")?;
    ensure!(
        (at(received, "/clubId"), at(received, "/data/invoiceId")) == (&json!("club_7"), &json!(id)),
        "{received}"
    );
    ensure!(events.contains_key("PAYMENT_FAILED"), "what was declined at Check has failed");

    let passed = shop.scene.bench.clock.elapsed().saturating_sub(made_at);
    tokio::time::sleep(LIFETIME.saturating_sub(passed)).await;
    ensure!(shop.pays(&forgotten, "client_2", "100.00").await?.check_code == Some(20), "it has expired");
    shop.becomes(&forgotten, "client_2", ("/payment/status", &json!("FAILED"))).await?;
    shop.scene.bench.stop(running).await
}

#[tokio::test]
async fn a_payment_is_watched_over_a_socket() -> anyhow::Result<()> {
    let (shop, running) = Shop::open(scene().await?).await?;
    let id = shop.top_up("client_1").await?;
    let token = shop.scene.bench.launch.token("org_demo", "OWNER").await?;
    let mut request = format!("ws://{}/graphql", shop.scene.control).into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    let query = "subscription($id: ID) { paymentUpdated(id: $id) { id status } }";
    for word in [
        json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {token}") } }),
        json!({ "type": "subscribe", "id": "1", "payload": { "query": query, "variables": { "id": id } } }),
    ] {
        socket.send(Message::text(word.to_string())).await?;
    }
    let acknowledged = tokio::time::timeout(SOON, socket.next()).await?.context("an answer")??;
    ensure!(acknowledged.to_text()?.contains("connection_ack"), "{acknowledged:?}");
    // Whatever the order in which both arrive, what is paid later is told.
    tokio::time::sleep(ASK_INTERVAL).await;
    let paid = shop.pays(&id, "client_1", "100.00").await?;
    ensure!(paid.status == Status::Completed, "{paid:?}");
    let told = async {
        while let Some(word) = socket.next().await {
            let word: Value = serde_json::from_str(word?.to_text()?)?;
            let confirmed = json!({ "id": id, "status": "CONFIRMED" });
            if *at(&word, "/payload/data/paymentUpdated") == confirmed {
                return anyhow::Ok(());
            }
        }
        anyhow::bail!("the socket has ended")
    };
    tokio::time::timeout(SOON, told).await??;
    shop.scene.bench.stop(running).await
}

/// The process is killed after CloudPayments has answered that the money went back, and before that is on the disk.
#[tokio::test]
async fn a_refund_whose_answer_dies_with_the_process_goes_back_once() -> anyhow::Result<()> {
    let mut scene = scene().await?;
    let disk = FaultyDisk::under(&mut scene.bench)?;
    let (shop, running) = Shop::open(scene).await?;
    let id = shop.top_up("client_1").await?;
    let paid = shop.pays(&id, "client_1", "100.00").await?;
    ensure!(paid.status == Status::Completed, "{paid:?}");
    shop.becomes(&id, "client_1", ("/payment/status", &json!("CONFIRMED"))).await?;
    shop.scene.acquirer.settled(SOON).await?;

    let answered_after = Duration::from_millis(1_500);
    shop.scene.acquirer.misbehave(PUBLIC_ID, "/payments/refund", vec![Fault::Hang(answered_after)]);
    let dies = async {
        while shop.refunds_at_the_bank() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        disk.switch_on(DiskFault::Hold)?;
        disk.holds_a_sync(&shop.scene.bench).await?;
        tokio::time::sleep(answered_after * 2).await;
        running.kill().await
    };
    let (answer, died) = tokio::join!(shop.refund(&id, "30.00"), tokio::time::timeout(SOON, dies));
    died??;
    ensure!(answer.is_err(), "nobody was told before it was on the disk: {answer:?}");
    ensure!(shop.scene.acquirer.requests_at("/payments/refund") == 1);

    disk.switch_off(DiskFault::Hold)?;
    let running = shop.scene.start().await?;
    let standing =
        shop.becomes(&id, "client_1", ("/payment/refunds", &json!([{ "status": "COMPLETED" }]))).await?;
    ensure!(standing.data("/payment/refundedAmount") == "30.00", "{standing:?}");
    ensure!(shop.scene.acquirer.requests_at("/payments/refund") == 1, "what had been made was found");
    ensure!(shop.refunds_at_the_bank() == 1, "{:?}", shop.scene.acquirer.transactions(PUBLIC_ID));
    shop.gets("PAYMENT_REFUNDED", 1).await?;
    let standing = shop.standing(&id, "client_1").await?;
    ensure!(standing.data("/payment/refundableAmount") == "70.00", "{standing:?}");
    shop.scene.bench.stop(running).await
}

#[tokio::test]
async fn what_no_notification_told_of_is_found_and_repaired_from_the_command_line() -> anyhow::Result<()> {
    let (shop, running) = Shop::open(scene().await?).await?;
    shop.scene.acquirer.settled(SOON).await?;
    shop.gets("PAYMENT_FAILED", shop.scene.acquirer.transactions(PUBLIC_ID).len()).await?;
    let id = shop.top_up("client_1").await?;
    shop.scene
        .acquirer
        .drop_notifications(PUBLIC_ID, Some(&[hookline_schemas::notification::NotificationType::Pay]));
    let paid = shop.pays(&id, "client_1", "100.00").await?;
    ensure!(paid.status == Status::Completed, "{paid:?}");

    let (directory, gateway) = (shop.scene.bench.path(), shop.gateway.as_str());
    let compare = ["reconcile", "--config", "hookline.toml", "--since", "1h", "--gateway", gateway];
    let compared = hookline(directory, &compare).await?;
    let said = text(&compared.stdout);
    ensure!(compared.status.code() == Some(1) && said.contains("1 missing, 0 repaired"), "{compared:?}");
    ensure!(said.contains("PAYMENT_RECEIVED") && said.contains(&paid.transaction_id.to_string()), "{said}");
    let repair = [&compare[..], &["--repair"]].concat();
    let repaired = hookline(directory, &repair).await?;
    ensure!(repaired.status.success() && text(&repaired.stdout).contains("1 repaired"), "{repaired:?}");
    shop.gets("PAYMENT_RECEIVED", 1).await?;
    shop.becomes(&id, "client_1", ("/payment/status", &json!("CONFIRMED"))).await?;
    ensure!(
        shop.pays(&id, "client_1", "100.00").await?.check_code == Some(13),
        "Check knows that it has been paid"
    );
    let again = hookline(directory, &compare).await?;
    ensure!(again.status.success() && text(&again.stdout).contains("0 missing"), "{again:?}");
    let nobodys = hookline(
        directory,
        &["reconcile", "--config", "hookline.toml", "--since", "1h", "--gateway", "gw_x"],
    );
    let nobodys = nobodys.await?;
    ensure!(nobodys.status.code() == Some(1) && text(&nobodys.stderr).contains("gateway"), "{nobodys:?}");
    shop.scene.bench.stop(running).await
}
