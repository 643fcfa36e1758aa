//! What stands in `deploy/` and can be checked in a moment: configurations, systemd's units, versions. The linters of
//! images and charts are in `deploy/check`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::bench::{PROGRAM, SOON, scratch};
use crate::command_line::text;

/// The exposure that systemd-analyze may find, in tenths.
const THRESHOLD: &str = "--threshold=30";

/// What the chart sets by the environment, whatever its values.
const CHART_ENVIRONMENT: [(&str, &str); 2] =
    [("HOOKLINE_LOG__BACKEND", "kafka"), ("HOOKLINE_INGEST__LISTEN", "0.0.0.0:8080")];

/// The files that the chart names by the environment, if the values name a Secret for them.
const CHART_SECRETS: [(&str, &str); 2] =
    [("HOOKLINE_SEALING__KEY_FILE", "sealing"), ("HOOKLINE_CONTROL__TOKENS__LOCAL_KEY_FILE", "tokens")];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> anyhow::Result<String> {
    fs::read_to_string(repository().join(file)).with_context(|| file.to_owned())
}

async fn ended(command: &mut Command) -> anyhow::Result<Output> {
    Ok(tokio::time::timeout(SOON, command.kill_on_drop(true).output()).await.context("it does not end")??)
}

/// Where the chart mounts a Secret, if its values name one.
fn mounted(values: &str, name: &str) -> Option<String> {
    let (_, rest) = values.split_once(&format!("\n  {name}: {{existingSecret: "))?;
    let (secret, rest) = rest.split_once(", key: ")?;
    let (key, _) = rest.split_once('}')?;
    (secret != "\"\"").then(|| format!("/run/secrets/hookline/{name}/{key}"))
}

async fn is_good(file: &Path, environment: &[(&str, String)]) -> anyhow::Result<()> {
    let mut command = Command::new(PROGRAM);
    command.args(["check-config", "--config"]).arg(file);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = ended(&mut command).await?;
    ensure!(output.status.success(), "{}: {output:?}", file.display());
    ensure!(!text(&output.stdout).contains("warning"), "{}: {output:?}", file.display());
    Ok(())
}

#[tokio::test]
async fn the_configurations_beside_the_units_and_the_images_are_good() -> anyhow::Result<()> {
    for file in ["deploy/systemd/hookline.toml", "deploy/compose/hookline.toml"] {
        is_good(&repository().join(file), &[]).await?;
    }
    let values = read("deploy/helm/hookline/values.yaml")?;
    let (_, config) = values.split_once("\nconfig: |\n").context("the chart has a configuration")?;
    let lines = config.lines().take_while(|line| line.is_empty() || line.starts_with("  "));
    let directory = scratch()?;
    let file = directory.path().join("hookline.toml");
    fs::write(&file, lines.map(|line| format!("{}\n", line.trim_start())).collect::<String>())?;
    let fixed = CHART_ENVIRONMENT.map(|(name, value)| (name, value.to_owned())).into_iter();
    let secrets = CHART_SECRETS.into_iter();
    let secrets = secrets.filter_map(|(name, secret)| Some((name, mounted(&values, secret)?)));
    let environment: Vec<_> = fixed.chain(secrets).collect();
    ensure!(environment.len() == 4, "the chart needs nothing but the two Secrets of its README");
    is_good(&file, &environment).await
}

#[test]
fn the_socket_unit_has_the_addresses_of_the_configuration() -> anyhow::Result<()> {
    let configured = read("deploy/systemd/hookline.toml")?;
    let mut configured: Vec<_> =
        configured.lines().filter_map(|line| line.strip_prefix("listen = \"")?.strip_suffix('"')).collect();
    let sockets = read("deploy/systemd/hookline.socket")?;
    let mut sockets: Vec<_> = sockets.lines().filter_map(|line| line.strip_prefix("ListenStream=")).collect();
    configured.sort_unstable();
    sockets.sort_unstable();
    assert_eq!(configured, sockets);
    assert_eq!(sockets.len(), 3, "the edge, the control plane, the admin address");
    Ok(())
}

#[test]
fn the_image_is_built_by_the_rust_that_the_workspace_names() -> anyhow::Result<()> {
    let workspace = read("Cargo.toml")?;
    let least = workspace.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'));
    let least = least.context("the workspace names one")?;
    ensure!(read("deploy/Dockerfile")?.contains(&format!("FROM rust:{least}-")), "{least}");
    Ok(())
}

#[test]
fn a_new_chart_alone_replaces_no_pods() -> anyhow::Result<()> {
    let deployments = read("deploy/helm/hookline/templates/deployments.yaml")?;
    let (_, pods) = deployments.split_once("\n  template:\n").context("pods have a template")?;
    ensure!(pods.contains("\"hookline.selector\""), "pods are found by these labels");
    ensure!(!pods.contains("\"hookline.labels\""), "these have the chart's version");
    Ok(())
}

/// The units with the program under test in the place of the one that is installed.
fn installed(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut units = Vec::new();
    for name in ["hookline.service", "hookline.socket"] {
        let unit = read(&format!("deploy/systemd/{name}"))?.replace("/usr/bin/hookline", PROGRAM);
        let path = directory.join(name);
        fs::write(&path, unit)?;
        units.push(path);
    }
    Ok(units)
}

/// Whether the program is not there; one that does not end is there.
fn is_missing(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

#[tokio::test]
async fn the_units_are_right_and_exposed_to_little() -> anyhow::Result<()> {
    let directory = scratch()?;
    let units = installed(directory.path())?;
    let verified = ended(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units)).await;
    let verified = match verified {
        Err(error) if is_missing(&error) => {
            ensure!(std::env::var_os("CI").is_none(), "systemd-analyze is missing");
            eprintln!("skipped: there is no systemd-analyze");
            return Ok(());
        }
        verified => verified?,
    };
    ensure!(verified.status.success() && verified.stderr.is_empty(), "{}", text(&verified.stderr));
    let service = units.first().context("there is a service")?;
    let mut judged = Command::new("systemd-analyze");
    judged.args(["security", "--offline=true", "--no-pager", THRESHOLD]).arg(service);
    let judged = ended(&mut judged).await?;
    ensure!(judged.status.success(), "{}", text(&judged.stdout));
    Ok(())
}
