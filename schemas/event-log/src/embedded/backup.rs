//! Backups: a copy of the log as it is at one moment, made while the log is written.
//!
//! A copy is a snapshot of LMDB, written out without its free pages; it takes as long as the disk takes, and meanwhile
//! no page that is freed can be used again, so the log grows by what is written. It goes through a pipe, so that it
//! can be counted, be broken off when the log is closed, and stop before it fills the disk. It is written under
//! another name, synced, and renamed: under the name that was asked for stands a whole copy or nothing.
//!
//! Configuration and keys are not in it; what is sealed in it, nobody opens who has it alone.

use std::fs::{DirBuilder, File};
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use hookline_schemas::time::Clock;
use rustix::fs::statvfs;

use super::directory;
use super::environment::Environment;
use super::readers::Environments;

/// What is read from the pipe at once.
const BLOCK: usize = 256 * 1024;
/// After so many bytes the copy is synced, and the disk is looked at. So a commit of the log never waits for a sync of
/// much more.
const STRETCH: u64 = 64 * 1024 * 1024;
/// At the end: how long a backup may take to be broken off.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks at whether it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Why there is no backup. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// One at a time.
    #[error("another backup is being made")]
    Busy,
    /// The log is closing, or was closed meanwhile.
    #[error("the process is stopping")]
    Closed,
    /// Nothing is overwritten.
    #[error("{} exists and is not an empty directory", path.display())]
    Exists {
        /// Where the backup should have been.
        path: PathBuf,
    },
    /// Another disk is mounted there: it could not be renamed to that, and would be written on the disk below.
    #[error("{} is where a disk is mounted: name a directory inside it", path.display())]
    MountPoint {
        /// Where the backup should have been.
        path: PathBuf,
    },
    /// The process was killed while it wrote it.
    #[error("{} is left from a backup that was broken off: remove it", path.display())]
    Unfinished {
        /// What is left.
        path: PathBuf,
    },
    /// The disk has less than the copy needs, and what the log keeps in reserve.
    #[error("{needed} bytes have to be free at {}, there are {free}", path.display())]
    NoSpace {
        /// Where the backup should have been.
        path: PathBuf,
        /// Bytes that are wanted.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// What the system said of a file.
    #[error("failed to write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// LMDB could not read; the text is its own.
    #[error("failed to read the log: {0}")]
    Read(String),
}

/// A finished backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Where it stands.
    pub directory: PathBuf,
    /// What its files hold together.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// How the latest backup is doing.
#[derive(Debug, Clone, Default)]
pub enum BackupStatus {
    /// None was asked for in this life.
    #[default]
    None,
    /// It is being written.
    Running {
        /// Bytes that are written.
        copied: u64,
        /// Bytes that it will have, about.
        expected: u64,
    },
    /// It is whole, and synced.
    Done(Backup),
    /// There is none.
    Failed(Arc<BackupError>),
}

/// Makes backups of one log, one at a time. Cheap to clone; holds no environment.
#[derive(Debug, Clone)]
pub struct Backups {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    environments: Weak<Environments>,
    /// Bytes that a backup leaves free.
    reserve: u64,
    clock: Clock,
    copied: AtomicU64,
    closed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    latest: BackupStatus,
    /// Somebody looks at the disk for the next one, and makes its directory.
    is_starting: bool,
    thread: Option<JoinHandle<()>>,
}

