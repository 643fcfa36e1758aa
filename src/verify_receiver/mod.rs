//! `hookline verify-receiver`: posts test webhooks at an integrator's receiver, right ones and forged ones, and
//! says what it does right and wrong.
//!
//! It sees answers alone. What the receiver did with a webhook stands in the receiver's own books.

mod course;
mod judge;
mod report;
mod sample;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use hookline_outbound::Outbound;
use hookline_schemas::secret::{Secret, WebhookSecret};
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::{UrlError, parse_url};
use http::{HeaderName, HeaderValue, Uri};
use serde::de::IntoDeserializer;

use crate::secret_argument;
use course::{Course, Receiver};
use report::Report;
use sample::Samples;

/// What hookline sets itself.
const OWN_HEADERS: [&str; 8] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-izi-signature",
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
];

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyReceiverArguments {
    /// Where the receiver listens; any address, by http or https
    #[arg(value_parser = url)]
    url: Uri,
    /// Its secret: whsec_ and base64
    #[arg(long, value_name = "SECRET", value_parser = secret_argument::verbatim)]
    #[arg(required_unless_present = "secret_file", conflicts_with = "secret_file")]
    secret: Option<Secret>,
    /// A file with its secret, which no list of processes shows
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// A header to send along, as "Authorization: Bearer abc"; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// How long an answer is waited for
    #[arg(long, default_value = "15s", value_parser = duration)]
    timeout: Duration,
    /// Certificates to trust beside the public ones, as PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print one JSON object per check
    #[arg(long)]
    json: bool,
}

/// Makes the checks; success if nothing is wrong.
pub(crate) async fn run(arguments: VerifyReceiverArguments) -> ExitCode {
    let (url, json) = (arguments.url.clone(), arguments.json);
    let course = match arguments.into_course() {
        Ok(course) => course,
        Err(error) => return crate::fail(&error, crate::exit::CONFIG),
    };
    if !json {
        eprintln!("posting test webhooks at {url}; their ids begin with evt_TEST, and testMode is true");
    }
    match course.run().await {
        Ok(report) if report.close() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(missing) => {
            crate::fail(&anyhow::anyhow!("{url} can't be reached: {missing}"), crate::exit::UNAVAILABLE)
        }
    }
}

impl VerifyReceiverArguments {
    fn into_course(self) -> anyhow::Result<Course> {
        let clock = Clock::start();
        let secret = secret_argument::given_or_in_file(self.secret, self.secret_file.as_deref())?;
        let secret = WebhookSecret::parse(secret.as_ref().map_or("", Secret::expose));
        let samples = Samples::new(&secret.context("this secret signs nothing")?, clock.wall());
        let outbound = Outbound::new(self.ca_file.as_deref(), clock)?;
        let receiver = Receiver { url: self.url, headers: self.headers, timeout: self.timeout };
        Ok(Course::new(outbound, receiver, samples, clock, Report::new(self.json)))
    }
}

fn url(text: &str) -> Result<Uri, UrlError> {
    parse_url(text)
}

/// Why a header is not sent along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum HeaderError {
    #[error("a header is a name, a colon and a value")]
    Malformed,
    #[error("hookline sets this header itself")]
    Own,
}

fn duration(text: &str) -> Result<Duration, serde::de::value::Error> {
    humantime_serde::deserialize(text.into_deserializer())
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), HeaderError> {
    let (name, value) = text.split_once(':').ok_or(HeaderError::Malformed)?;
    let name: HeaderName = name.trim().parse().map_err(|_| HeaderError::Malformed)?;
    let mut value: HeaderValue = value.trim().parse().map_err(|_| HeaderError::Malformed)?;
    value.set_sensitive(true);
    if OWN_HEADERS.contains(&name.as_str()) { Err(HeaderError::Own) } else { Ok((name, value)) }
}
