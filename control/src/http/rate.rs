//! How many operations a token may ask for in any 10 s, counted exactly.
//!
//! A token has a window of its own once it has been found good. Tokens that have to be verified share one, and requests
//! without a token another. So a stranger spends nobody's budget, fills no memory, and makes us verify only so many
//! signatures. Who posts without a token keeps out only others who do: a browser, which can't show its token before its
//! socket is open, spends nothing of that window by the upgrade, and what bounds such sockets is their number. Who shows
//! bad tokens does keep out good ones that nobody has seen yet. A good token keeps its window for a while after its last
//! request, and with it its place beside the strangers' line.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hookline_schemas::time::{Clock, Timestamp};
use sha2::{Digest, Sha256};

/// The length of a window.
const SPAN: Duration = Duration::from_secs(10);

/// All strangers together have so many times the budget of a token.
const STRANGERS: usize = 10;

/// How long a token that is not used is remembered as good.
const KNOWN_FOR: Duration = Duration::from_secs(15 * 60);

/// More tokens than this are not remembered for longer than their windows last.
const MAX_KNOWN: usize = 10_000;

/// How often what has passed should be forgotten.
pub(super) const TIDY_INTERVAL: Duration = SPAN;

/// A token, as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

/// Whose budget a request spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payer {
    Token(TokenDigest),
    /// Who shows a token that is not known yet: it has to be verified.
    Unknown,
    /// Who shows none, or one that is not good.
    Strangers,
}

/// A request that was let in: what it has cost, and whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    payer: Payer,
    at: Timestamp,
    cost: usize,
}

/// What the headers of an answer say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Operations in any 10 s.
    pub(super) limit: usize,
    /// Of those, left now.
    pub(super) remaining: usize,
    /// When the oldest leaves the window.
    pub(super) reset: Timestamp,
    /// Operations of this request.
    pub(super) cost: usize,
}

/// Too much was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded {
    /// Nothing remains.
    pub(super) standing: Standing,
    /// When there is room for what was asked, if nobody else takes it.
    pub(super) retry_after: Duration,
}

/// What was let in during the last 10 s, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Window {
    times: VecDeque<Timestamp>,
    used: Timestamp,
}

impl Window {
    /// Leaves what is as old as the window is long.
    fn slide(&mut self, now: Timestamp) {
        while self.times.front().is_some_and(|time| now.since(*time) >= SPAN) {
            self.times.pop_front();
        }
    }

    /// Lets so many in, or none.
    pub(super) fn take(&mut self, cost: usize, limit: usize, now: Timestamp) -> Result<(), Exceeded> {
        self.slide(now);
        self.used = now;
        let excess = self.times.len().saturating_add(cost).saturating_sub(limit);
        if excess == 0 {
            self.times.extend(std::iter::repeat_n(now, cost));
            return Ok(());
        }
        // There is room once so many of the oldest have left; what is more than the limit never fits.
        let last = self.times.get(excess - 1).or(self.times.back()).copied().unwrap_or(now);
        let standing = Standing { remaining: 0, ..self.standing(cost, limit, now) };
        Err(Exceeded { standing, retry_after: last.after(SPAN).since(now) })
    }

    /// Takes so many in place of the one that was taken then; where they don't fit, one was asked for in vain.
    fn exchange(
        &mut self,
        then: Timestamp,
        cost: usize,
        limit: usize,
        now: Timestamp,
    ) -> Result<(), Exceeded> {
        self.give_back(then);
        if self.take(cost, limit, now).is_ok() {
            return Ok(());
        }
        // Or else requests that are refused would be free, with the signatures that were verified for them.
        let _ = self.take(1, limit, now);
        self.take(cost, limit, now)
    }

    /// What was taken then was not done. It may have left by itself.
    fn give_back(&mut self, then: Timestamp) {
        if let Some(index) = self.times.iter().rposition(|time| *time == then) {
            self.times.remove(index);
        }
    }

