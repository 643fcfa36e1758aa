//! `hookline verify-receiver` in front of receivers that are right, and of some that err.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::signature::{StandardHeaders, WebhookKey};
use hookline_schemas::time::Clock;
use http::request::Parts;
use serde_json::Value;

use crate::bench::{free_address, scratch};
use crate::command_line::{hookline, text};
use crate::stub::{Reply, Stub};

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// The tolerance of Standard Webhooks, in seconds.
const TOLERANCE: u64 = 300;

/// The checks that post something forged.
const FORGED: [&str; 4] = ["changed_body", "foreign_secret", "unsigned", "wrong_signature"];

/// What was said about a receiver.
#[derive(Debug)]
struct Said {
    status: Option<i32>,
    checks: BTreeMap<String, Value>,
    stderr: String,
}

impl Said {
    /// The names of the checks with this verdict.
    fn with_verdict(&self, verdict: &str) -> Vec<&str> {
        let with = self.checks.iter().filter(|(_, check)| check.get("verdict") == Some(&verdict.into()));
        with.map(|(name, _)| name.as_str()).collect()
    }

    /// The sentence of a check.
    fn of(&self, check: &str) -> &str {
        let check = self.checks.get(check).and_then(|check| check.get("says"));
        check.and_then(Value::as_str).unwrap_or_default()
    }
}

async fn verify(url: &str, more: &[&str]) -> anyhow::Result<Said> {
    let directory = scratch()?;
    let secret = directory.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n"))?;
    let arguments = ["verify-receiver", url, "--secret-file", "secret", "--json"];
    let output = hookline(directory.path(), &[&arguments, more].concat()).await?;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(!format!("{stdout}{stderr}").contains(SECRET), "{stdout}{stderr}");
    let checks = stdout.lines().map(|line| {
        let check: Value = serde_json::from_str(line).context("a line is no JSON")?;
        let name = check.get("check").and_then(Value::as_str).context("a check without a name")?;
        anyhow::Ok((name.to_owned(), check.clone()))
    });
    Ok(Said { status: output.status.code(), checks: checks.collect::<Result<_, _>>()?, stderr })
}

/// A receiver that goes by the signatures.
#[derive(Debug, Clone)]
struct Verifier {
    key: WebhookKey,
    clock: Clock,
}

impl Verifier {
    fn new() -> Self {
        let secret = WebhookSecret::parse(SECRET).expect("a secret");
        Self { key: WebhookKey::new(&secret), clock: Clock::start() }
    }

    fn izi(&self, head: &Parts, body: &Bytes) -> bool {
        header(head, "x-izi-signature").is_some_and(|signature| self.key.verifies_izi(body, signature))
    }

    fn standard(&self, head: &Parts, body: &Bytes, tolerance: u64) -> bool {
        let headers = StandardHeaders {
            id: header(head, "webhook-id"),
            timestamp: header(head, "webhook-timestamp"),
            signature: header(head, "webhook-signature"),
        };
        let now = self.clock.wall().unix_seconds();
        self.key.verify_standard(&headers, body, now, tolerance).is_ok()
    }
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name).and_then(|value| value.to_str().ok())
}

/// A receiver that takes what this accepts, and refuses the rest with 401.
async fn receiver(
    accepts: impl Fn(&Verifier, &Parts, &Bytes) -> bool + Send + Sync + 'static,
) -> anyhow::Result<Stub> {
    let verifier = Verifier::new();
    Stub::start(move |head, body| Reply::status(if accepts(&verifier, head, body) { 200 } else { 401 })).await
}

