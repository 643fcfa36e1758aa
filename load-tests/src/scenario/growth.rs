//! What grows costs no more: deliveries beside ten and beside thousands of webhooks, over an empty and over a large log,
//! and a start with many parked deliveries.
//!
//! Cost is what the hookline process spends on its processors for one delivery, not how long it takes: two arms by turns
//! that differ in nothing but in what grows. As much is in flight in both, because what is batched costs less.
//!
//! What it can't show: all endpoints are one server at one address, so connections are as many in either arm.

mod arm;
mod log;
mod parked;
mod poster;
mod tenants;
mod turns;
mod webhooks;

use clap::{Args, ValueEnum};
use hookline_schemas::time::Clock;

use super::Surroundings;
use crate::report::Report;

/// To how many webhooks each event goes.
const FAN_OUT: u16 = 10;

/// How much it grows.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// What grows; without it everything, one after the other
    #[arg(long, value_enum, value_name = "PART")]
    pub part: Vec<Part>,
    /// Webhooks beside which is delivered, compared with ten; each event goes to ten of them
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(20..=20_000))]
    pub webhooks: u32,
    /// How large the log is over which is delivered, compared with an empty one: 0.25 to 200
    #[arg(long = "log-gib", value_name = "GIB", default_value = "5", value_parser = bytes_of)]
    pub log_bytes: u64,
    /// Deliveries that are parked when it is stopped and killed
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    pub parked: u64,
    /// Events in each arm, of ten deliveries each
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    pub events: u64,
    /// How often each arm is measured, and how often it is stopped and killed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=50))]
    pub rounds: u16,
}

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The number of webhooks.
    Webhooks,
    /// The log.
    Log,
    /// What is parked when it starts.
    Parked,
}

impl Part {
    const ALL: [Self; 3] = [Self::Webhooks, Self::Log, Self::Parked];
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within the range that is asked for"
)]
fn bytes_of(gibibytes: &str) -> Result<u64, String> {
    let number = gibibytes.parse::<f64>().ok().filter(|number| (0.25..=200.0).contains(number));
    let number = number.ok_or("not a number from 0.25 to 200")?;
    Ok((number * f64::from(1 << 30)) as u64)
}

/// Runs it.
///
/// # Errors
///
/// If the run could not be made; a missed goal is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let clock = Clock::start();
    let chosen = |part: &Part| options.part.is_empty() || options.part.contains(part);
    let mut parts = Vec::new();
    for part in Part::ALL.into_iter().filter(chosen) {
        let remaining = Surroundings {
            deadline: surroundings.deadline.saturating_sub(clock.elapsed()),
            ..surroundings.clone()
        };
        parts.push(match part {
            Part::Webhooks => Box::pin(webhooks::run(&remaining, options)).await?,
            Part::Log => Box::pin(log::run(&remaining, options)).await?,
            Part::Parked => Box::pin(parked::run(&remaining, options)).await?,
        });
    }
    Ok(Report::of_parts("growth", parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_log_is_told_in_gibibytes() {
        for (text, expected) in [
            ("5", Some(5 << 30)),
            ("0.25", Some(256 << 20)),
            ("0.2", None),
            ("201", None),
            ("NaN", None),
            ("-5", None),
            ("5 GiB", None),
        ] {
            assert_eq!(bytes_of(text).ok(), expected, "{text}");
        }
    }
}
