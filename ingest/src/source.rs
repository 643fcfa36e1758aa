//! Who posts: the address behind trusted proxies, and how many wrong signatures it may post.
//!
//! The limit counts failures alone, so it never slows a sender whose signatures are right. A source above it
//! still gets the one gateway tried that the fields hint at: behind a proxy that is not declared, everybody
//! shares one address, and a stranger must not be able to shut out CloudPayments.

use std::net::IpAddr;
use std::num::NonZeroU32;

use dashmap::DashMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hookline_schemas::time::{Clock, Timestamp};
use http::HeaderMap;
use ipnet::IpNet;

/// The address that a request comes from: the last one in `X-Forwarded-For` that is no trusted proxy, where
/// the peer is one; else the peer. Read from the right: what stands further left is the sender's own word.
pub(crate) fn address_of(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let values: Vec<&str> =
        headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok()).collect();
    let hops = values.iter().rev().flat_map(|value| value.rsplit(','));
    for hop in hops {
        match hop.trim().parse::<IpAddr>().map(|hop| hop.to_canonical()) {
            Ok(hop) if is_trusted(&hop) => {}
            Ok(hop) => return hop,
            Err(_) => return peer,
        }
    }
    peer
}

/// Counts wrong signatures per source.
#[derive(Debug)]
pub(crate) struct FailureLimit {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    blocked_until: DashMap<IpAddr, Timestamp>,
    clock: Clock,
}

impl FailureLimit {
    /// Allows that many failures a minute to each source, in bursts of as many.
    pub(crate) fn new(failures_per_minute: u32, clock: Clock) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(failures_per_minute).unwrap_or(NonZeroU32::MIN));
        Self { limiter: RateLimiter::keyed(quota), blocked_until: DashMap::new(), clock }
    }

    /// Whether the source has used up its failures.
    pub(crate) fn is_exhausted(&self, source: IpAddr) -> bool {
        self.blocked_until.get(&source).is_some_and(|until| *until > self.clock.now())
    }

    /// Counts a failure.
    pub(crate) fn count(&self, source: IpAddr) {
        if let Err(not_until) = self.limiter.check_key(&source) {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            self.blocked_until.insert(source, self.clock.now().after(wait));
        }
    }

    /// Forgets the sources that have failures to spend again; called now and then, so that memory stays
    /// bounded by the sources of the last minutes.
    pub(crate) fn forget_the_past(&self) {
        let now = self.clock.now();
        self.blocked_until.retain(|_, until| *until > now);
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn believes_forwarded_addresses_of_trusted_proxies_alone() {
        let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a network")];
        for (peer, forwarded, expected) in [
            ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
            ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ("10.0.0.1", "10.0.0.3", "10.0.0.1"),
            ("10.0.0.1", "not an address", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.7, not an address, 203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.7, not an address", "10.0.0.1"),
            ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
            let address = address_of(peer.parse().expect("an address"), &headers, &proxies);
            assert_eq!(address.to_string(), expected, "{peer} {forwarded}");
        }
    }

    #[test]
    fn a_source_is_exhausted_by_its_failures_and_no_other() {
        let limit = FailureLimit::new(3, Clock::start());
        let (bad, good) =
            ("192.0.2.1".parse().expect("an address"), "192.0.2.2".parse().expect("an address"));
        for _ in 0..3 {
            limit.count(bad);
            assert!(!limit.is_exhausted(bad));
        }
        limit.count(bad);
        assert!(limit.is_exhausted(bad) && !limit.is_exhausted(good));
    }
}
