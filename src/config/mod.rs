//! Configuration: the defaults, a file over them, the environment over both; everything checked at once.

mod control;
mod gateways;
mod kafka;
mod log;
mod sealing;
mod sections;
mod webhooks;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Value};
use hookline_ingest::Gateways;
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::{Webhook, Webhooks};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use gateways::GatewayConfig;
use log::LogConfig;
pub(crate) use log::LogOptions;
use sealing::SealingConfig;
pub(crate) use sections::Sections;
use webhooks::WebhookConfig;

use crate::key::KeySource;
use crate::telemetry::problem_of_filter;

/// The defaults; also the reference.
const DEFAULTS: &str = include_str!("../../hookline.default.toml");

/// What a body may be at most, so that its quarantined copy fits into a record.
const MAX_BODY: ByteSize = ByteSize::kib(480);

/// What a body may be at most where many keys may have to be tried.
const MAX_SHARED_BODY: ByteSize = ByteSize::kib(64);

/// How long CloudPayments waits for an answer.
const MAX_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The shortest interval that is not a busy loop.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// The tables that a configuration may hold.
const TABLES: [&str; 11] = [
    "data_dir",
    "log",
    "ingest",
    "admin",
    "dispatcher",
    "control",
    "cloudpayments",
    "sealing",
    "telemetry",
    "gateways",
    "webhooks",
];

/// Taken from the environment as it stands: what looks like a number or a list there would be read as one.
const VERBATIM: [&str; 3] = ["log.kafka.sasl_username", "log.kafka.sasl_password", "sealing.key"];

/// A checked configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) log: LogOptions,
    pub(crate) ingest: hookline_ingest::Settings,
    pub(crate) admin: AdminConfig,
    /// Where the command line reaches the running process.
    pub(crate) admin_socket: PathBuf,
    pub(crate) dispatcher: hookline_dispatcher::Settings,
    pub(crate) control: hookline_control::Settings,
    pub(crate) cloudpayments: hookline_control::CloudPaymentsSettings,
    /// Where the view of payments is, unless the settings of the control plane say otherwise.
    pub(crate) view_dir: PathBuf,
    /// Where the key is that signs tokens, if the settings of the control plane don't say.
    pub(crate) token_key_file: PathBuf,
    /// A webhook's own deadline is at most this.
    pub(crate) longest_deadline: Duration,
    pub(crate) telemetry: TelemetryConfig,
    /// Where the keys stand that seal what only this installation may read.
    pub(crate) keys: KeySource,
    pub(crate) gateways: Gateways,
    pub(crate) webhooks: Webhooks,
    /// What is allowed, but probably not meant.
    pub(crate) warnings: Vec<String>,
    /// Tells what another one changes.
    pub(crate) sections: Sections,
}

/// `[admin]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminConfig {
    pub(crate) listen: SocketAddr,
    /// [`Config`] knows where it is without it.
    socket: Option<PathBuf>,
}

/// `[telemetry]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TelemetryConfig {
    pub(crate) log_format: LogFormat,
    pub(crate) log_filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigError(pub(crate) Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(formatter, "the configuration has {count} problem{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(formatter, "\n  - {problem}"))
    }
}

