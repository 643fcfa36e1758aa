//! `hookline rotate-key`: another key seals, and what the old one has sealed in `control` is sealed anew.
//!
//! What must hold at every moment: every process opens what any process may seal. So a key opens everywhere before it
//! seals anywhere, and none is taken out of the file here: what is in quarantine stays sealed with the old one.
//!
//! Over the embedded log one process reads the file, and `rotate-key` does it in one go: the new key first into the
//! file, then `POST /sealing/rotate` at the admin socket. Over Kafka the file lies on several machines:
//!
//! 1. `rotate-key --prepare` puts the new key *behind* the others, with a mark. It opens, and seals nothing.
//! 2. The file is copied to every machine, and every process gets SIGHUP (or a restart).
//! 3. `rotate-key --finish` where the active control runs: the process has to open what the prepared key seals, or
//!    nothing changes; then the key goes first in the file, the process reads it and seals everything anew.
//! 4. The file is copied once more, and every process gets SIGHUP: then all seal with the new key.
//!
//! Each command may be killed at any point, and repeated:
//!
//! | killed | the file | what seals | again |
//! |---|---|---|---|
//! | before the rename | as it was, and perhaps `….new` beside it, which the next one removes | the old key | the same command |
//! | `--prepare`, after the rename | the new key is the last, marked | the old key | says that one is prepared |
//! | between 1 and 3, for as long as one likes | so on some machines, as it was on others | the old key, everywhere | – |
//! | after the rename of `rotate-key` or `--finish`, before the process is asked | the new key is the first | the old key; after a restart the new one, which every process opens by then | `--finish` |
//! | the process, or this command, while it seals anew | the same | the new key here, the old one elsewhere; records are sealed with either, and each process opens both | `--finish` |
//! | between 3 and 4, for as long as one likes | the new key is first here, last elsewhere | the same, also where another control becomes active | `--finish` where it is |
//! | power, whenever | one of the two above: the file and its directory are synced before anything is asked | | the same command |
//!
//! `--finish` never makes a key: asked twice it finds nothing to put first, and nothing to seal anew.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use hookline_schemas::seal::Sealer;

use crate::admin::{Checked, KeyMeant, Rotated};
use crate::ask::{AskError, Process};
use crate::config::{Config, ConfigError, LogOptions};
use crate::key::{KeyError, KeyFile, KeySource, Ring, RingError};
use crate::key::{first_of, with_first, with_prepared, with_prepared_first};
use crate::{exit_status_of_key, fail};

/// What is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateKeyArguments {
    /// The configuration of the running process: says where its key file and its admin socket are
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only put a new key into the file that opens and does not seal yet: the first step where several processes
    /// share a log
    #[arg(long, conflicts_with = "finish")]
    prepare: bool,
    /// Seal with the prepared key, if one is prepared, and have sealed anew what is not yet; makes no key
    #[arg(long)]
    finish: bool,
}

/// Why the key was not changed, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotateError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(
        "the keys stand in the configuration itself (sealing.key, HOOKLINE_SEALING__KEY), where rotate-key can't change \
         them. By hand: make a key with `openssl rand -base64 32`; put it behind the others, after a comma, for every \
         process, and restart each; then put it first for every process, and restart each; then \
         `hookline rotate-key --finish`, with the same keys, has sealed anew what the old one has sealed"
    )]
    Given,
    #[error(
        "several processes share this log, and all have to open what a new key seals before one seals with it: \
         `hookline rotate-key --prepare`, copy {} to every machine and send SIGHUP to every process, then \
         `hookline rotate-key --finish` where the active control runs",
        .0.display()
    )]
    NotPrepared(PathBuf),
    #[error(
        "nothing was changed: the process that runs here has not read the prepared key yet. Copy {} to every machine \
         and send SIGHUP to every process first",
        .0.display()
    )]
    NotRead(PathBuf),
}

impl RotateError {
    const fn status(&self) -> u8 {
        match self {
            Self::Config(_) => crate::exit::CONFIG,
            Self::Key(error) => exit_status_of_key(error),
            Self::Ask(error) => error.status(),
            Self::Given | Self::NotPrepared(_) | Self::NotRead(_) => 1,
        }
    }
}

/// The exit status, with the error on stderr.
pub(crate) fn ended(rotated: Result<ExitCode, RotateError>) -> ExitCode {
    match rotated {
        Ok(code) => code,
        Err(error) => {
            let status = error.status();
            fail(&error.into(), status)
        }
    }
}

/// Does what is wanted, and says what is left to do.
#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
pub(crate) async fn run(arguments: RotateKeyArguments) -> Result<ExitCode, RotateError> {
    rotate(arguments).await?.iter().for_each(|line| println!("{line}"));
    Ok(ExitCode::SUCCESS)
}

/// What is there to say.
async fn rotate(arguments: RotateKeyArguments) -> Result<Vec<String>, RotateError> {
    let RotateKeyArguments { config, prepare, finish } = arguments;
    let config = Config::load(config.as_deref())?;
    let rotation = Rotation::of(&config);
    match (&config.keys, prepare, finish) {
        (KeySource::Given(ring), false, true) => Ok(vec![sealed_anew(rotation.ask(&ring.first()).await?)]),
        (KeySource::Given(_), ..) => Err(RotateError::Given),
        (KeySource::File(path), true, _) => rotation.prepare(path),
        (KeySource::File(path), false, true) => rotation.finish(path).await,
        (KeySource::File(path), false, false) => rotation.whole(path).await,
    }
}

