//! Places for sockets: so many in the process, and so many of them for one token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::rate::TokenDigest;
use crate::metrics::FrontMetrics;

/// Why a socket has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All places of the process are taken.
    Full,
    /// The token has as many as it may have.
    Token,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_token: HashMap<TokenDigest, usize>,
}

/// All places of the process.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_of_a_token: usize,
    metrics: FrontMetrics,
    taken: Mutex<Taken>,
}

/// The place of one socket, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    token: Option<TokenDigest>,
}

impl Places {
    pub(super) fn new(most: usize, most_of_a_token: usize, metrics: FrontMetrics) -> Self {
        Self { most, most_of_a_token, metrics, taken: Mutex::default() }
    }

    /// A place for who shows this token, or none yet.
    pub(super) fn take(self: &Arc<Self>, token: Option<TokenDigest>) -> Result<Place, NoPlace> {
        let mut taken = self.lock();
        if taken.all >= self.most {
            return Err(NoPlace::Full);
        }
        if let Some(token) = token {
            taken.add(token, self.most_of_a_token)?;
        }
        taken.all += 1;
        self.metrics.socket_opened();
        Ok(Place { places: Arc::clone(self), token })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
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
    /// From now on it counts for this token.
    pub(super) fn count_for(&mut self, token: TokenDigest) -> Result<(), NoPlace> {
        if self.token == Some(token) {
            return Ok(());
        }
        let mut taken = self.places.lock();
        taken.add(token, self.places.most_of_a_token)?;
        if let Some(former) = self.token.replace(token) {
            taken.remove(former);
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(token) = self.token {
            taken.remove(token);
        }
        self.places.metrics.socket_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_to_all_and_to_its_token() {
        let places = Arc::new(Places::new(3, 2, FrontMetrics::new()));
        let (one, other) = (TokenDigest::of("one"), TokenDigest::of("other"));
        let first = places.take(Some(one)).expect("room");
        let mut second = places.take(None).expect("room");
        second.count_for(one).expect("room for the token");
        assert_eq!(places.take(Some(one)).err(), Some(NoPlace::Token));
        let third = places.take(Some(other)).expect("a refused one takes no place");
        assert_eq!(places.take(None).err(), Some(NoPlace::Full));

        second.count_for(other).expect("room");
        assert_eq!(places.lock().by_token, HashMap::from([(one, 1), (other, 2)]));
        drop(first);
        let mut first = places.take(Some(one)).expect("room again");
        assert_eq!(first.count_for(other), Err(NoPlace::Token), "and it stays where it was");
        drop((first, second, third));
        let taken = places.lock();
        assert!(taken.all == 0 && taken.by_token.is_empty(), "{taken:?}");
    }
}