impl Config {
    /// Loads a file over the defaults, and the environment over both.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(ConfigError(vec![format!("there is no file {}", file.display())]));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let directory = file.and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        // Names without a table are not ours, whoever sets them: Kubernetes makes HOOKLINE_SERVICE_HOST of a
        // service called hookline.
        let ours = |key: &figment::value::UncasedStr| key == "data_dir" || key.as_str().contains("__");
        let environment = Env::prefixed("HOOKLINE_").filter(ours).split("__");
        let verbatim: Vec<_> =
            environment.iter().filter(|(key, _)| VERBATIM.contains(&key.as_str())).collect();
        let figment = verbatim.iter().fold(figment.merge(environment), |figment, (key, text)| {
            figment.merge((key.as_str(), text.as_str()))
        });
        Self::check(&figment, &directory)
    }

    /// Checks everything; `directory` is where the configuration file stands.
    fn check(figment: &Figment, directory: &Path) -> Result<Self, ConfigError> {
        let mut problems = unknown_tables(figment)?;
        let data_dir = section::<PathBuf>(figment, "data_dir", &mut problems);
        let log = section::<LogConfig>(figment, "log", &mut problems);
        let ingest = section::<hookline_ingest::Settings>(figment, "ingest", &mut problems);
        let admin = section::<AdminConfig>(figment, "admin", &mut problems);
        let dispatcher = section::<hookline_dispatcher::Settings>(figment, "dispatcher", &mut problems);
        let mut warnings = Vec::new();
        let control = control::check(figment, &mut problems, &mut warnings);
        let sealing = section::<SealingConfig>(figment, "sealing", &mut problems);
        let keys = sealing.map(|sealing| sealing.check(directory, &mut problems));
        let telemetry = section::<TelemetryConfig>(figment, "telemetry", &mut problems);
        let malformed = telemetry.as_ref().and_then(|telemetry| problem_of_filter(&telemetry.log_filter));
        problems.extend(malformed.map(|error| format!("telemetry.log_filter: {error}")));
        let parked = log.as_ref().map_or(Duration::MAX, LogConfig::parked);
        let allow_http = dispatcher.as_ref().is_some_and(|dispatcher| dispatcher.allow_http);

        let gateways: Vec<GatewayConfig> = entries(figment, "gateways", &mut problems);
        let without_directory = ingest.as_ref().is_some_and(|ingest| ingest.directory_file.is_none());
        warnings.extend(gateways.iter().filter(|_| without_directory).filter_map(GatewayConfig::warning));
        let gateways = gateways::check(gateways, &mut problems);
        let webhooks: Vec<WebhookConfig> = entries(figment, "webhooks", &mut problems);
        let now = Clock::start().wall();
        let webhooks: Vec<Webhook> =
            webhooks::check(webhooks, parked, allow_http, now, &mut problems, &mut warnings);
        let data_dir = data_dir.unwrap_or_default();
        let socket = admin.as_ref().and_then(|admin| admin.socket.clone());
        let admin_socket = socket.unwrap_or_else(|| data_dir.join("admin.sock"));
        let view_dir = data_dir.join("views");
        let log = log.map(|log| log.check(data_dir, &mut problems, &mut warnings));
        if let Some(ingest) = &ingest {
            problems.extend(problems_of_ingest(ingest));
            problems.extend(log.as_ref().and_then(|log| log.problem_beside_ingest(ingest.answer_timeout)));
        }
        if let Some(dispatcher) = &dispatcher {
            problems.extend(problems_of_dispatcher(dispatcher, parked));
            let revoke_timeout = dispatcher.revoke_timeout;
            problems.extend(log.as_ref().and_then(|log| log.problem_beside_dispatcher(revoke_timeout)));
        }

        match (log, ingest, admin, dispatcher, control, keys, telemetry, gateways) {
            (
                Some(log),
                Some(ingest),
                Some(admin),
                Some(dispatcher),
                Some((control, cloudpayments)),
                Some(keys),
                Some(telemetry),
                Some(gateways),
            ) if problems.is_empty() => Ok(Self {
                log,
                ingest,
                admin,
                admin_socket,
                view_dir,
                dispatcher,
                control,
                cloudpayments,
                token_key_file: directory.join("hookline-tokens.pem"),
                longest_deadline: longest_deadline(parked),
                telemetry,
                keys,
                gateways,
                webhooks: webhooks.into_iter().collect(),
                warnings,
                sections: Sections::of(figment),
            }),
            _ => Err(ConfigError(problems)),
        }
    }
}

/// A problem for each table that there is not; an error, where the file is no TOML.
fn unknown_tables(figment: &Figment) -> Result<Vec<String>, ConfigError> {
    let malformed =
        |errors: figment::Error| ConfigError(errors.into_iter().map(|error| error.to_string()).collect());
    let tables = figment.extract::<Dict>().map_err(malformed)?;
    let unknown = tables.keys().filter(|table| !TABLES.contains(&table.as_str()));
    Ok(unknown.map(|table| format!("unknown table or key {table}")).collect())
}

fn section<T: DeserializeOwned>(figment: &Figment, name: &str, problems: &mut Vec<String>) -> Option<T> {
    match figment.extract_inner(name) {
        Ok(section) => Some(section),
        Err(errors) => {
            problems.extend(errors.into_iter().map(|mut error| {
                // The section's name comes last, and should come first.
                if error.path.last().is_some_and(|last| last == name) {
                    error.path.rotate_right(1);
                }
                error.to_string()
            }));
            None
        }
    }
}

/// The entries of an array of tables; each that is malformed is a problem of its own.
fn entries<T: DeserializeOwned>(figment: &Figment, name: &str, problems: &mut Vec<String>) -> Vec<T> {
    if figment.find_value(name).is_err() {
        return Vec::new();
    }
    let values = section::<Vec<Value>>(figment, name, problems).unwrap_or_default();
    let mut entries = Vec::new();
    for (index, value) in values.iter().enumerate() {
        match value.deserialize() {
            Ok(entry) => entries.push(entry),
            Err(errors) => {
                let named = errors.into_iter().map(|error| format!("{name}[{index}]: {error}"));
                problems.extend(named);
            }
        }
    }
    entries
}

