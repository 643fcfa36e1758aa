//! `hookline trace`: one payment's way, from its notification to each webhook's next try.

use std::process::ExitCode;

use hookline_history::Trace;
use hookline_history::trace::{TracedDelivery, TracedEvent, TracedOutcome, TracedQuarantine, WaitReason};

use hookline_schemas::event::EventSource;

use super::dead_letters::{attempt_line, encoded, reason_word};
use super::{AskError, Asked, Process};

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct TraceArguments {
    /// A TransactionId, an InvoiceId, a subscription's id, or an id of ours (`evt_...`, `pay_...`)
    payment: String,
    #[command(flatten)]
    asked: Asked,
}

/// Prints the way; status 1, where nothing is known.
#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
pub(crate) async fn run(arguments: TraceArguments) -> Result<ExitCode, AskError> {
    let TraceArguments { payment, asked } = arguments;
    let trace: Trace = Process::of(&asked)?.get(&format!("/trace/{}", encoded(&payment))).await?;
    if asked.json {
        println!("{}", serde_json::to_string(&trace)?);
    } else {
        tell(&trace).iter().for_each(|line| println!("{line}"));
    }
    if trace.sealed > 0 {
        eprintln!(
            "{} notifications in quarantine could not be opened: this process has another key",
            trace.sealed
        );
    }
    if trace.is_empty() {
        eprintln!(
            "nothing is known of {payment}: no notification of it was accepted, or retention has taken it"
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(trace: &Trace) -> Vec<String> {
    let events = trace.events.iter().flat_map(tell_event);
    events.chain(trace.quarantined.iter().map(tell_quarantined)).collect()
}

fn tell_event(event: &TracedEvent) -> Vec<String> {
    let notification = event.notification.map_or("hookline itself", |kind| kind.as_str());
    let source = match event.source {
        EventSource::Notification => "",
        EventSource::Reconciliation => " (by reconciliation: no notification came)",
    };
    let gateway = event.gateway.as_ref().map(|gateway| format!(" through {gateway}")).unwrap_or_default();
    let mut lines = vec![format!(
        "{}  {}  {notification}{gateway}{source}, accepted {}",
        event.event_type.as_str(),
        event.id,
        event.accepted_at.to_rfc3339()
    )];
    if event.records > 1 {
        lines.push(format!("  posted {} times, delivered once", event.records));
    }
    if event.deliveries.is_empty() {
        lines.push("  no webhook asks for it".to_owned());
    }
    for delivery in &event.deliveries {
        let TracedDelivery { webhook, outcome, attempts } = delivery;
        lines.push(format!("  {webhook}: {}", tell_outcome(outcome)));
        lines.extend(attempts.iter().map(|attempt| format!("    {}", attempt_line(attempt))));
    }
    lines
}

fn tell_outcome(outcome: &TracedOutcome) -> String {
    match outcome {
        TracedOutcome::Delivered { at, status } => format!("delivered {} ({status})", at.to_rfc3339()),
        TracedOutcome::Waiting { because, next_try, deadline } => {
            let next = next_try.map(|at| format!(", next try {}", at.to_rfc3339())).unwrap_or_default();
            format!("waits: {}{next}; given up {}", tell_reason(because), deadline.to_rfc3339())
        }
        TracedOutcome::Dead { letter, reason, last_failure, at } => format!(
            "dead since {}: {}, last failure: {} (dead-letters show {letter})",
            at.to_rfc3339(),
            reason_word(*reason),
            last_failure.as_deref().unwrap_or("no attempt was made")
        ),
        TracedOutcome::Settled => {
            "has left its lane; the attempt that settled it is not on record".to_owned()
        }
        TracedOutcome::NotOnRecord => {
            "no attempt on record: it is just being dispatched, or was delivered and not recorded".to_owned()
        }
    }
}

fn tell_reason(because: &WaitReason) -> String {
    match because {
        WaitReason::InOrder => "its turn has not come".to_owned(),
        WaitReason::Failed { tries } => format!("{tries} attempts failed while others passed"),
        WaitReason::EndpointDown { failed_probes, since } => {
            let since = since.map(|since| format!(" since {}", since.to_rfc3339())).unwrap_or_default();
            format!("the endpoint is down{since} ({failed_probes} probes failed)")
        }
        WaitReason::Paused => "the webhook is paused".to_owned(),
        WaitReason::Disabled { reason, at } => {
            format!("the webhook is disabled since {} ({})", at.to_rfc3339(), reason.label())
        }
    }
}

fn tell_quarantined(entry: &TracedQuarantine) -> String {
    format!(
        "quarantined: {} through {}, accepted {}: {} (key {})",
        entry.notification.as_str(),
        entry.gateway,
        entry.accepted_at.to_rfc3339(),
        entry.reason,
        entry.key
    )
}
