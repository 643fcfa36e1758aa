//! The processes of a sender as the system sees them: what they and their children have used, and their end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Between two looks whether the killed are gone.
const GONE_INTERVAL: Duration = Duration::from_millis(20);
/// So many looks at most.
const GONE_LOOKS: u32 = 500;

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    is_running: bool,
    /// User and system time: its own, and that of the children that it has waited for.
    ticks: u64,
}

/// User and system time of these processes and all their descendants. What a descendant that has ended has used is in
/// its parent's account, so that a server with a process per connection is measured in whole.
///
/// # Errors
///
/// If one of them is gone, or the system has no `/proc`.
pub(super) fn cpu_of_trees(roots: &[u32]) -> anyhow::Result<Duration> {
    let all = every_process()?;
    for root in roots {
        ensure!(all.contains_key(root), "process {root} is gone");
    }
    let ticks: u64 = trees(roots, &all).iter().filter_map(|id| all.get(id)).map(|stat| stat.ticks).sum();
    Ok(Duration::from_millis(ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1)))
}

/// `kill -9` of these processes and all their descendants; they are gone when this returns.
///
/// # Errors
///
/// If one of them was gone before, or is not gone for long.
pub(super) async fn kill_trees(roots: &[u32]) -> anyhow::Result<()> {
    let all = every_process()?;
    for root in roots {
        ensure!(all.contains_key(root), "process {root} ended before it was killed");
    }
    let doomed = trees(roots, &all);
    // Parents first: they must not start others in place of their children.
    for id in roots.iter().chain(&doomed) {
        let process = i32::try_from(*id).ok().and_then(Pid::from_raw).context("a process id out of range")?;
        // One that has ended meanwhile is what is wanted.
        let _ = kill_process(process, Signal::KILL);
    }
    for _ in 0..GONE_LOOKS {
        let left = every_process()?;
        if !doomed.iter().filter_map(|id| left.get(id)).any(|stat| stat.is_running) {
            return Ok(());
        }
        tokio::time::sleep(GONE_INTERVAL).await;
    }
    anyhow::bail!("the killed processes are still there")
}

/// These and their descendants.
fn trees(roots: &[u32], all: &BTreeMap<u32, Stat>) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = roots.iter().copied().filter(|root| all.contains_key(root)).collect();
    loop {
        let of_found = all.iter().filter(|(_, stat)| found.contains(&stat.parent)).map(|(id, _)| *id);
        let children: Vec<u32> = of_found.filter(|id| !found.contains(id)).collect();
        if children.is_empty() {
            return found;
        }
        found.extend(children);
    }
}

fn every_process() -> anyhow::Result<BTreeMap<u32, Stat>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile has no file any more.
        if let Ok(text) = std::fs::read_to_string(format!("/proc/{id}/stat")) {
            all.insert(id, stat(&text).context("/proc/PID/stat is not as expected")?);
        }
    }
    Ok(all)
}

/// State, parent and the four times are the 3rd, 4th and 14th to 17th field. The second is the name in parentheses and
/// may hold spaces and parentheses of its own, so counting begins behind the last one.
fn stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let is_running = !matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let times: Vec<u64> = fields.skip(9).take(4).map(str::parse).collect::<Result<_, _>>().ok()?;
    (times.len() == 4).then(|| Stat { parent, is_running, ticks: times.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_accounts_for_the_children_that_have_ended() {
        for (text, expected) in [
            (
                "7 (postgres) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 1000 200 20 0 9 0 1 2 3",
                Some(Stat { parent: 1, is_running: true, ticks: 1500 }),
            ),
            (
                "8 (a) b) (c) Z 7 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 9 0 1 2 3",
                Some(Stat { parent: 7, is_running: false, ticks: 3 }),
            ),
            ("7 (postgres) S 1 7 7 0 -1 4194560 100 0 0 0 250 50", None),
            ("", None),
        ] {
            assert_eq!(stat(text), expected, "{text}");
        }
    }

    #[test]
    fn a_tree_is_a_process_with_all_that_descend_from_it() {
        let of = |parent| Stat { parent, is_running: true, ticks: 1 };
        let all = BTreeMap::from([(2, of(1)), (3, of(9)), (9, of(2)), (4, of(1)), (5, of(4)), (6, of(1))]);
        for (roots, expected) in [
            (&[2][..], &[2, 3, 9][..]),
            (&[2, 4], &[2, 3, 4, 5, 9]),
            (&[2, 9], &[2, 3, 9]),
            (&[8], &[]),
            (&[6], &[6]),
        ] {
            assert!(trees(roots, &all).iter().eq(expected), "{roots:?}");
        }
    }

    #[tokio::test]
    async fn a_killed_tree_is_gone_with_its_children() {
        let mut parent = tokio::process::Command::new("sh");
        let mut parent =
            parent.args(["-c", "sleep 60 & wait"]).kill_on_drop(true).spawn().expect("a process");
        let id = parent.id().expect("an id");
        let mut children = BTreeSet::new();
        for _ in 0..GONE_LOOKS {
            children = trees(&[id], &every_process().expect("processes"));
            if children.len() == 2 {
                break;
            }
            tokio::time::sleep(GONE_INTERVAL).await;
        }
        assert_eq!(children.len(), 2, "{children:?}");
        assert!(cpu_of_trees(&[id]).is_ok());
        kill_trees(&[id]).await.expect("an end");
        let left = every_process().expect("processes");
        assert!(!children.iter().filter_map(|id| left.get(id)).any(|stat| stat.is_running));
        parent.wait().await.expect("an end");
        assert!(cpu_of_trees(&[id]).is_err());
        assert!(kill_trees(&[id]).await.is_err());
    }
}
