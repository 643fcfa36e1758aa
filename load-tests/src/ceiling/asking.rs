//! A closed loop within a process: so many tasks, each of which has the next record acknowledged when the last one is.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use hookline_schemas::time::Clock;
use tokio::task::JoinSet;

use super::measured::Measured;
use crate::process::usage_of;
use crate::simulator::{histogram, micros};

/// How many ask, and for how long.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Asking {
    /// Records in flight at once
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub tasks: u16,
    /// Before anything is measured
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub warm_up_seconds: u64,
    /// What is measured
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
}

/// Has records acknowledged, those with the numbers 0, 1, and so on, and tells how fast they were.
pub(super) async fn ask<F>(
    asking: Asking,
    clock: Clock,
    append: impl Fn(usize) -> F + Send + Sync + 'static,
) -> anyhow::Result<Measured>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let append = Arc::new(append);
    let begin = clock.elapsed() + Duration::from_secs(asking.warm_up_seconds);
    let until = begin + Duration::from_secs(asking.seconds);
    let stride = usize::from(asking.tasks);
    let mut tasks = JoinSet::new();
    for first in 0..stride {
        let append = Arc::clone(&append);
        tasks.spawn(async move {
            let mut taken = histogram();
            let mut before = clock.elapsed();
            for number in (first..).step_by(stride) {
                if before >= until {
                    break;
                }
                append(number).await?;
                let after = clock.elapsed();
                if before >= begin {
                    taken.saturating_record(micros(after.saturating_sub(before)));
                }
                before = after;
            }
            anyhow::Ok(taken)
        });
    }
    tokio::time::sleep(begin.saturating_sub(clock.elapsed())).await;
    let usage_before = usage_of("self")?;
    let mut all: Histogram<u64> = histogram();
    while let Some(taken) = tasks.join_next().await {
        // Their bounds are the same.
        let _ = all.add(taken??);
    }
    anyhow::ensure!(!all.is_empty(), "nothing was acknowledged");
    Ok(Measured::new(&all, clock.elapsed().saturating_sub(begin), usage_before, usage_of("self")?))
}
