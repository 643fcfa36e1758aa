//! `hookline token`: tokens of this installation's own, signed with its local key. The process that runs needs not be
//! asked: it believes whatever that key has signed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use hookline_control::{IssueRequest, LocalKeyError, Role, local_key};
use hookline_schemas::ids::{ClubId, OrganizationId};
use hookline_schemas::time::Clock;
use humantime_serde::re::humantime::parse_duration;

use crate::config::{Config, ConfigError};
use crate::{exit, fail, telemetry};

/// Nobody takes a token back, so none lives longer.
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// What is wanted.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Token {
    /// Print a token that the control plane of this configuration believes
    Issue(IssueArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct IssueArguments {
    /// The configuration of the control plane
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The bearer's organization; only the platform's own tokens may lack it
    #[arg(long, value_name = "ORG", value_parser = NonEmptyStringValueParser::new())]
    organization: Option<String>,
    /// OWNER and ADMIN manage the organization, PLATFORM the clients of all; any other sees, and changes nothing
    #[arg(long, value_parser = role)]
    role: Role,
    /// Confines the bearer to this club, or to several
    #[arg(long = "club", value_name = "CLUB", value_parser = NonEmptyStringValueParser::new())]
    clubs: Vec<String>,
    /// Whom it is for
    #[arg(long, value_name = "S", default_value = "hookline token issue")]
    subject: String,
    /// How long it is good for: at most 24h, because nobody can take it back
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = ttl)]
    ttl: Duration,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
enum IssueError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Key(#[from] LocalKeyError),
    #[error(
        "this configuration believes the tokens of its identity provider alone: to issue others beside them, set \
         control.tokens.local_key_file"
    )]
    NotLocal,
}

impl IssueError {
    const fn status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::NotLocal => exit::CONFIG,
            Self::Key(LocalKeyError::File { .. } | LocalKeyError::Malformed { .. }) => exit::CANNOT_CREATE,
        }
    }
}

impl Token {
    /// Prints what is wanted.
    #[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
    pub(crate) fn run(self) -> ExitCode {
        let Self::Issue(arguments) = self;
        match issue(arguments) {
            Ok(token) => {
                println!("{token}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                let status = error.status();
                fail(&error.into(), status)
            }
        }
    }
}

fn issue(arguments: IssueArguments) -> Result<String, IssueError> {
    let IssueArguments { config, organization, role, clubs, subject, ttl } = arguments;
    let organization = organization.unwrap_or_else(|| {
        if role != Role::Platform {
            let missing = ErrorKind::MissingRequiredArgument;
            crate::Arguments::command().error(missing, "--organization ORG is missing").exit();
        }
        String::new()
    });
    let config = Config::load(Some(&config))?;
    // A key that is made is told of on stderr.
    let _lines = telemetry::Lines::start(&config.telemetry);
    let settings = &config.control.tokens;
    let key = local_key(settings, &config.token_key_file)?.ok_or(IssueError::NotLocal)?;
    let request = IssueRequest {
        subject,
        role,
        organization: OrganizationId::new(organization),
        clubs: (!clubs.is_empty()).then(|| clubs.into_iter().map(ClubId::new).collect()),
        ttl,
    };
    Ok(key.issue(&request, settings, Clock::start().wall()))
}

fn role(text: &str) -> Result<Role, String> {
    let capitals = text.to_uppercase();
    let is_meant = !matches!(Role::named(&capitals), Role::Other(_));
    match text {
        "" => Err("a role has a name".to_owned()),
        _ if is_meant && text != capitals => Err(format!("roles are written in capitals: {capitals}")),
        _ => Ok(Role::named(text)),
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Err(error) => Err(format!("not a duration like 15m: {error}")),
        Ok(ttl) if ttl > MAX_TTL => {
            Err("a token is good for 24h at most: nobody can take it back".to_owned())
        }
        Ok(ttl) if ttl < Duration::from_secs(1) => Err("a token is good for 1s at least".to_owned()),
        Ok(ttl) => Ok(ttl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_a_day_at_most() {
        for (text, expected) in [
            ("15m", Some(900)),
            ("1s", Some(1)),
            ("24h", Some(86_400)),
            ("1day", Some(86_400)),
            ("24h 1s", None),
            ("25h", None),
            ("999ms", None),
            ("0s", None),
            ("15", None),
            ("-5m", None),
            ("", None),
        ] {
            assert_eq!(ttl(text).ok(), expected.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn a_role_in_the_wrong_letters_is_no_other_role() {
        assert_eq!(role("OWNER"), Ok(Role::Owner));
        assert_eq!(role("CASHIER"), Ok(Role::Other("CASHIER".to_owned())));
        assert_eq!(role("cashier"), Ok(Role::Other("cashier".to_owned())));
        for text in ["owner", "Admin", "platform", ""] {
            assert!(role(text).is_err(), "{text:?}");
        }
    }
}
