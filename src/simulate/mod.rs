//! `hookline simulate`: posts notifications at an edge as CloudPayments would, and says what the answers mean.
//!
//! Bodies, signatures and the retry rule are those of the load tests' simulator; here each answer is shown.

mod course;
mod meaning;
mod post;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory, value_parser};
use hookline_load_tests::simulator::RetryRule;
use hookline_outbound::Outbound;
use hookline_schemas::gateway::Gateway;
use hookline_schemas::ids::GatewayId;
use hookline_schemas::money::{Amount, NotAnAmount};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::{UrlError, parse_url};
use http::Uri;
use tokio::task::JoinSet;

use crate::config::{Config, ConfigError};
use crate::secret_argument::{self, SecretFileError};
use course::{Plan, TYPES, due, fresh_transaction};
use post::{Edge, Poster, Retry, Tally};

/// So much faster than CloudPayments with `--retry-fast`: seconds for minutes.
const FAST: u32 = 60;

/// Payments under way at once where a rate is asked for.
const MAX_UNDER_WAY: usize = 256;

#[derive(Debug, clap::Args)]
pub(crate) struct SimulateArguments {
    /// The edge, as http://127.0.0.1:8080
    #[arg(long, value_name = "URL", value_parser = url)]
    to: Option<Uri>,
    /// A configuration to take from what is not given: the edge's address, its gateway, the gateway's API secret
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway; of a configuration the first, if none is named
    #[arg(long, value_name = "ID")]
    gateway: Option<String>,
    /// The gateway's API secret
    #[arg(long, value_name = "SECRET", value_parser = secret_argument::verbatim)]
    #[arg(conflicts_with = "api_secret_file")]
    api_secret: Option<Secret>,
    /// A file with the API secret, which no list of processes shows
    #[arg(long, value_name = "FILE")]
    api_secret_file: Option<PathBuf>,
    /// Post this and nothing else; several are posted in this order, and a Check that is refused ends it.
    /// Without it a payment takes its whole course: Check, then Pay
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    types: Vec<NotificationType>,
    /// Payments
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(1..))]
    count: u64,
    /// Payments per second, whether those before are over or not; without it one after the other
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// The first payment's number at CloudPayments; without it one that was never used
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    transaction_id: Option<u64>,
    /// The order number; without it each payment has its own
    #[arg(long, value_name = "ID")]
    invoice_id: Option<String>,
    /// The client who pays
    #[arg(long, value_name = "ID", default_value = "client-1")]
    account_id: String,
    /// The sum
    #[arg(long, default_value = "100.00", value_parser = amount)]
    amount: Amount,
    /// Its currency
    #[arg(long, default_value = "RUB")]
    currency: String,
    /// As a site in test mode
    #[arg(long)]
    test: bool,
    /// Hold the money first: Check, Pay (Authorized), Confirm
    #[arg(long)]
    two_stage: bool,
    /// So many of a hundred payments fail: Check, Fail
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    #[arg(conflicts_with = "types")]
    fail_percent: u8,
    /// Post at the address that all gateways and types share
    #[arg(long)]
    shared_url: bool,
    /// Sign with another secret than the one given
    #[arg(long)]
    wrong_signature: bool,
    /// Post each notification once
    #[arg(long, conflicts_with = "retry_fast")]
    no_retry: bool,
    /// Wait seconds where CloudPayments waits minutes: 1, 2, 5, 10, 30, 30 and so on
    #[arg(long)]
    retry_fast: bool,
    /// Print one JSON object per post
    #[arg(long)]
    json: bool,
}

