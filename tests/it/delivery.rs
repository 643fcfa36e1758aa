//! From a posted notification to a signed webhook, through the whole process.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use hookline_load_tests::fixtures::Shape;
use hookline_load_tests::receiver::Profile;
use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::bench::{Bench, event_id, fixture};
use crate::client::{NEW_SECRET, OLD_SECRET, SHARED_URL, post, typed_url};

/// For what must not come: longer than an undisturbed delivery takes by far.
const QUIET: Duration = Duration::from_millis(800);

#[tokio::test]
async fn a_payment_is_one_event_wherever_and_however_often_it_is_posted() -> anyhow::Result<()> {
    let webhooks = [("wh_1", Profile::Healthy), ("wh_2", Profile::Healthy)];
    let bench = Bench::new(&webhooks).await?;
    let hookline = bench.start().await?;
    let pay = fixture(Shape::Pay2026, 1);
    for _round in 0..3 {
        for (url, secret) in [
            (typed_url(&pay).as_str(), NEW_SECRET),
            (&typed_url(&pay), OLD_SECRET),
            (SHARED_URL, NEW_SECRET),
            (SHARED_URL, OLD_SECRET),
        ] {
            let answer = post(bench.ingest, url, secret, &pay).await?;
            ensure!(answer.is_accepted(), "{url}: {answer:?}");
        }
    }
    let answer = post(bench.ingest, &typed_url(&pay), "api-secret-of-nobody", &pay).await?;
    ensure!(answer.status == 401 && answer.body == r#"{"code":13}"#, "{answer:?}");
    let id = event_id(&pay);
    for (webhook, _) in webhooks {
        bench.delivered(webhook, std::slice::from_ref(&id)).await?;
    }
    let repeated = ("hookline_dispatcher_events_total", "outcome=\"repeated\"");
    bench.metric_reaches(&hookline, repeated, 11.0).await?;
    tokio::time::sleep(QUIET).await;
    for (webhook, _) in webhooks {
        let accepted = bench.accepted_by(webhook);
        let ids: Vec<_> = accepted.iter().map(|delivery| &delivery.event_id).collect();
        ensure!(ids == [&id], "{webhook}: {accepted:?}");
        ensure!(accepted.iter().all(|delivery| delivery.event_type == Some(EventType::PaymentReceived)));
    }

    // A Confirm of what was paid already tells of the same money: it comes under the same id, and counts.
    let answer = bench.post(&fixture(Shape::Confirm, 1)).await?;
    ensure!(answer.is_accepted(), "{answer:?}");
    let conflicting = ("hookline_dispatcher_events_total", "outcome=\"conflicting\"");
    bench.metric_reaches(&hookline, conflicting, 1.0).await?;
    tokio::time::sleep(QUIET).await;
    ensure!(bench.receiver.snapshot().iter().all(|delivery| delivery.fault.is_none()));
    ensure!(bench.receiver.snapshot().iter().all(|delivery| delivery.event_id == id));
    bench.stop(hookline).await
}

/// Answers everything with 410, and counts.
async fn serve_gone(listener: TcpListener, counted: tokio::sync::watch::Sender<u32>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = [0; 16 * 1024];
        // A webhook's head and body are smaller than that and come in one piece or a few; the answer may
        // come before the end of them.
        if stream.read(&mut head).await.is_ok_and(|count| count > 0) {
            counted.send_modify(|count| *count += 1);
            let answer = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
            let _ = stream.read(&mut head).await;
        }
    }
}