    fn standing(&self, cost: usize, limit: usize, now: Timestamp) -> Standing {
        let oldest = self.times.front().copied().unwrap_or(now);
        Standing { limit, remaining: limit.saturating_sub(self.times.len()), reset: oldest.after(SPAN), cost }
    }
}

#[derive(Debug, Default)]
struct Windows {
    tokens: HashMap<TokenDigest, Window>,
    unknown: Window,
    strangers: Window,
}

/// The windows of all.
#[derive(Debug)]
pub(super) struct RateLimit {
    limit: usize,
    clock: Clock,
    windows: Mutex<Windows>,
}

impl RateLimit {
    pub(super) fn new(limit: u32, clock: Clock) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { limit, clock, windows: Mutex::default() }
    }

    /// Lets a request in before anything is known of it but its token, for the price of one operation.
    pub(super) fn admit(&self, token: Option<TokenDigest>) -> Result<Admitted, Exceeded> {
        let mut windows = self.lock();
        let payer = match token {
            Some(token) if windows.tokens.contains_key(&token) => Payer::Token(token),
            Some(_) => Payer::Unknown,
            None => Payer::Strangers,
        };
        self.admit_as(&mut windows, payer)
    }

    /// The token was verified: from now on it pays for itself, or, if it is not good, as a stranger does.
    pub(super) fn verified(
        &self,
        admitted: Admitted,
        token: TokenDigest,
        is_good: bool,
    ) -> Result<Admitted, Exceeded> {
        let mut windows = self.lock();
        match (admitted.payer, is_good) {
            (Payer::Token(_), true) => return Ok(admitted),
            (Payer::Token(known), false) => drop(windows.tokens.remove(&known)),
            (Payer::Unknown | Payer::Strangers, true) => windows.of(admitted.payer).give_back(admitted.at),
            // The signature was verified for it.
            (Payer::Unknown | Payer::Strangers, false) => return Ok(admitted),
        }
        self.admit_as(&mut windows, if is_good { Payer::Token(token) } else { Payer::Strangers })
    }

    /// The request is known to hold so many operations.
    pub(super) fn charge(&self, admitted: Admitted, operations: usize) -> Result<Admitted, Exceeded> {
        let mut windows = self.lock();
        let (now, limit) = (self.clock.now(), self.limit_of(admitted.payer));
        windows.of(admitted.payer).exchange(admitted.at, operations, limit, now)?;
        Ok(Admitted { at: now, cost: operations, ..admitted })
    }

    /// A token that was found good asks for something, on a connection that it has: like [`RateLimit::admit`], for the
    /// price of one operation, before more is known.
    pub(super) fn admit_known(&self, token: TokenDigest) -> Result<Admitted, Exceeded> {
        self.admit_as(&mut self.lock(), Payer::Token(token))
    }

    fn admit_as(&self, windows: &mut Windows, payer: Payer) -> Result<Admitted, Exceeded> {
        // Under the lock, so that the times in a window ascend.
        let at = self.clock.now();
        windows.of(payer).take(1, self.limit_of(payer), at)?;
        Ok(Admitted { payer, at, cost: 1 })
    }

    /// What its answer says of the window.
    pub(super) fn standing(&self, admitted: Admitted) -> Standing {
        self.standing_of(admitted.payer, admitted.cost)
    }

    /// What the answer to who showed no token, and has paid nothing, says of the window.
    pub(super) fn standing_of_strangers(&self) -> Standing {
        self.standing_of(Payer::Strangers, 0)
    }

    fn standing_of(&self, payer: Payer, cost: usize) -> Standing {
        let mut windows = self.lock();
        let now = self.clock.now();
        let window = windows.of(payer);
        window.slide(now);
        window.standing(cost, self.limit_of(payer), now)
    }

    /// Forgets tokens that were not used for long.
    pub(super) fn forget_the_past(&self) {
        let now = self.clock.now();
        let mut windows = self.lock();
        let kept_for = if windows.tokens.len() > MAX_KNOWN { SPAN } else { KNOWN_FOR };
        windows.tokens.retain(|_, window| now.since(window.used) < kept_for);
        windows.tokens.shrink_to_fit();
    }

    const fn limit_of(&self, payer: Payer) -> usize {
        match payer {
            Payer::Token(_) => self.limit,
            Payer::Unknown | Payer::Strangers => self.limit.saturating_mul(STRANGERS),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Windows {
    fn of(&mut self, payer: Payer) -> &mut Window {
        match payer {
            Payer::Token(token) => self.tokens.entry(token).or_default(),
            Payer::Unknown => &mut self.unknown,
            Payer::Strangers => &mut self.strangers,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn who_posts_without_a_token_keeps_out_nobody_who_shows_one() {
        let limit = RateLimit::new(2, Clock::start());
        while limit.admit(None).is_ok() {}
        let token = TokenDigest::of("good");
        let admitted = limit.admit(Some(token)).expect("it has to be verified");
        let admitted = limit.verified(admitted, token, true).expect("it has a window of its own");
        assert_eq!(limit.standing(admitted).remaining, 1);
        // Nor do those whose token is bad keep out a token that is known.
        let bad = TokenDigest::of("bad");
        while let Ok(admitted) = limit.admit(Some(bad)) {
            let _ = limit.verified(admitted, bad, false);
        }
        limit.admit(Some(token)).expect("it is known");
    }

    #[test]
    fn the_window_slides() {
        let mut window = Window::default();
        let at = |seconds: u64| AT.after(Duration::from_secs(seconds));
        window.take(2, 3, at(0)).expect("room");
        window.take(1, 3, at(4)).expect("room");
        let standing = window.standing(1, 3, at(4));
        assert_eq!(standing, Standing { limit: 3, remaining: 0, reset: at(10), cost: 1 });
        for (cost, seconds) in [(1, 5), (2, 5), (3, 9), (4, 9)] {
            let exceeded = window.take(cost, 3, at(5)).expect_err("no room");
            assert_eq!(exceeded.retry_after, Duration::from_secs(seconds), "for {cost}");
            assert_eq!(exceeded.standing, Standing { cost, ..standing });
        }
        window.take(1, 3, at(9)).expect_err("the first two are in it until 10");
        window.take(2, 3, at(10)).expect("they have left");
        window.take(1, 3, at(13)).expect_err("the one of 4 is in it until 14");
        window.take(1, 3, at(14)).expect("it has left");
    }

    #[test]
    fn what_is_given_back_is_ones_own() {
        let mut window = Window::default();
        let at = |seconds: u64| AT.after(Duration::from_secs(seconds));
        window.take(1, 2, at(0)).expect("room");
        window.take(1, 2, at(9)).expect("room");
        window.exchange(at(0), 1, 2, at(9)).expect("one for one");
        window.take(1, 2, at(11)).expect_err("both are of 9");
        window.exchange(at(9), 2, 2, at(11)).expect_err("no room for two");
        assert_eq!(window.times, [at(9), at(11)], "what was refused costs one");
        window.exchange(at(11), usize::MAX, 2, at(11)).expect_err("no room for whatever number");
        assert_eq!(window.times, [at(9), at(11)]);
    }

    fn token(name: &str) -> TokenDigest {
        TokenDigest::of(name)
    }

    /// Admits, as one does whose token turns out so.
    fn visit(limit: &RateLimit, name: &str, is_good: bool) -> Result<Admitted, Exceeded> {
        limit.verified(limit.admit(Some(token(name)))?, token(name), is_good)
    }

    #[test]
    fn strangers_spend_neither_a_tokens_budget_nor_memory() {
        let limit = RateLimit::new(3, Clock::start());
        let good = visit(&limit, "good", true).expect("room");
        let refused =
            (0..100).filter(|number| visit(&limit, &format!("bad {number}"), false).is_err()).count();
        assert_eq!(refused, 70, "ten times the limit for all of them");
        let without = (0..100).filter(|_| limit.admit(None).is_err()).count();
        assert_eq!(without, 70, "as much for those without a token");
        assert_eq!(limit.standing(good).remaining, 2);
        visit(&limit, "good", true).expect("its own window");
        assert!(visit(&limit, "new", true).is_err(), "nobody has seen it yet");
        assert_eq!(limit.lock().tokens.len(), 1);
    }

    #[test]
    fn a_token_that_is_good_no_more_is_a_stranger() {
        let limit = RateLimit::new(2, Clock::start());
        visit(&limit, "old", true).expect("room");
        let expired = visit(&limit, "old", false).expect("a stranger's room");
        assert_eq!(limit.standing(expired), Standing { limit: 20, remaining: 19, ..limit.standing(expired) });
        assert!(limit.lock().tokens.is_empty());
    }

    #[test]
    fn a_token_that_was_good_costs_strangers_nothing() {
        let limit = RateLimit::new(2, Clock::start());
        let good = visit(&limit, "good", true).expect("room");
        let good = limit.charge(good, 2).expect("room");
        assert_eq!(
            limit.standing(good),
            Standing { limit: 2, remaining: 0, cost: 2, ..limit.standing(good) }
        );
        assert!(limit.lock().strangers.times.is_empty());
        assert!(visit(&limit, "good", true).is_err());
    }

    #[test]
    fn what_is_asked_for_on_a_connection_costs_its_token() {
        let limit = RateLimit::new(4, Clock::start());
        let good = visit(&limit, "good", true).expect("room");
        let spend = |operations| limit.charge(limit.admit_known(token("good"))?, operations);
        spend(2).expect("room");
        let exceeded = spend(2).expect_err("one is left");
        assert_eq!((exceeded.standing.remaining, exceeded.standing.cost), (0, 2));
        assert_eq!(limit.standing(good).remaining, 0, "the refused one cost one");
        assert!(limit.admit_known(token("good")).is_err(), "nothing is left, whatever it would have cost");
        // It was found good when the connection began, so it is no stranger now.
        limit.lock().tokens.clear();
        spend(4).expect("a window of its own");
        assert!(limit.lock().unknown.times.is_empty());
    }

    #[test]
    fn only_what_is_not_used_is_forgotten() {
        let limit = RateLimit::new(2, Clock::start());
        visit(&limit, "used", true).expect("room");
        visit(&limit, "unused", true).expect("room");
        let long_ago = limit.clock.now().before(KNOWN_FOR);
        limit.lock().tokens.entry(token("unused")).or_default().used = long_ago;
        limit.forget_the_past();
        assert_eq!(limit.lock().tokens.keys().collect::<Vec<_>>(), [&token("used")]);
    }

    proptest! {
        /// Against the plain list of everything that was ever let in.
        #[test]
        fn never_more_than_the_limit_in_any_ten_seconds_and_never_less_than_there_is_room_for(
            asked in prop::collection::vec((0_u64..4_000, 1_usize..5), 1..200),
            limit in 1_usize..12,
        ) {
            let (mut window, mut let_in, mut now) = (Window::default(), Vec::<Timestamp>::new(), AT);
            for (pause, cost) in asked {
                now = now.after(Duration::from_millis(pause));
                let within = let_in.iter().filter(|time| now.since(**time) < SPAN).count();
                match window.take(cost, limit, now) {
                    Ok(()) => {
                        prop_assert!(within + cost <= limit);
                        let_in.extend(std::iter::repeat_n(now, cost));
                    }
                    Err(exceeded) => {
                        prop_assert!(within + cost > limit);
                        prop_assert_eq!(exceeded.standing.remaining, 0);
                        let then = now.after(exceeded.retry_after);
                        let left = let_in.iter().filter(|time| then.since(**time) < SPAN).count();
                        prop_assert!(left + cost <= limit || (left == 0 && cost > limit));
                    }
                }
                prop_assert!(window.times.len() <= limit);
            }
        }
    }
}
