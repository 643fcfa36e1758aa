//! The course of an outage: what is done when, and what hookline tells about itself meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};

use super::super::bench::Bench;
use super::super::fleet::Fleet;
use super::{Cues, Options, ROUND_TRIP, patient};
use crate::admin::{Admin, WebhookState};
use crate::checker::Disturbance;
use crate::receiver::Profile;
use crate::simulator::Progress;

/// Before the endpoint dies.
const CALM: Duration = Duration::from_secs(4);
/// From its death until events pile up: by then it is known to be down.
const DYING: Duration = Duration::from_secs(2);
/// Between two looks at what hookline tells.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// So many looks in a row may come to nothing, on a machine with little to spare.
const MOST_MISSED: u32 = 10;
/// Beside the time that the rate limit needs: the probe that finds the endpoint healthy, and what is to spare.
const DRAIN_SLACK: Duration = Duration::from_secs(90);

/// Records that hookline has written since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Records {
    pub(super) parked: f64,
    pub(super) lane: f64,
    pub(super) dead_letter: f64,
}

impl Records {
    pub(super) fn since(self, earlier: Self) -> f64 {
        let all = |records: Self| records.parked + records.lane + records.dead_letter;
        all(self) - all(earlier)
    }
}

/// One look at what hookline tells about itself.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at: Duration,
    /// Of the endpoint that dies.
    pub(super) in_flight: u64,
    pub(super) backlog: u64,
    /// Of all others together.
    pub(super) others_parked: u64,
    pub(super) others_backlog: u64,
    pub(super) records: Records,
    /// By partition.
    pub(super) committed: BTreeMap<String, f64>,
    pub(super) rss_anon_bytes: u64,
}

/// What a course leaves behind.
#[derive(Debug)]
pub(super) struct Seen {
    /// Just before the endpoint died.
    pub(super) before: Sample,
    pub(super) down_at: Duration,
    /// Just before it came back.
    pub(super) down: Sample,
    pub(super) up_at: Duration,
    /// When its backlog was gone, or the time for that was over.
    pub(super) after: Sample,
    pub(super) samples: Vec<Sample>,
    pub(super) disturbances: Vec<Disturbance>,
}

/// A course under way.
#[derive(Debug)]
pub(super) struct Course<'a> {
    bench: &'a Bench,
    fleet: &'a mut Fleet,
    options: &'a Options,
    pile: &'a Progress,
    cues: &'a Cues,
    admin: Admin,
    samples: Vec<Sample>,
    disturbances: Vec<Disturbance>,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        bench: &'a Bench,
        fleet: &'a mut Fleet,
        options: &'a Options,
        pile: &'a Progress,
        cues: &'a Cues,
    ) -> anyhow::Result<Self> {
        let admin = fleet.admin("hookline")?;
        let (samples, disturbances) = (Vec::new(), Vec::new());
        Ok(Self { bench, fleet, options, pile, cues, admin, samples, disturbances })
    }

    /// Goes through it; the endpoint is healthy and nothing is posted any more when this returns.
    pub(super) async fn run(mut self) -> anyhow::Result<Seen> {
        self.look_for(CALM).await?;
        let before = self.look().await?;
        let profile = self.options.status.map_or(Profile::Down, Profile::Status);
        let down_at = self.set_profile(profile);
        self.look_for(DYING).await?;
        self.cues.calm_is_over.cancel();
        self.pile_up().await?;
        let down = self.look().await?;
        let up_at = self.set_profile(Profile::Slow(ROUND_TRIP));
        let after = self.drain(down.backlog).await?;
        self.cues.others_are_over.cancel();
        let Self { samples, disturbances, .. } = self;
        Ok(Seen { before, down_at, down, up_at, after, samples, disturbances })
    }

    async fn pile_up(&mut self) -> anyhow::Result<()> {
        self.cues.pile_up.cancel();
        let mut kill_at = self.options.is_killed.then_some(self.options.events / 2);
        let accepted = |course: &Self| course.pile.accepted.load(Ordering::Relaxed);
        while accepted(self) < self.options.events {
            self.look().await?;
            if kill_at.is_some_and(|half| accepted(self) >= half) {
                kill_at = None;
                self.kill().await?;
            }
        }
        self.cues.pile_is_high.cancel();
        self.cues.piled_up.cancelled().await;
        Ok(())
    }

    /// Until the backlog is gone, or it should be; hookline's last word on it.
    async fn drain(&mut self, backlog: u64) -> anyhow::Result<Sample> {
        let mut kill_at = self.options.is_killed.then_some(backlog / 2);
        let needed = Duration::from_secs(backlog / u64::from(self.options.drain_rate.max(1)));
        let deadline = self.bench.clock.elapsed() + 2 * needed + DRAIN_SLACK;
        loop {
            let sample = self.look().await?;
            if sample.backlog == 0 || sample.at > deadline {
                return Ok(sample);
            }
            if kill_at.is_some_and(|half| sample.backlog <= half) {
                kill_at = None;
                self.kill().await?;
            }
        }
    }

    fn set_profile(&self, profile: Profile) -> Duration {
        self.bench.receiver.set_profile(&patient(), profile);
        self.bench.clock.elapsed()
    }

    async fn kill(&mut self) -> anyhow::Result<()> {
        let at = self.bench.clock.elapsed();
        self.fleet.kill("hookline").await?;
        self.disturbances.push(Disturbance { at, until: self.bench.clock.elapsed() });
        self.fleet.start(&["hookline"]).await
    }

    async fn look_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = self.bench.clock.elapsed() + time;
        while self.bench.clock.elapsed() < end {
            self.look().await?;
        }
        Ok(())
    }

    /// Waits a moment, then looks.
    async fn look(&mut self) -> anyhow::Result<Sample> {
        let mut missed = 0;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            self.fleet.check_alive()?;
            match self.sample().await {
                Ok(sample) => {
                    self.samples.push(sample.clone());
                    return Ok(sample);
                }
                Err(error) if missed >= MOST_MISSED => return Err(error),
                Err(_) => missed += 1,
            }
        }
    }

    async fn sample(&self) -> anyhow::Result<Sample> {
        let at = self.bench.clock.elapsed();
        let webhooks = self.admin.webhooks().await?;
        let metrics = self.admin.metrics().await?;
        let (ours, others): (Vec<_>, Vec<_>) = webhooks.iter().partition(|webhook| webhook.id == patient());
        let ours = ours.first().context("/webhooks lacks the endpoint that dies")?;
        let sum = |of: fn(&WebhookState) -> u64| others.iter().map(|webhook| of(webhook)).sum();
        let records =
            |kind: &str| metrics.sum("hookline_dispatcher_records_total", &format!("kind=\"{kind}\""));
        let committed = metrics.by("hookline_dispatcher_committed", "partition");
        if committed.is_empty() {
            bail!("the metrics do not tell committed positions");
        }
        Ok(Sample {
            at,
            in_flight: ours.in_flight,
            backlog: ours.backlog,
            others_parked: sum(|webhook| webhook.parked),
            others_backlog: sum(|webhook| webhook.backlog),
            records: Records {
                parked: records("parked"),
                lane: records("lane"),
                dead_letter: records("dead_letter"),
            },
            committed,
            rss_anon_bytes: self.fleet.usage()?.rss_anon_bytes,
        })
    }
}
