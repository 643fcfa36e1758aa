//! What was given up, and the way of a payment: asked on the command line, of the process that runs.

use std::process::Output;

use anyhow::{Context, ensure};
use hookline_load_tests::fixtures::Shape;
use hookline_load_tests::receiver::Profile;
use hookline_schemas::ids::WebhookId;
use http::StatusCode;
use serde_json::Value;

use crate::bench::{Bench, SOON, event_id, eventually, fixture};
use crate::client;
use crate::command_line::{hookline, text};

async fn ask(bench: &Bench, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut all = arguments.to_vec();
    all.extend(["--config", "hookline.toml"]);
    hookline(bench.path(), &all).await
}

/// What a command that succeeds prints, as a list of its lines.
async fn ask_json(bench: &Bench, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut all = arguments.to_vec();
    all.push("--json");
    let output = ask(bench, &all).await?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    let lines: Result<_, _> = text(&output.stdout).lines().map(serde_json::from_str).collect();
    Ok(Value::Array(lines?))
}

/// Asks until it is told so: attempts and lanes are written down a moment later.
async fn until_told(
    bench: &Bench,
    arguments: &[&str],
    is_so: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let deadline = bench.clock.elapsed() + SOON;
    loop {
        let told = ask_json(bench, arguments).await?;
        if is_so(&told) {
            return Ok(told);
        }
        ensure!(bench.clock.elapsed() < deadline, "{arguments:?}: {told:?}");
    }
}

fn length(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

fn member<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn what_was_given_up_is_listed_and_shown_and_delivered_again() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_dead", Profile::Status(413)), ("wh_fine", Profile::Healthy)]).await?;
    let output = ask(&bench, &["dead-letters", "list"]).await?;
    ensure!(output.status.code() == Some(69), "{output:?}");
    ensure!(text(&output.stderr).contains("is hookline running"), "{output:?}");

    let running = bench.start().await?;
    let ids = bench.pay(1..6).await?;
    bench.delivered("wh_fine", &ids).await?;
    let list = ["dead-letters", "list", "--webhook", "wh_dead"];
    let letters = until_told(&bench, &list, |letters| length(letters) == 5).await?;
    for letter in letters.as_array().context("a list")? {
        let told =
            ["/webhook", "/reason", "/last_failure", "/tries"].map(|path| member(letter, path).clone());
        ensure!(told == [Value::from("wh_dead"), "rejected".into(), "4xx".into(), 1.into()], "{letter}");
    }
    for [option, value] in
        [["--webhook", "wh_fine"], ["--failure", "timeout"], ["--reason", "deadline"], ["--until", "1h"]]
    {
        let found = ask_json(&bench, &["dead-letters", "list", option, value]).await?;
        ensure!(length(&found) == 0, "{option} {value}: {found}");
    }
    let first = member(&letters, "/0/id").as_str().context("an id")?.to_owned();
    let has_attempt = |shown: &Value| member(shown, "/0/attempts/0/reason/status") == 413;
    until_told(&bench, &["dead-letters", "show", &first], has_attempt).await?;
    let output = ask(&bench, &["dead-letters", "show", &first]).await?;
    ensure!(text(&output.stdout).contains("status 413, for good"), "{output:?}");
    ensure!(ask(&bench, &["dead-letters", "show", "0-999999"]).await?.status.code() == Some(1));
    ensure!(ask(&bench, &["dead-letters", "show", "first"]).await?.status.code() == Some(2));
    ensure!(ask(&bench, &["dead-letters", "redeliver"]).await?.status.code() == Some(2), "all must be said");

    bench.receiver.set_profile(&WebhookId::new("wh_dead"), Profile::Healthy);
    let done = ask_json(&bench, &["dead-letters", "redeliver", &first]).await?;
    ensure!(member(&done, "/0/progress/redelivered") == 1, "{done:?}");
    eventually(bench.clock, || bench.accepted_by("wh_dead").len() == 1).await?;
    let event = member(&letters, "/0/event");
    let delivered = bench.accepted_by("wh_dead").pop().context("a delivery")?;
    ensure!(*event == delivered.event_id.as_str(), "{event}");
    let arguments = ["dead-letters", "redeliver", "--webhook", "wh_dead", "--since", "1h", "--rate", "50"];
    let done = ask_json(&bench, &arguments).await?;
    ensure!(member(&done, "/0/progress/redelivered") == 5, "{done:?}");
    bench.delivered("wh_dead", &ids).await?;
    let all = ask_json(&bench, &["dead-letters", "redeliveries"]).await?;
    let are_done = [0, 1].map(|n| member(&all, &format!("/{n}/progress/ended_at")).is_u64());
    ensure!(length(&all) == 2 && are_done == [true; 2], "{all}");
    bench.stop(running).await
}

