//! Redeliveries: dead letters that are put into their lanes again because somebody wishes it.
//!
//! The wishes stand in `lanes`, and whoever owns the partition of a wish carries it out ([`work`]), at its rate,
//! beside everything else: to a lane what comes this way is a parked delivery like any other. Progress is written
//! down after every stretch, so that a crash repeats little. Who asks, lists and cancels does it
//! in the log; nothing here answers.

mod work;

use std::collections::BTreeMap;

use hookline_event_log::{Entry, Epoch, Offset, Partition};
use hookline_schemas::delivery::decode;
use hookline_schemas::redelivery::{Redelivery, RedeliveryKey, RedeliveryProgress};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

pub(crate) use work::{Surroundings, work};

/// A redelivery that is to be carried out from here on.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// Where its progress is written down.
    pub(crate) partition: Partition,
    /// Under which epoch.
    pub(crate) epoch: Epoch,
    /// What is wished for.
    pub(crate) wish: Redelivery,
    /// What has been done.
    pub(crate) progress: RedeliveryProgress,
    /// The version of that in the table.
    pub(crate) version: Offset,
    /// Finish the stretch, write down how far it has come, and end.
    pub(crate) stop: CancellationToken,
    /// The partition is somebody else's: end at once.
    pub(crate) abandon: CancellationToken,
}

/// What is written down of a redelivery.
#[derive(Debug)]
struct Written {
    wish: Option<Redelivery>,
    progress: RedeliveryProgress,
    /// Of the progress.
    version: Offset,
    running: Option<Running>,
}

/// One that is carried out here.
#[derive(Debug)]
struct Running {
    epoch: Epoch,
    stop: CancellationToken,
    abandon: CancellationToken,
}

impl Written {
    const NOTHING: Self =
        Self { wish: None, progress: RedeliveryProgress::NONE, version: Offset::START, running: None };

    fn is_wanted(&self) -> bool {
        let is_wished = self.wish.as_ref().is_some_and(|wish| !wish.is_cancelled);
        is_wished && self.progress.ended_at.is_none()
    }
}

/// The redeliveries that the watch of `lanes` has shown.
#[derive(Debug, Default)]
pub(crate) struct Redeliveries {
    written: BTreeMap<(Partition, String), Written>,
    /// Something has changed since the latest look for a job.
    is_changed: bool,
    is_stopping: bool,
}

impl Redeliveries {
    /// Takes an entry of `lanes`; `false` if it tells of something else.
    pub(crate) fn see(&mut self, entry: &Entry) -> bool {
        let Some(key) = RedeliveryKey::parse(&entry.key) else { return false };
        let written = self.written.entry((entry.partition, key.id().to_owned())).or_insert(Written::NOTHING);
        match key {
            RedeliveryKey::Wish(_) => written.wish = read(entry),
            // Shown late: what ended here since then is known.
            RedeliveryKey::Progress(_) if entry.version < written.version => {}
            RedeliveryKey::Progress(_) => {
                written.progress = read(entry).unwrap_or(RedeliveryProgress::NONE);
                written.version = entry.version;
            }
        }
        if let Some(running) = &written.running
            && !written.is_wanted()
        {
            running.stop.cancel();
        }
        self.is_changed = true;
        true
    }

    /// There may be a job that was none before.
    pub(crate) fn look_again(&mut self) {
        self.is_changed = true;
    }

    /// The next one that is to be carried out here; `epoch_of`: under which epoch a partition is ours.
    pub(crate) fn next_job(&mut self, epoch_of: impl Fn(Partition) -> Option<Epoch>) -> Option<Job> {
        if self.is_stopping || !self.is_changed {
            return None;
        }
        let job = self.written.iter_mut().find_map(|((partition, _), written)| {
            let epoch = epoch_of(*partition)?;
            if written.running.is_some() || !written.is_wanted() {
                return None;
            }
            let wish = written.wish.clone()?;
            let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
            written.running = Some(Running { epoch, stop: stop.clone(), abandon: abandon.clone() });
            let (progress, version) = (written.progress.clone(), written.version);
            Some(Job { partition: *partition, epoch, wish, progress, version, stop, abandon })
        });
        self.is_changed = job.is_some();
        job
    }

    /// The worker of a job has ended, having come as far as the job says now.
    pub(crate) fn ended(&mut self, job: Job) {
        if let Some(written) = self.written.get_mut(&(job.partition, job.wish.id))
            && written.running.as_ref().is_some_and(|running| running.epoch == job.epoch)
        {
            written.running = None;
            written.progress = job.progress;
            written.version = job.version;
            self.is_changed = true;
        }
    }

    /// A partition is somebody else's: what it says of its redeliveries is in the table.
    pub(crate) fn lose(&mut self, partition: Partition) {
        let here = self.written.iter_mut().filter(|((of, _), _)| *of == partition);
        for running in here.filter_map(|(_, written)| written.running.take()) {
            running.abandon.cancel();
        }
    }

