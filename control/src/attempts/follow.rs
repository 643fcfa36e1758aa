//! Following the journal: first what stands there, as far back as the view can hold, then every attempt as it comes.

use std::convert::Infallible;

use futures::future::try_join_all;
use hookline_event_log::{Bounds, Journal, Log, Offset, Partition, ReadError, ReadLimit, Reader};
use hookline_history::scan::Scan;

use super::Attempts;

/// Of one look at a partition.
const LIMIT: ReadLimit = ReadLimit { records: 1_000, bytes: 1024 * 1024 };

impl<L: Log> Attempts<L> {
    /// Follows `attempts` until the log closes. `most` of what stands there are read first: everything of the
    /// partitions that have little, and the latest of the others.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub(crate) async fn follow(&self, most: usize) -> Result<(), ReadError> {
        match self.load_and_follow(most).await {
            Err(ReadError::Closed) => Ok(()),
            followed => followed,
        }
    }

    async fn load_and_follow(&self, most: usize) -> Result<(), ReadError> {
        let partitions: Vec<_> = (0..self.journal.partitions()).map(Partition).collect();
        let bounds = partitions.iter().map(|partition| self.journal.bounds(*partition));
        let bounds: Vec<Bounds> = try_join_all(bounds).await?;
        let sizes: Vec<_> = bounds.iter().map(|bounds| bounds.end.0 - bounds.first.0).collect();
        let shares = shares(&sizes, u64::try_from(most).unwrap_or(u64::MAX));
        let mut ends = Vec::with_capacity(partitions.len());
        for ((partition, bounds), share) in partitions.into_iter().zip(bounds).zip(shares) {
            let from = Offset(bounds.end.0 - share).max(bounds.first);
            ends.push((partition, self.load(partition, bounds.first, from).await?));
        }
        {
            let mut known = self.known_mut();
            known.ring.sort();
            known.is_loaded = true;
        }
        let following = ends.into_iter().map(|(partition, end)| self.follow_partition(partition, end));
        try_join_all(following).await.map(drop)
    }

    /// Reads a partition to its present end, which is returned.
    async fn load(&self, partition: Partition, first: Offset, from: Offset) -> Result<Offset, ReadError> {
        let mut is_cut = from > first;
        let mut scan = Scan::from(&self.journal, partition, None, from).await?;
        while let Some(records) = scan.next().await? {
            if let Some(record) = records.first()
                && std::mem::take(&mut is_cut)
            {
                // What stands before it was written earlier, and began still earlier.
                self.known_mut().ring.is_cut_before(record.appended_at);
            }
            self.take(partition, &records, false);
        }
        Ok(scan.next)
    }

    pub(super) async fn follow_partition(
        &self,
        partition: Partition,
        from: Offset,
    ) -> Result<Infallible, ReadError> {
        let mut reader = self.journal.follow(partition, from);
        let mut next = from;
        loop {
            match reader.next(LIMIT).await {
                Ok(batch) => {
                    next = batch.next;
                    self.take(partition, &batch.records, true);
                }
                // Retention was faster: nobody can read what lay between.
                Err(ReadError::Expired { first, .. }) if first > next => {
                    self.miss(partition, first);
                    (reader, next) = (self.journal.follow(partition, first), first);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Shares a number out among partitions of these sizes: none gets more than it has, and those that want more get the
/// same each.
fn shares(sizes: &[u64], most: u64) -> Vec<u64> {
    let mut ascending = sizes.to_vec();
    ascending.sort_unstable();
    let (mut left, mut level) = (most, 0);
    for (number, size) in (0_u64..).zip(&ascending) {
        let count = u64::try_from(ascending.len()).unwrap_or(u64::MAX) - number;
        let fair = left / count;
        level = fair.min(*size);
        if fair < *size {
            break;
        }
        left -= level;
    }
    sizes.iter().map(|size| (*size).min(level)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_have_little_give_what_they_do_not_need_to_the_others() {
        for (sizes, most, expected) in [
            (&[][..], 10, &[][..]),
            (&[5, 7], 100, &[5, 7]),
            (&[100, 1, 100], 51, &[25, 1, 25]),
            (&[0, 1_000, 0], 600, &[0, 600, 0]),
            (&[10, 10, 10], 1, &[0, 0, 0]),
        ] {
            assert_eq!(shares(sizes, most), expected, "{sizes:?} {most}");
        }
    }
}
