//! `hookline token issue`: what is printed, and what is refused.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookline_schemas::time::Clock;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::command_line::{hookline, text};

const ISSUE: [&str; 6] = ["token", "issue", "--config", "hookline.toml", "--organization", "org_demo"];

/// The arguments behind those that every call has.
fn issue<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ISSUE.iter().chain(more).copied().collect()
}

/// A token's header and claims.
fn parts(token: &str) -> anyhow::Result<(Value, Value)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { anyhow::bail!("{token} has not three parts") };
    ensure!(URL_SAFE_NO_PAD.decode(signature)?.len() == 64, "an Ed25519 signature");
    let read = |part: &str| anyhow::Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?);
    Ok((read(header)?, read(claims)?))
}

#[tokio::test]
async fn a_token_says_what_was_asked_for_in_the_claims_that_are_set() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    bench.configure("[control.tokens]\naudience = \"izi\"\nrole_claim = \"https://izi/role\"\n")?;
    let began = Clock::start().wall().unix_seconds();
    let wanted =
        ["--role", "OWNER", "--club", "club_1", "--club", "club_2", "--subject", "me", "--ttl", "90m"];
    let output = hookline(bench.path(), &issue(&wanted)).await?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stderr).contains("made a new key for tokens"), "{output:?}");
    let token = text(&output.stdout);
    let (header, claims) = parts(token.strip_suffix('\n').context("one line")?)?;
    assert_eq!(header.get("alg"), Some(&json!("EdDSA")));
    let issued_at = claims.get("iat").and_then(Value::as_u64).context("iat")?;
    assert!((began..began + 60).contains(&issued_at), "{claims}");
    let expected = json!({
        "iss": "hookline", "aud": "izi", "sub": "me", "iat": issued_at, "exp": issued_at + 5400,
        "https://izi/role": "OWNER", "organizationId": "org_demo", "clubIds": ["club_1", "club_2"],
    });
    assert_eq!(claims, expected);
    Ok(())
}

#[tokio::test]
async fn the_key_is_made_beside_the_configuration_and_kept() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    let key = bench.path().join("hookline-tokens.pem");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let output = hookline(bench.path(), &issue(&["--role", "ADMIN"])).await?;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let (header, claims) = parts(text(&output.stdout).trim())?;
        assert!(claims.get("clubIds").is_none(), "the whole organization: {claims}");
        ids.push(header.get("kid").cloned());
        assert_eq!(std::fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(ids.first(), ids.last());
    std::fs::write(&key, "no key")?;
    let output = hookline(bench.path(), &issue(&["--role", "ADMIN"])).await?;
    assert_eq!(output.status.code(), Some(73), "{output:?}");
    assert!(text(&output.stderr).contains("does not hold an Ed25519 private key"), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_meant_is_refused_and_nothing_printed() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    let without_organization = ["token", "issue", "--config", "hookline.toml", "--role", "OWNER"];
    for (arguments, part) in [
        (issue(&["--role", "OWNER", "--ttl", "25h"]), "24h at most"),
        (issue(&["--role", "OWNER", "--ttl", "0s"]), "1s at least"),
        (issue(&["--role", "OWNER", "--ttl", "soon"]), "not a duration"),
        (issue(&["--role", "owner"]), "capitals: OWNER"),
        (issue(&[]), "--role"),
        (without_organization.to_vec(), "--organization ORG is missing"),
    ] {
        let output = hookline(bench.path(), &arguments).await?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(text(&output.stderr).contains(part) && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
    let platform = ["token", "issue", "--config", "hookline.toml", "--role", "PLATFORM"];
    assert_eq!(hookline(bench.path(), &platform).await?.status.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn beside_an_identity_provider_only_a_key_that_is_set_issues_tokens() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    bench.configure(
        "[control.tokens]\nissuer = \"https://id.example.com\"\njwks_url = \"https://id.example.com/k\"",
    )?;
    let output = hookline(bench.path(), &issue(&["--role", "OWNER"])).await?;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(text(&output.stderr).contains("control.tokens.local_key_file"), "{output:?}");
    assert!(!bench.path().join("hookline-tokens.pem").exists(), "none is made");
    Ok(())
}
