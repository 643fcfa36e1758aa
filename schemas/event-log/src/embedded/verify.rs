//! Looks through a log that nobody has open, a backup above all: every record is read, every checksum compared.
//!
//! Nothing is written, not even a lock file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use heed::types::Bytes;
use heed::{CommitOrAbort, WithoutTls};
use rustix::fs::{FlockOperation, flock};

use super::codec::{self, Corrupt, FORMAT};
use super::environment::{Access, EnvironmentName, Holds, databases_of, open_map};

/// What is in one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The journal or the table.
    pub name: String,
    /// Its records or entries.
    pub records: u64,
    /// Those whose checksum is wrong.
    pub corrupt: u64,
}

/// Why a log could not be looked through.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is being written.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// Its lock file.
        path: PathBuf,
    },
    /// There is no log.
    #[error("failed to read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A part of the file is missing.
    #[error("{} has {length} bytes and needs {needed}: it was cut short", path.display())]
    CutShort {
        /// Which file.
        path: PathBuf,
        /// What it has.
        length: u64,
        /// What it says that it has.
        needed: u64,
    },
    /// A later version of hookline wrote it.
    #[error("the log has format {0}, this version reads {FORMAT}")]
    Format(u64),
    /// LMDB could not read; the text is its own.
    #[error("failed to read {}: {reason}", path.display())]
    Backend {
        /// Which file.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
}

/// Reads every record of the log in a directory that nobody writes meanwhile. What it counts, by database; a wrong
/// checksum is counted, and is no error. Blocks.
pub fn verify(directory: &Path) -> Result<Vec<Counted>, VerifyError> {
    // Kept until the end: no process opens the log meanwhile.
    let _lock = share_lock(&directory.join("lock"))?;
    let mut counted = Vec::new();
    for name in [EnvironmentName::Log, EnvironmentName::Attempts] {
        counted.extend(look_through(name, &directory.join(name.as_str()))?);
    }
    Ok(counted)
}

/// A backup has none.
fn share_lock(path: &Path) -> Result<Option<File>, VerifyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(VerifyError::File { path: path.to_owned(), source }),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(VerifyError::Locked { path: path.to_owned() }),
        Err(errno) => Err(VerifyError::File { path: path.to_owned(), source: errno.into() }),
    }
}

fn look_through(name: EnvironmentName, directory: &Path) -> Result<Vec<Counted>, VerifyError> {
    let path = directory.join("data.mdb");
    let metadata = std::fs::metadata(&path);
    let length = metadata.map_err(|source| VerifyError::File { path: path.clone(), source })?.len();
    let failed = |error: heed::Error| VerifyError::Backend { path: path.clone(), reason: error.to_string() };
    let lmdb = open_map(directory, Access::Reader).map_err(failed)?;
    // Behind the end of the file the map has no bytes, and who reads there is killed.
    let page_size = u64::from(lmdb.unnamed_database_stat().page_size);
    let needed = (lmdb.info().last_page_number as u64 + 1) * page_size;
    if length < needed {
        return Err(VerifyError::CutShort { path, length, needed });
    }
    let counted = databases_of(name).map(|(name, holds)| count(&lmdb, name, holds));
    let counted = counted.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let formats = counted.iter().filter_map(|(_, format)| *format);
    match formats.max() {
        Some(format) if format > u64::from(FORMAT) => Err(VerifyError::Format(format)),
        Some(_) | None => Ok(counted.into_iter().map(|(counted, _)| counted).collect()),
    }
}

/// Counts a database; beside it the format, if that stands in it. One that an earlier version did not have is empty.
fn count(lmdb: &heed::Env<WithoutTls>, name: String, holds: Holds) -> heed::Result<(Counted, Option<u64>)> {
    let mut counted = Counted { name, records: 0, corrupt: 0 };
    let mut format = None;
    let opened = lmdb.open_databases_and_commit(lmdb.read_txn()?, |opener, transaction| {
        let opened = opener.open_database::<Bytes, Bytes>(transaction, Some(&counted.name))?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(opened))
    })?;
    let Some(database) = opened.unwrap_commit() else { return Ok((counted, None)) };
    let snapshot = lmdb.read_txn()?;
    for stored in database.iter(&snapshot)? {
        let (key, value) = stored?;
        counted.records += 1;
        counted.corrupt += u64::from(check(holds, value).is_err());
        if holds == Holds::Numbers && key == b"format" {
            format = codec::decode_number(value).ok();
        }
    }
    Ok((counted, format))
}

fn check(holds: Holds, value: &[u8]) -> Result<(), Corrupt> {
    match holds {
        Holds::Records => codec::decode_record(value).map(drop),
        Holds::Entries => codec::decode_entry(value).map(drop),
        Holds::Cursors => codec::decode_cursor(value).map(drop),
        Holds::Numbers => codec::decode_number(value).map(drop),
        // What it leads to has one.
        Holds::Ways => Ok(()),
    }
}