#[tokio::test]
async fn the_way_of_a_payment_is_told() -> anyhow::Result<()> {
    let webhooks =
        [("wh_dead", Profile::Status(413)), ("wh_down", Profile::Down), ("wh_fine", Profile::Healthy)];
    let bench = Bench::with(&webhooks, |config| {
        config.dispatcher.probe_schedule = Some(vec!["1h".to_owned()]);
    })
    .await?;
    let running = bench.start().await?;
    let ids = bench.pay(1..20).await?;
    bench.delivered("wh_fine", &ids).await?;
    let payment = fixture(Shape::Pay2026, 7).transaction_id.to_string();
    let states = ["dead", "waiting", "delivered"].map(Value::from);
    let is_whole = |told: &Value| {
        let state = |n| member(told, &format!("/0/events/0/deliveries/{n}/state")).clone();
        [0, 1, 2].map(state) == states && !member(told, "/0/events/0/deliveries/1/next_try").is_null()
    };
    let trace = until_told(&bench, &["trace", &payment], is_whole).await?;
    ensure!(member(&trace, "/0/events/0/id") == event_id(&fixture(Shape::Pay2026, 7)).as_str(), "{trace}");
    let output = ask(&bench, &["trace", "order-7"]).await?;
    let told = text(&output.stdout);
    for part in [
        "wh_dead: dead since",
        "wh_down: waits: the endpoint is down",
        "next try",
        "wh_fine: delivered",
        "(200)",
    ] {
        ensure!(told.contains(part), "{part} in {told}");
    }

    let broken = fixture(Shape::Pay2026, 21);
    let body = text(&broken.body).replace("Amount=1490.00", "Amount=much").into();
    let path = client::typed_url(&broken);
    let answer =
        client::post_bytes(bench.ingest, &path, client::NEW_SECRET, broken.content_type(), body).await?;
    ensure!(answer.is_accepted(), "{answer:?}");
    let output = ask(&bench, &["trace", &broken.transaction_id.to_string()]).await?;
    ensure!(output.status.success(), "{output:?}");
    let told = text(&output.stdout);
    ensure!(told.starts_with("quarantined: pay through gw_demo"), "{told}");
    ensure!(!told.contains("1490") && !told.contains("client-21"), "the body stays sealed: {told}");

    let output = ask(&bench, &["trace", "12345"]).await?;
    ensure!(
        output.status.code() == Some(1) && text(&output.stderr).contains("nothing is known"),
        "{output:?}"
    );
    bench.stop(running).await
}

#[tokio::test]
async fn payments_are_not_told_at_the_address() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_1", Profile::Healthy)]).await?;
    let running = bench.start().await?;
    for path in ["/dead-letters", "/redeliveries", "/trace/1"] {
        let answer = client::get(bench.launch.admin, path).await?;
        ensure!(answer.status == StatusCode::FORBIDDEN, "{path}: {answer:?}");
    }
    ensure!(client::get(bench.launch.admin, "/else").await?.status == StatusCode::NOT_FOUND);
    let socket = bench.path().join("data/admin.sock");
    ensure!(socket.exists());
    bench.stop(running).await?;
    ensure!(!socket.exists(), "it is gone with the process");
    Ok(())
}
