//! The course of one fault: what is done to whom, when, and from when to when that disturbed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::ensure;
use hookline_schemas::ids::WebhookId;

use super::super::bench::Bench;
use super::super::brokers::Brokers;
use super::super::fleet::Fleet;
use super::super::kill::OUTAGES;
use super::Fault;
use crate::checker::{COPY_WINDOW, Disturbance};
use crate::config::Kafka;
use crate::receiver::Profile;
use crate::simulator::Progress;

/// Before the fault: longer than a disturbance reaches back, so that a copy in this time has no excuse.
const CALM_BEFORE: Duration = COPY_WINDOW.saturating_add(Duration::from_secs(3));
/// A disturbance is over when everything has been whole for so long: a dispatcher's session (6 s), the time for
/// letting go of partitions (5 s), and joining the group. A member that has been given up may not know yet.
const WHOLE_FOR: Duration = Duration::from_secs(14);
/// By then everything has to be whole.
const WHOLE_WITHIN: Duration = Duration::from_secs(180);
/// Between two looks at whether it is: at this load something is accepted in that time.
const WHOLE_INTERVAL: Duration = Duration::from_secs(1);
/// After the disturbance: nothing that comes now is excused by it.
const CALM_AFTER: Duration = Duration::from_secs(5);
/// How long a broker stays dead: longer than until its partitions have new leaders.
const BROKER_AWAY: Duration = Duration::from_secs(8);
/// How long a broker hangs: longer than its session.
const BROKER_HANGS: Duration = Duration::from_secs(8);
/// How long two brokers of three are gone.
const MINORITY: Duration = Duration::from_secs(15);
/// Between two deaths of an edge.
const BETWEEN_DEATHS: Duration = Duration::from_secs(4);
/// How long a killed edge or dispatcher stays away: shorter than a dispatcher's session, and longer.
const AWAY: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(9), Duration::from_millis(100)];
/// Between two looks at the processes.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What a course leaves behind.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Passed {
    pub(in crate::scenario) disturbances: Vec<Disturbance>,
    pub(in crate::scenario) edge_rss_anon_bytes: u64,
}

/// A course under way.
#[derive(Debug)]
pub(in crate::scenario) struct Course<'a> {
    pub(in crate::scenario) bench: &'a Bench,
    pub(in crate::scenario) fleet: &'a mut Fleet,
    brokers: &'a Brokers,
    log: &'a Kafka,
    progress: &'a Progress,
    pub(in crate::scenario) passed: Passed,
}

impl<'a> Course<'a> {
    pub(in crate::scenario) fn new(
        bench: &'a Bench,
        fleet: &'a mut Fleet,
        brokers: &'a Brokers,
        log: &'a Kafka,
        progress: &'a Progress,
    ) -> Self {
        Self { bench, fleet, brokers, log, progress, passed: Passed::default() }
    }

    /// Goes through it. Whatever was taken away is there again when this returns, and every endpoint is up;
    /// no process was started again that was not killed here.
    pub(super) async fn run(mut self, fault: Fault, outage: Duration) -> anyhow::Result<Passed> {
        let down = WebhookId::new(OUTAGES);
        self.bench.receiver.set_profile(&down, Profile::Down);
        self.wait(CALM_BEFORE).await?;
        match fault {
            Fault::Leader => {
                let leader = self.brokers.leader(format!("{}events", self.log.topic_prefix), 0).await?;
                self.without_brokers(&[leader], BROKER_AWAY).await?;
            }
            Fault::Coordinator => {
                let coordinator = self.brokers.coordinator(format!("{}.events", self.log.group)).await?;
                self.without_brokers(&[coordinator], BROKER_AWAY).await?;
            }
            Fault::Pause => self.broker_hangs().await?,
            Fault::Edge => self.edge_dies().await?,
            Fault::Dispatcher => self.dispatcher_dies().await?,
            Fault::Scale => self.scale().await?,
            Fault::Minority => {
                let all = self.brokers.all();
                self.without_brokers(all.get(..2).unwrap_or_default(), MINORITY).await?;
            }
            Fault::Outage => self.without_brokers(&self.brokers.all(), outage).await?,
        }
        self.bench.receiver.set_profile(&down, Profile::Healthy);
        self.wait(CALM_AFTER).await?;
        Ok(self.passed)
    }

