//! How far our webhooks have come in `control`. Who has not heard of a webhook yet can't tell it from one that has
//! been deleted, so what was decided by newer webhooks than ours waits for them: parked deliveries batch by batch,
//! and everything that is taken over.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use hookline_event_log::{Change, Partition, ReadError, Table, TableWatch};
use hookline_schemas::webhook::Webhooks;
use tokio::sync::watch;

use super::readers::Source;
use crate::core::Input;

/// The webhooks as they are, once they have been loaded to their end.
pub(super) type Known = watch::Receiver<Option<Arc<Webhooks>>>;

/// So long it may take without a word: a change is to reach everybody within a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until the webhooks have come to this version; says so where it takes long.
pub(super) async fn come_to(mut webhooks: Known, version: u64, what_waits: &str) {
    // Almost always: then not even a timer is needed.
    if webhooks.borrow().as_ref().is_some_and(|known| known.version() >= version) {
        return;
    }
    if tokio::time::timeout(PATIENCE, have_come_to(&mut webhooks, version)).await.is_err() {
        let known = webhooks.borrow().as_ref().map_or(0, |webhooks| webhooks.version());
        tracing::warn!(version, known, "{what_waits} wait for webhooks that are newer than ours");
        have_come_to(&mut webhooks, version).await;
    }
}

async fn have_come_to(webhooks: &mut Known, version: u64) {
    let are_there =
        |known: &Option<Arc<Webhooks>>| known.as_ref().is_some_and(|known| known.version() >= version);
    if webhooks.wait_for(are_there).await.is_err() {
        // Nobody will change them any more: the process is about to end.
        pending::<()>().await;
    }
}

/// Waits until the webhooks have come to where `control` ends now. Where nothing stands in it they come from the
/// configuration alone, and nothing waits.
pub(super) async fn catch_up<T: Table>(control: T, webhooks: Known) -> Result<(), ReadError> {
    let end = end_of(&control).await?;
    come_to(webhooks, end, "partitions that are taken over").await;
    Ok(())
}

/// The position behind the latest entry. Whatever it is of, it counts: so it does for who makes the webhooks.
async fn end_of<T: Table>(control: &T) -> Result<u64, ReadError> {
    let mut watch = control.watch(&[Partition(0)]);
    let mut end = 0;
    loop {
        match watch.next().await? {
            Change::Entry(entry) => end = end.max(entry.version.next().0),
            Change::Loaded => return Ok(end),
        }
    }
}

/// A partition whose takeover has read everything: what the core gets to know, and from where it is followed.
pub(super) type Taken = (Vec<Input>, Source);

/// What has been taken over, and waits for the webhooks. The end of `control` is looked for behind everything that
/// a takeover has read, because a lane that a deposed owner wrote down meanwhile may be of a webhook that is
/// younger than the grant. One look is for all that wait when it begins.
#[derive(Debug, Default)]
pub(super) struct Gate {
    waiting: Vec<Taken>,
    is_looking: bool,
}

impl Gate {
    /// It waits for the next look.
    pub(super) fn wait(&mut self, taken: Taken) {
        self.waiting.push(taken);
    }

    /// Those for whom the next look is, if one is to begin.
    pub(super) fn begin(&mut self) -> Option<Vec<Taken>> {
        if self.is_looking || self.waiting.is_empty() {
            return None;
        }
        self.is_looking = true;
        Some(std::mem::take(&mut self.waiting))
    }

    /// The look has ended.
    pub(super) fn end(&mut self) {
        self.is_looking = false;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use hookline_event_log::{Epoch, JournalName, Offset};

    use super::*;

    fn taken(partition: u16) -> Taken {
        let (journal, partition, epoch) = (JournalName::Parked, Partition(partition), Epoch(1));
        (Vec::new(), Source { journal, partition, epoch, from: Offset::START })
    }

    fn partitions(taken: Option<Vec<Taken>>) -> Option<Vec<u16>> {
        Some(taken?.iter().map(|(_, source)| source.partition.0).collect())
    }

    #[test]
    fn whoever_comes_while_a_look_is_under_way_waits_for_the_next() {
        let mut gate = Gate::default();
        assert_eq!(partitions(gate.begin()), None);
        gate.wait(taken(1));
        gate.wait(taken(2));
        assert_eq!(partitions(gate.begin()), Some(vec![1, 2]));
        gate.wait(taken(3));
        assert_eq!(partitions(gate.begin()), None, "that look may have begun too early for it");
        gate.end();
        assert_eq!(partitions(gate.begin()), Some(vec![3]));
    }

    #[tokio::test]
    async fn who_has_the_version_does_not_wait_and_who_is_behind_does() {
        let webhooks = |version| Some(Arc::new(Webhooks::default().with_version(version)));
        let (publish, known) = watch::channel(None);
        for (version, came, is_there) in
            [(0, None, false), (0, webhooks(0), true), (7, webhooks(6), false), (7, webhooks(9), true)]
        {
            publish.send_replace(came);
            let ended = come_to(known.clone(), version, "deliveries").now_or_never().is_some();
            assert_eq!(ended, is_there, "{version}");
        }
        let publishes = async {
            tokio::task::yield_now().await;
            publish.send_replace(webhooks(10));
        };
        tokio::join!(come_to(known, 10, "deliveries"), publishes);
    }
}
