//! `/backups`: have the running process copy its log. At the admin socket alone: a backup holds what is known of
//! payments.

use std::path::PathBuf;

use hookline_event_log::embedded::{BackupError, BackupStatus, Backups};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::Answer;

/// The path of all of this.
pub(super) const PATH: &str = "/backups";

/// A question is not longer.
const MAX_QUESTION: usize = 16 * 1024;

/// `POST /backups`: where to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupAsked {
    /// A directory that does not exist or is empty, from the root: the process has a working directory of its own.
    pub(crate) to: PathBuf,
}

/// How the latest backup is doing: the answer to both questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum BackupTold {
    /// None was asked for since the process started.
    None,
    /// It is being written.
    Running {
        /// Bytes that are written.
        copied: u64,
        /// Bytes that it will have, about.
        expected: u64,
    },
    /// It is whole, and synced.
    Done {
        /// Where.
        directory: PathBuf,
        /// What its files hold together.
        bytes: u64,
        /// How long it took.
        seconds: f64,
    },
    /// There is none, and nothing is left of it.
    Failed {
        /// Why.
        error: String,
    },
}

impl From<BackupStatus> for BackupTold {
    fn from(status: BackupStatus) -> Self {
        match status {
            BackupStatus::None => Self::None,
            BackupStatus::Running { copied, expected } => Self::Running { copied, expected },
            BackupStatus::Done(backup) => Self::Done {
                directory: backup.directory,
                bytes: backup.bytes,
                seconds: backup.took.as_secs_f64(),
            },
            BackupStatus::Failed(error) => Self::Failed { error: format!("{:#}", anyhow::Error::new(error)) },
        }
    }
}

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("the question is malformed: {0}")]
    Malformed(String),
    #[error("there are GET and POST")]
    Method,
    #[error(
        "the log of this process is on Kafka, whose replicas are its copies: back up the topics there, with Kafka's own \
         tools"
    )]
    Kafka,
    #[error("failed to back up: {}", chain(.0))]
    Backup(BackupError),
    #[error("the process is stopping")]
    Stopping,
}

fn chain(error: &BackupError) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

impl NoAnswer {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Kafka => StatusCode::NOT_FOUND,
            Self::Backup(
                BackupError::Busy
                | BackupError::Exists { .. }
                | BackupError::MountPoint { .. }
                | BackupError::Unfinished { .. },
            ) => StatusCode::CONFLICT,
            Self::Backup(BackupError::NoSpace { .. }) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Backup(BackupError::Write { .. } | BackupError::Read(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Backup(BackupError::Closed) | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Answers a request for this path; there are no backups of a log that is on Kafka.
pub(super) async fn answer(backups: Option<&Backups>, method: &Method, body: Incoming) -> Answer {
    match try_answer(backups, method, body).await {
        Ok(told) => Answer::json(StatusCode::OK, &told),
        Err(error) => Answer::json(error.status(), &serde_json::json!({ "error": error.to_string() })),
    }
}

async fn try_answer(
    backups: Option<&Backups>,
    method: &Method,
    body: Incoming,
) -> Result<BackupTold, NoAnswer> {
    let backups = backups.ok_or(NoAnswer::Kafka)?;
    match *method {
        Method::GET | Method::HEAD => {}
        Method::POST => start(backups.clone(), read(body).await?).await?,
        _ => return Err(NoAnswer::Method),
    }
    Ok(backups.status().into())
}

async fn start(backups: Backups, asked: BackupAsked) -> Result<(), NoAnswer> {
    if !asked.to.is_absolute() {
        return Err(NoAnswer::Malformed(format!("{} does not begin at the root", asked.to.display())));
    }
    let directory = asked.to.clone();
    let started = tokio::task::spawn_blocking(move || backups.start(&asked.to));
    started.await.map_err(|_| NoAnswer::Stopping)?.map_err(NoAnswer::Backup)?;
    tracing::info!(directory = %directory.display(), "a backup is being made");
    Ok(())
}

async fn read(body: Incoming) -> Result<BackupAsked, NoAnswer> {
    let malformed = |reason: String| NoAnswer::Malformed(reason);
    let body = Limited::new(body, MAX_QUESTION).collect().await;
    let body = body.map_err(|error| malformed(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_failure_is_told_with_what_the_system_said() {
        let write = || BackupError::Write {
            path: "/backups/monday".into(),
            source: std::io::Error::from_raw_os_error(28),
        };
        let expected = "failed to write /backups/monday: No space left on device (os error 28)";
        let told = BackupTold::from(BackupStatus::Failed(Arc::new(write())));
        assert_eq!(told, BackupTold::Failed { error: expected.to_owned() });
        assert_eq!(NoAnswer::Backup(write()).to_string(), format!("failed to back up: {expected}"));
    }
}
