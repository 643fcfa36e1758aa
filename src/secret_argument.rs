//! Secrets on the command line: as an argument, or better in a file, where no list of processes shows them.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use hookline_schemas::secret::Secret;

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    /// It can't be read.
    #[error("failed to read the secret from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: std::io::Error,
    },
    /// Every line is empty.
    #[error("there is no secret in {}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// For clap: takes any text, so that no message of its own repeats it.
pub(crate) fn verbatim(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// The secret that was given, or the one in the file; of several lines the first, which is the newest.
///
/// # Errors
///
/// If the file can't be read, or holds none.
pub(crate) fn given_or_in_file(
    given: Option<Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, SecretFileError> {
    let Some(path) = file.filter(|_| given.is_none()) else { return Ok(given) };
    let text = std::fs::read_to_string(path)
        .map_err(|source| SecretFileError::Read { path: path.to_owned(), source })?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().ok_or_else(|| SecretFileError::Empty { path: path.to_owned() })?;
    Ok(Some(Secret::new(first)))
}
