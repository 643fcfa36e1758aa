//! Each role in a process of its own, and the log that it needs for that. What they do over a cluster that is
//! there, the load tests show.

use std::fs;
use std::time::Duration;

use hookline_load_tests::config::Kafka;
use hookline_load_tests::receiver::Profile;
use hookline_schemas::ids::WebhookId;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::bench::{Bench, PROGRAM, free_address};
use crate::command_line::{hookline, text};

/// 32 bytes.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

/// A configuration over a cluster of which no broker listens, and the name of the broker.
async fn over_nothing() -> anyhow::Result<(Bench, String)> {
    let server = free_address()?.to_string();
    let kafka = Kafka::of_run(vec![server.clone()], "roles", 3);
    let bench = Bench::with(&[], |config| {
        config.log.backend = "kafka".to_owned();
        config.log.kafka = Some(kafka);
    });
    let bench = bench.await?;
    let configured = fs::read_to_string(&bench.launch.config)?;
    let impatient = configured.replace("[log.kafka]\n", "[log.kafka]\nopen_timeout = \"2s\"\n");
    fs::write(&bench.launch.config, impatient)?;
    Ok((bench, server))
}

#[tokio::test]
async fn an_edge_alone_is_refused_over_the_log_of_one_process() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    let output = hookline(bench.path(), &["ingest", "--config", "hookline.toml"]).await?;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = text(&output.stderr);
    for part in ["one process owns", "hookline run", "log.backend = \"kafka\"", "bootstrap_servers"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!bench.path().join("data").exists() && !bench.path().join("hookline.key").exists());
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_named() -> anyhow::Result<()> {
    let (bench, server) = over_nothing().await?;
    fs::write(bench.path().join("hookline.key"), KEY)?;
    for role in ["ingest", "dispatcher", "run"] {
        let output = hookline(bench.path(), &[role, "--config", "hookline.toml"]).await?;
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        assert!(text(&output.stderr).contains(&server), "{output:?}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_makes_a_key_of_its_own_over_a_shared_log() -> anyhow::Result<()> {
    let (bench, _) = over_nothing().await?;
    for role in ["ingest", "dispatcher", "run"] {
        let output = hookline(bench.path(), &[role, "--config", "hookline.toml"]).await?;
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(text(&output.stderr).contains("openssl rand -base64 32"), "{output:?}");
        assert!(!bench.path().join("hookline.key").exists());
    }
    Ok(())
}

#[tokio::test]
async fn the_key_can_be_given_in_the_environment_and_is_taken_as_it_stands() -> anyhow::Result<()> {
    let (bench, server) = over_nothing().await?;
    let run = async |key: &str, command: &str| {
        let mut program = Command::new(PROGRAM);
        program.args([command, "--config", "hookline.toml"]).current_dir(bench.path());
        program.env("HOOKLINE_SEALING__KEY", key).output().await
    };
    // What stands in brackets would be read as a list.
    let digits = format!("{}0=", "1".repeat(42));
    let two = format!("{digits}, {}", KEY.trim());
    for key in [digits.as_str(), KEY, &two] {
        let output = run(key, "dispatcher").await?;
        assert_eq!(output.status.code(), Some(69), "it gets as far as the cluster: {output:?}");
        assert!(text(&output.stderr).contains(&server), "{output:?}");
    }
    for (key, part) in
        [("", "sealing.key holds no key"), ("[\"s3cret\"]", "number 1"), (&format!("{digits} x"), "number 2")]
    {
        let output = run(key, "check-config").await?;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(said.contains(part) && !said.contains("s3cret") && !said.contains(&digits), "{said}");
    }
    bench.configure("[sealing]\nkey_file = \"./my.key\"")?;
    let output = run(KEY, "check-config").await?;
    assert!(text(&output.stderr).contains("sealing.key and sealing.key_file are both set"), "{output:?}");
    assert!(!bench.path().join("hookline.key").exists());
    Ok(())
}

#[tokio::test]
async fn the_cluster_can_be_named_in_the_environment_and_a_password_is_taken_as_it_stands()
-> anyhow::Result<()> {
    let bench = Bench::with(&[], |config| config.log.backend = "kafka".to_owned()).await?;
    let check = async |environment: &[(&str, &str)]| {
        let mut command = Command::new(PROGRAM);
        command.args(["check-config", "--config", "hookline.toml"]).current_dir(bench.path());
        command.envs(environment.iter().copied()).output().await
    };
    let output = check(&[]).await?;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(text(&output.stderr).contains("log.kafka.bootstrap_servers is empty"), "{output:?}");

    let servers = ("HOOKLINE_LOG__KAFKA__BOOTSTRAP_SERVERS", "[\"127.0.0.1:9092\", \"127.0.0.1:9093\"]");
    let output = check(&[servers]).await?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let mechanism = ("HOOKLINE_LOG__KAFKA__SASL_MECHANISM", "SCRAM-SHA-256");
    let username = ("HOOKLINE_LOG__KAFKA__SASL_USERNAME", "7E12345678");
    for password in ["000123456789", "[1, 2]", "true", "a \"quoted\" one"] {
        let password = ("HOOKLINE_LOG__KAFKA__SASL_PASSWORD", password);
        let output = check(&[servers, mechanism, username, password]).await?;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_dispatcher_alone_drains_what_an_embedded_log_still_holds_and_ends() -> anyhow::Result<()> {
    // Probed seldom, so that in between nothing is in flight and all is written down.
    let bench = Bench::with(&[("wh_1", Profile::Healthy), ("wh_2", Profile::Down)], |config| {
        config.dispatcher.probe_schedule = Some(vec!["8s".to_owned()]);
    });
    let bench = bench.await?;
    let whole = bench.start().await?;
    let ids = bench.pay(1..=5).await?;
    bench.delivered("wh_1", &ids).await?;
    bench.stop(whole).await?;

    let arguments = ["dispatcher", "--until-drained", "--config", "hookline.toml"];
    let draining = hookline(bench.path(), &arguments);
    tokio::pin!(draining);
    let early = tokio::time::timeout(Duration::from_secs(4), &mut draining).await;
    assert!(early.is_err(), "while an endpoint is down something is left: {early:?}");
    assert!(TcpStream::connect(bench.ingest).await.is_err(), "nothing new is taken");
    bench.receiver.set_profile(&WebhookId::new("wh_2"), Profile::Healthy);
    let output = draining.await?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    bench.delivered("wh_2", &ids).await?;

    let again = hookline(bench.path(), &arguments).await?;
    assert_eq!(again.status.code(), Some(0), "an empty log is drained: {again:?}");
    Ok(())
}