/// What the commands go by.
struct Rotation {
    process: Process,
    /// Whether other processes have the same keys, in files of their own.
    is_shared: bool,
    /// How long what is sealed with the old key may be needed.
    quarantine: Duration,
}

impl Rotation {
    fn of(config: &Config) -> Self {
        let (is_shared, retention) = match &config.log {
            LogOptions::Embedded(options) => (false, options.retention),
            LogOptions::Kafka(options) => (true, options.retention),
        };
        let process = Process::at(config.admin_socket.clone());
        Self { process, is_shared, quarantine: retention.quarantine }
    }

    /// A key that opens and does not seal. One is enough.
    fn prepare(&self, path: &Path) -> Result<Vec<String>, RotateError> {
        let file = KeyFile::lock(path)?;
        let text = file.read()?;
        checked(&file, Ring::of_lines(&text))?;
        let shown = file.path().display();
        let mut lines = Vec::new();
        if with_prepared_first(&text).is_some() {
            lines.push(format!("a key is prepared already in {shown}: nothing was changed"));
        } else {
            file.replace(&with_prepared(&text, &Sealer::generate_key()))?;
            lines.push(format!("prepared a new key in {shown}: it opens, and seals nothing yet"));
        }
        if self.is_shared {
            lines.push(format!(
                "next: copy {shown} to every machine, send SIGHUP to every hookline process there,"
            ));
            lines.push("then `hookline rotate-key --finish` where the active control runs".to_owned());
        } else {
            lines.push("next: `hookline rotate-key --finish`".to_owned());
        }
        Ok(lines)
    }

    /// The prepared key seals from now on, where there is one; and all is sealed anew that another has sealed.
    async fn finish(&self, path: &Path) -> Result<Vec<String>, RotateError> {
        let file = KeyFile::lock(path)?;
        let text = file.read()?;
        let mut first = checked(&file, first_of(&text))?;
        if let Some(finished) = with_prepared_first(&text) {
            first = checked(&file, first_of(&finished))?;
            if self.is_shared && !self.is_known(&first).await? {
                return Err(RotateError::NotRead(file.path().to_owned()));
            }
            file.replace(&finished)?;
        }
        let rotated = self.ask(&first).await?;
        Ok(self.done(&file, rotated))
    }

    /// All in one go, where one process has the log for itself.
    async fn whole(&self, path: &Path) -> Result<Vec<String>, RotateError> {
        let file = KeyFile::lock(path)?;
        let text = file.read()?;
        checked(&file, Ring::of_lines(&text))?;
        if self.is_shared {
            // Step 3 in other words, if step 1 was made.
            let prepared = with_prepared_first(&text).is_some();
            drop(file);
            return if prepared {
                self.finish(path).await
            } else {
                Err(RotateError::NotPrepared(path.to_owned()))
            };
        }
        let text = with_prepared_first(&text).unwrap_or_else(|| with_first(&text, &Sealer::generate_key()));
        file.replace(&text)?;
        match self.ask(&checked(&file, first_of(&text))?).await {
            Ok(rotated) => Ok(self.done(&file, rotated)),
            Err(AskError::Unreachable { path, .. }) => Ok(vec![
                format!(
                    "a new key comes first in {}: it seals from the next start on",
                    file.path().display()
                ),
                format!(
                    "nobody listens at {}: once hookline runs, `hookline rotate-key --finish` has sealed anew what the \
                     old key has sealed",
                    path.display()
                ),
            ]),
            Err(error) => {
                eprintln!("a new key comes first in {}", file.path().display());
                Err(error.into())
            }
        }
    }

    /// Whether the process opens what this seals.
    async fn is_known(&self, sealer: &Sealer) -> Result<bool, AskError> {
        let Checked { opens } = self.process.post("/sealing/check", &KeyMeant::of(sealer)).await?;
        Ok(opens)
    }

    async fn ask(&self, first: &Sealer) -> Result<Rotated, AskError> {
        self.process.post("/sealing/rotate", &KeyMeant::of(first)).await
    }

    fn done(&self, file: &KeyFile, rotated: Rotated) -> Vec<String> {
        let shown = file.path().display();
        let mut lines = vec![sealed_anew(rotated)];
        if self.is_shared {
            lines.push(format!(
                "next: copy {shown} to every machine and send SIGHUP to every hookline process there once more"
            ));
        }
        let kept = humantime_serde::re::humantime::format_duration(self.quarantine);
        lines.push(format!(
            "the old key stays in {shown}: notifications in quarantine are sealed with it, and kept for {kept}; \
             afterwards its line may be taken out, by hand"
        ));
        lines
    }
}

fn sealed_anew(Rotated { sealed_anew }: Rotated) -> String {
    format!("{sealed_anew} records were sealed anew")
}

fn checked<T>(file: &KeyFile, read: Result<T, RingError>) -> Result<T, KeyError> {
    read.map_err(|error| KeyError::of_ring(file.path(), error))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests;
