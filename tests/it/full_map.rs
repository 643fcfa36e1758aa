//! A log that has grown as large as it may: new data is refused, everything else goes on in the reserve, and
//! retention makes room again.

use std::time::Duration;

use anyhow::{bail, ensure};
use bytes::Bytes;
use hookline_load_tests::fixtures::Shape;
use hookline_load_tests::receiver::Profile;
use hookline_schemas::ids::{EventId, WebhookId};

use crate::bench::{Bench, event_id, fixture};
use crate::client::{self, NEW_SECRET};
use crate::disk::everything_but_appends_goes_on;

/// How long the bodies are kept that fill the map. All that is looked at while it is full happens within.
const RETENTION: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_full_map_refuses_appends_until_retention_makes_room() -> anyhow::Result<()> {
    let webhooks = [("wh_healthy", Profile::Healthy), ("wh_back", Profile::Down)];
    let bench = Bench::with(&webhooks, |config| {
        config.log.embedded.map_size = Some("16 MiB".to_owned());
        config.log.embedded.reserve = Some("4 MiB".to_owned());
    });
    let bench = bench.await?;
    bench.configure(&format!("[log.retention]\nquarantine = \"{}s\"\n", RETENTION.as_secs()))?;
    let hookline = bench.start().await?;
    let mut ids = bench.pay(1..=20).await?;
    let parked = ("hookline_dispatcher_lane_deliveries_total", "outcome=\"registered\"");
    bench.metric_reaches(&hookline, parked, 20.0).await?;

    let began = bench.clock.elapsed();
    ids.extend(fill(&bench).await?);
    everything_but_appends_goes_on(&bench).await?;
    bench.delivered("wh_healthy", &ids).await?;
    bench.receiver.set_profile(&WebhookId::new("wh_back"), Profile::Healthy);
    // Their lane moves on in the reserve.
    bench.delivered("wh_back", ids.get(..20).unwrap_or_default()).await?;
    let pay = fixture(Shape::Pay2026, 1000);
    let answer = bench.post(&pay).await?;
    let took = bench.clock.elapsed().saturating_sub(began);
    ensure!(took < RETENTION, "too slow a machine for this test: {took:?}");
    ensure!(answer.is_to_be_sent_again(), "{answer:?}");

    let deadline = bench.clock.elapsed() + 3 * RETENTION;
    while !bench.post(&pay).await?.is_accepted() {
        ensure!(bench.clock.elapsed() < deadline, "retention has made no room");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ids.push(event_id(&pay));
    for webhook in ["wh_healthy", "wh_back"] {
        bench.delivered(webhook, &ids).await?;
    }
    bench.stop(hookline).await
}

/// Fills the map, with bodies that go into quarantine, until no payment fits any more. Returns the payments
/// that were accepted before.
async fn fill(bench: &Bench) -> anyhow::Result<Vec<EventId>> {
    let path = "/payments/cloudpayments/gw_demo/pay";
    for (size, most) in [(240 * 1024, 80), (16 * 1024, 80), (200, 500)] {
        let mut refused = false;
        for number in 0..most {
            // A Pay without a transaction.
            let body = Bytes::from(format!("Number={size}.{number}&Padding={}", "x".repeat(size)));
            let form = "application/x-www-form-urlencoded";
            let answer = client::post_bytes(bench.ingest, path, NEW_SECRET, form, body).await?;
            refused = answer.is_to_be_sent_again();
            if refused {
                break;
            }
            ensure!(answer.is_accepted(), "{answer:?}");
        }
        ensure!(refused, "the map takes {most} bodies of {size} bytes");
    }
    let mut ids = Vec::new();
    for number in 100..150 {
        let pay = fixture(Shape::Pay2026, number);
        let answer = bench.post(&pay).await?;
        if answer.is_to_be_sent_again() {
            return Ok(ids);
        }
        ensure!(answer.is_accepted(), "{answer:?}");
        ids.push(event_id(&pay));
    }
    bail!("the map is not full")
}
