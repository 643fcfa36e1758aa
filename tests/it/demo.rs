//! The demonstration as a script sees it.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::process::Command;

use crate::bench::{PROGRAM, scratch};

#[tokio::test]
async fn the_demo_passes_and_says_so_in_its_last_line() -> anyhow::Result<()> {
    let directory = scratch()?;
    let demo = Command::new(PROGRAM)
        .args(["demo", "--payments", "200", "--json"])
        .env("TMPDIR", directory.path())
        .kill_on_drop(true)
        .output();
    // Longer than a demo takes that loses something: killed, it would leave its hookline behind.
    let output = tokio::time::timeout(Duration::from_secs(120), demo).await.context("the demo hangs")??;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    let line = stdout.lines().last().context("no output")?;
    let report: Value = serde_json::from_str(line).context("the last line is no JSON")?;
    let figure = |name: &str| report.get(name).and_then(Value::as_f64);
    assert_eq!(report.get("pass"), Some(&Value::Bool(true)), "{line}");
    assert_eq!((figure("lost"), figure("dead")), (Some(0.0), Some(0.0)), "{line}");
    assert!(figure("accepted").is_some_and(|accepted| accepted >= 200.0), "{line}");
    assert!(figure("delivered") >= figure("accepted") && figure("copies").is_some(), "{line}");
    let left: Vec<_> = std::fs::read_dir(directory.path())?.collect();
    assert!(left.is_empty(), "the demo leaves nothing behind: {left:?}");
    Ok(())
}
