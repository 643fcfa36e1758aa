//! The keys that seal: a ring of them ([`Ring`]), in a file that only its owner can read, or in the configuration.
//!
//! Every process over one log has the same ring, because each may have to open what another has sealed. How a key
//! is changed for another stands in `rotate_key`; here the ring is read, made where nobody shares it, and read again.

mod file;
mod ring;

use std::io;
use std::path::{Path, PathBuf};

use hookline_control::make_key_file;
use hookline_schemas::seal::Sealer;
use zeroize::Zeroizing;

pub(crate) use file::KeyFile;
pub(crate) use ring::{Ring, RingError, first_of, with_first, with_prepared, with_prepared_first};

/// What is sealed to see whether one ring opens what another seals.
const PROBE: &str = "sealing/probe";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file can't be read, made or changed.
    #[error("failed to read or write the key file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no such file, and nobody may make one.
    #[error(
        "there is no key file {0}: the processes over one log share one key; make it once, with \
         `openssl rand -base64 32 > {0}`, readable by its owner alone, and give it to each",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A line of the file does not hold a key.
    #[error("line {line} of the key file {} does not hold 32 bytes in base64", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// No line of the file holds a key.
    #[error("the key file {} holds no key", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// What this process has sealed could not be opened any more.
    #[error(
        "the key file {} lacks the key that seals now: it has to stay, behind the new one",
        path.display()
    )]
    Dropped {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else is changing the file.
    #[error("another `hookline rotate-key` is changing the key file {}", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

impl KeyError {
    /// For what the system says of a file.
    fn of(path: &Path) -> impl Fn(io::Error) -> Self {
        |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path: path.to_owned() },
            _ => Self::File { path: path.to_owned(), source },
        }
    }

    /// For what is wrong with the text of a file.
    pub(crate) fn of_ring(path: &Path, error: RingError) -> Self {
        let path = path.to_owned();
        match error {
            RingError::Malformed(line) => Self::Malformed { path, line },
            RingError::Empty => Self::Empty { path },
        }
    }
}

/// Where the keys of a process stand.
#[derive(Debug, Clone)]
pub(crate) enum KeySource {
    /// In this file, one a line.
    File(PathBuf),
    /// In the configuration itself, from the environment above all.
    Given(Ring),
}

impl KeySource {
    fn read(&self) -> Result<Ring, KeyError> {
        match self {
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(KeyError::of(path))?;
                Ring::of_lines(&text).map_err(|error| KeyError::of_ring(path, error))
            }
            Self::Given(ring) => Ok(ring.clone()),
        }
    }
}

/// Reads the keys.
pub(crate) fn load(source: &KeySource) -> Result<Sealer, KeyError> {
    source.read().map(|ring| ring.sealer())
}

/// Reads the keys; makes one where there is no file, and says so. For a log that nobody else seals in.
pub(crate) fn load_or_make(source: &KeySource) -> Result<Sealer, KeyError> {
    match load(source) {
        Err(KeyError::Missing { path }) => make(&path).map_err(|source| KeyError::File { path, source }),
        loaded => loaded,
    }
}

fn make(path: &Path) -> io::Result<Sealer> {
    let key = Sealer::generate_key();
    // What is sealed with it may outlive the power, so it has to as well.
    make_key_file(path, ring::line_of(&key).as_bytes())?;
    tracing::warn!(path = %path.display(), "made a new key for sealing; keep it with the backups");
    Ok(Sealer::new(&key))
}

/// The keys of a running process, which can be read again.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    source: KeySource,
    /// Shared by all that seals and opens in this process.
    pub(crate) sealer: Sealer,
}

impl Keys {
    /// Keys that were read from there.
    pub(crate) const fn new(source: KeySource, sealer: Sealer) -> Self {
        Self { source, sealer }
    }

