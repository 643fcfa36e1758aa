//! hookline: CloudPayments notifications in, signed webhooks out. Arguments, configuration, roles.

mod admin;
mod ask;
mod config;
mod demo;
mod key;
mod limits;
mod log;
mod readable;
mod registered;
mod reload;
mod roles;
mod rotate_key;
mod run;
mod secret_argument;
mod service_manager;
mod simulate;
mod telemetry;
mod token;
mod verify_receiver;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use config::{Config, ConfigError};
use hookline_control::StartError;
use hookline_dispatcher::DispatcherError;
use hookline_event_log::OpenError;
use hookline_ingest::{DirectoryFileError, Tls};
use hookline_listener::{HandOverError, HandedOver};
use key::KeyError;
use roles::Roles;
use run::{RunError, Start};
use telemetry::Signals;

/// A delivery is some dozen small allocations that live for a round trip, beside others that live for minutes: the system's
/// allocator spends a fifth of the dispatcher's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Payment callbacks in, signed webhooks out.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all roles in this process, over either log
    Run(ConfigFile),
    /// Run the edge alone: take notifications, over Kafka
    Ingest(ConfigFile),
    /// Run the dispatcher alone: deliver webhooks, over Kafka, or what an embedded log still holds
    Dispatcher {
        #[command(flatten)]
        file: ConfigFile,
        /// End once every event and every parked delivery of an embedded log is delivered or dead-lettered
        #[arg(long)]
        until_drained: bool,
    },
    /// Run the control plane alone: gateways and webhooks by GraphQL, over Kafka
    Control(ConfigFile),
    /// Check a configuration and name everything that is wrong with it
    CheckConfig(ConfigFile),
    /// See what was given up, and have it delivered again
    #[command(subcommand)]
    DeadLetters(ask::dead_letters::DeadLetters),
    /// Tell one payment's way, from its notification to each webhook's next try
    Trace(ask::trace::TraceArguments),
    /// Compare payments with CloudPayments', and repair what no notification has told of
    Reconcile(ask::reconcile::ReconcileArguments),
    /// Ask the running process whether it is ready
    Ready(ask::Asked),
    /// Copy the log of the running process, and look through a copy
    Backup(ask::backup::BackupArguments),
    /// Seal with a new key, and seal anew what the old one has sealed, while everything runs
    RotateKey(rotate_key::RotateKeyArguments),
    /// Issue tokens for the control plane, on a machine without an identity provider
    #[command(subcommand)]
    Token(token::Token),
    /// Run everything in a temporary directory, with CloudPayments and a receiver simulated
    Demo(demo::DemoArguments),
    /// Post notifications at an edge as CloudPayments would, and say what each answer means
    Simulate(simulate::SimulateArguments),
    /// Post test webhooks at a receiver, right ones and forged ones, and say what it does wrong
    VerifyReceiver(verify_receiver::VerifyReceiverArguments),
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration; `hookline.default.toml` explains every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How long threads that block may keep the process at its end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Exit statuses, as sysexits.h names them.
mod exit {
    pub(super) const UNAVAILABLE: u8 = 69;
    pub(super) const SOFTWARE: u8 = 70;
    pub(super) const CANNOT_CREATE: u8 = 73;
    pub(super) const IO_ERROR: u8 = 74;
    pub(super) const NOT_DRAINED: u8 = 75;
    pub(super) const CONFIG: u8 = 78;
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before the runtime has threads: it changes the environment.
    let handed_over = HandedOver::from_environment();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&anyhow::Error::new(error).context("failed to start the runtime"), exit::SOFTWARE);
        }
    };
    let ended = match arguments.command {
        Command::Run(file) => runtime.block_on(run_command(file, Roles::All, handed_over)),
        Command::Ingest(file) => runtime.block_on(run_command(file, Roles::Ingest, handed_over)),
        Command::Dispatcher { file, until_drained } => {
            let roles = if until_drained { Roles::Drain } else { Roles::Dispatcher };
            runtime.block_on(run_command(file, roles, handed_over))
        }
        Command::Control(file) => runtime.block_on(run_command(file, Roles::Control, handed_over)),
        Command::CheckConfig(file) => check_config(file),
        Command::DeadLetters(wanted) => ask::ended(runtime.block_on(wanted.run())),
        Command::Trace(arguments) => ask::ended(runtime.block_on(ask::trace::run(arguments))),
        Command::Reconcile(arguments) => ask::ended(runtime.block_on(ask::reconcile::run(arguments))),
        Command::Ready(asked) => ask::ended(runtime.block_on(ask::ready::run(asked))),
        Command::Backup(arguments) => ask::ended(runtime.block_on(ask::backup::run(arguments))),
        Command::RotateKey(arguments) => rotate_key::ended(runtime.block_on(rotate_key::run(arguments))),
        Command::Token(wanted) => wanted.run(),
        Command::Demo(arguments) => runtime.block_on(demo::run(arguments)),
        Command::Simulate(arguments) => runtime.block_on(simulate::run(arguments)),
        Command::VerifyReceiver(arguments) => runtime.block_on(verify_receiver::run(arguments)),
    };
    // What still blocks there is wanted by nobody, and a disk or a cluster that does not answer would block for ever.
    runtime.shutdown_timeout(LAST_WAIT);
    ended
}

