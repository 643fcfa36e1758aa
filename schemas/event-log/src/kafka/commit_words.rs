//! What stands beside a committed offset: the owner's epoch and its words, as text, because Kafka keeps text.
//!
//! `7:` and the words in base64; `7:-` where a partition was granted under epoch 7 and nothing has been
//! committed yet: the offset says nothing then.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookline_schemas::time::Timestamp;

use crate::{Committed, Epoch, Offset};

/// What a group's coordinator has for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) epoch: Epoch,
    pub(super) committed: Option<Committed>,
}

impl Stored {
    /// Reads what was committed; `None`: nothing. An offset without words of ours was set by an operator:
    /// it is where to go on.
    pub(super) fn parse(offset: Option<i64>, words: &str) -> Self {
        let Some(offset) = offset.and_then(|offset| u64::try_from(offset).ok()) else {
            return Self { epoch: Epoch(0), committed: None };
        };
        let ours = words.split_once(':').and_then(|(epoch, words)| Some((epoch.parse().ok()?, words)));
        let Some((epoch, words)) = ours else {
            let committed = Committed { offset: Offset(offset), metadata: Bytes::new() };
            return Self { epoch: Epoch(0), committed: Some(committed) };
        };
        let metadata = || STANDARD.decode(words).unwrap_or_default().into();
        let committed = (words != "-").then(|| Committed { offset: Offset(offset), metadata: metadata() });
        Self { epoch: Epoch(epoch), committed }
    }

    /// Under which the next owner works: above every earlier one, also where the group was forgotten with
    /// its offsets.
    pub(super) fn next_epoch(&self, now: Timestamp) -> Epoch {
        Epoch((self.epoch.0 + 1).max(now.0))
    }

    /// The offset and the words to commit.
    pub(super) fn to_commit(&self) -> (i64, String) {
        let offset = self.committed.as_ref().map_or(0, |committed| committed.offset.0);
        let words = match &self.committed {
            Some(committed) => STANDARD.encode(&committed.metadata),
            None => "-".to_owned(),
        };
        (i64::try_from(offset).unwrap_or(i64::MAX), format!("{}:{words}", self.epoch.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_read_back() {
        let words = Bytes::from((0..=255).collect::<Vec<u8>>());
        let committed = Committed { offset: Offset(9), metadata: words };
        for committed in
            [None, Some(committed), Some(Committed { offset: Offset(0), metadata: Bytes::new() })]
        {
            let stored = Stored { epoch: Epoch(7), committed };
            let (offset, words) = stored.to_commit();
            assert_eq!(Stored::parse(Some(offset), &words), stored);
        }
    }

    #[test]
    fn nothing_and_what_an_operator_set_are_told_apart() {
        assert_eq!(Stored::parse(None, ""), Stored { epoch: Epoch(0), committed: None });
        assert_eq!(Stored::parse(Some(-1001), ""), Stored { epoch: Epoch(0), committed: None });
        let reset = Committed { offset: Offset(5), metadata: Bytes::new() };
        assert_eq!(Stored::parse(Some(5), ""), Stored { epoch: Epoch(0), committed: Some(reset) });
    }

    #[test]
    fn epochs_ascend_also_where_the_offsets_were_forgotten() {
        let stored = |epoch| Stored { epoch: Epoch(epoch), committed: None };
        assert_eq!(stored(7).next_epoch(Timestamp(3)), Epoch(8));
        assert_eq!(stored(0).next_epoch(Timestamp(1_700_000_000_000)), Epoch(1_700_000_000_000));
    }

    #[test]
    fn the_longest_words_fit_into_what_a_broker_keeps() {
        let committed = Some(Committed { offset: Offset(u64::MAX >> 1), metadata: vec![0xff; 1024].into() });
        let (_, words) = Stored { epoch: Epoch(u64::MAX), committed }.to_commit();
        assert!(words.len() < 4096, "{} bytes", words.len());
    }
}
