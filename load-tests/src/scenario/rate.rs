//! How many at once. Pure.

use std::time::Duration;

/// The most of these times within one second, wherever that second begins.
pub(super) fn busiest_second(times: &[Duration]) -> usize {
    busiest(times, Duration::from_secs(1))
}

/// The most of these times within a time of this length, wherever that begins.
pub(super) fn busiest(times: &[Duration], length: Duration) -> usize {
    let mut times = times.to_vec();
    times.sort_unstable();
    let mut first = times.iter().peekable();
    let (mut within, mut most) = (0_usize, 0);
    for last in &times {
        within += 1;
        while first.next_if(|first| **first + length <= *last).is_some() {
            within -= 1;
        }
        most = most.max(within);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_begins_anywhere() {
        for (times, expected) in [
            (&[][..], 0),
            (&[5], 1),
            (&[0, 999], 2),
            (&[0, 1000], 1),
            (&[900, 0, 1000, 1899, 1900], 3),
            (&[0, 500, 1000, 1500, 2000], 2),
            (&[7, 7, 7, 1007], 3),
        ] {
            let times: Vec<Duration> = times.iter().copied().map(Duration::from_millis).collect();
            assert_eq!(busiest_second(&times), expected, "{times:?}");
        }
    }
}