fn problems_of_ingest(ingest: &hookline_ingest::Settings) -> Vec<String> {
    let mut problems = Vec::new();
    let positive = [("max_requests", ingest.max_requests), ("max_connections", ingest.max_connections)];
    problems.extend(
        positive.iter().filter(|(_, value)| *value == 0).map(|(name, _)| format!("ingest.{name} is 0")),
    );
    if ingest.max_body > MAX_BODY {
        problems.push(format!("ingest.max_body is above {MAX_BODY}: the log takes records of 1 MiB"));
    }
    if ingest.max_shared_body > MAX_SHARED_BODY {
        problems.push(format!(
            "ingest.max_shared_body is above {MAX_SHARED_BODY}: many keys may have to be tried"
        ));
    }
    if ingest.answer_timeout > MAX_ANSWER_TIMEOUT {
        problems.push("ingest.answer_timeout is above 30s: CloudPayments does not wait longer".to_owned());
    }
    if ingest.max_request_bytes < ingest.max_body {
        problems
            .push("ingest.max_request_bytes is below ingest.max_body: no body could be admitted".to_owned());
    }
    problems
}

fn problems_of_dispatcher(dispatcher: &hookline_dispatcher::Settings, parked: Duration) -> Vec<String> {
    let mut problems = Vec::new();
    let counts = [
        ("endpoint_concurrency", dispatcher.endpoint_concurrency),
        ("max_attempts", dispatcher.max_attempts),
        ("window_events", dispatcher.window_events),
        ("breaker_failures", dispatcher.breaker_failures as usize),
        ("retry_schedule", dispatcher.retry_schedule.len()),
        ("probe_schedule", dispatcher.probe_schedule.len()),
    ];
    problems.extend(
        counts
            .iter()
            .filter(|(_, value)| *value == 0)
            .map(|(name, _)| format!("dispatcher.{name} is empty or 0")),
    );
    let durations = [
        ("commit_interval", dispatcher.commit_interval),
        ("lane_interval", dispatcher.lane_interval),
        ("budget", dispatcher.budget),
        ("attempt_timeout", dispatcher.attempt_timeout),
    ];
    let short = durations.iter().filter(|(_, value)| *value < MIN_INTERVAL);
    problems.extend(short.map(|(name, _)| format!("dispatcher.{name} is below 10ms")));
    if dispatcher.window_bytes.as_u64() == 0 {
        problems.push("dispatcher.window_bytes is 0: nothing would ever be fetched".to_owned());
    }
    if let Some(problem) = problem_of_deadline(dispatcher.deadline, parked) {
        problems.push(format!("dispatcher.deadline {problem}"));
    }
    problems
}

/// A delivery must die before retention takes its record.
const fn longest_deadline(parked: Duration) -> Duration {
    parked.saturating_sub(Duration::from_secs(24 * 3600))
}

