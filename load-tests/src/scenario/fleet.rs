//! The processes that hookline consists of in a scenario, each started, killed and stopped by its name.
//!
//! One `hookline`, or `edge-1`, `edge-2`, … and `dispatcher-1`, `dispatcher-2`, … and `control-1`, `control-2`, …

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::try_join_all;
use hookline_schemas::time::Clock;
use serde::de::DeserializeOwned;

use crate::admin::Admin;
use crate::process::{Hookline, Launch, Usage};

/// From SIGTERM to the exit.
const STOP_WITHIN: Duration = Duration::from_secs(40);

/// Until dispatchers have shared out the partitions.
const SHARED_WITHIN: Duration = Duration::from_secs(60);
/// hookline's default; no scenario changes it.
const EVENT_PARTITIONS: f64 = 16.0;

/// A process: how it is started, and itself while it runs.
#[derive(Debug)]
pub(super) struct Member {
    name: String,
    launch: Launch,
    ingest: SocketAddr,
    control: SocketAddr,
    running: Option<Hookline>,
}

impl Member {
    pub(super) const fn new(name: String, launch: Launch, ingest: SocketAddr, control: SocketAddr) -> Self {
        Self { name, launch, ingest, control, running: None }
    }

    /// Where it takes notifications, if it does.
    pub(super) fn edge(&self) -> Option<SocketAddr> {
        self.launch.role.takes_notifications().then_some(self.ingest)
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        let Some(hookline) = &mut self.running else { return Ok(()) };
        match hookline.has_ended()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended by itself: {status}\n{}", self.name, self.launch.last_output())
            }
        }
    }

    /// What was wrong with its end, if something was.
    async fn stop(&mut self) -> anyhow::Result<Option<String>> {
        let Some(hookline) = self.running.take() else { return Ok(None) };
        let stopped = hookline.stop(STOP_WITHIN).await;
        let status = stopped.with_context(|| format!("{}\n{}", self.name, self.launch.last_output()))?;
        Ok((!status.success()).then(|| format!("{} stopped with {status}", self.name)))
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Fleet {
    members: Vec<Member>,
    clock: Clock,
}

impl Fleet {
    pub(super) const fn new(members: Vec<Member>, clock: Clock) -> Self {
        Self { members, clock }
    }

    fn member(&mut self, name: &str) -> anyhow::Result<&mut Member> {
        let member = self.members.iter_mut().find(|member| member.name == name);
        member.with_context(|| format!("there is no {name}"))
    }

    /// Where this one tells about itself, whether it runs or not.
    pub(super) fn admin(&mut self, name: &str) -> anyhow::Result<Admin> {
        Ok(Admin::at(self.member(name)?.launch.admin))
    }

    /// Where those that take notifications tell about themselves, in their order.
    pub(super) fn edge_admins(&self) -> Vec<Admin> {
        let edges = self.members.iter().filter(|member| member.edge().is_some());
        edges.map(|member| Admin::at(member.launch.admin)).collect()
    }

    /// Binds all that this one listens on, and hands the sockets over to it at every start, as a service manager does.
    pub(super) fn hold_sockets(&mut self, name: &str) -> anyhow::Result<()> {
        let member = self.member(name)?;
        let addresses = [member.ingest, member.control, member.launch.admin];
        let bound = addresses.into_iter().map(|address| TcpListener::bind(address).map(Arc::new));
        member.launch.sockets = bound.collect::<Result<_, _>>().context("failed to bind for another")?;
        Ok(())
    }

    /// Where this one has its control plane, if it has one, and whether it runs or not.
    pub(super) fn control(&mut self, name: &str) -> anyhow::Result<SocketAddr> {
        Ok(self.member(name)?.control)
    }

    /// A token by which the control planes know somebody of an organization.
    pub(super) async fn token(
        &mut self,
        name: &str,
        organization: &str,
        role: &str,
    ) -> anyhow::Result<String> {
        self.member(name)?.launch.token(organization, role).await
    }

    /// What this one says when it is asked on the command line: each line of JSON.
    pub(super) async fn ask<A: DeserializeOwned>(
        &mut self,
        name: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Vec<A>> {
        self.member(name)?.launch.ask(arguments).await
    }

    fn running(&mut self, name: &str) -> anyhow::Result<Hookline> {
        let member = self.member(name)?;
        member.running.take().with_context(|| format!("{name} does not run"))
    }

    /// Starts these, one after the other; each was ready before the next, and all are when this returns.
    pub(super) async fn start(&mut self, names: &[&str]) -> anyhow::Result<()> {
        let clock = self.clock;
        for name in names {
            let member = self.member(name)?;
            let started = member.launch.start(clock).await;
            member.running = Some(started.with_context(|| format!("failed to start {name}"))?);
        }
        Ok(())
    }

    /// Starts every one of them, edges first.
    pub(super) async fn start_all(&mut self) -> anyhow::Result<()> {
        let names: Vec<String> = self.names().into_iter().map(str::to_owned).collect();
        for name in names {
            self.start(&[&name]).await?;
        }
        Ok(())
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.members.iter().map(|member| member.name.as_str()).collect()
    }

    /// `kill -9`; it is gone when this returns.
    pub(super) async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.running(name)?.kill().await.with_context(|| format!("failed to kill {name}"))
    }

    /// SIGTERM; it has ended in order when this returns.
    pub(super) async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        match self.member(name)?.stop().await? {
            None => Ok(()),
            Some(failure) => bail!(failure),
        }
    }

    /// Stops those that run, all at once; what was wrong with their ends.
    pub(super) async fn stop_all(mut self) -> anyhow::Result<Vec<String>> {
        let stopped = try_join_all(self.members.iter_mut().map(Member::stop)).await?;
        Ok(stopped.into_iter().flatten().collect())
    }

    /// Fails if one has ended by itself.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(Member::check_alive)
    }

    /// What those that run have used since they were started: time and open files of all, memory of the
    /// largest edge.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        let mut sum = Usage { cpu: Duration::ZERO, rss_anon_bytes: 0, open_files: 0 };
        for member in &self.members {
            let Some(hookline) = &member.running else { continue };
            let usage = hookline.usage()?;
            sum.cpu += usage.cpu;
            sum.open_files += usage.open_files;
            if member.edge().is_some() {
                sum.rss_anon_bytes = sum.rss_anon_bytes.max(usage.rss_anon_bytes);
            }
        }
        Ok(sum)
    }

    /// The sum of a metric's samples with this label, of each process that delivers and runs.
    pub(super) async fn of_dispatchers(&self, metric: &str, label: &str) -> anyhow::Result<Vec<f64>> {
        let mut values = Vec::new();
        for member in self.members.iter().filter(|member| member.launch.role.delivers()) {
            if let Some(hookline) = &member.running {
                values.push(hookline.metric(metric, label).await?);
            }
        }
        Ok(values)
    }

    /// Dead letters that these processes have written since they were started.
    pub(super) async fn dead_letters(&self) -> anyhow::Result<f64> {
        let counted = self.of_dispatchers("hookline_dispatcher", "outcome=\"dead\"").await?;
        Ok(counted.iter().sum())
    }

    /// Partitions of events that each process owns which delivers and runs.
    pub(super) async fn event_partitions(&self) -> anyhow::Result<Vec<f64>> {
        self.of_dispatchers("hookline_log_owned_partitions", "journal=\"events\"").await
    }

    /// Whether every partition of events is owned, and each dispatcher that runs owns some.
    pub(super) async fn is_shared_out(&self) -> anyhow::Result<bool> {
        Ok(are_shared_out(&self.event_partitions().await?))
    }

    /// Waits until the dispatchers have shared the partitions out: every partition is owned, each of them owns
    /// some, and in a second nothing of that changes.
    pub(super) async fn await_shares(&self) -> anyhow::Result<()> {
        let deadline = self.clock.elapsed() + SHARED_WITHIN;
        let mut before = Vec::new();
        while self.clock.elapsed() < deadline {
            let shares = self.event_partitions().await?;
            if shares == before && are_shared_out(&shares) {
                return Ok(());
            }
            before = shares;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        bail!("the dispatchers own {before:?} partitions of events after {SHARED_WITHIN:?}")
    }
}

fn are_shared_out(shares: &[f64]) -> bool {
    shares.iter().sum::<f64>() == EVENT_PARTITIONS && shares.iter().all(|share| *share > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_out_means_that_all_have_some_and_nobody_else_has() {
        for (shares, expected) in [
            (&[16.0][..], true),
            (&[6.0, 5.0, 5.0], true),
            (&[16.0, 0.0], false),
            (&[8.0, 5.0], false),
            (&[16.0, 8.0], false),
            (&[], false),
        ] {
            assert_eq!(are_shared_out(shares), expected, "{shares:?}");
        }
    }
}
