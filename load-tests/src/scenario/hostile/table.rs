//! How each of the zoo has to end. Pure.

use std::collections::BTreeMap;

use hookline_schemas::ids::WebhookId;

use crate::admin::WebhookState;
use crate::report::Report;
use crate::zoo::Kind;

/// What becomes of the deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// They arrive, if slowly; none is given up.
    Delivered,
    /// They wait in the lane; none has arrived, none is given up.
    Waits,
    /// They are given up, each by itself; none waits.
    Dead,
}

/// How one of them is seen at the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// The endpoint's state is one of these.
    pub(super) states: &'static [&'static str],
    /// The latest failure is one of these; empty: there was none.
    pub(super) failures: &'static [&'static str],
    /// The latest failure may be missing all the same.
    pub(super) may_pass: bool,
    pub(super) fate: Fate,
}

const fn down(failure: &'static [&'static str]) -> Expected {
    Expected { states: &["down"], failures: failure, may_pass: false, fate: Fate::Waits }
}

const DELIVERED: Expected =
    Expected { states: &["active"], failures: &[], may_pass: true, fate: Fate::Delivered };

/// Who, and how it ends.
pub(super) const TABLE: [(Kind, Expected); Kind::ALL.len()] = [
    (Kind::SlowHead, down(&["timeout"])),
    (Kind::SlowBody, DELIVERED),
    (Kind::SlowBodyOfAnError, down(&["5xx"])),
    (Kind::EndlessBody, DELIVERED),
    (Kind::EndlessBodyOfAnError, down(&["5xx"])),
    (Kind::Bomb, down(&["5xx"])),
    (Kind::EndlessContinue, down(&["broken"])),
    (Kind::HugeHead, down(&["broken"])),
    (Kind::EndlessHead, down(&["broken"])),
    (Kind::Redirects, down(&["3xx"])),
    (Kind::ResetsAfterHead, DELIVERED),
    (Kind::ResetsInBody, DELIVERED),
    (Kind::Resets, down(&["broken"])),
    // A request that crosses the end of its connection fails, and goes out again on another.
    (Kind::HalfCloses, Expected { failures: &["broken"], ..DELIVERED }),
    // Each connection takes one delivery, and the next one hangs: it is down and up again all the time.
    (
        Kind::ForgetsTheSecond,
        Expected {
            states: &["active", "down", "recovering"],
            failures: &["timeout"],
            may_pass: false,
            fate: Fate::Delivered,
        },
    ),
    (Kind::Silent, down(&["timeout"])),
    (Kind::SilentTls, down(&["timeout"])),
    (Kind::PlainTls, down(&["tls"])),
    (Kind::Rubbish, down(&["broken"])),
    (Kind::Gone, Expected { states: &["disabled"], ..down(&["410"]) }),
    // It has judged the events and not broken down.
    (Kind::TooLarge, Expected { states: &["active"], fate: Fate::Dead, ..down(&["4xx"]) }),
    (Kind::Busy, down(&["429"])),
    (Kind::Private, down(&["blocked_address"])),
    (Kind::Unknown, down(&["resolve"])),
    (Kind::Refused, down(&["connect"])),
];

/// The webhook whose endpoint is of this kind.
pub(super) fn webhook(kind: Kind) -> WebhookId {
    WebhookId::new(format!("zoo_{}", kind.name()))
}

/// What is wrong with how one of them ended, if something is.
fn complaint(expected: &Expected, seen: &WebhookState) -> Option<&'static str> {
    let is_expected_failure = match seen.last_failure.as_deref() {
        None => expected.may_pass,
        Some(failure) => expected.failures.contains(&failure),
    };
    let is_expected_fate = match expected.fate {
        Fate::Delivered => seen.delivered > 0 && seen.dead == 0,
        Fate::Waits => seen.backlog > 0 && seen.delivered == 0 && seen.dead == 0,
        Fate::Dead => seen.dead > 0 && seen.delivered == 0 && seen.backlog == 0,
    };
    if !expected.states.contains(&seen.state.as_str()) {
        Some("is in another state")
    } else if !is_expected_failure {
        Some("failed for another reason")
    } else if !is_expected_fate {
        Some("got something else")
    } else {
        None
    }
}

