//! What people read in the middle of a line.

use std::time::Duration;

/// A duration as people write it: `12 ms`, `7.2 s`, `30 min`.
pub(crate) fn readable(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        60.. if duration.as_secs().is_multiple_of(60) => format!("{} min", seconds / 60),
        _ if duration.subsec_millis() < 100 => format!("{seconds} s"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        for (millis, expected) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1 s"),
            (7200, "7.2 s"),
            (60_000, "1 min"),
            (90_000, "90 s"),
            (1_800_000, "30 min"),
        ] {
            assert_eq!(readable(Duration::from_millis(millis)), expected);
        }
    }
}
