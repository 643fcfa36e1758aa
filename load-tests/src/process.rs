//! hookline as a child process: started, waited for, measured, killed, stopped.
//!
//! The child never outlives its owner: dropping a [`Hookline`] kills it.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use command_fds::{CommandFdExt, FdMapping};
use hookline_schemas::time::Clock;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};

use crate::admin::Admin;
use crate::affinity;

/// Between two questions whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(10);
/// For a question on the command line.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The first descriptor of those that are handed over; they follow one another.
const FIRST_SOCKET: i32 = 3;
/// Lines of its output that are shown when it fails.
const OUTPUT_LINES: usize = 30;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything, over the embedded log.
    Run,
    /// The edge, over Kafka.
    Ingest,
    /// Delivery, over Kafka.
    Dispatcher,
    /// The control plane, over Kafka.
    Control,
}

impl Role {
    /// Its command on hookline's command line.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Ingest => "ingest",
            Self::Dispatcher => "dispatcher",
            Self::Control => "control",
        }
    }

    /// Whether notifications can be posted to it.
    pub const fn takes_notifications(self) -> bool {
        matches!(self, Self::Run | Self::Ingest)
    }

    /// Whether it delivers.
    pub const fn delivers(self) -> bool {
        matches!(self, Self::Run | Self::Dispatcher)
    }

    /// What answers 200 once it has started. A control may stand by, and is not ready then.
    const fn sign_of_start(self) -> &'static str {
        match self {
            Self::Control => "/livez",
            Self::Run | Self::Ingest | Self::Dispatcher => "/readyz",
        }
    }
}

/// How to start hookline, as often as needed.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// What it does.
    pub role: Role,
    /// Its configuration file.
    pub config: PathBuf,
    /// Where it answers `/readyz`.
    pub admin: SocketAddr,
    /// Takes what it prints, of all starts one after the other.
    pub output: PathBuf,
    /// How long it may take until it is ready.
    pub ready_within: Duration,
    /// Sockets that listen and are handed over to it, as a service manager does.
    pub sockets: Vec<Arc<TcpListener>>,
}

/// A running hookline.
#[derive(Debug)]
pub struct Hookline {
    child: Child,
    process_id: u32,
    admin: SocketAddr,
}

/// What a process has used until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Anonymous memory that is resident: without mapped files, which the system may take back.
    pub rss_anon_bytes: u64,
    /// Files and sockets that are open.
    pub open_files: usize,
}

impl Launch {
    /// Starts hookline in its role; it was ready when this returns.
    ///
    /// # Errors
    ///
    /// If it can't be started, ends, or is not ready in time; with the end of its output.
    pub async fn start(&self, clock: Clock) -> anyhow::Result<Hookline> {
        self.start_on(None, clock).await
    }

    /// The same, on one core where one is named.
    ///
    /// # Errors
    ///
    /// As [`Self::start`], and if there is no such core.
    pub async fn start_on(&self, core: Option<usize>, clock: Clock) -> anyhow::Result<Hookline> {
        let output = OpenOptions::new().create(true).append(true).open(&self.output)?;
        let directory = self.config.parent().context("the configuration file has no directory")?;
        let mut command = self.command()?;
        command
            .arg(self.role.command())
            .arg("--config")
            .arg(&self.config)
            .current_dir(directory)
            .stdin(std::process::Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true);
        let started = affinity::start_on(core, || command.spawn())?;
        let mut child = started.with_context(|| format!("failed to start {}", self.program.display()))?;
        let process_id = child.id().context("the process has ended already")?;
        let deadline = clock.elapsed() + self.ready_within;
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("hookline ended before it was ready: {status}\n{}", self.last_output());
            }
            if Admin::at(self.admin).get(self.role.sign_of_start()).await.is_ok() {
                return Ok(Hookline { child, process_id, admin: self.admin });
            }
            if clock.elapsed() >= deadline {
                bail!("hookline was not ready within {:?}\n{}", self.ready_within, self.last_output());
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
    }

    /// The program, with the sockets that are handed over by systemd's protocol. Who they are for is said by the number
    /// of the process, which only it itself knows before it begins: a shell says it, and becomes the program.
    fn command(&self) -> anyhow::Result<Command> {
        if self.sockets.is_empty() {
            return Ok(Command::new(&self.program));
        }
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(&self.program);
        command.env("LISTEN_FDS", self.sockets.len().to_string());
        let mappings = self
            .sockets
            .iter()
            .zip(FIRST_SOCKET..)
            .map(|(socket, child_fd)| Ok(FdMapping { parent_fd: socket.try_clone()?.into(), child_fd }));
        command.fd_mappings(mappings.collect::<std::io::Result<_>>()?)?;
        Ok(command)
    }

