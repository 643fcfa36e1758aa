//! What an answer says about a receiver. Pure: a request's purpose and what came of it give a verdict and one
//! sentence – what was expected, what came, and what to do.

use hookline_outbound::NoAnswer;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use crate::readable::readable;

/// From here on an answer is slow: a receiver that works before it answers comes near hookline's time-out under
/// load.
const SLOW: Duration = Duration::from_secs(5);

/// What to do where the answer itself says nothing of it.
pub(super) const ANSWER_FIRST: &str = "answer first and do the work afterwards";

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Deliveries fail, or forged ones are taken.
    Wrong,
    /// It works, and could be better.
    Advice,
    /// Neither good nor bad.
    Info,
}

/// What came of one request.
pub(super) type Reaction = Result<Answered, NoAnswer>;

/// The part of an answer that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    /// From the request to the head.
    pub(super) after: Duration,
}

/// A verdict with its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) says: String,
}

impl Judgement {
    /// Of no weight.
    pub(super) const fn info(says: String) -> Self {
        Self { verdict: Verdict::Info, says }
    }

    /// The same, where the receiver may do as it likes.
    pub(super) fn at_most_advice(self) -> Self {
        let verdict = if self.verdict == Verdict::Wrong { Verdict::Advice } else { self.verdict };
        Self { verdict, ..self }
    }
}

/// Whether the receiver took it: any 2xx.
pub(super) fn is_taken(reaction: &Reaction) -> bool {
    reaction.as_ref().is_ok_and(|answered| answered.status.is_success())
}

/// Judges what should have been taken. `otherwise` says what to do about an answer that explains nothing.
pub(super) fn taken(what: &str, otherwise: &str, reaction: &Reaction) -> Judgement {
    let Answered { status, after } = match reaction {
        Ok(answered) => *answered,
        Err(missing) => return unanswered(what, "2xx", missing),
    };
    let number = status.as_u16();
    if status.is_success() {
        let after = readable(after.max(Duration::from_millis(1)));
        return match after_is_slow(reaction) {
            false => Judgement {
                verdict: Verdict::Ok,
                says: format!("{what}: 2xx was expected, {number} came after {after}"),
            },
            true => Judgement {
                verdict: Verdict::Advice,
                says: format!(
                    "{what}: 2xx was expected within {}, {number} came after {after}: {ANSWER_FIRST}",
                    readable(SLOW)
                ),
            },
        };
    }
    let consequence = match number {
        300..=399 => {
            "hookline follows no redirect and would send it again for 76 hours: register the address that it leads to"
                .to_owned()
        }
        410 => "it disables the webhook at once: answer it only to get nothing more".to_owned(),
        413 => "hookline gives the delivery up at once: allow larger bodies".to_owned(),
        429 | 503 => {
            "hookline slows down and sends it again: take a few in a row".to_owned()
        }
        _ => format!("hookline would send it again for 76 hours; {otherwise}"),
    };
    Judgement {
        verdict: Verdict::Wrong,
        says: format!("{what}: 2xx was expected, {number} came: {consequence}"),
    }
}

/// Judges what should have been refused. `otherwise` says what to do if it was taken.
pub(super) fn refused(what: &str, otherwise: &str, reaction: &Reaction) -> Judgement {
    let status = match reaction {
        Ok(answered) => answered.status,
        Err(missing) => return unanswered(what, "401", missing),
    };
    let (verdict, consequence) = match status.as_u16() {
        200..=299 => (Verdict::Wrong, otherwise),
        400 | 401 | 403 => (Verdict::Ok, ""),
        410 => (Verdict::Wrong, "it disables the webhook when it answers a delivery: answer 401"),
        429 => (Verdict::Advice, "this may be a limit of its rate and no refusal: try again more slowly"),
        402..=499 => (Verdict::Advice, "it was not taken, but 401 says why"),
        _ => (Verdict::Wrong, "it was not taken, but this is no refusal: answer 401"),
    };
    let number = status.as_u16();
    let colon = if consequence.is_empty() { "" } else { ": " };
    Judgement { verdict, says: format!("{what}: 401 was expected, {number} came{colon}{consequence}") }
}