fn problem_of_deadline(deadline: Duration, parked: Duration) -> Option<String> {
    let most = longest_deadline(parked);
    (deadline > most)
        .then(|| format!("is above the retention of parked minus 24 h ({} h)", most.as_secs() / 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, ConfigError> {
        let figment = Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(text));
        Config::check(&figment, Path::new("/etc/hookline"))
    }

    const WHOLE: &str = r#"
        data_dir = "./data"
        [dispatcher]
        allow_addresses = ["127.0.0.0/8"]
        allow_http = true
        [[gateways]]
        id = "gw_demo"
        organization = "org_demo"
        public_id = "pk_demo"
        api_secrets = ["secret-1", "secret-0"]
        default_club = "club_1"
        shared_url = true
        unknown_clients = "accept"
        [[webhooks]]
        id = "wh_demo"
        organization = "org_demo"
        url = "http://127.0.0.1:9999/hooks"
        events = ["PAYMENT_RECEIVED", "PAYMENT_FAILED"]
        secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
    "#;

    #[test]
    fn the_defaults_alone_are_a_configuration() {
        let config = check("").expect("a configuration");
        assert!(
            matches!(config.keys, KeySource::File(path) if path == Path::new("/etc/hookline/hookline.key"))
        );
        assert_eq!(config.token_key_file, Path::new("/etc/hookline/hookline-tokens.pem"));
        assert_eq!(config.control.tokens.audience, "hookline");
        assert_eq!(config.cloudpayments.callback_url, None);
        assert!(config.warnings.is_empty());
    }

    #[test]
    fn a_whole_configuration_is_read() {
        let config = check(WHOLE).expect("a configuration");
        assert_eq!(config.webhooks.iter().count(), 1);
        assert_eq!(config.warnings.len(), 1, "no directory, and unknown invoices are refused");
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let broken = WHOLE
            .replace(
                "[dispatcher]",
                "[dispatcher]\ncolour = 1\n[ingest]\nlisten = \"nowhere\"\n[dispatcher2]",
            )
            .replace("whsec_AAEC", "whsec_")
            .replace("PAYMENT_FAILED", "PAYMENT_EXPLODED")
            .replace("[\"secret-1\", \"secret-0\"]", "[]");
        let ConfigError(problems) = check(&broken).expect_err("a broken configuration");
        let all = problems.join("\n");
        for part in ["dispatcher2", "colour", "listen", "PAYMENT_EXPLODED", "gw_demo has no API secret"] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }

    #[test]
    fn what_could_belong_to_two_is_refused() {
        let second = WHOLE.split("[[gateways]]").nth(1).expect("a gateway").split("[[webhooks]]").next();
        let twice = format!("{WHOLE}\n[[gateways]]\n{}", second.expect("a gateway"));
        let all = check(&twice).expect_err("a conflict").0.join("\n");
        assert!(all.contains("named twice") && all.contains("same public_id"), "{all}");
        let stolen = twice.replacen("gw_demo", "gw_other", 1).replacen("pk_demo", "pk_other", 1);
        let all = check(&stolen).expect_err("a conflict").0.join("\n");
        assert!(all.contains("an API secret in common"), "{all}");
    }

    #[test]
    fn a_deadline_beyond_the_retention_is_refused() {
        let all = check("[dispatcher]\ndeadline = \"97h\"").expect_err("too long").0.join("\n");
        assert!(all.contains("retention of parked"), "{all}");
        assert!(check("[dispatcher]\ndeadline = \"96h\"").is_ok());
    }

    #[test]
    fn what_would_hang_or_refuse_for_ever_is_refused() {
        for (text, part) in [
            ("[dispatcher]\ncommit_interval = \"0s\"", "commit_interval"),
            ("[dispatcher]\nlane_interval = \"1us\"", "lane_interval"),
            ("[dispatcher]\nwindow_bytes = \"0 B\"", "window_bytes"),
            ("[log]\nevent_partitions = 0", "event_partitions"),
            ("[log.embedded]\nmap_size = \"300 MiB\"", "reserve"),
            ("[log]\nmap_size = \"300 MiB\"", "for key \"default.log.map_size\""),
            ("[ingest]\nmax_body = \"1 MiB\"", "max_body"),
            ("[ingest]\nmax_shared_body = \"65 KiB\"", "max_shared_body"),
            ("[telemetry]\nlog_filter = \"hookline=loud\"", "telemetry.log_filter: "),
            ("[control]\nrate_limit = 0", "control.rate_limit is 0"),
            ("[control]\nrequest_timeout = \"0s\"", "control.request_timeout"),
            ("[control.tokens]\njwks_url = \"keys\"", "control.tokens: jwks_url: not an absolute URL"),
            ("[control.tokens]\npublic_key_file = \"a.pem\"", "control.tokens: issuer is missing"),
            (
                "[cloudpayments]\napi_url = \"api.cloudpayments.ru\"",
                "cloudpayments.api_url: not an absolute URL",
            ),
            ("[cloudpayments]\ncallback_url = \"ftp://a.example\"", "cloudpayments.callback_url"),
            ("[control.payments]\ntop_up_lifetime = \"1s\"", "control.payments.top_up_lifetime"),
            ("[control.payments]\nretention = \"0s\"", "control.payments.retention"),
            ("[control.payments]\nreconcile_every = \"1s\"", "control.payments.reconcile_every"),
            ("[cloudpayments]\ntimeout = \"0s\"", "cloudpayments.timeout"),
            ("[cloudpayments]\ntimeout = \"10min\"", "cloudpayments.timeout"),
            ("[cloudpayments]\nmax_concurrency = 0", "cloudpayments.max_concurrency"),
            ("[cloudpayments]\nmax_concurrency = 31", "cloudpayments.max_concurrency"),
        ] {
            let all = check(text).expect_err(text).0.join("\n");
            assert!(all.contains(part), "{text}: {all}");
        }
    }

    #[test]
    fn https_is_demanded_unless_http_is_allowed() {
        let all = check(&WHOLE.replace("allow_http = true", "")).expect_err("http").0.join("\n");
        assert!(all.contains("allow_http"), "{all}");
    }
}
