//! Whether committed positions ever stood still. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

/// A look at the committed positions: when, and by partition.
pub(super) type Positions<'a> = (Duration, &'a BTreeMap<String, f64>);

/// A partition whose position did not move in a time in which it should have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standstill {
    pub(super) partition: String,
    pub(super) from: Duration,
    pub(super) to: Duration,
}

/// The first time of at least this length in which a partition did not move. Looks are in the order of time;
/// each partition is to have had events in every such time.
pub(super) fn first(looks: &[Positions<'_>], within: Duration) -> Option<Standstill> {
    looks.iter().enumerate().find_map(|(index, (from, earlier))| {
        let later = looks.iter().skip(index).find(|(at, _)| *at >= *from + within)?;
        let stands = |(partition, position): &(&String, &f64)| {
            later.1.get(*partition).is_none_or(|moved| moved <= *position)
        };
        let (partition, _) = earlier.iter().find(stands)?;
        Some(Standstill { partition: partition.clone(), from: *from, to: later.0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two partitions, each at this position, second by second.
    fn looks(positions: &[(f64, f64)]) -> Vec<(Duration, BTreeMap<String, f64>)> {
        let look = |(second, (zero, one)): (u64, &(f64, f64))| {
            let positions = BTreeMap::from([("0".to_owned(), *zero), ("1".to_owned(), *one)]);
            (Duration::from_secs(second), positions)
        };
        (0..).zip(positions).map(look).collect()
    }

    fn borrowed(looks: &[(Duration, BTreeMap<String, f64>)]) -> Vec<Positions<'_>> {
        looks.iter().map(|(at, positions)| (*at, positions)).collect()
    }

    #[test]
    fn finds_a_partition_that_stands_for_too_long() {
        for (case, positions, expected) in [
            ("all move", vec![(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 4.0)], None),
            ("one pauses", vec![(1.0, 1.0), (2.0, 1.0), (3.0, 2.0), (4.0, 3.0)], None),
            ("one stands", vec![(1.0, 1.0), (2.0, 2.0), (3.0, 2.0), (4.0, 2.0)], Some(("1", 1, 3))),
            ("one goes back", vec![(1.0, 5.0), (2.0, 6.0), (3.0, 4.0)], Some(("1", 0, 2))),
            ("both stand", vec![(1.0, 1.0), (1.0, 1.0), (1.0, 1.0)], Some(("0", 0, 2))),
            ("too short to tell", vec![(1.0, 1.0), (1.0, 1.0)], None),
        ] {
            let found = first(&borrowed(&looks(&positions)), Duration::from_secs(2));
            let expected = expected.map(|(partition, from, to)| Standstill {
                partition: partition.to_owned(),
                from: Duration::from_secs(from),
                to: Duration::from_secs(to),
            });
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn a_partition_that_disappears_stands_still() {
        let mut looks = looks(&[(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]);
        looks.iter_mut().skip(2).for_each(|(_, positions)| positions.retain(|partition, _| partition == "0"));
        let found = first(&borrowed(&looks), Duration::from_secs(2)).expect("a standstill");
        assert_eq!(found.partition, "1");
    }
}
