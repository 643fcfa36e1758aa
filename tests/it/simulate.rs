//! `hookline simulate` against a running hookline, and against edges that are not well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use hookline_load_tests::config::Gateway;
use hookline_load_tests::receiver::Profile;
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{EventId, Meaning};
use serde_json::Value;

use crate::bench::{Bench, scratch};
use crate::client::{NEW_SECRET, OLD_SECRET};
use crate::command_line::{hookline, text};
use crate::stub::{Reply, Stub};

/// One post, as it was told.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    kind: String,
    status: Option<u64>,
    code: Option<u64>,
    again_in_seconds: Option<u64>,
    says: String,
}

impl Told {
    fn read(line: &str) -> anyhow::Result<Self> {
        let line: Value = serde_json::from_str(line).context("a line is no JSON")?;
        let number = |name: &str| line.get(name).and_then(Value::as_u64);
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self {
            kind: text("type"),
            status: number("status"),
            code: number("code"),
            again_in_seconds: number("again_in_seconds"),
            says: text("says"),
        })
    }
}

/// Runs it where the bench's configuration stands.
async fn simulate(bench: &Bench, more: &[&str]) -> anyhow::Result<(Option<i32>, Vec<Told>, String)> {
    let output = hookline(bench.path(), &[&["simulate", "--json"], more].concat()).await?;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    for secret in [NEW_SECRET, OLD_SECRET] {
        assert!(!format!("{stdout}{stderr}").contains(secret), "{stdout}{stderr}");
    }
    let told = stdout.lines().map(Told::read).collect::<Result<_, _>>()?;
    Ok((output.status.code(), told, stderr))
}

fn kinds(told: &[Told]) -> Vec<&str> {
    told.iter().map(|told| told.kind.as_str()).collect()
}

const CONFIG: [&str; 2] = ["--config", "hookline.toml"];

#[tokio::test]
async fn a_simulated_payment_arrives_at_a_receiver() -> anyhow::Result<()> {
    let bench = Bench::with(&[("wh_1", Profile::Healthy)], |config| {
        let second = config.gateways.iter().take(1).cloned().map(|gateway| Gateway {
            id: "gw_second".to_owned(),
            public_id: "pk_second".to_owned(),
            api_secrets: vec!["api-secret-second".to_owned()],
            ..gateway
        });
        config.gateways.extend(second.collect::<Vec<_>>());
    });
    let bench = bench.await?;
    let process = bench.start().await?;
    let second = ["--gateway", "gw_second", "--transaction-id", "6000"];
    let (status, told, stderr) = simulate(&bench, &[&CONFIG[..], &second].concat()).await?;
    assert_eq!(status, Some(0), "{told:?} {stderr}");
    let arguments = ["--transaction-id", "7000", "--count", "2", "--amount", "12.50", "--two-stage"];
    let (status, told, stderr) = simulate(&bench, &[&CONFIG[..], &arguments].concat()).await?;
    assert_eq!(status, Some(0), "{told:?} {stderr}");
    assert_eq!(kinds(&told), ["check", "pay", "confirm", "check", "pay", "confirm"]);
    assert!(told.iter().all(|told| told.status == Some(200) && told.code == Some(0)), "{told:?}");

    // The same by naming everything, over the shared URL, with the older of the two secrets; and one that fails.
    let to = format!("http://{}/", bench.ingest);
    let secret = bench.path().join("secret");
    std::fs::write(&secret, format!("\n  {OLD_SECRET}\n"))?;
    let named = ["--to", &to, "--gateway", "gw_demo", "--api-secret-file", "secret", "--rate", "50"];
    for (more, expected) in [
        (["--shared-url", "--transaction-id", "8000"].as_slice(), ["check", "pay"]),
        (&["--fail-percent", "100", "--transaction-id", "9000"], ["check", "fail"]),
        (&["--type", "recurrent", "--type", "refund", "--transaction-id", "7000"], ["recurrent", "refund"]),
    ] {
        let (status, told, stderr) = simulate(&bench, &[&named[..], more].concat()).await?;
        assert_eq!(status, Some(0), "{told:?} {stderr}");
        assert_eq!(kinds(&told), expected);
    }

    let id = |meaning, key| EventId::compute("pk_demo", meaning, key);
    let expected = [
        (EventId::compute("pk_second", Meaning::Received, "6000"), EventType::PaymentReceived),
        (id(Meaning::Authorized, "7000"), EventType::PaymentAuthorized),
        (id(Meaning::Received, "7000"), EventType::PaymentReceived),
        (id(Meaning::Authorized, "7004"), EventType::PaymentAuthorized),
        (id(Meaning::Received, "7004"), EventType::PaymentReceived),
        (id(Meaning::Received, "8000"), EventType::PaymentReceived),
        (id(Meaning::Failed, "9000"), EventType::PaymentFailed),
        (id(Meaning::Refunded, "7001"), EventType::PaymentRefunded),
    ];
    let (ids, _): (Vec<_>, Vec<_>) = expected.iter().cloned().unzip();
    bench.delivered("wh_1", &ids).await?;
    let accepted = bench.accepted_by("wh_1");
    for (id, event_type) in expected {
        let came =
            accepted.iter().find(|delivery| delivery.event_id == id).map(|delivery| delivery.event_type);
        assert_eq!(came, Some(Some(event_type)), "{id}");
    }
    assert!(accepted.iter().all(|delivery| delivery.fault.is_none()), "{accepted:?}");
    bench.stop(process).await
}

