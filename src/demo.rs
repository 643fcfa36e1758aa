//! `hookline demo`: hookline as it runs in earnest, between a simulated CloudPayments and simulated
//! integrators, in a temporary directory.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use hookline_load_tests::report::Report;
use hookline_load_tests::scenario::{Surroundings, demo};

/// Well above what ten million payments would take to fail.
const DEADLINE: Duration = Duration::from_secs(1_800);

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArguments {
    /// Payments in all
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    payments: u64,
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
}

/// Runs the demonstration; success if nothing was lost.
pub(crate) async fn run(arguments: DemoArguments) -> ExitCode {
    match demonstrate(arguments.payments).await {
        Ok(report) => {
            report.print(arguments.json);
            if report.pass { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => super::fail(&error.context("the demo could not be run"), super::exit::SOFTWARE),
    }
}

async fn demonstrate(payments: u64) -> anyhow::Result<Report> {
    let program = std::env::current_exe().context("failed to find the own program")?;
    let surroundings = Surroundings { program, work_dir: std::env::temp_dir(), deadline: DEADLINE };
    demo::run(&surroundings, payments).await
}
