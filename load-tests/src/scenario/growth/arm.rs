//! One hookline with its tenants and its endpoints: started, posted to, and what a delivery costs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::sync::watch;

use super::FAN_OUT;
use super::poster::Poster;
use super::tenants::{self, Site, Tenant};
use crate::admin::Admin;
use crate::config::Config;
use crate::process::Usage;
use crate::report::{Report, watched};
use crate::scenario::Surroundings;
use crate::scenario::bench::{Bench, Layout};
use crate::scenario::fleet::Fleet;

/// The process.
const NAME: &str = "hookline";
/// Events whose deliveries are under way at once. The endpoints of one organization may have 32 each in flight, so as
/// many deliveries are in flight for one organization as for thousands, and none of them waits for its endpoint.
const UNDER_WAY: u64 = 32;
/// Between two looks at how many have come.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// After the last one that was waited for: a copy would be seen.
const SETTLE: Duration = Duration::from_millis(500);
/// It is at rest once it has spent less than this on its processors in this time: what follows the log has caught up.
const REST: (Duration, Duration) = (Duration::from_millis(40), Duration::from_secs(1));
/// The map of the log is larger than any log here.
const MAP_SIZE: &str = "512 GiB";

/// A hookline, and what surrounds it.
#[derive(Debug)]
pub(super) struct Arm {
    pub(super) bench: Bench,
    pub(super) admin: Admin,
    fleet: Fleet,
    data_dir: PathBuf,
    poster: Poster,
    deadline: Duration,
    name: &'static str,
    /// Deliveries that have to have come, all in all.
    expected: u64,
}

/// How long a start took, from the moment at which it was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    /// Until it was ready.
    pub(super) ready: Duration,
    /// What it had spent on its processors by then: on a machine that does other things as well this is what counts.
    pub(super) cpu: Duration,
    /// Until the first delivery of an event that was posted meanwhile had come.
    pub(super) first_delivery: Duration,
}

impl Arm {
    /// Makes the directory and the configuration and starts the endpoints; no hookline runs yet.
    pub(super) async fn set_up(
        surroundings: &Surroundings,
        name: &'static str,
        tenants: &[Tenant],
    ) -> anyhow::Result<Self> {
        let mut data_dir = PathBuf::new();
        let adjust = |config: &mut Config| {
            tenants::separate(config, tenants);
            config.log.embedded.map_size = Some(MAP_SIZE.to_owned());
            // As seldom as hookline's own: probes are no part of what is measured.
            config.dispatcher.probe_schedule = None;
            data_dir = PathBuf::from(&config.data_dir);
        };
        let subscribers = tenants::subscribers(tenants);
        let (bench, mut fleet) = Bench::set_up(surroundings, &subscribers, 1, Layout::One, adjust).await?;
        let edge = *bench.target.addresses.first().context("there is no edge")?;
        let poster = Poster::new(edge, bench.clock);
        let admin = fleet.admin(NAME)?;
        let deadline = surroundings.deadline;
        Ok(Self { bench, admin, fleet, data_dir, poster, deadline, name, expected: 0 })
    }

    /// It is ready when this returns, which took so long from its start.
    pub(super) async fn start(&mut self) -> anyhow::Result<Duration> {
        let began = self.bench.clock.elapsed();
        self.fleet.start(&[NAME]).await?;
        Ok(self.bench.clock.elapsed().saturating_sub(began))
    }

