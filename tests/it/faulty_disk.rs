//! The faulty disk of a bench: compiled, put under hookline, and switched while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::bench::{Bench, PROGRAM, eventually};

/// What can be switched; `faulty_disk.c` says what each does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Hold,
    Skip,
    Eio,
    Enospc,
}

/// The switches.
pub(crate) struct FaultyDisk {
    switches: PathBuf,
}

impl FaultyDisk {
    /// Every later start of the bench's hookline is on this disk. It has no fault at first.
    pub(crate) fn under(bench: &mut Bench) -> anyhow::Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
        let directory = bench.path();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(directory.join("faulty_disk.so"))
            .arg(sources.join("faulty_disk.c"))
            .arg("-ldl")
            .output()
            .context("these tests need a C compiler, as the build does, under the name cc")?;
        ensure!(compiled.status.success(), "cc: {}", String::from_utf8_lossy(&compiled.stderr));
        std::os::unix::fs::symlink(PROGRAM, directory.join("hookline"))?;
        let switches = directory.join("switches");
        fs::create_dir(&switches)?;
        bench.launch.program = sources.join("on_a_faulty_disk.sh");
        Ok(Self { switches })
    }

    pub(crate) fn switch_on(&self, fault: Fault) -> anyhow::Result<()> {
        Ok(fs::write(self.path_of(fault), "")?)
    }

    pub(crate) fn switch_off(&self, fault: Fault) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.path_of(fault))?)
    }

    /// Waits until a sync is being held.
    pub(crate) async fn holds_a_sync(&self, bench: &Bench) -> anyhow::Result<()> {
        let held = self.switches.join("held");
        eventually(bench.clock, || held.exists()).await.context("no sync came to the faulty disk")
    }

    fn path_of(&self, fault: Fault) -> PathBuf {
        self.switches.join(match fault {
            Fault::Hold => "hold",
            Fault::Skip => "skip",
            Fault::Eio => "eio",
            Fault::Enospc => "enospc",
        })
    }
}
