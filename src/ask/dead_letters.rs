//! `hookline dead-letters`: what was given up, and having it delivered again.

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hookline_history::{Letter, LetterPage, LetterSummary, RedeliveryStatus};
use hookline_schemas::delivery::{AttemptOutcome, AttemptRecord, DeadReason};
use hookline_schemas::ids::{EventId, WebhookId};
use hookline_schemas::redelivery::{LetterFilter, LetterId, Redelivery};
use hookline_schemas::time::Timestamp;

use super::{AskError, Asked, Process, parse_time};
use crate::admin::{LettersAsked, RedeliveryAsked};

/// Letters that are asked for at a time.
const PAGE: usize = 500;

/// How often a redelivery is looked after.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What is wanted of dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// List them: of each webhook in the order in which they died
    List {
        #[command(flatten)]
        which: Which,
        /// So many at most
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        asked: Asked,
    },
    /// Show one, with its event and its attempts
    Show {
        /// As `list` names it: 12-3456
        id: LetterId,
        #[command(flatten)]
        asked: Asked,
    },
    /// Have one, or all that a filter takes, delivered again under their webhook-ids; shows how far it has come,
    /// and goes on without this command
    Redeliver {
        /// This one alone
        id: Option<LetterId>,
        #[command(flatten)]
        which: Which,
        /// All there are, where nothing else says which
        #[arg(long)]
        all: bool,
        /// How many per second
        #[arg(long, default_value = "100", value_name = "N")]
        rate: NonZeroU32,
        /// Do not wait until it is done
        #[arg(long)]
        detach: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// List redeliveries and how far they have come
    Redeliveries(Asked),
    /// Stop a redelivery; what stands in lanes already is delivered all the same
    Cancel {
        /// As `redeliver` names it
        id: String,
        #[command(flatten)]
        asked: Asked,
    },
}

/// Which letters: those to which every option applies.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Of this webhook
    #[arg(long, value_name = "ID")]
    webhook: Option<String>,
    /// Of this event
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Given up for this reason
    #[arg(long, value_parser = parse_reason, value_name = "rejected|deadline")]
    reason: Option<DeadReason>,
    /// Whose latest attempt failed so: timeout, connect, tls, resolve, blocked_address, broken, 4xx, 5xx, 429, ...; or
    /// local, for a fault of our own machine
    #[arg(long, value_name = "FAILURE")]
    failure: Option<String>,
    /// Given up then or later: 2026-11-20T10:00:00Z, or 6h for six hours ago
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Given up before then
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    until: Option<Timestamp>,
}

impl Which {
    fn into_filter(self, letter: Option<LetterId>) -> LetterFilter {
        let Self { webhook, event, reason, failure, since, until } = self;
        LetterFilter {
            letter,
            webhook: webhook.map(WebhookId::new),
            event: event.map(EventId::new),
            reason,
            failure,
            since,
            until,
            ..LetterFilter::default()
        }
    }
}

fn parse_reason(text: &str) -> Result<DeadReason, String> {
    match text {
        "rejected" => Ok(DeadReason::Rejected),
        "deadline" => Ok(DeadReason::Deadline),
        _ => Err("rejected or deadline".to_owned()),
    }
}