    /// Nothing is begun any more, and what is under way writes down how far it has come.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
        self.written
            .values()
            .filter_map(|written| written.running.as_ref())
            .for_each(|running| running.stop.cancel());
    }

    /// Whether none is carried out here.
    pub(crate) fn are_idle(&self) -> bool {
        self.written.values().all(|written| written.running.is_none())
    }
}

/// A wish of a later version is left to a dispatcher of that version.
fn read<R: DeserializeOwned>(entry: &Entry) -> Option<R> {
    let value = entry.value.as_deref()?;
    decode(value)
        .map_err(|error| tracing::error!(%error, "a redelivery can't be read: it is left alone"))
        .ok()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use bytes::Bytes;
    use hookline_schemas::delivery::encode;
    use hookline_schemas::redelivery::LetterFilter;
    use hookline_schemas::time::Timestamp;

    use super::*;

    const HERE: Partition = Partition(3);

    fn entry(key: RedeliveryKey<'_>, value: Vec<u8>, version: u64) -> Entry {
        let (key, value) = (Bytes::from(key.to_string()), Some(Bytes::from(value)));
        Entry { partition: HERE, key, value, epoch: Epoch(1), version: Offset(version) }
    }

    fn wish(is_cancelled: bool, version: u64) -> Entry {
        let (filter, rate) = (LetterFilter::default(), NonZeroU32::MIN);
        let (requested_at, ends) = (Timestamp(1), vec![9]);
        let wish = Redelivery { id: "ab".to_owned(), filter, rate, requested_at, ends, is_cancelled };
        entry(RedeliveryKey::Wish("ab"), encode(&wish), version)
    }

    fn progress(offset: u64, ended_at: Option<Timestamp>) -> RedeliveryProgress {
        RedeliveryProgress { offset, ended_at, ..RedeliveryProgress::NONE }
    }

    fn shown(offset: u64, version: u64) -> Entry {
        entry(RedeliveryKey::Progress("ab"), encode(&progress(offset, None)), version)
    }

    fn ours(partition: Partition) -> Option<Epoch> {
        (partition == HERE).then_some(Epoch(7))
    }

    #[test]
    fn a_wish_is_carried_out_once_by_who_owns_its_partition() {
        let mut redeliveries = Redeliveries::default();
        assert!(redeliveries.see(&wish(false, 1)) && redeliveries.see(&shown(4, 2)));
        assert!(redeliveries.next_job(|_| None).is_none(), "not ours");
        redeliveries.look_again();
        let job = redeliveries.next_job(ours).expect("a job");
        assert_eq!((job.epoch, job.progress.offset), (Epoch(7), 4));
        redeliveries.look_again();
        assert!(redeliveries.next_job(ours).is_none(), "it is under way");
        assert!(!redeliveries.are_idle());
    }

    #[test]
    fn what_has_ended_is_not_begun_again_by_what_is_shown_late() {
        let mut redeliveries = Redeliveries::default();
        redeliveries.see(&wish(false, 1));
        let job = redeliveries.next_job(ours).expect("a job");
        let over = Job { progress: progress(9, Some(Timestamp(5))), version: Offset(8), ..job };
        redeliveries.ended(over);
        redeliveries.see(&shown(4, 7));
        assert!(redeliveries.next_job(ours).is_none());
        assert!(redeliveries.are_idle());
    }

    #[test]
    fn who_gets_the_partition_back_goes_on_from_what_is_written_down() {
        let mut redeliveries = Redeliveries::default();
        redeliveries.see(&wish(false, 1));
        let job = redeliveries.next_job(ours).expect("a job");
        redeliveries.see(&shown(5, 6));
        redeliveries.lose(HERE);
        assert!(job.abandon.is_cancelled());
        redeliveries.ended(Job { progress: progress(9, Some(Timestamp(5))), ..job });
        redeliveries.look_again();
        let again = redeliveries.next_job(|_| Some(Epoch(8))).expect("a job");
        assert_eq!((again.epoch, again.progress.offset), (Epoch(8), 5), "an abandoned one says nothing");
    }

    #[test]
    fn one_that_is_cancelled_or_stopped_is_not_begun_again() {
        let mut redeliveries = Redeliveries::default();
        redeliveries.see(&wish(false, 1));
        let job = redeliveries.next_job(ours).expect("a job");
        redeliveries.see(&wish(true, 2));
        assert!(job.stop.is_cancelled() && !job.abandon.is_cancelled());
        redeliveries.ended(job);
        assert!(redeliveries.next_job(ours).is_none());
        redeliveries.see(&wish(false, 3));
        redeliveries.stop();
        assert!(redeliveries.next_job(ours).is_none());
    }

    #[test]
    fn other_entries_of_the_table_are_left_to_others() {
        let mut redeliveries = Redeliveries::default();
        let (key, value) = (Bytes::from_static(b"lane/wh"), None);
        let lane = Entry { partition: HERE, key, value, epoch: Epoch(1), version: Offset(1) };
        assert!(!redeliveries.see(&lane));
    }
}