impl Backups {
    pub(super) fn new(environments: &Arc<Environments>, reserve: u64, clock: Clock) -> Self {
        let shared = Shared {
            environments: Arc::downgrade(environments),
            reserve,
            clock,
            copied: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            state: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Begins a copy of everything that is committed by now, in a directory that does not exist or is empty. When it
    /// returns, the copy is being written by a thread of its own; [`Backups::status`] tells what becomes of it. Blocks
    /// while it looks at the disk.
    pub fn start(&self, directory: &Path) -> Result<(), BackupError> {
        self.shared.claim()?;
        let begun = self.begin(directory);
        self.shared.state().is_starting = false;
        begun
    }

    /// Without the lock while the disk is asked: it may be one that does not answer, and others ask how it goes.
    fn begin(&self, directory: &Path) -> Result<(), BackupError> {
        let environments = self.shared.environments.upgrade().ok_or(BackupError::Closed)?;
        let expected = used_bytes(&environments.log)? + used_bytes(&environments.attempts)?;
        let target = Target::make(directory, expected.saturating_add(self.shared.reserve))?;
        let mut state = self.shared.state();
        if self.shared.is_closed() {
            // Before the target is removed.
            drop(state);
            return Err(BackupError::Closed);
        }
        self.shared.copied.store(0, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("log-backup".to_owned())
            .spawn(move || {
                let ended = shared.copy(&environments, target);
                // The environments first: whoever sees the end may close the log.
                drop(environments);
                shared.state().latest = ended.map_or_else(failed, BackupStatus::Done);
            })
            .map_err(|source| BackupError::Write { path: directory.to_owned(), source })?;
        state.latest = BackupStatus::Running { copied: 0, expected };
        state.thread = Some(thread);
        Ok(())
    }

    /// How the latest is doing.
    pub fn status(&self) -> BackupStatus {
        match &self.shared.state().latest {
            BackupStatus::Running { expected, .. } => BackupStatus::Running {
                copied: self.shared.copied.load(Ordering::Relaxed),
                expected: *expected,
            },
            ended => ended.clone(),
        }
    }

    /// Breaks off what is being written, as soon as the disk lets its thread look, and refuses what is asked for later.
    pub fn break_off(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }

    /// The same, and waits for the thread that writes, but not long: its disk may not answer, and the process ends with
    /// it. What that leaves behind says that it is unfinished.
    pub(super) async fn close(&self) {
        self.break_off();
        let Some(thread) = self.shared.state().thread.take() else { return };
        let ended = async {
            while !thread.is_finished() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::warn!("a backup could not be broken off in time: its unfinished directory may be left");
        } else if thread.join().is_err() {
            tracing::error!("the thread of a backup panicked");
        }
    }
}

fn failed(error: BackupError) -> BackupStatus {
    BackupStatus::Failed(Arc::new(error))
}

fn used_bytes(environment: &Environment) -> Result<u64, BackupError> {
    let used = environment.read().and_then(|snapshot| environment.used_bytes(&snapshot));
    used.map_err(|error| BackupError::Read(error.to_string()))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The next backup is the caller's.
    fn claim(&self) -> Result<(), BackupError> {
        let mut state = self.state();
        if state.is_starting || matches!(state.latest, BackupStatus::Running { .. }) {
            return Err(BackupError::Busy);
        }
        if self.is_closed() {
            return Err(BackupError::Closed);
        }
        state.is_starting = true;
        Ok(())
    }

    /// The log first: attempts that it does not know are of no harm, deliveries without attempts would puzzle people.
    fn copy(&self, environments: &Environments, target: Target) -> Result<Backup, BackupError> {
        let began = self.clock.elapsed();
        for environment in [&environments.log, &environments.attempts] {
            self.copy_one(environment, &target)?;
        }
        let directory = target.complete()?;
        let bytes = self.copied.load(Ordering::Relaxed);
        Ok(Backup { directory, bytes, took: self.clock.elapsed().saturating_sub(began) })
    }

    fn copy_one(&self, environment: &Environment, target: &Target) -> Result<(), BackupError> {
        let directory = target.unfinished.join(environment.name.as_str());
        let path = directory.join("data.mdb");
        let written = |source| BackupError::Write { path: path.clone(), source };
        DirBuilder::new().mode(0o700).create(&directory).map_err(written)?;
        let file = File::options().create_new(true).write(true).mode(0o600).open(&path).map_err(written)?;
        let (source, sink) = io::pipe().map_err(written)?;
        std::thread::scope(|scope| {
            let copying = scope.spawn(move || environment.copy_into(sink));
            // It closes the pipe when it returns, which ends the copy.
            let poured = self.pour(source, file, &path);
            let copied = copying.join().expect("a copy is a call of LMDB, which does not panic");
            // Where writing failed, reading did for that reason alone.
            poured?;
            copied.map_err(|error| BackupError::Read(error.to_string()))
        })?;
        sync(&directory)
    }

    /// Writes what comes through the pipe to its end, and syncs it.
    fn pour(&self, mut source: PipeReader, mut file: File, path: &Path) -> Result<(), BackupError> {
        let written = |source| BackupError::Write { path: path.to_owned(), source };
        let mut block = vec![0; BLOCK];
        let mut unsynced = 0;
        loop {
            if self.is_closed() {
                return Err(BackupError::Closed);
            }
            let length = source.read(&mut block).map_err(written)?;
            let bytes = block.get(..length).expect("no more is read than there is room for");
            if bytes.is_empty() {
                return file.sync_all().map_err(written);
            }
            file.write_all(bytes).map_err(written)?;
            self.copied.fetch_add(length as u64, Ordering::Relaxed);
            unsynced += length as u64;
            if unsynced >= STRETCH {
                file.sync_data().map_err(written)?;
                has_room(path, self.reserve)?;
                unsynced = 0;
            }
        }
    }
}

/// A backup that is being written; removed with it, unless it is completed.
#[derive(Debug)]
struct Target {
    directory: PathBuf,
    unfinished: PathBuf,
}

impl Target {
    /// Makes the directory that is written into, beside the one that it will be, where so many bytes are free.
    fn make(directory: &Path, needed: u64) -> Result<Self, BackupError> {
        let exists = || BackupError::Exists { path: directory.to_owned() };
        match std::fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
            Ok(true) if is_mount_point(directory)? => {
                return Err(BackupError::MountPoint { path: directory.to_owned() });
            }
            Ok(true) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(false) => return Err(exists()),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(exists()),
            Err(source) => return Err(BackupError::Write { path: directory.to_owned(), source }),
        }
        let name = directory.file_name().ok_or_else(exists)?;
        let unfinished = directory.with_file_name(format!("{}.unfinished", name.to_string_lossy()));
        has_room(&unfinished, needed)?;
        match DirBuilder::new().mode(0o700).create(&unfinished) {
            Ok(()) => Ok(Self { directory: directory.to_owned(), unfinished }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(BackupError::Unfinished { path: unfinished })
            }
            Err(source) => Err(BackupError::Write { path: unfinished, source }),
        }
    }

    /// Gives it its name, durably.
    fn complete(self) -> Result<PathBuf, BackupError> {
        sync(&self.unfinished)?;
        let directory = self.directory.clone();
        std::fs::rename(&self.unfinished, &directory)
            .map_err(|source| BackupError::Write { path: directory.clone(), source })?;
        sync(parent_of(&directory))?;
        Ok(directory)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // After the rename there is nothing under this name.
        let _ = std::fs::remove_dir_all(&self.unfinished);
    }
}

fn sync(directory: &Path) -> Result<(), BackupError> {
    directory::sync(directory)
        .map_err(|error| BackupError::Write { path: directory.to_owned(), source: io::Error::other(error) })
}

/// Whether a directory is on another disk than the one that it stands in.
fn is_mount_point(directory: &Path) -> Result<bool, BackupError> {
    let device = |path: &Path| match std::fs::metadata(path) {
        Ok(found) => Ok(found.dev()),
        Err(source) => Err(BackupError::Write { path: path.to_owned(), source }),
    };
    Ok(device(directory)? != device(parent_of(directory))?)
}

/// Whether so many bytes are free where this path is or will be.
fn has_room(path: &Path, needed: u64) -> Result<(), BackupError> {
    let parent = parent_of(path);
    let disk = statvfs(parent)
        .map_err(|errno| BackupError::Write { path: parent.to_owned(), source: errno.into() })?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < needed {
        return Err(BackupError::NoSpace { path: parent.to_owned(), needed, free });
    }
    Ok(())
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        Shared {
            environments: Weak::new(),
            reserve: 0,
            clock: Clock::start(),
            copied: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    #[test]
    fn a_disk_that_fills_up_meanwhile_ends_the_copy() {
        let full = Path::new("/dev/full");
        let (source, mut sink) = io::pipe().expect("a pipe");
        sink.write_all(b"a page").expect("written");
        drop(sink);
        let file = File::options().write(true).open(full).expect("every Linux has it");
        let poured = shared().pour(source, file, full);
        let Err(BackupError::Write { source, .. }) = poured else { panic!("{poured:?}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_copy_is_begun_only_where_it_fits() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let made = Target::make(&scratch.path().join("backup"), u64::MAX);
        assert!(matches!(made, Err(BackupError::NoSpace { needed: u64::MAX, .. })), "{made:?}");
        assert_eq!(std::fs::read_dir(scratch.path()).expect("there").count(), 0);
    }

    #[test]
    fn a_directory_on_which_a_disk_is_mounted_is_told_from_others() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let inside = scratch.path().join("backup");
        std::fs::create_dir(&inside).expect("made");
        for (path, expected) in [(Path::new("/proc"), true), (inside.as_path(), false)] {
            assert_eq!(is_mount_point(path).expect("it is there"), expected, "{}", path.display());
        }
    }

    #[test]
    fn while_one_starts_another_is_refused_and_its_state_is_told() {
        let backups = Backups { shared: Arc::new(shared()) };
        backups.shared.claim().expect("nobody else");
        assert!(matches!(backups.start(Path::new("/nowhere/backup")), Err(BackupError::Busy)));
        assert!(matches!(backups.status(), BackupStatus::None));
        backups.shared.state().is_starting = false;
        backups.break_off();
        assert!(matches!(backups.start(Path::new("/nowhere/backup")), Err(BackupError::Closed)));
    }

    #[tokio::test]
    async fn a_backup_whose_disk_does_not_answer_does_not_hold_up_the_end() {
        let backups = Backups { shared: Arc::new(shared()) };
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let thread = std::thread::spawn(move || {
            let _ = held.recv();
        });
        backups.shared.state().thread = Some(thread);
        let closed = tokio::time::timeout(CLOSE_TIMEOUT * 2, backups.close()).await;
        assert!(closed.is_ok(), "it waits for the thread");
        drop(release);
    }

    #[test]
    fn what_is_not_completed_leaves_nothing_behind() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let target = Target::make(&scratch.path().join("backup"), 0).expect("made");
        std::fs::write(target.unfinished.join("data.mdb"), "half").expect("written");
        drop(target);
        assert_eq!(std::fs::read_dir(scratch.path()).expect("there").count(), 0);
    }
}
