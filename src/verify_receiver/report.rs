//! What is printed: a line per check as soon as it is made, and a count of them at the end.

use std::io::Write;

use hookline_schemas::ids::EventId;
use serde::Serialize;

use super::judge::{Judgement, Reaction, Verdict};

/// One check, as it came out.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// Its name; it never changes between versions.
    check: &'static str,
    verdict: Verdict,
    /// What the receiver was sent, to be found in its own log.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    millis: Option<u64>,
    says: String,
}

impl Finding {
    /// Of a request with this id, and what came of it.
    pub(super) fn new(check: &'static str, id: &EventId, reaction: &Reaction, judgement: Judgement) -> Self {
        let answered = reaction.as_ref().ok();
        let millis = |after: std::time::Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        Self {
            webhook_id: Some(id.clone()),
            status: answered.map(|answered| answered.status.as_u16()),
            millis: answered.map(|answered| millis(answered.after)),
            ..Self::of_no_request(check, judgement)
        }
    }

    /// Of all requests, or of none.
    pub(super) fn of_no_request(check: &'static str, judgement: Judgement) -> Self {
        let Judgement { verdict, says } = judgement;
        Self { check, verdict, webhook_id: None, status: None, millis: None, says }
    }
}

/// Prints findings, and counts them.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    wrong: usize,
    advice: usize,
    all: usize,
}

impl Report {
    /// For a person, or, with `json`, one object a line.
    pub(super) const fn new(json: bool) -> Self {
        Self { json, wrong: 0, advice: 0, all: 0 }
    }

    /// Tells of one check.
    pub(super) fn tell(&mut self, finding: Finding) {
        self.all += 1;
        self.wrong += usize::from(finding.verdict == Verdict::Wrong);
        self.advice += usize::from(finding.verdict == Verdict::Advice);
        let line = match self.json {
            // A struct of strings and numbers always serializes.
            true => serde_json::to_string(&finding).unwrap_or_default(),
            false => format!("{:<7}{:<17}{}", finding.verdict.word(), finding.check, finding.says),
        };
        print(&line);
    }

    /// Tells how many are wrong; whether none is.
    pub(super) fn close(&self) -> bool {
        let Self { json, wrong, advice, all } = *self;
        if !json {
            print(&format!("{all} checks: {wrong} WRONG, {advice} advice"));
        }
        wrong == 0
    }
}

impl Verdict {
    /// As it stands at the beginning of a line; what has to be mended is seen from afar.
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Wrong => "WRONG",
            Self::Advice => "advice",
            Self::Info => "info",
        }
    }
}

/// A reader that has seen enough is no failure.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
