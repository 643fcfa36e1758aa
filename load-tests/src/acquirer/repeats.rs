//! `X-Request-ID`: one successful request under one id and path is processed, and for an hour all answers to it are
//! the same. What was refused may be asked again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use hookline_schemas::time::Timestamp;

use super::answer::Envelope;
use super::site::MAX_TRANSACTIONS;

/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// A path, and what the caller calls his request.
pub(super) type RequestKey = (String, String);

/// The answers of the last hour, or the last of them, if there are too many.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    answers: HashMap<RequestKey, Envelope>,
    /// In the order in which they were given.
    given: VecDeque<(Timestamp, RequestKey)>,
}

impl Repeats {
    /// What was answered to this request within the hour.
    pub(super) fn answered(&mut self, key: &RequestKey, now: Timestamp) -> Option<Envelope> {
        while self.given.front().is_some_and(|(at, _)| now.since(*at) >= KEPT_FOR) {
            self.forget_first();
        }
        self.answers.get(key).cloned()
    }

    /// Keeps the answer to a request that none is kept for.
    pub(super) fn keep(&mut self, key: RequestKey, answer: Envelope, now: Timestamp) {
        if self.given.len() >= MAX_TRANSACTIONS {
            self.forget_first();
        }
        self.given.push_back((now, key.clone()));
        self.answers.insert(key, answer);
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.given.pop_front() {
            self.answers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_an_hour_and_no_longer() {
        let mut repeats = Repeats::default();
        let key = |path: &str, id: &str| (path.to_owned(), id.to_owned());
        let start = Timestamp(1_000_000);
        repeats.keep(key("/a", "1"), Envelope::said("first"), start);
        let almost = start.after(KEPT_FOR).before(Duration::from_millis(1));
        assert!(repeats.answered(&key("/a", "1"), almost).is_some());
        assert!(repeats.answered(&key("/a", "2"), almost).is_none(), "another id");
        assert!(repeats.answered(&key("/b", "1"), almost).is_none(), "another path");
        assert!(repeats.answered(&key("/a", "1"), start.after(KEPT_FOR)).is_none());
        assert!(repeats.given.is_empty() && repeats.answers.is_empty());
    }
}
