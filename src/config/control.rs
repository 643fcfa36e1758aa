//! `[control]` and `[cloudpayments]`: what is wrong with them, without a look at any file. Keys are read by who uses
//! them: a machine without the control plane need not have them.

use figment::Figment;
use hookline_control::{CloudPaymentsSettings, Settings};
use hookline_schemas::webhook::parse_url;

use super::{MIN_INTERVAL, section};

/// Both sections. They are of use only if this added no problem.
pub(super) fn check(
    figment: &Figment,
    problems: &mut Vec<String>,
) -> Option<(Settings, CloudPaymentsSettings)> {
    let control = section::<Settings>(figment, "control", problems);
    let cloudpayments = section::<CloudPaymentsSettings>(figment, "cloudpayments", problems);
    problems.extend(control.iter().flat_map(problems_of_control));
    problems.extend(cloudpayments.iter().flat_map(problems_of_cloudpayments));
    control.zip(cloudpayments)
}

fn problems_of_control(control: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    if control.rate_limit == 0 {
        problems.push("control.rate_limit is 0: nothing could be asked for".to_owned());
    }
    if control.request_timeout < MIN_INTERVAL {
        problems.push("control.request_timeout is below 10ms".to_owned());
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
    problems
}