async fn run_command(
    file: ConfigFile,
    roles: Roles,
    handed_over: Result<HandedOver, HandOverError>,
) -> ExitCode {
    // Before anything that takes a while: until then a signal kills, or passes the first process of a container by.
    let Signals { stop, hangups } = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            return fail(&anyhow::Error::new(error).context("failed to listen for signals"), exit::SOFTWARE);
        }
    };
    let config = match Config::load(file.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail_config(error),
    };
    let (lines, filter) = telemetry::Lines::start(&config.telemetry);
    let ran = async {
        let metrics = telemetry::init_metrics(&lines)?;
        let handed_over = handed_over.map_err(RunError::HandedOver)?;
        let start = Start { config, file: file.config, roles, handed_over, metrics, logs: filter, hangups };
        run::run(start, stop.asked()).await?;
        anyhow::Ok(())
    };
    let ran = ran.await;
    // Everything that was logged stands before the last words.
    drop(lines);
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let status = error.downcast_ref::<RunError>().map_or(exit::SOFTWARE, exit_status);
            fail(&error, status)
        }
    }
}

fn exit_status(error: &RunError) -> u8 {
    match error {
        RunError::Log(_) => exit::IO_ERROR,
        RunError::Open(error) => exit_status_of_open(error),
        RunError::NotShared(_)
        | RunError::Shared(_)
        | RunError::HandedOver(_)
        | RunError::Edge(hookline_ingest::StartError::Tls(_)) => exit::CONFIG,
        RunError::Key(error) => exit_status_of_key(error),
        RunError::Control(StartError::Identity(_)) => exit::CONFIG,
        RunError::Control(StartError::Bind(_) | StartError::Control(_))
        | RunError::Edge(hookline_ingest::StartError::Bind(_))
        | RunError::BindAdmin { .. } => exit::CANNOT_CREATE,
        RunError::Directory(DirectoryFileError::Read { .. } | DirectoryFileError::Lines { .. }) => {
            exit::CONFIG
        }
        RunError::Directory(DirectoryFileError::Put(_) | DirectoryFileError::Load(_)) => exit::IO_ERROR,
        RunError::Dispatcher(DispatcherError::NotDrained) | RunError::EdgeNotDrained => exit::NOT_DRAINED,
        RunError::Dispatcher(_)
        | RunError::Registry(_)
        | RunError::Lanes(_)
        | RunError::Ingest(_)
        | RunError::Address(_)
        | RunError::Thread(_)
        | RunError::Panicked => exit::SOFTWARE,
    }
}

const fn exit_status_of_key(error: &KeyError) -> u8 {
    match error {
        KeyError::Missing { .. } => exit::CONFIG,
        KeyError::File { .. }
        | KeyError::Malformed { .. }
        | KeyError::Empty { .. }
        | KeyError::Dropped { .. }
        | KeyError::Busy { .. } => exit::CANNOT_CREATE,
    }
}

/// A supervisor that tries again helps against what is unavailable or in use, never against what is configured.
fn exit_status_of_open(error: &OpenError) -> u8 {
    match error {
        OpenError::Unreachable { .. } => exit::UNAVAILABLE,
        OpenError::NotDurable { .. }
        | OpenError::PartitionMismatch { .. }
        | OpenError::Topic { .. }
        | OpenError::Settings { .. } => exit::CONFIG,
        OpenError::Locked { .. }
        | OpenError::Format { .. }
        | OpenError::Backend { .. }
        | OpenError::Directory { .. } => exit::CANNOT_CREATE,
    }
}

#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
fn check_config(file: ConfigFile) -> ExitCode {
    match Config::load(file.config.as_deref()) {
        Ok(config) => {
            for warning in &config.warnings {
                println!("warning: {warning}");
            }
            // Here alone: the other roles are given the same file, and not the edge's key.
            if let Some(Err(error)) = config.ingest.tls.as_ref().map(Tls::check) {
                return fail(&anyhow::Error::new(error).context("ingest.tls"), exit::CONFIG);
            }
            println!("the configuration is good");
            ExitCode::SUCCESS
        }
        Err(error) => fail_config(error),
    }
}

fn fail_config(error: ConfigError) -> ExitCode {
    fail(&error.into(), exit::CONFIG)
}

fn fail(error: &anyhow::Error, status: u8) -> ExitCode {
    eprintln!("hookline: {error:#}");
    ExitCode::from(status)
}
