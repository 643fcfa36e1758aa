//! Arguments, the configuration, and the exit statuses that a supervisor goes by.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use anyhow::Context;
use hookline_load_tests::receiver::Profile;
use tokio::process::Command;

use crate::bench::{Bench, PROGRAM, SOON, free_address, webhook_secret};

/// Runs it to its end.
pub(crate) async fn hookline(directory: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    let ended = Command::new(PROGRAM).args(arguments).current_dir(directory).kill_on_drop(true).output();
    tokio::time::timeout(SOON, ended).await.context("it does not end")?.context("failed to start hookline")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_good_configuration_is_called_good() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_1", Profile::Healthy)]).await?;
    let output = hookline(bench.path(), &["check-config", "--config", "hookline.toml"]).await?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("good"), "{output:?}");
    assert!(!bench.path().join("data").exists(), "a check makes nothing");
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_the_edge_could_not_use_is_named() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    bench.configure("[ingest.tls]\ncertificate_file = \"nowhere.pem\"\nkey_file = \"nowhere.pem\"")?;
    let output = hookline(bench.path(), &["check-config", "--config", "hookline.toml"]).await?;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(text(&output.stderr).contains("failed to read certificates from nowhere.pem"), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn everything_wrong_with_a_configuration_is_named_at_once() -> anyhow::Result<()> {
    let bench = Bench::with(&[("wh_1", Profile::Healthy), ("wh_2", Profile::Healthy)], |config| {
        config.log.embedded.map_size = Some("large".to_owned());
        config.dispatcher.allow_http = false;
        config.gateways.iter_mut().for_each(|gateway| gateway.api_secrets.clear());
        config.webhooks.iter_mut().for_each(|webhook| webhook.events.clear());
    });
    let bench = bench.await?;
    bench.configure("[telemetry]\nlog_format = \"loud\"\n[colours]\nsky = \"blue\"\n")?;
    for command in ["check-config", "run"] {
        let output = hookline(bench.path(), &[command, "--config", "hookline.toml"]).await?;
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let said = text(&output.stderr);
        for part in ["map_size", "loud", "colours", "gw_demo", "wh_1", "wh_2", "allow_http"] {
            assert!(said.contains(part), "{command}: {part} in {said}");
        }
        assert!(!said.contains(&webhook_secret(0)), "{said}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let output = hookline(bench.path(), &["check-config", "--config", "nowhere.toml"]).await?;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(text(&output.stderr).contains("nowhere.toml"), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_named() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = (taken.local_addr()?, taken);
    for is_ingest in [true, false] {
        let bench = Bench::with(&[], |config| match is_ingest {
            true => config.ingest.listen = taken.0,
            false => config.admin.listen = taken.0,
        });
        let bench = bench.await?;
        let output = hookline(bench.path(), &["run", "--config", "hookline.toml"]).await?;
        assert_eq!(output.status.code(), Some(73), "{output:?}");
        assert!(text(&output.stderr).contains(&taken.0.to_string()), "{output:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_directory_in_use_is_refused() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    let first = bench.start().await?;
    let text_of_first = std::fs::read_to_string(&bench.launch.config)?;
    let (ingest, admin) = (free_address()?, free_address()?);
    let second = text_of_first
        .replace(&bench.ingest.to_string(), &ingest.to_string())
        .replace(&bench.launch.admin.to_string(), &admin.to_string());
    std::fs::write(bench.path().join("second.toml"), second)?;
    let output = hookline(bench.path(), &["run", "--config", "second.toml"]).await?;
    assert_eq!(output.status.code(), Some(73), "{output:?}");
    assert!(text(&output.stderr).contains("in use by another process"), "{output:?}");
    bench.pay([1]).await?;
    bench.stop(first).await
}

#[tokio::test]
async fn an_unknown_subcommand_is_an_error_of_usage() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    for arguments in [&["dance"][..], &[], &["run", "--colour", "blue"]] {
        let output = hookline(bench.path(), arguments).await?;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains("Usage:"), "{output:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_key_is_made_for_its_owner_alone_and_kept() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let bench = Bench::new(&[]).await?;
    let key = bench.path().join("hookline.key");
    let mut seen = Vec::new();
    for _life in 0..2 {
        let hookline = bench.start().await?;
        assert_eq!(std::fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(bench.path().join("data"))?.permissions().mode() & 0o777, 0o700);
        seen.push(std::fs::read(&key)?);
        bench.stop(hookline).await?;
    }
    assert_eq!(seen.first(), seen.last());
    Ok(())
}