    /// Kills these brokers and starts them again after this time; everything is whole when this returns.
    pub(in crate::scenario) async fn without_brokers(
        &mut self,
        nodes: &[u16],
        away: Duration,
    ) -> anyhow::Result<()> {
        let at = self.bench.clock.elapsed();
        self.brokers.kill(nodes).await?;
        self.wait(away).await?;
        self.brokers.start_again(nodes).await?;
        self.disturbed_since(at).await
    }

    async fn broker_hangs(&mut self) -> anyhow::Result<()> {
        let node = self.brokers.leader(format!("{}events", self.log.topic_prefix), 0).await?;
        let at = self.bench.clock.elapsed();
        self.brokers.pause(node).await?;
        let waited = self.wait(BROKER_HANGS).await;
        self.brokers.resume(node).await?;
        waited?;
        self.disturbed_since(at).await
    }

    /// No dispatcher notices: nothing is excused. What the edge did not answer is posted to the other one, and
    /// is the same event.
    async fn edge_dies(&mut self) -> anyhow::Result<()> {
        for away in AWAY {
            self.fleet.kill("edge-1").await?;
            self.wait(away).await?;
            self.fleet.start(&["edge-1"]).await?;
            self.wait(BETWEEN_DEATHS).await?;
        }
        Ok(())
    }

    async fn dispatcher_dies(&mut self) -> anyhow::Result<()> {
        for away in AWAY {
            let at = self.bench.clock.elapsed();
            self.fleet.kill("dispatcher-1").await?;
            self.wait(away).await?;
            self.fleet.start(&["dispatcher-1"]).await?;
            self.disturbed_since(at).await?;
        }
        Ok(())
    }

    async fn scale(&mut self) -> anyhow::Result<()> {
        for (comes, name) in
            [(true, "dispatcher-3"), (false, "dispatcher-1"), (true, "dispatcher-1"), (false, "dispatcher-2")]
        {
            let at = self.bench.clock.elapsed();
            if comes {
                self.fleet.start(&[name]).await?;
            } else {
                self.fleet.stop(name).await?;
            }
            self.disturbed_since(at).await?;
        }
        Ok(())
    }

    /// Waits until everything has been whole for long enough, and writes down that it was not before. The
    /// partitions are shared out and notifications are accepted: that is what whole means.
    pub(in crate::scenario) async fn disturbed_since(&mut self, at: Duration) -> anyhow::Result<()> {
        let clock = self.bench.clock;
        let deadline = clock.elapsed() + WHOLE_WITHIN;
        let mut whole_since = clock.elapsed();
        let mut accepted = self.progress.accepted.load(Ordering::Relaxed);
        while clock.elapsed() < whole_since + WHOLE_FOR {
            ensure!(clock.elapsed() < deadline, "not whole again within {WHOLE_WITHIN:?}");
            self.wait(WHOLE_INTERVAL).await?;
            let before = std::mem::replace(&mut accepted, self.progress.accepted.load(Ordering::Relaxed));
            // Who does not say what it owns is not whole either.
            let is_shared_out = self.fleet.is_shared_out().await.unwrap_or(false);
            if accepted == before || !is_shared_out {
                whole_since = clock.elapsed();
            }
        }
        self.passed.disturbances.push(Disturbance { at, until: clock.elapsed() });
        Ok(())
    }

    /// Lets time pass, with an eye on the processes: one that ends by itself ends the run.
    pub(in crate::scenario) async fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = self.bench.clock.elapsed() + time;
        loop {
            self.fleet.check_alive()?;
            let rss_anon_bytes = self.fleet.usage()?.rss_anon_bytes;
            self.passed.edge_rss_anon_bytes = self.passed.edge_rss_anon_bytes.max(rss_anon_bytes);
            let left = until.saturating_sub(self.bench.clock.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(LOOK_INTERVAL)).await;
        }
    }
}
