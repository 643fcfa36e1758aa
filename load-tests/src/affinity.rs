//! On which core something runs: what is measured and what measures it shall not take turns on one.

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps the calling thread on this core.
///
/// # Errors
///
/// If the machine has no such core, or this process may not use it.
pub fn pin(core: usize) -> anyhow::Result<()> {
    anyhow::ensure!(core < CpuSet::MAX_CPU, "there can be no core {core}");
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("nothing can run on core {core}"))
}

/// Starts a process on this core: a child has the cores of the thread that starts it, from its first instruction on, so
/// that it also counts one core when it decides how many threads it needs. The calling thread is where it was when this
/// returns. Without a core it may run anywhere.
///
/// # Errors
///
/// As [`pin`].
pub fn start_on<T>(core: Option<usize>, start: impl FnOnce() -> T) -> anyhow::Result<T> {
    let Some(core) = core else { return Ok(start()) };
    let before = sched_getaffinity(None).context("the system does not tell the own cores")?;
    pin(core)?;
    let started = start();
    sched_setaffinity(None, &before).context("the own cores can't be had back")?;
    Ok(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_runs_on_its_core_and_its_parent_where_it_was() {
        let before = sched_getaffinity(None).expect("cores");
        let core = (0..CpuSet::MAX_CPU).find(|core| before.is_set(*core)).expect("a core");
        let child = || std::process::Command::new("cat").arg("/proc/self/status").output();
        let output = start_on(Some(core), child).expect("a core").expect("a process").stdout;
        let status = String::from_utf8(output).expect("text");
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        assert_eq!(allowed.map(str::trim), Some(core.to_string().as_str()));
        assert_eq!(sched_getaffinity(None).expect("cores"), before);
    }

    #[test]
    fn a_core_that_is_not_there_is_refused() {
        for core in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU] {
            assert!(start_on(Some(core), || ()).is_err());
        }
    }
}