#[tokio::test]
async fn a_receiver_that_is_right_is_called_so() -> anyhow::Result<()> {
    for (demands_both, is_enough) in [(false, true), (true, false)] {
        let stub = receiver(move |verifier, head, body| {
            let (izi, standard) = (verifier.izi(head, body), verifier.standard(head, body, TOLERANCE));
            if demands_both { izi && standard } else { izi || standard }
        });
        let said = verify(&stub.await?.url("/hooks?of=hookline"), &[]).await?;
        assert_eq!(said.status, Some(0), "{said:?}");
        assert_eq!(said.with_verdict("info"), ["connection", "izi_alone", "standard_alone"], "{said:?}");
        assert_eq!(said.with_verdict("ok").len(), 15, "{said:?}");
        for check in ["izi_alone", "standard_alone"] {
            let sentence = if is_enough { "it is enough" } else { "both are demanded" };
            assert!(said.of(check).contains(sentence), "{said:?}");
        }
        assert!(said.of("duplicated").contains("exactly one credit for evt_TEST"), "{said:?}");
        assert!(said.of("connection").contains("keeps them alive"), "{said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_verifies_nothing_is_told_so() -> anyhow::Result<()> {
    let said = verify(&receiver(|_, _, _| true).await?.url("/"), &[]).await?;
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(said.with_verdict("wrong"), FORGED, "{said:?}");
    assert!(said.of("unsigned").contains("verify one of the two signatures"), "{said:?}");
    assert!(said.of("izi_alone").contains("takes what is not signed as well"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_verifies_one_signature_is_told_which() -> anyhow::Result<()> {
    let stub = receiver(Verifier::izi).await?;
    let said = verify(&stub.url("/"), &[]).await?;
    assert_eq!(said.status, Some(0), "advice is no failure: {said:?}");
    assert_eq!(said.with_verdict("advice"), ["from_the_future", "too_old"], "{said:?}");
    assert!(said.of("too_old").contains("binds no time"), "{said:?}");
    assert!(said.of("izi_alone").contains("it is enough"), "{said:?}");
    assert!(said.of("standard_alone").contains("it is the other one"), "{said:?}");
    assert!(said.of("rotation").contains("webhook-signature is not verified"), "{said:?}");

    let stub = receiver(|verifier, head, body| verifier.standard(head, body, u64::MAX / 2)).await?;
    let said = verify(&stub.url("/"), &[]).await?;
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(said.with_verdict("wrong"), ["from_the_future", "too_old"], "{said:?}");
    assert!(said.of("too_old").contains("compare webhook-timestamp"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_hides_its_missing_clock_behind_the_other_signature_is_found() -> anyhow::Result<()> {
    let stub = receiver(|verifier, head, body| {
        verifier.izi(head, body) || verifier.standard(head, body, u64::MAX / 2)
    });
    let said = verify(&stub.await?.url("/"), &[]).await?;
    assert_eq!(said.with_verdict("wrong"), ["from_the_future", "too_old"], "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_reads_the_body_before_it_verifies_is_found() -> anyhow::Result<()> {
    let stub = receiver(|verifier, head, body| {
        let body = String::from_utf8_lossy(body).replace("9100.00", "100.00").into();
        verifier.izi(head, &body)
    });
    let said = verify(&stub.await?.url("/"), &[]).await?;
    assert_eq!(said.with_verdict("wrong"), ["changed_body"], "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_refuses_what_it_knows_is_told_that_hookline_repeats() -> anyhow::Result<()> {
    let (verifier, seen) = (Verifier::new(), Mutex::new(HashSet::new()));
    let stub = Stub::start(move |head, body| {
        let id = header(head, "webhook-id").unwrap_or_default().to_owned();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match verifier.standard(head, body, TOLERANCE) {
            false => Reply::status(401),
            true if seen.insert(id) => Reply::status(204),
            true => Reply::status(409),
        }
    });
    let said = verify(&stub.await?.url("/"), &[]).await?;
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(said.with_verdict("wrong"), ["duplicated", "replayed"], "{said:?}");
    for check in ["duplicated", "replayed"] {
        let sentence = said.of(check);
        assert!(sentence.contains("409 came") && sentence.contains("an id that you know"), "{sentence}");
    }
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_compares_the_whole_header_fails_in_rotation() -> anyhow::Result<()> {
    let stub = receiver(|verifier, head, body| {
        let is_one = header(head, "webhook-signature").is_some_and(|signature| !signature.contains(' '));
        is_one && verifier.standard(head, body, TOLERANCE)
    });
    let said = verify(&stub.await?.url("/"), &[]).await?;
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(said.with_verdict("wrong"), ["rotation"], "{said:?}");
    assert!(said.of("rotation").contains("separated by spaces"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_is_strict_about_the_payload_is_advised() -> anyhow::Result<()> {
    let verifier = Verifier::new();
    let stub = Stub::start(move |head, body| {
        let body_text = String::from_utf8_lossy(body);
        let is_known = !body_text.contains("hooklineTestMember") && !body_text.contains("HOOKLINE_TEST");
        match (verifier.standard(head, body, TOLERANCE), is_known) {
            (false, _) => Reply::status(401),
            (true, true) => Reply::status(200),
            (true, false) => Reply::status(422),
        }
    });
    let said = verify(&stub.await?.url("/"), &[]).await?;
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(said.with_verdict("advice"), ["unknown_member", "unknown_type"], "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_wants_order_is_told_that_there_is_none() -> anyhow::Result<()> {
    let (verifier, paid) = (Verifier::new(), Mutex::new(HashSet::new()));
    let stub = Stub::start(move |head, body| {
        if !verifier.standard(head, body, TOLERANCE) {
            return Reply::status(401);
        }
        let payload: Value = serde_json::from_slice(body).unwrap_or_default();
        let payment = payload.pointer("/data/paymentId").cloned().unwrap_or_default().to_string();
        let mut paid = paid.lock().unwrap_or_else(PoisonError::into_inner);
        let is_refund = payload.get("type") == Some(&"PAYMENT_REFUNDED".into());
        if is_refund && !paid.contains(&payment) {
            return Reply::status(404);
        }
        paid.insert(payment);
        Reply::status(200)
    });
    let said = verify(&stub.await?.url("/"), &[]).await?;
    assert_eq!(said.with_verdict("wrong"), ["refund_first"], "{said:?}");
    assert!(said.of("refund_first").contains("order is best effort"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn answers_that_mean_something_else_to_hookline_are_named() -> anyhow::Result<()> {
    let redirecting = Reply::status(301).header("location", "/elsewhere");
    for (reply, part) in [
        (redirecting, "follows no redirect"),
        (Reply::status(410), "disables the webhook"),
        (Reply::status(413), "gives the delivery up"),
        (Reply::status(500), "for 76 hours"),
        (Reply::status(503), "slows down"),
    ] {
        let paths = Arc::new(Mutex::new(HashSet::new()));
        let asked = Arc::clone(&paths);
        let stub = Stub::start(move |head, _| {
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(head.uri.path().to_owned());
            reply.clone()
        });
        let said = verify(&stub.await?.url("/hooks"), &[]).await?;
        assert_eq!(said.status, Some(1), "{said:?}");
        assert_eq!(said.with_verdict("wrong"), ["payment_failed", "payment_received"], "{said:?}");
        assert!(said.of("payment_received").contains(part), "{part} in {said:?}");
        assert!(said.of("the_rest").contains("not asked"), "{said:?}");
        let paths = paths.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*paths, HashSet::from(["/hooks".to_owned()]));
    }
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_works_before_it_answers_is_told_to_answer_first() -> anyhow::Result<()> {
    let slow = Reply { after: Duration::from_secs(3), ..Reply::status(200) };
    let stub = Stub::start(move |_, _| slow.clone()).await?;
    let said = verify(&stub.url("/"), &["--timeout", "200ms"]).await?;
    assert_eq!(said.status, Some(1), "{said:?}");
    let sentence = said.of("payment_received");
    assert!(sentence.contains("no answer within 200ms") && sentence.contains("answer first"), "{sentence}");
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_closes_its_connections_is_told_what_that_costs() -> anyhow::Result<()> {
    let stub = Stub::start(|_, _| Reply::status(200).header("connection", "close")).await?;
    let said = verify(&stub.url("/"), &[]).await?;
    let sentence = said.of("connection");
    assert!(sentence.contains("17 answers came over 17 connections: it closes them"), "{sentence}");
    Ok(())
}

#[tokio::test]
async fn who_can_not_be_reached_is_not_judged() -> anyhow::Result<()> {
    let nobody = free_address()?;
    let plain = receiver(|_, _, _| true).await?;
    for url in [format!("http://{nobody}/"), format!("https://{}/", plain.address)] {
        let said = verify(&url, &[]).await?;
        assert_eq!(said.status, Some(69), "{said:?}");
        assert!(said.checks.is_empty() && said.stderr.contains("can't be reached"), "{said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn headers_are_sent_along_except_hooklines_own() -> anyhow::Result<()> {
    let verifier = Verifier::new();
    let stub = Stub::start(move |head, body| {
        let may_enter = header(head, "authorization") == Some("Bearer abc");
        Reply::status(if may_enter && verifier.standard(head, body, TOLERANCE) { 200 } else { 401 })
    });
    let stub = stub.await?;
    let said = verify(&stub.url("/"), &["--header", "Authorization: Bearer abc"]).await?;
    assert_eq!(said.status, Some(0), "{said:?}");
    let said = verify(&stub.url("/"), &["--header", "X-IZI-Signature: 00"]).await?;
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(said.stderr.contains("sets this header itself"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_secret_that_signs_nothing_is_refused_and_not_repeated() -> anyhow::Result<()> {
    let directory = scratch()?;
    std::fs::write(directory.path().join("empty"), " \n\n")?;
    for (arguments, status, part) in [
        (["--secret", "whsec_nonsense"], 78, "a webhook secret holds"),
        (["--secret-file", "empty"], 78, "there is no secret in empty"),
        (["--secret-file", "nowhere"], 78, "failed to read the secret from nowhere"),
        (["--timeout", "1s"], 2, "--secret"),
    ] {
        let url = ["verify-receiver", "http://127.0.0.1:1/"];
        let output = hookline(directory.path(), &[&url[..], &arguments].concat()).await?;
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains(part) && !stderr.contains("nonsense"), "{stderr}");
    }
    Ok(())
}
