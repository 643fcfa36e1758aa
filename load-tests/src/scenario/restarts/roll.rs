//! The restarts themselves: one process again and again, or all of several, one after the other.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Options, PICK_INTERVAL};
use crate::checker::Disturbance;
use crate::scenario::bench::Bench;
use crate::scenario::fleet::Fleet;

/// How long a process lives between being ready and being asked to stop, in milliseconds.
const LIFE_MILLIS: std::ops::RangeInclusive<u64> = 300..=1500;
/// After the first start, and after the last.
const CALM: Duration = Duration::from_secs(2);

/// One restart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restart {
    /// From SIGTERM until the next one was ready.
    pub(super) from: Duration,
    pub(super) until: Duration,
    /// Where others took over meanwhile.
    pub(super) disturbance: Option<Disturbance>,
}

/// Replaces a single process.
pub(super) async fn one(
    bench: &Bench,
    fleet: &mut Fleet,
    options: &Options,
    replaced: &AtomicU32,
) -> anyhow::Result<Vec<Restart>> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut restarts = Vec::new();
    tokio::time::sleep(CALM).await;
    for _ in 0..options.restarts {
        tokio::time::sleep(Duration::from_millis(random.random_range(LIFE_MILLIS))).await;
        restarts.push(replace(bench, fleet, "hookline").await?);
        replaced.fetch_add(1, Ordering::Relaxed);
    }
    tokio::time::sleep(CALM).await;
    Ok(restarts)
}

/// Replaces all processes, one after the other, as often as is wanted. The load balancer has seen each before the next
/// one goes, and dispatchers have shared out the partitions.
pub(super) async fn several(
    bench: &Bench,
    fleet: &mut Fleet,
    options: &Options,
    replaced: &AtomicU32,
) -> anyhow::Result<Vec<Restart>> {
    let names: Vec<String> = fleet.names().into_iter().map(str::to_owned).collect();
    let mut restarts = Vec::new();
    fleet.await_shares().await?;
    tokio::time::sleep(CALM).await;
    for _ in 0..options.restarts {
        for name in &names {
            let mut restart = replace(bench, fleet, name).await?;
            tokio::time::sleep(PICK_INTERVAL * 3).await;
            if name.starts_with("dispatcher") {
                fleet.await_shares().await?;
                let (at, until) = (restart.from, bench.clock.elapsed());
                restart.disturbance = Some(Disturbance { at, until });
            }
            restarts.push(restart);
            replaced.fetch_add(1, Ordering::Relaxed);
        }
    }
    tokio::time::sleep(CALM).await;
    Ok(restarts)
}

/// SIGTERM, the end, the next start.
async fn replace(bench: &Bench, fleet: &mut Fleet, name: &str) -> anyhow::Result<Restart> {
    let from = bench.clock.elapsed();
    fleet.stop(name).await?;
    fleet.start(&[name]).await?;
    Ok(Restart { from, until: bench.clock.elapsed(), disturbance: None })
}
