//! `hookline demo`: hookline as it runs in earnest, between a simulated CloudPayments and simulated
//! integrators, in a temporary directory; over Kafka if asked to.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, ValueEnum};
use hookline_load_tests::report::Report;
use hookline_load_tests::scenario::Surroundings;
use hookline_load_tests::scenario::demo::{self, DemoLog};

/// Well above what ten million payments would take to fail.
const DEADLINE: Duration = Duration::from_secs(1_800);

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArguments {
    /// Payments in all
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    payments: u64,
    /// Over which log
    #[arg(long, value_enum, default_value_t = LogArgument::Embedded)]
    log: LogArgument,
    /// Brokers to use, separated by commas; without them `--log kafka` starts a broker with
    /// deploy/kafka/kafka of the current directory
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_servers: Option<String>,
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogArgument {
    /// In the temporary directory
    Embedded,
    /// In Kafka
    Kafka,
}

/// Runs the demonstration; success if nothing was lost.
pub(crate) async fn run(arguments: DemoArguments) -> ExitCode {
    let json = arguments.json;
    match demonstrate(arguments.into_options()).await {
        Ok(report) => {
            report.print(json);
            if report.pass { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => super::fail(&error.context("the demo could not be run"), super::exit::SOFTWARE),
    }
}

impl DemoArguments {
    /// Ends the process with an error of usage where brokers are named that nobody would ask.
    fn into_options(self) -> demo::Options {
        let log = match (self.log, self.bootstrap_servers) {
            (LogArgument::Kafka, bootstrap_servers) => DemoLog::Kafka { bootstrap_servers },
            (LogArgument::Embedded, None) => DemoLog::Embedded,
            (LogArgument::Embedded, Some(_)) => super::Arguments::command()
                .error(ErrorKind::ArgumentConflict, "--bootstrap-servers goes with --log kafka")
                .exit(),
        };
        demo::Options { payments: self.payments, log }
    }
}

async fn demonstrate(options: demo::Options) -> anyhow::Result<Report> {
    let program = std::env::current_exe().context("failed to find the own program")?;
    let surroundings = Surroundings { program, work_dir: std::env::temp_dir(), deadline: DEADLINE };
    demo::run(&surroundings, &options).await
}