impl DeadLetters {
    /// Does what is wanted.
    pub(crate) async fn run(self) -> Result<ExitCode, AskError> {
        match self {
            Self::List { which, limit, asked } => list(which.into_filter(None), limit, &asked).await,
            Self::Show { id, asked } => show(id, &asked).await,
            Self::Redeliver { id, which, all, rate, detach, asked } => {
                let filter = which.into_filter(id);
                if filter.is_everything() && !all {
                    eprintln!("hookline: which? name one, or a filter (--webhook, --since, ...), or --all");
                    return Ok(ExitCode::from(2));
                }
                redeliver(filter, rate, detach, &asked).await
            }
            Self::Redeliveries(asked) => redeliveries(&asked).await,
            Self::Cancel { id, asked } => {
                let process = Process::of(&asked)?;
                let _: serde_json::Value =
                    process.post(&format!("/redeliveries/{}/cancel", encoded(&id)), &()).await?;
                show_status(&process.get(&format!("/redeliveries/{}", encoded(&id))).await?, asked.json);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// A text of the command line as a part of a path.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
async fn list(filter: LetterFilter, limit: usize, asked: &Asked) -> Result<ExitCode, AskError> {
    let process = Process::of(asked)?;
    let (mut shown, mut after, mut unreadable) = (0, None, 0);
    while shown < limit {
        let question = LettersAsked { filter: filter.clone(), after, limit: PAGE.min(limit - shown) };
        let page: LetterPage = process.post("/dead-letters", &question).await?;
        for letter in &page.letters {
            if asked.json {
                println!("{}", serde_json::to_string(letter)?);
            } else {
                if shown == 0 {
                    println!(
                        "{}",
                        line(["ID", "DIED", "WEBHOOK", "EVENT", "TYPE", "REASON", "TRIES", "LAST FAILURE"])
                    );
                }
                println!("{}", summary(letter));
            }
            shown += 1;
        }
        unreadable += page.unreadable;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if after.is_some() {
        eprintln!("there may be more: --limit {}", limit.saturating_mul(10));
    }
    if unreadable > 0 {
        eprintln!("{unreadable} more are not of this version");
    }
    if shown == 0 {
        eprintln!("there are none");
    }
    Ok(ExitCode::SUCCESS)
}

fn line(columns: [&str; 8]) -> String {
    let [id, died, webhook, event, event_type, reason, tries, failure] = columns;
    format!("{id:<12} {died:<20} {webhook:<20} {event:<30} {event_type:<18} {reason:<8} {tries:<5} {failure}")
}

fn summary(letter: &LetterSummary) -> String {
    line([
        &letter.id.to_string(),
        &letter.dead_at.to_rfc3339(),
        letter.webhook.as_str(),
        letter.event.as_str(),
        letter.event_type.as_str(),
        reason_word(letter.reason),
        &letter.tries.to_string(),
        letter.last_failure.as_deref().unwrap_or("-"),
    ])
}

/// A reason in a word.
pub(super) const fn reason_word(reason: DeadReason) -> &'static str {
    match reason {
        DeadReason::Rejected => "rejected",
        DeadReason::Deadline => "deadline",
    }
}

#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
async fn show(id: LetterId, asked: &Asked) -> Result<ExitCode, AskError> {
    let letter: Letter = Process::of(asked)?.get(&format!("/dead-letters/{id}")).await?;
    if asked.json {
        println!("{}", serde_json::to_string(&letter)?);
        return Ok(ExitCode::SUCCESS);
    }
    let Letter { id, letter, attempts } = letter;
    println!("{id}  {} for {}", letter.event.id, letter.webhook);
    println!("  given up   {}: {}", letter.dead_at.to_rfc3339(), reason_word(letter.reason));
    let failure = letter.last_failure.map_or("none was made", |failure| failure.label());
    println!("  attempts   {}, the last: {failure}", letter.tries);
    println!("  accepted   {}", letter.event.accepted_at.to_rfc3339());
    println!("  body       {}", String::from_utf8_lossy(&letter.event.render()));
    attempts.iter().for_each(|attempt| println!("  {}", attempt_line(attempt)));
    if attempts.is_empty() && letter.tries > 0 {
        println!("  (its attempts are not on record any more)");
    }
    Ok(ExitCode::SUCCESS)
}

/// An attempt in a line.
pub(super) fn attempt_line(attempt: &AttemptRecord) -> String {
    let outcome = match &attempt.outcome {
        AttemptOutcome::Delivered { status } => format!("delivered ({status})"),
        AttemptOutcome::Retryable { reason, retry_after: Some(wait) } => {
            format!("{}, Retry-After {} s", failure_words(*reason), wait.as_secs())
        }
        AttemptOutcome::Retryable { reason, retry_after: None } => failure_words(*reason),
        AttemptOutcome::Rejected { reason } => format!("{}, for good", failure_words(*reason)),
    };
    let AttemptRecord { number, started_at, duration_ms, .. } = attempt;
    format!("attempt {number}  {}  after {duration_ms} ms: {outcome}", started_at.to_rfc3339())
}

fn failure_words(reason: hookline_schemas::delivery::FailureReason) -> String {
    use hookline_schemas::delivery::FailureReason;
    match reason {
        FailureReason::Status(status) => format!("status {status}"),
        other => other.label().to_owned(),
    }
}

#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
async fn redeliver(
    filter: LetterFilter,
    rate: NonZeroU32,
    detach: bool,
    asked: &Asked,
) -> Result<ExitCode, AskError> {
    let process = Process::of(asked)?;
    let wish: Redelivery = process.post("/redeliveries", &RedeliveryAsked { filter, rate }).await?;
    if detach {
        if asked.json {
            println!("{}", serde_json::to_string(&wish)?);
        } else {
            println!("redelivering at {rate}/s as {}", wish.id);
        }
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("redelivering at {rate}/s as {}; it goes on if you leave", wish.id);
    let mut told = 0;
    loop {
        let status: RedeliveryStatus = process.get(&format!("/redeliveries/{}", wish.id)).await?;
        if status.is_over() {
            show_status(&status, asked.json);
            return Ok(ExitCode::SUCCESS);
        }
        if status.progress.redelivered > told {
            told = status.progress.redelivered;
            eprintln!("{told} are in their lanes");
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn redeliveries(asked: &Asked) -> Result<ExitCode, AskError> {
    let all: Vec<RedeliveryStatus> = Process::of(asked)?.get("/redeliveries").await?;
    all.iter().for_each(|status| show_status(status, asked.json));
    if all.is_empty() {
        eprintln!("there are none");
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
fn show_status(status: &RedeliveryStatus, json: bool) {
    if json {
        // A struct of strings and numbers always serializes.
        return println!("{}", serde_json::to_string(status).unwrap_or_default());
    }
    let RedeliveryStatus { wish, progress } = status;
    let state = match progress.ended_at {
        Some(at) => format!("done {}", at.to_rfc3339()),
        None if wish.is_cancelled => "cancelled".to_owned(),
        None => "under way".to_owned(),
    };
    let mut line = format!(
        "{}  asked {}  {}/s  {state}: {} in their lanes",
        wish.id,
        wish.requested_at.to_rfc3339(),
        wish.rate,
        progress.redelivered
    );
    if progress.without_webhook > 0 {
        line += &format!(", {} without a webhook", progress.without_webhook);
    }
    if progress.unreadable > 0 {
        line += &format!(", {} not of this version", progress.unreadable);
    }
    println!("{line}");
}
