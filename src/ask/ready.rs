//! `hookline ready`: whether the running process is ready, for supervisors that can't ask HTTP, as in an image without
//! a shell.

use std::process::ExitCode;

use super::{AskError, Asked, Process};

/// Status 0 if it is ready, 69 if nobody is there, otherwise 1.
#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
pub(crate) async fn run(asked: Asked) -> Result<ExitCode, AskError> {
    let told: serde_json::Value = Process::of(&asked)?.get("/readyz").await?;
    println!("{}", if asked.json { told.to_string() } else { "ready".to_owned() });
    Ok(ExitCode::SUCCESS)
}
