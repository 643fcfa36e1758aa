//! On what it was measured: enough to compare two results, and nothing by which the machine could be found.

use std::fs::read_to_string;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine, and what its programs were built with. What the system does not tell is `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// The processor's model.
    pub(super) processor: String,
    /// How many of them a process may use.
    pub(super) processors: usize,
    /// Whether they have instructions for SHA-256, which halve what a verification costs.
    pub(super) sha_instructions: bool,
    /// All memory.
    pub(super) memory_bytes: u64,
    /// System and release.
    pub(super) kernel: String,
    /// The disk below the directory of the runs.
    pub(super) disk: String,
    /// The file system in which the directory of the runs stands.
    pub(super) file_system: String,
    /// The compiler in the path.
    pub(super) rustc: String,
}

impl Machine {
    /// This one; runs have their directories in `work_dir`.
    pub(super) fn describe(work_dir: &Path) -> Self {
        let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = read_to_string("/proc/meminfo").unwrap_or_default();
        let mounts = read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let system = |what: &str| read_to_string(format!("/proc/sys/kernel/{what}")).unwrap_or_default();
        let kernel = [system("ostype"), system("osrelease")].map(|text| text.trim().to_owned()).join(" ");
        let work_dir = work_dir.canonicalize().unwrap_or_default();
        let file_system = file_system(&mounts, &work_dir);
        Self {
            processor: known(field(&cpuinfo, "model name").map(str::to_owned)),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            sha_instructions: has_sha(&cpuinfo),
            memory_bytes: memory_bytes(&meminfo).unwrap_or_default(),
            kernel,
            disk: known(disk(&work_dir)),
            file_system: known(file_system.map(str::to_owned)),
            rustc: known(first_line("rustc", &["--version"])),
        }
    }
}

/// The commit of this checkout, and whether it was changed since; none where there is no repository, or no git.
pub(super) fn commit() -> Option<String> {
    let in_checkout = |arguments: &[&str]| {
        let arguments = [&["-C", env!("CARGO_MANIFEST_DIR")], arguments].concat();
        first_line("git", &arguments)
    };
    let commit = in_checkout(&["rev-parse", "--short=12", "HEAD"]).filter(|commit| !commit.is_empty())?;
    let is_changed = in_checkout(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    Some(if is_changed { format!("{commit}, changed") } else { commit })
}

fn known(what: Option<String>) -> String {
    what.filter(|what| !what.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// Empty if it said nothing; none if it could not be run, or failed.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// The value of the first `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).next()
}

/// x86 lists them as flags, ARM as features.
fn has_sha(cpuinfo: &str) -> bool {
    let lists = ["flags", "Features"].into_iter().filter_map(|name| field(cpuinfo, name));
    lists.flat_map(str::split_ascii_whitespace).any(|name| matches!(name, "sha_ni" | "sha2"))
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kibibytes: u64 = field(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

/// The type of the file system that is mounted nearest above this directory; of those at the same place the last
/// one, which hides the others. Neither the place nor the source is told: a source may name another machine.
fn file_system<'a>(mountinfo: &'a str, directory: &Path) -> Option<&'a str> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let place = Path::new(mount.split(' ').nth(4)?);
        directory.starts_with(place).then(|| (place.components().count(), source.split(' ').next()))
    });
    mounts.max_by_key(|(depth, _)| *depth).and_then(|(_, kind)| kind)
}

/// What the system says of the block device below a directory; file systems over others have none of their own.
fn disk(directory: &Path) -> Option<String> {
    let device = directory.metadata().ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let block = Path::new("/sys/dev/block").join(format!("{major}:{minor}")).canonicalize().ok()?;
    // A partition stands in the directory of its disk.
    let whole = block.ancestors().take(2).find(|path| path.join("queue").is_dir())?;
    let said = |what: &str| read_to_string(whole.join(what)).map(|text| text.trim().to_owned()).ok();
    let kind = match said("queue/rotational").as_deref() {
        Some("0") => "solid state",
        Some(_) => "rotational or virtual",
        None => "of unknown kind",
    };
    let model = said("device/model").unwrap_or_else(|| "a block device".to_owned());
    let driver = whole.file_name()?.to_string_lossy();
    Some(format!("{model} ({}), {kind}", driver.trim_end_matches(|letter: char| letter.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha_instructions_are_a_flag_or_a_feature() {
        for (cpuinfo, expected) in [
            ("processor\t: 0\nflags\t\t: fpu sse4_2 sha_ni avx2\n", true),
            ("processor\t: 0\nFeatures\t: fp asimd sha1 sha2 crc32\n", true),
            ("processor\t: 0\nflags\t\t: fpu sse4_2 avx2\nbugs: sha_ni\n", false),
            ("", false),
        ] {
            assert_eq!(has_sha(cpuinfo), expected, "{cpuinfo}");
        }
    }

    #[test]
    fn memory_is_in_bytes_and_a_model_is_the_first_processor_s() {
        assert_eq!(memory_bytes("MemTotal:    2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(memory_bytes("MemFree: 1 kB\n"), None);
        let cpuinfo = "model name\t: One CPU @ 2.00GHz\nmodel name\t: Another\n";
        assert_eq!(field(cpuinfo, "model name"), Some("One CPU @ 2.00GHz"));
    }

    #[test]
    fn the_file_system_is_the_nearest_and_the_last_that_was_mounted_there() {
        let mounts = "21 1 0:20 / / rw - overlay overlay rw\n\
            22 21 8:1 / /data rw shared:1 - ext4 /dev/sda1 rw\n\
            23 22 0:30 / /data/nas rw - nfs4 nas.example:/export rw\n\
            24 22 8:2 / /data rw - xfs /dev/sdb1 rw\n";
        for (directory, expected) in [
            ("/tmp", Some("overlay")),
            ("/data/runs", Some("xfs")),
            ("/data/nas/runs", Some("nfs4")),
            ("/database", Some("overlay")),
        ] {
            assert_eq!(file_system(mounts, Path::new(directory)), expected, "{directory}");
        }
        assert_eq!(file_system("", Path::new("/tmp")), None);
    }

    #[test]
    fn neither_the_host_nor_a_path_stands_in_the_description() {
        let directory = tempfile::tempdir().expect("a directory");
        let machine = Machine::describe(directory.path());
        assert!(machine.processors > 0 && machine.memory_bytes > 0, "{machine:?}");
        let told = [machine.processor, machine.disk, machine.file_system, machine.rustc, machine.kernel];
        let host = read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let words: Vec<&str> = told.iter().flat_map(|text| text.split_ascii_whitespace()).collect();
        assert!(!words.contains(&host.trim()), "{words:?}");
        assert!(!words.iter().any(|word| word.starts_with('/')), "{words:?}");
    }
}