/// Which of the two signatures a receiver verifies, as far as it can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verified {
    /// It takes what is not signed at all: the others say nothing then.
    pub(super) takes_unsigned: bool,
    /// It takes what has X-IZI-Signature alone.
    pub(super) takes_izi_alone: bool,
    /// It takes what has webhook-signature alone.
    pub(super) takes_standard_alone: bool,
}

impl Verified {
    /// Whether webhook-signature is looked at: it is enough, or nothing less than both is.
    const fn has_standard(self) -> bool {
        !self.takes_unsigned && (self.takes_standard_alone || !self.takes_izi_alone)
    }

    /// Judges an answer to a rightly signed webhook whose time is far from now.
    pub(super) fn judge_time(self, what: &str, reaction: &Reaction) -> Judgement {
        if self.takes_unsigned && is_taken(reaction) {
            return Judgement::info(format!("{what}: it was taken, as everything is that nobody signed"));
        }
        if self.has_standard() {
            let otherwise =
                "compare webhook-timestamp with your clock, and refuse what is more than 5 minutes away";
            return refused(what, otherwise, reaction);
        }
        let otherwise = "X-IZI-Signature binds no time, so whoever has seen a request may send it again; \
                         verify webhook-signature, which does";
        refused(what, otherwise, reaction).at_most_advice()
    }

    /// Judges an answer to several signatures in webhook-signature.
    pub(super) fn judge_rotation(self, what: &str, reaction: &Reaction) -> Judgement {
        if is_taken(reaction) && !self.has_standard() {
            return Judgement::info(format!("{what}: it was taken, and webhook-signature is not verified"));
        }
        let otherwise = "while a secret is rotated webhook-signature holds several, separated by spaces; take the \
                         webhook if one of them is right";
        taken(what, otherwise, reaction)
    }

    /// Says what came of one signature alone.
    pub(super) fn tell_of(self, signature: &str, reaction: &Reaction) -> Judgement {
        let came = match reaction {
            Ok(answered) => answered.status.as_u16().to_string(),
            Err(missing) => missing.to_string(),
        };
        Judgement::info(match (self.takes_unsigned, is_taken(reaction)) {
            (true, _) => format!("{signature} alone: {came}; it takes what is not signed as well"),
            (false, true) => format!("{signature} alone: {came}; it is enough, and verified"),
            (false, false) if self.takes_izi_alone || self.takes_standard_alone => {
                format!("{signature} alone: {came}; it is the other one that is verified, which is enough")
            }
            (false, false) => {
                format!("{signature} alone: {came}; both are demanded, and hookline sends both")
            }
        })
    }
}

fn after_is_slow(reaction: &Reaction) -> bool {
    reaction.as_ref().is_ok_and(|answered| answered.after > SLOW)
}

