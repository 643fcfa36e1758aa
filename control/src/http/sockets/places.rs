//! Places for sockets: so many in the process, and so many of them for one token. Who is not identified yet takes none of
//! them but one of a few others, so that strangers can't keep out those who are known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::rate::TokenDigest;
use super::Limits;
use crate::metrics::FrontMetrics;

/// Why a socket has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All places of the process are taken, or all of those for strangers.
    Full,
    /// The token has as many as it may have.
    Token,
}

#[derive(Debug, Default)]
struct Taken {
    by_strangers: usize,
    by_known: usize,
    by_token: HashMap<TokenDigest, usize>,
}

/// All places of the process.
#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    metrics: FrontMetrics,
    taken: Mutex<Taken>,
}

/// The place of one socket, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    /// Whose it is; a stranger's, as long as that is not known.
    token: Option<TokenDigest>,
}

impl Places {
    pub(super) fn new(limits: Limits, metrics: FrontMetrics) -> Self {
        Self { limits, metrics, taken: Mutex::default() }
    }

    /// A place for who has been identified by this token, or not at all yet.
    pub(super) fn take(self: &Arc<Self>, token: Option<TokenDigest>) -> Result<Place, NoPlace> {
        let mut taken = self.lock();
        match token {
            Some(token) => taken.add_known(token, self.limits)?,
            None if taken.by_strangers >= self.limits.sockets_of_strangers => return Err(NoPlace::Full),
            None => taken.by_strangers += 1,
        }
        self.metrics.socket_opened();
        Ok(Place { places: Arc::clone(self), token })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn add_known(&mut self, token: TokenDigest, limits: Limits) -> Result<(), NoPlace> {
        if self.by_known >= limits.sockets {
            return Err(NoPlace::Full);
        }
        self.add(token, limits.sockets_of_a_token)?;
        self.by_known += 1;
        Ok(())
    }

    fn add(&mut self, token: TokenDigest, most: usize) -> Result<(), NoPlace> {
        let count = self.by_token.get(&token).copied().unwrap_or_default();
        if count >= most {
            return Err(NoPlace::Token);
        }
        self.by_token.insert(token, count + 1);
        Ok(())
    }

    fn remove(&mut self, token: TokenDigest) {
        let count = self.by_token.remove(&token).expect("a token is counted for as long as it has a place");
        if count > 1 {
            self.by_token.insert(token, count - 1);
        }
    }
}

impl Place {
    /// From now on it is the place of who has been identified by this token. Refused, it stays what it was.
    pub(super) fn count_for(&mut self, token: TokenDigest) -> Result<(), NoPlace> {
        let limits = self.places.limits;
        let mut taken = self.places.lock();
        match self.token {
            Some(former) if former == token => {}
            Some(former) => {
                taken.add(token, limits.sockets_of_a_token)?;
                taken.remove(former);
            }
            None => {
                taken.add_known(token, limits)?;
                taken.by_strangers -= 1;
            }
        }
        self.token = Some(token);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        match self.token {
            Some(token) => {
                taken.by_known -= 1;
                taken.remove(token);
            }
            None => taken.by_strangers -= 1,
        }
        self.places.metrics.socket_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(sockets: usize, sockets_of_strangers: usize, sockets_of_a_token: usize) -> Arc<Places> {
        let limits = Limits { sockets, sockets_of_strangers, sockets_of_a_token, ..Limits::NORMAL };
        Arc::new(Places::new(limits, FrontMetrics::new()))
    }

    #[test]
    fn a_place_is_given_back_to_all_and_to_its_token() {
        let places = places(3, 1, 2);
        let (one, other) = (TokenDigest::of("one"), TokenDigest::of("other"));
        let first = places.take(Some(one)).expect("room");
        let mut second = places.take(None).expect("room");
        second.count_for(one).expect("room for the token");
        assert_eq!(places.take(Some(one)).err(), Some(NoPlace::Token));
        let third = places.take(Some(other)).expect("a refused one takes no place");
        assert_eq!(places.take(Some(TokenDigest::of("third"))).err(), Some(NoPlace::Full));

        second.count_for(other).expect("room");
        assert_eq!(places.lock().by_token, HashMap::from([(one, 1), (other, 2)]));
        drop(first);
        let mut first = places.take(Some(one)).expect("room again");
        assert_eq!(first.count_for(other), Err(NoPlace::Token), "and it stays where it was");
        assert_eq!(places.lock().by_token, HashMap::from([(one, 1), (other, 2)]));
        drop((first, second, third));
        let taken = places.lock();
        assert!(taken.by_known == 0 && taken.by_strangers == 0 && taken.by_token.is_empty(), "{taken:?}");
    }

    #[test]
    fn strangers_have_a_few_places_of_their_own_and_take_no_other() {
        let places = places(2, 1, 2);
        let [one, other, third] = ["one", "other", "third"].map(TokenDigest::of);
        let mut stranger = places.take(None).expect("room");
        assert_eq!(places.take(None).err(), Some(NoPlace::Full));
        let taken = [one, other].map(|token| places.take(Some(token)).expect("all of them are free"));
        assert_eq!(stranger.count_for(third), Err(NoPlace::Full), "and it stays a stranger's");
        assert_eq!(places.take(None).err(), Some(NoPlace::Full));
        drop(taken);
        stranger.count_for(third).expect("room");
        drop(places.take(None).expect("who is known gives a stranger's place back"));
        drop(stranger);
        let taken = places.lock();
        assert!(taken.by_known == 0 && taken.by_strangers == 0 && taken.by_token.is_empty(), "{taken:?}");
    }
}
