//! `[control]` and `[cloudpayments]`: what is wrong with them, without a look at any file. Keys are read by who uses
//! them: a machine without the control plane need not have them.

use std::net::IpAddr;
use std::time::Duration;

use figment::Figment;
use hookline_control::{CloudPaymentsSettings, Settings};
use hookline_schemas::webhook::parse_url;

use super::{MIN_INTERVAL, section};

/// So many requests of a site at once CloudPayments takes, at most.
const MAX_CONCURRENCY: usize = 30;

/// Longer than anybody waits.
const MAX_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// A payment takes longer.
const MIN_SPAN: Duration = Duration::from_secs(10);

/// Both sections. They are of use only if this added no problem.
pub(super) fn check(
    figment: &Figment,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Option<(Settings, CloudPaymentsSettings)> {
    let control = section::<Settings>(figment, "control", problems);
    let cloudpayments = section::<CloudPaymentsSettings>(figment, "cloudpayments", problems);
    problems.extend(control.iter().flat_map(problems_of_control));
    problems.extend(cloudpayments.iter().flat_map(problems_of_cloudpayments));
    let jwks_url = control.as_ref().and_then(|control| control.tokens.jwks_url.as_deref());
    let api_url = cloudpayments.as_ref().map(|cloudpayments| cloudpayments.api_url.as_str());
    warnings.extend(in_clear(
        "control.tokens.jwks_url",
        jwks_url,
        "whoever is on the way can sign any token",
    ));
    warnings.extend(in_clear("cloudpayments.api_url", api_url, "whoever is on the way can read API secrets"));
    control.zip(cloudpayments)
}

/// What http means where trust rests on the way; on the loopback there is none.
fn in_clear(name: &str, url: Option<&str>, what: &str) -> Option<String> {
    let url = parse_url(url?).ok().filter(|url| url.scheme_str() == Some("http"))?;
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    (!is_loopback).then(|| format!("{name} is http: {what}"))
}

fn problems_of_control(control: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    if control.rate_limit == 0 {
        problems.push("control.rate_limit is 0: nothing could be asked for".to_owned());
    }
    if control.request_timeout < MIN_INTERVAL {
        problems.push("control.request_timeout is below 10ms".to_owned());
    }
    let payments = &control.payments;
    let spans = [("top_up_lifetime", payments.top_up_lifetime), ("retention", payments.retention)];
    for (name, span) in spans {
        if span < MIN_SPAN {
            problems.push(format!("control.payments.{name} is below 10s"));
        }
    }
    if payments.reconcile_every > Duration::ZERO && payments.reconcile_every < MIN_SPAN {
        problems.push("control.payments.reconcile_every is below 10s; 0s: by hand alone".to_owned());
    }
    problems.extend(control.tokens.problems().iter().map(|problem| format!("control.tokens: {problem}")));
    problems
}

fn problems_of_cloudpayments(cloudpayments: &CloudPaymentsSettings) -> Vec<String> {
    let mut problems = Vec::new();
    let urls =
        [("api_url", Some(&cloudpayments.api_url)), ("callback_url", cloudpayments.callback_url.as_ref())];
    for (name, url) in urls {
        if let Some(Err(error)) = url.map(|url| parse_url(url)) {
            problems.push(format!("cloudpayments.{name}: {error}"));
        }
    }
    if cloudpayments.timeout < MIN_INTERVAL {
        problems.push("cloudpayments.timeout is below 10ms".to_owned());
    }
    if cloudpayments.timeout > MAX_TIMEOUT {
        problems.push(
            "cloudpayments.timeout is above 2min: what is asked for has to be sent while it is right"
                .to_owned(),
        );
    }
    if !(1..=MAX_CONCURRENCY).contains(&cloudpayments.max_concurrency) {
        problems.push(format!("cloudpayments.max_concurrency is not between 1 and {MAX_CONCURRENCY}"));
    }
    problems
}
