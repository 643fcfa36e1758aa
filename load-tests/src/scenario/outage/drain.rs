//! How a backlog came back, as the endpoint saw it: how fast, and how it began. Pure.

use std::time::Duration;

/// A request at the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) received: Duration,
    pub(super) answered: Duration,
}

/// The requests in flight when each came, itself included, in the order of time.
fn in_flight(requests: &[Request]) -> Vec<(Duration, usize)> {
    let mut begun: Vec<Duration> = requests.iter().map(|request| request.received).collect();
    let mut ended: Vec<Duration> = requests.iter().map(|request| request.answered).collect();
    begun.sort_unstable();
    ended.sort_unstable();
    let mut ended = ended.into_iter().peekable();
    let mut over = 0;
    let count = |(index, at): (usize, Duration)| {
        while ended.next_if(|end| *end <= at).is_some() {
            over += 1;
        }
        (at, (index + 1).saturating_sub(over))
    };
    begun.into_iter().enumerate().map(count).collect()
}

/// More at once than a slow start allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSteep {
    /// Counted from the first success.
    pub(super) after: Duration,
    pub(super) in_flight: usize,
    pub(super) allowed: usize,
}

/// The most in flight at once, and where that first was more than allowed: one at a time until the first success
/// has been answered, and in the k-th round trip from there 2^k; never more than the cap.
pub(super) fn ramp(requests: &[Request], round_trip: Duration, cap: usize) -> (usize, Option<TooSteep>) {
    let first_success = requests.iter().map(|request| request.answered).min().unwrap_or_default();
    let (mut most, mut too_steep) = (0, None);
    for (at, in_flight) in in_flight(requests) {
        most = most.max(in_flight);
        let allowed = match at.checked_sub(first_success) {
            None => 1,
            Some(after) => allowed_after(after, round_trip).min(cap),
        };
        if in_flight > allowed && too_steep.is_none() {
            too_steep = Some(TooSteep { after: at.saturating_sub(first_success), in_flight, allowed });
        }
    }
    (most, too_steep)
}

fn allowed_after(after: Duration, round_trip: Duration) -> usize {
    let rounds = after.as_nanos() / round_trip.as_nanos().max(1);
    let round = u32::try_from(rounds).unwrap_or(u32::MAX).saturating_add(1);
    1_usize.checked_shl(round).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(20);

    fn request(received: u64) -> Request {
        let received = Duration::from_millis(received);
        Request { received, answered: received + ROUND_TRIP }
    }

    fn requests(times: &[u64]) -> Vec<Request> {
        times.iter().copied().map(request).collect()
    }

    #[test]
    fn counts_what_is_in_flight_when_something_comes() {
        let counts: Vec<usize> =
            in_flight(&requests(&[0, 10, 19, 20, 41, 41])).into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 3, 3, 1, 2]);
    }

    #[test]
    fn a_slow_start_doubles_by_round_trips_at_most() {
        let round = |at: u64, count: usize| std::iter::repeat_n(at, count);
        let steep = |after, in_flight, allowed| {
            Some(TooSteep { after: Duration::from_millis(after), in_flight, allowed })
        };
        for (case, times, most, too_steep) in [
            ("nothing came", vec![], 0, None),
            (
                "doubling",
                round(0, 1).chain(round(20, 2)).chain(round(40, 4)).chain(round(60, 8)).collect(),
                8,
                None,
            ),
            ("slower", round(0, 1).chain(round(20, 1)).chain(round(40, 2)).collect(), 2, None),
            ("two before anything is known", vec![0, 10], 2, steep(0, 2, 1)),
            ("fourfold", round(0, 1).chain(round(20, 2)).chain(round(40, 5)).collect(), 5, steep(20, 5, 4)),
            (
                "above the cap",
                round(0, 1).chain(round(20, 2)).chain(round(40, 4)).chain(round(200, 9)).collect(),
                9,
                steep(180, 9, 8),
            ),
        ] {
            assert_eq!(ramp(&requests(&times), ROUND_TRIP, 8), (most, too_steep), "{case}");
        }
    }

    #[test]
    fn rounds_are_counted_from_the_first_success_on() {
        for (millis, expected) in [(0, 2), (19, 2), (20, 4), (59, 8), (2_000, usize::MAX)] {
            assert_eq!(allowed_after(Duration::from_millis(millis), ROUND_TRIP), expected, "{millis} ms");
        }
    }
}