#[tokio::test]
async fn a_wrong_secret_is_said_and_fails() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_1", Profile::Healthy)]).await?;
    let process = bench.start().await?;
    for (more, kind) in [
        (["--api-secret", "nobody's"].as_slice(), "check"),
        (&["--wrong-signature"], "check"),
        (&["--wrong-signature", "--type", "pay", "--no-retry"], "pay"),
        (&["--gateway", "gw_other", "--api-secret", "nobody's"], "check"),
    ] {
        let (status, told, stderr) = simulate(&bench, &[&CONFIG[..], more].concat()).await?;
        assert_eq!(status, Some(1), "{told:?} {stderr}");
        assert_eq!((kinds(&told), told.first().and_then(|told| told.status)), (vec![kind], Some(401)));
        assert!(
            told.iter().all(|told| told.says.contains("the API secret is not this gateway's")),
            "{told:?}"
        );
    }
    let (status, _, stderr) = simulate(&bench, &[&CONFIG[..], &["--gateway", "gw_other"]].concat()).await?;
    assert_eq!(status, Some(78));
    assert!(stderr.contains("no gateway gw_other"), "{stderr}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(bench.accepted_by("wh_1").is_empty(), "nothing of it was taken");
    bench.stop(process).await
}

#[tokio::test]
async fn a_check_that_is_refused_ends_the_payment() -> anyhow::Result<()> {
    let bench = Bench::with(&[("wh_1", Profile::Healthy)], |config| {
        config.gateways.iter_mut().for_each(|gateway| "refuse".clone_into(&mut gateway.unknown_clients));
    });
    let bench = bench.await?;
    let process = bench.start().await?;
    let (status, told, _) = simulate(&bench, &CONFIG).await?;
    assert_eq!(status, Some(1), "{told:?}");
    assert_eq!((kinds(&told), told.first().and_then(|told| told.code)), (vec!["check"], Some(11)));
    assert!(told.iter().all(|told| told.says.contains("AccountId unknown")), "{told:?}");
    bench.stop(process).await
}

#[tokio::test]
async fn what_finds_nobody_is_posted_again_until_somebody_is_there() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_1", Profile::Healthy)]).await?;
    let pay = ["--type", "pay", "--transaction-id", "7000"];
    let (status, told, stderr) = simulate(&bench, &[&CONFIG[..], &pay, &["--no-retry"]].concat()).await?;
    assert_eq!((status, told.len()), (Some(69), 1), "{told:?}");
    assert!(stderr.contains("can't be reached"), "{stderr}");

    let arguments = [&CONFIG[..], &pay, &["--retry-fast"]].concat();
    let starting = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        bench.start().await
    };
    let (simulated, process) = tokio::join!(simulate(&bench, &arguments), starting);
    let (status, told, stderr) = simulated?;
    assert_eq!(status, Some(0), "{told:?} {stderr}");
    let first = told.first().context("nothing was posted")?;
    assert_eq!((first.status, first.again_in_seconds), (None, Some(60)), "{told:?}");
    assert!(first.says.contains("no connection"), "{first:?}");
    let last = told.last().context("nothing was posted")?;
    assert_eq!((last.code, last.again_in_seconds, last.says.as_str()), (Some(0), None, "taken"), "{told:?}");
    bench.delivered("wh_1", &[EventId::compute("pk_demo", Meaning::Received, "7000")]).await?;
    bench.stop(process?).await
}

#[tokio::test]
async fn an_edge_that_is_not_ready_is_asked_again_except_for_a_check() -> anyhow::Result<()> {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let stub = Stub::start(move |_, _| {
        let ready = Reply { body: r#"{"code":0}"#, ..Reply::status(200) };
        if count.fetch_add(1, Ordering::SeqCst) == 0 { Reply::status(503) } else { ready }
    });
    let stub = stub.await?;
    let directory = scratch()?;
    let to = stub.url("");
    for (kind, status, posts) in [("pay", 0, 2), ("check", 1, 1)] {
        asked.store(0, Ordering::SeqCst);
        let arguments = ["simulate", "--to", &to, "--gateway", "gw_1", "--api-secret", "x", "--retry-fast"];
        let output = hookline(directory.path(), &[&arguments[..], &["--type", kind]].concat()).await?;
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{stdout}");
        assert_eq!((stdout.lines().count(), asked.load(Ordering::SeqCst)), (posts, u32::try_from(posts)?));
        let first = stdout.lines().next().unwrap_or_default();
        let follows = match kind {
            "pay" => "CloudPayments would send this again in 1 min, here it is 1 s",
            _ => "CloudPayments declines the payment",
        };
        assert!(first.contains("503") && first.contains("try again") && first.contains(follows), "{first}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_named_nowhere_is_an_error_of_usage() -> anyhow::Result<()> {
    let directory = scratch()?;
    for (arguments, part) in [
        (["simulate"].as_slice(), "--to"),
        (&["simulate", "--to", "http://127.0.0.1:1"], "--gateway"),
        (&["simulate", "--to", "http://127.0.0.1:1", "--gateway", "gw_1"], "API secret"),
        (&["simulate", "--type", "kkt"], "recurrent"),
        (&["simulate", "--no-retry", "--retry-fast"], "--retry-fast"),
    ] {
        let output = hookline(directory.path(), arguments).await?;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(part), "{output:?}");
    }
    Ok(())
}
