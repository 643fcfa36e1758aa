//! The key file while it is changed: by one at a time, and as a whole or not at all.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use super::KeyError;

/// The file, which nobody else changes while this is there.
#[derive(Debug)]
pub(crate) struct KeyFile {
    /// Without links: what is put in the place of a link would be read by nobody else.
    path: PathBuf,
    /// Locked, which ends with the process at the latest.
    directory: File,
}

impl KeyFile {
    /// The file that is there.
    pub(crate) fn lock(path: &Path) -> Result<Self, KeyError> {
        let failed = KeyError::of(path);
        let path = path.canonicalize().map_err(&failed)?;
        let directory = File::open(path.parent().unwrap_or(Path::new("/"))).map_err(&failed)?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Err(KeyError::Busy { path }),
            // A file system without locks: what was read is replaced as a whole all the same.
            Ok(()) | Err(_) => Ok(Self { path, directory }),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds.
    pub(crate) fn read(&self) -> Result<Zeroizing<String>, KeyError> {
        std::fs::read_to_string(&self.path).map(Zeroizing::new).map_err(KeyError::of(&self.path))
    }

    /// Puts this in the place of what it held. It is on the disk when this returns; after an error the file is as
    /// it was, unless only the sync of the directory failed: then it is one or the other.
    pub(crate) fn replace(&self, text: &str) -> Result<(), KeyError> {
        let mut name = self.path.file_name().map(OsString::from).unwrap_or_default();
        name.push(".new");
        let unfinished = self.path.with_file_name(name);
        let replaced = self.replace_by(&unfinished, text);
        if replaced.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        replaced.map_err(|source| KeyError::File { path: self.path.clone(), source })
    }

    fn replace_by(&self, unfinished: &Path, text: &str) -> io::Result<()> {
        let former = std::fs::metadata(&self.path)?;
        // Left behind by one that was killed.
        let _ = std::fs::remove_file(unfinished);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished)?;
        // Whoever could read the keys can go on: root may be changing the file of another user, or of a group.
        let group = former.mode() & 0o040;
        let own = file.metadata()?;
        if own.uid() != former.uid() || (group != 0 && own.gid() != former.gid()) {
            fchown(&file, Some(former.uid()), Some(former.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(0o600 | group))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(unfinished, &self.path)?;
        self.directory.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline.key");
        std::fs::write(&path, "old\n").expect("written");
        (directory, path)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("a file").mode() & 0o777
    }

    fn names(directory: &Path) -> Vec<OsString> {
        let entries = std::fs::read_dir(directory).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name()).collect()
    }

    #[test]
    fn is_replaced_as_a_whole_and_for_its_readers_alone() {
        for (before, after) in [(0o644, 0o640), (0o600, 0o600), (0o640, 0o640), (0o400, 0o600)] {
            let (directory, path) = scratch();
            std::fs::set_permissions(&path, Permissions::from_mode(before)).expect("set");
            // What one that was killed has left.
            std::fs::write(directory.path().join("hookline.key.new"), "half").expect("written");
            let file = KeyFile::lock(&path).expect("locked");
            file.replace("new\nold\n").expect("replaced");
            assert_eq!(*file.read().expect("read"), "new\nold\n");
            assert_eq!(mode(&path), after, "{before:o}");
            assert_eq!(names(directory.path()), ["hookline.key"]);
        }
    }

    #[test]
    fn a_link_to_it_stays_a_link() {
        let (directory, path) = scratch();
        let link = directory.path().join("link.key");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        KeyFile::lock(&link).expect("locked").replace("new\n").expect("replaced");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "new\n");
    }

    #[test]
    fn two_at_once_are_refused() {
        let (_directory, path) = scratch();
        let first = KeyFile::lock(&path).expect("locked");
        assert!(matches!(KeyFile::lock(&path), Err(KeyError::Busy { .. })));
        drop(first);
        KeyFile::lock(&path).expect("locked");
    }

    #[test]
    fn what_is_not_there_is_not_made() {
        let (_directory, path) = scratch();
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(KeyFile::lock(&path), Err(KeyError::Missing { .. })));
    }

    #[test]
    fn what_can_not_be_replaced_stays_as_it_was() {
        let (directory, path) = scratch();
        let file = KeyFile::lock(&path).expect("locked");
        // Nothing but a directory that is not empty keeps root from making a file.
        std::fs::create_dir_all(directory.path().join("hookline.key.new/full")).expect("made");
        assert!(matches!(file.replace("new\n"), Err(KeyError::File { .. })));
        assert_eq!(*file.read().expect("read"), "old\n");
    }
}