fn unanswered(what: &str, expected: &str, missing: &NoAnswer) -> Judgement {
    let what_to_do = match missing {
        NoAnswer::Silent(_) => ANSWER_FIRST,
        NoAnswer::Unreachable(_) | NoAnswer::UnreachableInTime(_) => "it was there a moment ago",
        NoAnswer::Broken(_) => "answer in HTTP, whatever happens",
    };
    Judgement {
        verdict: Verdict::Wrong,
        says: format!("{what}: {expected} was expected, nothing came ({missing}): {what_to_do}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, millis: u64) -> Reaction {
        let status = StatusCode::from_u16(status).expect("a status");
        Ok(Answered { status, after: Duration::from_millis(millis) })
    }

    fn silent() -> Reaction {
        Err(NoAnswer::Silent(Duration::from_secs(15)))
    }

    #[test]
    fn what_should_be_taken_is_judged_by_what_hookline_would_do() {
        for (reaction, verdict, part) in [
            (answered(200, 3), Verdict::Ok, "200 came after 3 ms"),
            (answered(204, 0), Verdict::Ok, "204 came after 1 ms"),
            (answered(200, 5000), Verdict::Ok, "after 5 s"),
            (answered(200, 5100), Verdict::Advice, "within 5 s, 200 came after 5.1 s: answer first"),
            (answered(202, 7200), Verdict::Advice, "after 7.2 s"),
            (answered(301, 3), Verdict::Wrong, "follows no redirect"),
            (answered(308, 3), Verdict::Wrong, "follows no redirect"),
            (answered(401, 3), Verdict::Wrong, "for 76 hours; mend it"),
            (answered(409, 3), Verdict::Wrong, "for 76 hours; mend it"),
            (answered(410, 3), Verdict::Wrong, "disables the webhook"),
            (answered(413, 3), Verdict::Wrong, "gives the delivery up at once"),
            (answered(429, 3), Verdict::Wrong, "slows down"),
            (answered(500, 3), Verdict::Wrong, "for 76 hours; mend it"),
            (answered(503, 3), Verdict::Wrong, "slows down"),
            (silent(), Verdict::Wrong, "no answer within 15s"),
        ] {
            let judgement = taken("it", "mend it", &reaction);
            assert_eq!(judgement.verdict, verdict, "{reaction:?}");
            assert!(judgement.says.contains(part), "{reaction:?}: {judgement:?}");
        }
    }

    #[test]
    fn a_refusal_is_a_4xx_and_best_a_401() {
        for (reaction, verdict, part) in [
            (answered(200, 3), Verdict::Wrong, "200 came: mend it"),
            (answered(204, 3), Verdict::Wrong, "204 came: mend it"),
            (answered(400, 3), Verdict::Ok, "400 came"),
            (answered(401, 3), Verdict::Ok, "401 came"),
            (answered(403, 3), Verdict::Ok, "403 came"),
            (answered(404, 3), Verdict::Advice, "401 says why"),
            (answered(410, 3), Verdict::Wrong, "disables the webhook"),
            (answered(429, 3), Verdict::Advice, "more slowly"),
            (answered(302, 3), Verdict::Wrong, "no refusal"),
            (answered(500, 3), Verdict::Wrong, "no refusal"),
            (silent(), Verdict::Wrong, "nothing came"),
        ] {
            let judgement = refused("it", "mend it", &reaction);
            assert_eq!(judgement.verdict, verdict, "{reaction:?}");
            assert!(judgement.says.contains(part), "{reaction:?}: {judgement:?}");
        }
    }

    #[test]
    fn a_stale_time_is_wrong_only_where_the_signature_binds_it() {
        for (unsigned, izi, standard, taken, refused) in [
            (false, false, true, Verdict::Wrong, Verdict::Ok),
            (false, true, true, Verdict::Wrong, Verdict::Ok),
            (false, false, false, Verdict::Wrong, Verdict::Ok),
            (false, true, false, Verdict::Advice, Verdict::Ok),
            (true, true, true, Verdict::Info, Verdict::Ok),
        ] {
            let verified =
                Verified { takes_unsigned: unsigned, takes_izi_alone: izi, takes_standard_alone: standard };
            assert_eq!(verified.judge_time("it", &answered(200, 1)).verdict, taken, "{verified:?}");
            assert_eq!(verified.judge_time("it", &answered(401, 1)).verdict, refused, "{verified:?}");
        }
    }

    #[test]
    fn a_receiver_of_rotated_secrets_is_judged_by_the_signature_that_it_verifies() {
        for (izi, standard, taken, refused) in [
            (false, true, Verdict::Ok, Verdict::Wrong),
            (true, true, Verdict::Ok, Verdict::Wrong),
            (false, false, Verdict::Ok, Verdict::Wrong),
            (true, false, Verdict::Info, Verdict::Wrong),
        ] {
            let verified =
                Verified { takes_unsigned: false, takes_izi_alone: izi, takes_standard_alone: standard };
            assert_eq!(verified.judge_rotation("it", &answered(200, 1)).verdict, taken, "{verified:?}");
            assert_eq!(verified.judge_rotation("it", &answered(401, 1)).verdict, refused, "{verified:?}");
        }
    }

    #[test]
    fn advice_is_never_wrong_and_ok_stays_ok() {
        for (status, expected) in [(200, Verdict::Ok), (500, Verdict::Advice)] {
            assert_eq!(taken("it", "mend it", &answered(status, 1)).at_most_advice().verdict, expected);
        }
    }
}