    /// Starts it, and posts an event from the beginning on.
    pub(super) async fn start_under_way(&mut self, sites: &Arc<[Site]>) -> anyhow::Result<Started> {
        let Self { bench, fleet, poster, deadline, name, .. } = self;
        let (clock, before) = (bench.clock, delivered(bench));
        let (_allow, allowed) = watch::channel(u64::MAX);
        let (_, posting) = poster.post(sites, 1, allowed)?;
        let began = clock.elapsed();
        let since = || clock.elapsed().saturating_sub(began);
        let started = async {
            fleet.start(&[NAME]).await?;
            anyhow::Ok((since(), fleet.usage()?.cpu))
        };
        let first = async {
            posting.await?;
            while delivered(bench) == before {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            Ok(since())
        };
        let work = Box::pin(async { tokio::try_join!(started, first) });
        let ((ready, cpu), first_delivery) =
            watched(clock, *deadline, || format!("{name}: starting"), work).await?;
        self.expected += u64::from(FAN_OUT);
        self.await_expected().await?;
        Ok(Started { ready, cpu, first_delivery })
    }

    /// It has ended in order when this returns, which took so long.
    pub(super) async fn stop(&mut self) -> anyhow::Result<Duration> {
        let began = self.bench.clock.elapsed();
        self.fleet.stop(NAME).await?;
        Ok(self.bench.clock.elapsed().saturating_sub(began))
    }

    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.fleet.kill(NAME).await
    }

    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        self.fleet.usage()
    }

    /// Posts as fast as it goes, for sites whose deliveries are not waited for.
    pub(super) async fn fill(&mut self, sites: &Arc<[Site]>, events: u64) -> anyhow::Result<()> {
        let (_allow, allowed) = watch::channel(u64::MAX);
        let (progress, posting) = self.poster.post(sites, events, allowed)?;
        let Self { bench, data_dir, deadline, name, .. } = self;
        let line = || {
            let (posted, mib) = (progress.load(Ordering::Relaxed), written(data_dir) >> 20);
            format!("{name}: {posted}/{events} events posted, {mib} MiB of log")
        };
        watched(bench.clock, *deadline, line, Box::pin(posting)).await
    }

    /// Posts events, not more at once than so many of which deliveries are under way, and waits for all deliveries.
    pub(super) async fn deliver(&mut self, sites: &Arc<[Site]>, events: u64) -> anyhow::Result<()> {
        let before = delivered(&self.bench);
        let (allow, allowed) = watch::channel(UNDER_WAY);
        let (progress, posting) = self.poster.post(sites, events, allowed)?;
        let Self { bench, deadline, name, .. } = self;
        let line = || {
            let (posted, delivered) = (progress.load(Ordering::Relaxed), delivered(bench) - before);
            format!("{name}: {posted}/{events} events posted, {delivered} deliveries")
        };
        let paced = async {
            let delivering = async {
                while (delivered(bench) - before) < events * u64::from(FAN_OUT) {
                    allow.send_replace(may_begin(delivered(bench) - before));
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                Ok(())
            };
            tokio::try_join!(posting, delivering).map(drop)
        };
        watched(bench.clock, *deadline, line, Box::pin(paced)).await?;
        self.expected += events * u64::from(FAN_OUT);
        Ok(())
    }

    /// The microseconds that it spends on its processors for each delivery of so many events, from rest to rest.
    pub(super) async fn cost(&mut self, sites: &Arc<[Site]>, events: u64) -> anyhow::Result<f64> {
        let before = self.rest().await?;
        self.deliver(sites, events).await?;
        let spent = self.rest().await?.saturating_sub(before);
        Ok(micros_each(spent, events * u64::from(FAN_OUT)))
    }

    /// Waits until it has nothing to do any more. What it had spent on its processors by then.
    pub(super) async fn rest(&self) -> anyhow::Result<Duration> {
        let Self { bench, fleet, deadline, name, .. } = self;
        let resting = async {
            let mut before = fleet.usage()?.cpu;
            loop {
                let (at_most, within) = REST;
                tokio::time::sleep(within).await;
                let now = fleet.usage()?.cpu;
                if now.saturating_sub(before) < at_most {
                    return Ok(before);
                }
                before = now;
            }
        };
        watched(bench.clock, *deadline, || format!("{name}: until it is at rest"), Box::pin(resting)).await
    }

    async fn await_expected(&self) -> anyhow::Result<()> {
        let Self { bench, deadline, name, expected, .. } = self;
        let line = || format!("{name}: {} of {expected} deliveries", delivered(bench));
        let arriving = async {
            while delivered(bench) < *expected {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            Ok(())
        };
        watched(bench.clock, *deadline, line, arriving).await
    }

    /// How much has been written into its log.
    pub(super) fn log_bytes(&self) -> u64 {
        written(&self.data_dir)
    }

    /// Waits until something holds of what is asked of the process.
    pub(super) async fn until(
        &mut self,
        what: &'static str,
        mut holds: impl AsyncFnMut(&Admin) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let Self { bench, admin, fleet, deadline, name, .. } = self;
        let waiting = async {
            // One answer may come late on a machine with little to spare.
            while !holds(admin).await.unwrap_or(false) {
                fleet.check_alive()?;
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Ok(())
        };
        watched(bench.clock, *deadline, || format!("{name}: {what}"), Box::pin(waiting)).await
    }

    /// Stops what runs and removes what was made for it, unless something went wrong.
    pub(super) async fn clear_up<T>(self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        let Self { bench, fleet, expected, .. } = self;
        let mut measured = None;
        let concluded = async {
            measured = Some(result?);
            tokio::time::sleep(SETTLE).await;
            let failures = fleet.stop_all().await?;
            ensure!(failures.is_empty(), "{}", failures.join(", "));
            require_exactly(&bench, expected)
        };
        let concluded = concluded.await.map(|()| Report::of_measurements("growth"));
        bench.clear_up(concluded).await?;
        measured.context("what was concluded was measured")
    }
}

/// How many deliveries have come: all that is asked of the endpoints while something is measured.
fn delivered(bench: &Bench) -> u64 {
    bench.receiver.accepted()
}

fn require_exactly(bench: &Bench, expected: u64) -> anyhow::Result<()> {
    let faults = bench.receiver.snapshot().iter().filter(|delivery| delivery.fault.is_some()).count();
    ensure!(faults == 0, "{faults} deliveries were not as they should be");
    let delivered = delivered(bench);
    ensure!(delivered == expected, "{delivered} deliveries came in place of {expected}");
    Ok(())
}

/// How many events may have begun once so many deliveries have come.
const fn may_begin(delivered: u64) -> u64 {
    UNDER_WAY + delivered / FAN_OUT as u64
}

#[expect(clippy::cast_precision_loss, reason = "52 bits are enough for a figure")]
fn micros_each(spent: Duration, deliveries: u64) -> f64 {
    spent.as_secs_f64() * 1e6 / deliveries as f64
}

/// The length of all files below, up to what was written last: blocks that are set aside behind that hold nothing yet.
/// What disappears meanwhile counts for nothing.
fn written(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { written(&entry.path()) } else { metadata.len() })
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_events_are_under_way_and_no_more() {
        for (delivered, expected) in [(0, 32), (9, 32), (10, 33), (3_205, 352)] {
            assert_eq!(may_begin(delivered), expected, "{delivered}");
        }
    }

    #[test]
    fn the_cost_is_shared_by_all_deliveries() {
        assert!((micros_each(Duration::from_secs(5), 100_000) - 50.0).abs() < 1e-9);
        assert!(micros_each(Duration::ZERO, 0).is_nan(), "nothing was measured");
    }

    #[test]
    fn what_is_written_counts_wherever_it_lies() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(written(directory.path()), 0);
        let below = directory.path().join("attempts");
        std::fs::create_dir(&below).expect("made");
        std::fs::write(directory.path().join("data.mdb"), [1; 1_000]).expect("written");
        std::fs::write(below.join("data.mdb"), [1; 20]).expect("written");
        assert_eq!(written(directory.path()), 1_020);
        assert_eq!(written(&below.join("nothing")), 0);
    }
}
