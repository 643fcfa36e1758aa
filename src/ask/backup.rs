//! `hookline backup`: the running process copies its log; `hookline backup verify` looks through a copy by itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use hookline_event_log::embedded::{Counted, VerifyError, verify};

use super::{AskError, Asked, Process};
use crate::admin::{BackupAsked, BackupTold};
use crate::{exit, fail};

/// Between two questions how far it has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Of so many looks one is told.
const LOOKS_PER_LINE: u32 = 20;

/// What is wanted.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArguments {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// The directory that the running process makes, readable by its user alone
    #[arg(long, value_name = "DIR", required = true)]
    to: Option<PathBuf>,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, clap::Subcommand)]
enum BackupCommand {
    /// Read every record of a backup, or of the data_dir of a process that was stopped, and compare the checksums
    Verify {
        /// The backup
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Backs up, or looks through a backup; status 1, where there is none or it is damaged.
pub(crate) async fn run(arguments: BackupArguments) -> Result<ExitCode, AskError> {
    let BackupArguments { command, to, asked } = arguments;
    if let Some(BackupCommand::Verify { directory, json }) = command {
        return Ok(verified(&directory, json));
    }
    let to = to.expect("clap demands it where there is no subcommand");
    let json = asked.json;
    let process = Process::of(&asked)?;
    // The running process has a working directory of its own.
    let to = std::path::absolute(&to).unwrap_or(to);
    let mut told: BackupTold = process.post("/backups", &BackupAsked { to }).await?;
    let mut looks = 0;
    while let BackupTold::Running { copied, expected } = told {
        if looks % LOOKS_PER_LINE == LOOKS_PER_LINE - 1 {
            eprintln!("{} of about {}", size(copied), size(expected));
        }
        looks += 1;
        tokio::time::sleep(LOOK_INTERVAL).await;
        told = process.get("/backups").await?;
    }
    Ok(print(&told, json))
}

#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
fn print(told: &BackupTold, json: bool) -> ExitCode {
    let is_done = matches!(told, BackupTold::Done { .. });
    if json {
        println!("{}", serde_json::to_string(told).unwrap_or_default());
    } else {
        match told {
            BackupTold::Done { directory, bytes, seconds } => {
                println!("{}: {} in {seconds:.1} s", directory.display(), size(*bytes));
                println!("the configuration and the keys are not in it: keep them, and in another place");
            }
            BackupTold::Failed { error } => eprintln!("hookline: failed to back up: {error}"),
            BackupTold::None | BackupTold::Running { .. } => {
                eprintln!("hookline: the process was started anew meanwhile, and there is no backup");
            }
        }
    }
    if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
fn verified(directory: &Path, json: bool) -> ExitCode {
    let counted = match verify(directory) {
        Ok(counted) => counted,
        Err(error) => {
            let status = status_of(&error);
            return fail(&error.into(), status);
        }
    };
    let (records, corrupt) =
        counted.iter().fold((0, 0), |(records, corrupt), one| (records + one.records, corrupt + one.corrupt));
    if json {
        println!("{}", as_json(&counted));
    } else {
        for Counted { name, records, corrupt } in counted.iter().filter(|one| one.records > 0) {
            let damage = if *corrupt > 0 { format!("  {corrupt} DAMAGED") } else { String::new() };
            println!("{records:>12}  {name}{damage}");
        }
        println!("{records:>12}  in all, {corrupt} damaged");
    }
    if corrupt == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn as_json(counted: &[Counted]) -> serde_json::Value {
    let databases = counted.iter().map(|Counted { name, records, corrupt }| {
        serde_json::json!({ "name": name, "records": records, "damaged": corrupt })
    });
    serde_json::json!({ "databases": databases.collect::<Vec<_>>() })
}

const fn status_of(error: &VerifyError) -> u8 {
    match error {
        VerifyError::Locked { .. } => exit::UNAVAILABLE,
        VerifyError::File { .. } => exit::IO_ERROR,
        VerifyError::CutShort { .. } | VerifyError::Format(_) | VerifyError::Backend { .. } => 1,
    }
}

fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}