/// Fails the report for each of them that ended otherwise, for attempts without a reason that stands here, and
/// for a healthy one that had to wait in its lane.
pub(super) fn judge(
    report: &mut Report,
    has_zoo: bool,
    webhooks: &[WebhookState],
    attempts: &BTreeMap<String, f64>,
) {
    for (kind, expected) in TABLE.iter().filter(|_| has_zoo) {
        let seen = webhooks.iter().find(|seen| seen.id == webhook(*kind));
        let wrong = seen.map_or(Some("is not known"), |seen| complaint(expected, seen));
        report
            .require(wrong.is_none(), || format!("{} {}: {seen:?}", kind.name(), wrong.unwrap_or_default()));
    }
    let hostile: Vec<WebhookId> = TABLE.iter().map(|(kind, _)| webhook(*kind)).collect();
    for healthy in webhooks.iter().filter(|seen| !hostile.contains(&seen.id)) {
        let is_well = healthy.parked == 0 && healthy.state == "active" && healthy.last_failure.is_none();
        report.require(is_well, || format!("a healthy one had to wait: {healthy:?}"));
    }
    let reasons = TABLE.iter().filter(|_| has_zoo).flat_map(|(_, expected)| expected.failures);
    let known: Vec<&str> = reasons.copied().chain(["delivered"]).collect();
    for (outcome, count) in attempts.iter().filter(|(_, count)| **count > 0.0) {
        report.require(known.contains(&outcome.as_str()), || format!("{count} attempts ended in {outcome}"));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn seen(state: &str, last_failure: Option<&str>, [delivered, backlog, dead]: [u64; 3]) -> WebhookState {
        WebhookState {
            id: webhook(Kind::Silent),
            state: state.to_owned(),
            last_failure: last_failure.map(str::to_owned),
            in_flight: 0,
            backlog,
            delivered,
            parked: backlog,
            dead,
        }
    }

    #[test]
    fn every_kind_stands_in_the_table_once() {
        let kinds: HashSet<Kind> = TABLE.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, HashSet::from(Kind::ALL));
    }

    #[test]
    fn nobody_passes_who_ended_otherwise() {
        let dead = Expected { states: &["active"], fate: Fate::Dead, ..down(&["4xx"]) };
        for (expected, seen, is_right) in [
            (down(&["timeout"]), seen("down", Some("timeout"), [0, 9, 0]), true),
            (down(&["timeout"]), seen("active", Some("timeout"), [0, 9, 0]), false),
            (down(&["timeout"]), seen("down", Some("broken"), [0, 9, 0]), false),
            (down(&["timeout"]), seen("down", None, [0, 9, 0]), false),
            (down(&["timeout"]), seen("down", Some("timeout"), [1, 9, 0]), false),
            (down(&["timeout"]), seen("down", Some("timeout"), [0, 0, 0]), false),
            (down(&["timeout"]), seen("down", Some("timeout"), [0, 9, 1]), false),
            (DELIVERED, seen("active", None, [9, 3, 0]), true),
            (DELIVERED, seen("active", Some("5xx"), [9, 3, 0]), false),
            (DELIVERED, seen("active", None, [0, 3, 0]), false),
            (dead, seen("active", Some("4xx"), [0, 0, 9]), true),
            (dead, seen("active", Some("4xx"), [0, 1, 9]), false),
        ] {
            assert_eq!(complaint(&expected, &seen).is_none(), is_right, "{expected:?} {seen:?}");
        }
    }

    #[test]
    fn a_healthy_one_that_waited_or_an_unknown_reason_fails_the_run() {
        let healthy =
            |parked| WebhookState { id: WebhookId::new("wh_1"), parked, ..seen("active", None, [9, 0, 0]) };
        let counted = |outcome: &str| BTreeMap::from([(outcome.to_owned(), 3.0), ("5xx".to_owned(), 0.0)]);
        for (parked, outcome, pass) in
            [(0, "delivered", true), (1, "delivered", false), (0, "local", false), (0, "timeout", false)]
        {
            let mut report = Report { pass: true, ..Report::of_parts("hostile", Vec::new()) };
            judge(&mut report, false, &[healthy(parked)], &counted(outcome));
            assert_eq!(report.pass, pass, "{parked} {outcome}");
        }
    }
}
