//! The directory of the log: made, judged, locked and synced before anything is written into it.
//!
//! The lock keeps a second process out, and a second log of this process too. It lasts as long as the
//! [`DirectoryLock`] and is the kernel's: a killed process leaves none behind.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs};

use crate::{Durability, OpenError};

/// The sole right to the directory.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: File,
}

/// Makes the directory and the ones above it where they are missing, and syncs their names: a log whose
/// directory is gone after the power went has lost everything that it acknowledged.
pub(super) fn prepare(directory: &Path) -> Result<(), OpenError> {
    let missing: Vec<&Path> = directory
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| failed(directory, source))?;
    for made in missing {
        sync(parent_of(made))?;
    }
    Ok(())
}

/// Makes what was created in the directory itself durable.
pub(super) fn sync(directory: &Path) -> Result<(), OpenError> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(|source| failed(directory, source))
}

/// Takes the lock, or says that another log has it.
pub(super) fn lock(directory: &Path) -> Result<DirectoryLock, OpenError> {
    let path = directory.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| failed(&path, source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DirectoryLock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked { path }),
        Err(errno) => Err(failed(&path, errno.into())),
    }
}

/// What a sync is worth in this directory. A file system that loses it is refused unless that is accepted.
pub(super) fn judge(directory: &Path, allow_page_cache: bool) -> Result<Durability, OpenError> {
    let found = statfs(directory).map_err(|errno| failed(directory, errno.into()))?;
    // The kernel's magic numbers are 32 bits; the field's width and sign depend on the machine.
    let magic = (i128::from(found.f_type) & 0xffff_ffff).unsigned_abs();
    match filesystem(magic) {
        Filesystem::Disk => Ok(Durability::Fsync),
        Filesystem::UserSpace => {
            tracing::warn!(
                directory = %directory.display(),
                "the log is on a FUSE file system, which decides by itself what a sync is worth"
            );
            Ok(Durability::Fsync)
        }
        Filesystem::NotDurable(_) if allow_page_cache => Ok(Durability::PageCache),
        Filesystem::NotDurable(filesystem) => {
            Err(OpenError::NotDurable { path: directory.to_owned(), filesystem })
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filesystem {
    Disk,
    UserSpace,
    NotDurable(&'static str),
}

/// The magic numbers of statfs(2), of those file systems that LMDB or a sync can't rely on.
const fn filesystem(magic: u128) -> Filesystem {
    match magic {
        0x0102_1994 => Filesystem::NotDurable("tmpfs"),
        0x8584_58f6 => Filesystem::NotDurable("ramfs"),
        0x6969 => Filesystem::NotDurable("nfs"),
        0x517b => Filesystem::NotDurable("smb"),
        0xff53_4d42 => Filesystem::NotDurable("cifs"),
        0xfe53_4d42 => Filesystem::NotDurable("smb2"),
        0x0102_1997 => Filesystem::NotDurable("9p"),
        0x00c3_6400 => Filesystem::NotDurable("ceph"),
        0x6573_5546 => Filesystem::UserSpace,
        _ => Filesystem::Disk,
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn failed(path: &Path, source: io::Error) -> OpenError {
    OpenError::Directory { path: PathBuf::from(path), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directories_are_made_for_their_owner_alone() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let directory = scratch.path().join("var/hookline");
        prepare(&directory).expect("made");
        prepare(&directory).expect("made already");
        let mode = std::fs::metadata(&directory).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn the_lock_is_taken_once_and_released_with_its_owner() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let first = lock(scratch.path()).expect("free");
        assert!(matches!(lock(scratch.path()), Err(OpenError::Locked { .. })));
        drop(first);
        assert!(lock(scratch.path()).is_ok());
    }

    #[test]
    fn file_systems_are_told_apart_by_their_magic() {
        let cases = [
            (0xef53, Filesystem::Disk),
            (0x5846_5342, Filesystem::Disk),
            (0x794c_7630, Filesystem::Disk),
            (0x0102_1994, Filesystem::NotDurable("tmpfs")),
            (0xff53_4d42, Filesystem::NotDurable("cifs")),
            (0x6573_5546, Filesystem::UserSpace),
        ];
        for (magic, expected) in cases {
            assert_eq!(filesystem(magic), expected, "{magic:#x}");
        }
    }

    #[test]
    fn memory_is_refused_unless_it_is_accepted() {
        let shared_memory = Path::new("/dev/shm");
        if !shared_memory.exists() {
            return;
        }
        assert!(matches!(
            judge(shared_memory, false),
            Err(OpenError::NotDurable { filesystem: "tmpfs", .. })
        ));
        assert!(matches!(judge(shared_memory, true), Ok(Durability::PageCache)));
    }
}