/// Why nothing is posted.
#[derive(Debug, thiserror::Error)]
enum SimulateError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    #[error("the configuration has no gateway {0}")]
    NoSuchGateway(String),
    #[error("the system chooses the port of ingest.listen: name the edge with --to")]
    NoPort,
    #[error("the edge and the gateway make no URL")]
    Url(#[from] http::uri::InvalidUri),
    #[error("failed to set up TLS")]
    Tls(#[from] hookline_outbound::TlsError),
}

/// Posts; success if everything was answered 0 in the end.
pub(crate) async fn run(arguments: SimulateArguments) -> ExitCode {
    let json = arguments.json;
    let session = match Session::new(arguments) {
        Ok(session) => session,
        Err(error) => return crate::fail(&error.into(), crate::exit::CONFIG),
    };
    let base = session.poster.edge.base.clone();
    let tally = session.run().await;
    if tally.reached == 0 {
        let error = anyhow::anyhow!("{base} can't be reached: is hookline running there?");
        return crate::fail(&error, crate::exit::UNAVAILABLE);
    }
    if !json {
        eprintln!("answered 0: {} of {} notifications", tally.taken, tally.taken + tally.not_taken);
    }
    if tally.not_taken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A run, prepared.
struct Session {
    poster: Arc<Poster>,
    plan: Plan,
    count: u64,
    rate: Option<u32>,
    clock: Clock,
}

impl Session {
    fn new(arguments: SimulateArguments) -> Result<Self, SimulateError> {
        let clock = Clock::start();
        let edge = arguments.edge()?;
        let documented = RetryRule::documented();
        let here = match (arguments.no_retry, arguments.retry_fast) {
            (true, _) => RetryRule { attempts: 1, ..documented.clone() },
            (false, true) => documented.clone().faster(FAST),
            (false, false) => documented.clone(),
        };
        let outbound = Outbound::new(None, clock)?;
        let retry = Retry { documented, here };
        let poster = Arc::new(Poster { outbound, edge, retry, clock, json: arguments.json });
        let plan = Plan {
            types: arguments.types,
            two_stage: arguments.two_stage,
            fail_percent: arguments.fail_percent,
            first_transaction: arguments.transaction_id.unwrap_or_else(|| fresh_transaction(clock.wall())),
            invoice_id: arguments.invoice_id,
            account_id: arguments.account_id,
            amount: arguments.amount,
            currency: arguments.currency,
            test: arguments.test,
        };
        Ok(Self { poster, plan, count: arguments.count, rate: arguments.rate, clock })
    }

    /// Plays all payments: one after the other, or each when it is due.
    async fn run(self) -> Tally {
        let began = self.clock.elapsed();
        let most = if self.rate.is_some() { MAX_UNDER_WAY } else { 1 };
        let mut under_way = JoinSet::new();
        let mut tally = Tally::default();
        for number in 0..self.count {
            if let Some(per_second) = self.rate {
                let passed = self.clock.elapsed().saturating_sub(began);
                tokio::time::sleep(due(number, per_second).saturating_sub(passed)).await;
            }
            if under_way.len() >= most {
                tally.add(ended(under_way.join_next().await));
            }
            let notifications = self.plan.notifications(number, self.clock.wall());
            let poster = Arc::clone(&self.poster);
            under_way.spawn(async move { poster.play(&notifications).await });
        }
        while let Some(payment) = under_way.join_next().await {
            tally.add(ended(Some(payment)));
        }
        tally
    }
}

fn ended(payment: Option<Result<Tally, tokio::task::JoinError>>) -> Tally {
    match payment {
        Some(Ok(tally)) => tally,
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        None => Tally::default(),
    }
}

impl SimulateArguments {
    /// The edge that the arguments name, completed by the configuration. Ends the process with an error of usage
    /// where something is named by neither.
    fn edge(&self) -> Result<Edge, SimulateError> {
        let config = self.config.as_deref().map(|file| Config::load(Some(file))).transpose()?;
        let configured = config.as_ref().map(|config| self.configured_gateway(config)).transpose()?.flatten();
        let listen = config.as_ref().map(|config| reachable(config.ingest.listen));
        let base = match (&self.to, listen) {
            (Some(to), _) => to.to_string().trim_end_matches('/').to_owned(),
            (None, Some(listen)) if listen.port() == 0 => return Err(SimulateError::NoPort),
            (None, Some(listen)) => format!("http://{listen}"),
            (None, None) => missing("neither --to nor --config is given"),
        };
        let gateway = match (&self.gateway, configured) {
            _ if self.shared_url => None,
            (Some(gateway), _) => Some(GatewayId::new(gateway)),
            (None, Some(configured)) => Some(configured.id.clone()),
            (None, None) => missing("neither --gateway nor a --config that has one is given"),
        };
        let given =
            secret_argument::given_or_in_file(self.api_secret.clone(), self.api_secret_file.as_deref())?;
        let of_gateway = configured.and_then(|gateway| gateway.api_secrets.first().cloned());
        let secret = given
            .or(of_gateway)
            .unwrap_or_else(|| missing("neither an API secret nor a --config that has it is given"));
        let secret = match self.wrong_signature {
            true => Secret::new(format!("not {}", secret.expose())),
            false => secret,
        };
        Ok(Edge::new(base, gateway, ContentKey::new(&secret))?)
    }

    /// The gateway that is named, or the first. One that is named need not be there if its secret is given: one
    /// may want to see how an unknown gateway is refused.
    fn configured_gateway<'a>(&self, config: &'a Config) -> Result<Option<&'a Gateway>, SimulateError> {
        let Some(named) = &self.gateway else { return Ok(config.gateways.iter().next()) };
        let found = config.gateways.iter().find(|gateway| gateway.id.as_str() == named);
        let has_secret = self.api_secret.is_some() || self.api_secret_file.is_some();
        if found.is_none() && !has_secret {
            return Err(SimulateError::NoSuchGateway(named.clone()));
        }
        Ok(found)
    }
}

/// Where a process of this machine reaches what listens there.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    };
    SocketAddr::new(address, listen.port())
}

fn missing(message: &str) -> ! {
    crate::Arguments::command().error(ErrorKind::MissingRequiredArgument, message).exit()
}

fn url(text: &str) -> Result<Uri, UrlError> {
    parse_url(text)
}

fn amount(text: &str) -> Result<Amount, NotAnAmount> {
    text.parse()
}

/// Not one of the types that can be simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one of check, pay, fail, confirm, refund, cancel, recurrent")]
struct UnknownType;

fn kind(text: &str) -> Result<NotificationType, UnknownType> {
    NotificationType::of_segment(text).filter(|kind| TYPES.contains(kind)).ok_or(UnknownType)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_on_the_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), expected);
        }
    }

    #[test]
    fn only_documented_types_are_simulated() {
        for (text, expected) in [
            ("pay", Ok(NotificationType::Pay)),
            ("Check", Ok(NotificationType::Check)),
            ("recurrent", Ok(NotificationType::Recurrent)),
            ("kkt", Err(UnknownType)),
            ("payment", Err(UnknownType)),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
}