    /// Asks the process that runs, by hookline's command line: what it prints, each line of it JSON.
    ///
    /// # Errors
    ///
    /// If the command fails; with what it said.
    pub async fn ask<A: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<Vec<A>> {
        let directory = self.config.parent().context("the configuration file has no directory")?;
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--json").arg("--config").arg(&self.config).current_dir(directory);
        let output = tokio::time::timeout(ANSWER_WITHIN, command.kill_on_drop(true).output());
        let output = output.await.with_context(|| format!("{arguments:?} does not end"))??;
        if !output.status.success() {
            bail!("{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let said = String::from_utf8(output.stdout)?;
        Ok(said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// A token by which the control plane of this configuration knows somebody of an organization.
    ///
    /// # Errors
    ///
    /// If the command fails; with what it said.
    pub async fn token(&self, organization: &str, role: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        let directory = self.config.parent().context("a configuration stands in a directory")?;
        command.current_dir(directory);
        command.args(["token", "issue", "--organization", organization, "--role", role, "--config"]);
        let output = command.arg(&self.config).kill_on_drop(true).output();
        let output = tokio::time::timeout(ANSWER_WITHIN, output).await.context("no token in time")??;
        if !output.status.success() {
            bail!("there is no token: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The last lines that it printed.
    pub fn last_output(&self) -> String {
        let text = std::fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(OUTPUT_LINES)..).unwrap_or_default().join("\n")
    }
}

impl Hookline {
    /// `kill -9`; the process is gone when this returns.
    ///
    /// # Errors
    ///
    /// If it had ended by itself: then something else went wrong before.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("hookline ended before it was killed: {status}");
        }
        self.child.kill().await.context("failed to kill hookline")
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    ///
    /// If it is still there after this time; then it is killed.
    pub async fn stop(mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let process_id = i32::try_from(self.process_id).ok().and_then(Pid::from_raw);
        let process_id = process_id.context("the process id is out of range")?;
        kill_process(process_id, Signal::TERM).context("failed to signal hookline")?;
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("hookline did not stop within {within:?}"),
        }
    }

    /// Asks it to read its webhooks again (SIGHUP).
    ///
    /// # Errors
    ///
    /// If it is not there any more.
    pub fn reload(&self) -> anyhow::Result<()> {
        let process_id = i32::try_from(self.process_id).ok().and_then(Pid::from_raw);
        let process_id = process_id.context("the process id is out of range")?;
        kill_process(process_id, Signal::HUP).context("failed to signal hookline")
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    ///
    /// If the system does not know.
    pub fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The sum of a metric's samples that carry this label (`outcome="dead"`).
    ///
    /// # Errors
    ///
    /// If the admin address does not answer.
    pub async fn metric(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        Ok(Admin::at(self.admin).metrics().await?.sum(name, label))
    }

    /// What it has used until now.
    ///
    /// # Errors
    ///
    /// If the process is gone or the system has no `/proc`.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        usage_of(&self.process_id.to_string())
    }
}

/// What a process has used until now; `self` is this one.
///
/// # Errors
///
/// If the process is gone or the system has no `/proc`.
pub fn usage_of(process: &str) -> anyhow::Result<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let rss_anon_bytes = rss_anon(&status).context("/proc/PID/status is not as expected")?;
    let open_files = std::fs::read_dir(format!("/proc/{process}/fd"))?.count();
    Ok(Usage { cpu: cpu_of(process)?, rss_anon_bytes, open_files })
}

/// User and system time of a process; `self` is this one, `thread-self` the calling thread.
///
/// # Errors
///
/// If the process is gone or the system has no `/proc`.
pub fn cpu_of(process: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    Ok(duration_of(cpu_ticks(&stat).context("/proc/PID/stat is not as expected")?))
}

/// The time that all processors of the machine have been busy, whoever made them so.
///
/// # Errors
///
/// If the system has no `/proc`.
pub fn cpu_of_machine() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    Ok(duration_of(busy_ticks(&stat).context("/proc/stat is not as expected")?))
}

fn duration_of(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1))
}

/// Of the first line, which sums up all processors: all but idle and waiting for a disk, the 4th and 5th field.
/// What follows the 8th is contained in the others.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let ticks: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(ticks.iter().take(3).chain(ticks.get(5..)?).sum())
}

/// utime + stime, the 14th and 15th field. The second is the name in parentheses and may hold spaces and
/// parentheses of its own, so counting begins behind the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user.saturating_add(system))
}

fn rss_anon(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cpu_time_behind_a_name_with_spaces_and_parentheses() {
        for (stat, expected) in [
            ("7 (hookline) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1 2 3", Some(300)),
            ("7 (a) b) (c) S 1 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 9 0 1 2 3", Some(3)),
            ("7 (hookline) S 1", None),
            ("", None),
        ] {
            assert_eq!(cpu_ticks(stat), expected, "{stat}");
        }
    }

    #[test]
    fn the_machine_is_busy_unless_it_is_idle_or_waits() {
        for (stat, expected) in [
            (
                "cpu  1 20 300 9000 9000 4000 50000 600000 7000000 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
                Some(654_321),
            ),
            ("cpu0 1 20 300 9000 9000 4000 50000 600000\n", None),
            ("cpu  1 20\n", None),
            ("", None),
        ] {
            assert_eq!(busy_ticks(stat), expected, "{stat}");
        }
    }

    #[test]
    fn reads_anonymous_memory() {
        let status = "VmRSS:\t   9000 kB\nRssAnon:\t    1234 kB\nRssFile:\t 7766 kB\n";
        assert_eq!(rss_anon(status), Some(1234 * 1024));
        assert_eq!(rss_anon("VmRSS:\t 1 kB"), None);
    }
}