#[tokio::test]
async fn a_webhook_that_answers_410_is_disabled_and_disturbs_nobody() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hooks/wh_gone", listener.local_addr()?);
    let (counting, counted) = tokio::sync::watch::channel(0);
    let mut server = JoinSet::new();
    server.spawn(serve_gone(listener, counting));
    let webhooks = [("wh_gone", Profile::Healthy), ("wh_healthy", Profile::Healthy)];
    let bench = Bench::with(&webhooks, |config| {
        config.webhooks.iter_mut().take(1).for_each(|webhook| webhook.url.clone_from(&url));
    });
    let bench = bench.await?;
    let hookline = bench.start().await?;
    let ids = bench.pay(1..=10).await?;
    let disabled = ("hookline_dispatcher_webhook_disablings_total", "reason=\"gone\"");
    bench.metric_reaches(&hookline, disabled, 1.0).await?;
    let parked = ("hookline_dispatcher_window_deliveries_total", "outcome=\"parked\"");
    bench.metric_reaches(&hookline, parked, 10.0).await?;
    let asked = *counted.borrow();
    let more = bench.pay(11..=20).await?;
    bench.metric_reaches(&hookline, parked, 20.0).await?;
    bench.delivered("wh_healthy", &ids).await?;
    bench.delivered("wh_healthy", &more).await?;
    tokio::time::sleep(QUIET).await;
    ensure!(*counted.borrow() == asked, "nothing more is sent: {asked}");
    let told = bench.accepted_by("wh_healthy").len() - ids.len() - more.len();
    ensure!(told == 1, "the other one is told of it: {told}");
    bench.stop(hookline).await
}

#[tokio::test]
async fn a_webhook_that_comes_back_gets_everything_and_each_payment_in_order() -> anyhow::Result<()> {
    // More than are ever under way at once, so that order is hookline's and not the network's.
    const PAYMENTS: u64 = 40;
    let bench = Bench::new(&[("wh_back", Profile::Down), ("wh_healthy", Profile::Healthy)]).await?;
    let hookline = bench.start().await?;
    let mut ids = Vec::new();
    for shape in [Shape::PayAuthorized, Shape::Confirm] {
        for number in 1..=PAYMENTS {
            let step = fixture(shape, number);
            let answer = bench.post(&step).await?;
            ensure!(answer.is_accepted(), "{answer:?}");
            ids.push(event_id(&step));
        }
    }
    bench.delivered("wh_healthy", &ids).await?;
    ensure!(bench.accepted_by("wh_back").is_empty(), "it is down");
    bench.receiver.set_profile(&WebhookId::new("wh_back"), Profile::Healthy);
    bench.delivered("wh_back", &ids).await?;

    // In order are the first attempts: what failed while its neighbours passed has a due time of its own.
    let mut requests = bench.receiver.snapshot();
    requests.sort_by_key(|request| request.received_at);
    for webhook in ["wh_back", "wh_healthy"] {
        let mut steps: HashMap<String, Vec<EventType>> = HashMap::new();
        for request in requests.iter().filter(|request| request.webhook.as_str() == webhook) {
            let (transaction, step) =
                request.transaction.clone().zip(request.event_type).context("a step")?;
            let steps = steps.entry(transaction).or_default();
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        ensure!(steps.len() as u64 == PAYMENTS, "{steps:?}");
        for (transaction, steps) in steps {
            let expected = [EventType::PaymentAuthorized, EventType::PaymentReceived];
            ensure!(steps == expected, "{webhook}, {transaction}: {steps:?}");
        }
    }
    bench.stop(hookline).await
}

#[tokio::test]
async fn nothing_is_sent_to_an_address_that_is_not_public() -> anyhow::Result<()> {
    let bench = Bench::with(&[("wh_inside", Profile::Healthy)], |config| {
        config.dispatcher.allow_addresses.clear();
    });
    let bench = bench.await?;
    let hookline = bench.start().await?;
    bench.pay(1..=3).await?;
    let blocked = ("hookline_dispatcher_attempts_total", "outcome=\"blocked_address\"");
    bench.metric_reaches(&hookline, blocked, 1.0).await?;
    let parked = ("hookline_dispatcher_lane_deliveries_total", "outcome=\"registered\"");
    bench.metric_reaches(&hookline, parked, 3.0).await?;
    tokio::time::sleep(QUIET).await;
    ensure!(bench.receiver.snapshot().is_empty(), "a request went to the loopback");
    bench.stop(hookline).await
}