    /// Reads the file again into the sealer; how many keys there are now. After an error all is as it was. Keys that
    /// stand in the configuration itself change with a restart alone.
    pub(crate) fn read_again(&self) -> Result<usize, KeyError> {
        let ring = self.source.read()?;
        if let KeySource::File(path) = &self.source
            && !opens_what_it_seals(&ring.sealer(), &self.sealer)
        {
            return Err(KeyError::Dropped { path: path.clone() });
        }
        ring.put_into(&self.sealer);
        Ok(ring.len())
    }
}

/// Whether the one opens what the other seals now.
pub(crate) fn opens_what_it_seals(opening: &Sealer, sealing: &Sealer) -> bool {
    opening.open(PROBE, &sealing.seal(PROBE, &[])).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf, KeySource) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline.key");
        (directory, path.clone(), KeySource::File(path))
    }

    fn text_of(keys: &[u8]) -> String {
        keys.iter().map(|byte| ring::line_of(&Zeroizing::new([*byte; 32])).to_string()).collect()
    }

    #[test]
    fn makes_a_key_for_its_owner_alone_and_finds_it_again() {
        let (_directory, path, source) = scratch();
        let sealed = load_or_make(&source).expect("a key").seal("place", b"value");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            load_or_make(&source).expect("a key").open("place", &sealed).as_deref(),
            Ok(&b"value"[..])
        );
    }

    #[test]
    fn a_key_that_others_share_is_read_and_never_made() {
        let (_directory, path, source) = scratch();
        let Err(refused) = load(&source) else { panic!("there is no key yet") };
        let refused = refused.to_string();
        assert!(refused.contains("openssl rand -base64 32") && !path.exists(), "{refused}");
        let sealed = load_or_make(&source).expect("a key").seal("place", b"value");
        assert_eq!(load(&source).expect("a key").open("place", &sealed).as_deref(), Ok(&b"value"[..]));
    }

    #[test]
    fn the_line_that_holds_no_key_is_named_and_never_shown() {
        let (_directory, path, source) = scratch();
        std::fs::write(&path, format!("# ours\n{}\nc2hvcnQ=\n", text_of(&[1]))).expect("written");
        let error = load_or_make(&source).expect_err("a short key");
        let said = format!("{error} {error:?}");
        assert!(said.contains("line 4") && said.contains("hookline.key") && !said.contains("c2hv"), "{said}");
        std::fs::write(&path, "# nothing\n").expect("written");
        assert!(matches!(load_or_make(&source), Err(KeyError::Empty { .. })));
    }

    #[test]
    fn keys_that_are_read_again_count_in_every_clone() {
        let (_directory, path, source) = scratch();
        std::fs::write(&path, text_of(&[1])).expect("written");
        let sealer = load(&source).expect("a key");
        let keys = Keys::new(source, sealer.clone());
        let before = sealer.seal("place", b"before");
        std::fs::write(&path, text_of(&[2, 1])).expect("written");
        assert_eq!(keys.read_again().expect("two keys"), 2);
        assert_eq!(sealer.open("place", &before).as_deref(), Ok(&b"before"[..]));
        assert!(!sealer.sealed_it(&before));
    }

    #[test]
    fn a_file_with_a_problem_changes_nothing() {
        let (_directory, path, source) = scratch();
        std::fs::write(&path, text_of(&[1])).expect("written");
        let sealer = load(&source).expect("a key");
        let keys = Keys::new(source, sealer.clone());
        let before = sealer.seal("place", b"before");
        let damaged = format!("{}short\n", text_of(&[2, 1]));
        for (text, part) in
            [(damaged.as_str(), "line 3"), ("", "holds no key"), (&text_of(&[2, 3]), "lacks the key")]
        {
            std::fs::write(&path, text).expect("written");
            let error = keys.read_again().expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
            assert!(sealer.sealed_it(&before), "{part}");
        }
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(keys.read_again(), Err(KeyError::Missing { .. })));
        assert!(sealer.sealed_it(&before));
    }
}
