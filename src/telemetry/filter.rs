//! Which log lines are written: what RUST_LOG or the configuration says, exchanged while the process runs.

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::TelemetryConfig;

/// `RUST_LOG`, where it is set and good, else what the configuration says.
pub(super) fn wanted(config: &TelemetryConfig) -> Result<EnvFilter, ParseError> {
    match of_environment() {
        Some(Ok(filter)) => Ok(filter),
        Some(Err(_)) | None => EnvFilter::try_new(&config.log_filter),
    }
}

/// What `RUST_LOG` says, where it is set.
pub(super) fn of_environment() -> Option<Result<EnvFilter, ParseError>> {
    let filter = std::env::var_os(EnvFilter::DEFAULT_ENV)?;
    Some(EnvFilter::try_new(filter.to_string_lossy()))
}

/// What is wrong with a filter.
pub(crate) fn problem_of_filter(filter: &str) -> Option<ParseError> {
    EnvFilter::try_new(filter).err()
}

/// Exchanges one filter for another.
type Exchange = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// Decides which lines are written.
pub(crate) struct LogFilter(Exchange);

/// Why another filter does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogFilterError {
    #[error(transparent)]
    Malformed(#[from] ParseError),
    #[error(transparent)]
    Exchange(#[from] reload::Error),
}

impl LogFilter {
    /// One that is exchanged so.
    pub(super) fn exchanged_by(
        exchange: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(exchange))
    }

    /// From now on the one of this configuration.
    pub(crate) fn set(&self, config: &TelemetryConfig) -> Result<(), LogFilterError> {
        Ok((self.0)(wanted(config)?)?)
    }
}
