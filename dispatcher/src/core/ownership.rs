//! Partitions come and go: grants, drains, losses; and the positions and tallies that are written for them.
//!
//! A partition that is revoked is drained: nothing new is started for it, what is in flight is waited for, and
//! it is let go once all is settled and committed, at the latest at the drain's deadline. In a window, what
//! waits is parked at once and what is in flight at half time, because whatever is unsettled holds the
//! watermark, and all that has been settled above it would go out again. What is left of a partition in flight
//! is orphaned: it runs on, teaches the breaker and gives back its permits, and settles nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use hookline_event_log::{CommitError, Epoch, JournalName, Offset, Partition};
use hookline_schemas::delivery::LaneRecord;
use hookline_schemas::ids::WebhookId;

use super::endpoint::{Endpoint, EndpointLane};
use super::lane::Lane;
use super::outcomes::Target;
use super::shard::LaneShard;
use super::tally::Tally;
use super::window::{Totals, Window};
use super::{Action, Core, EndpointKey, RegisteredWords, TallyRecord};

/// How often partitions that are being revoked are looked at.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// A position that was handed to the log to be committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committing {
    /// Of which partition.
    pub(crate) partition: Partition,
    /// Under which epoch.
    pub(crate) epoch: Epoch,
    /// The watermark, or R.
    pub(crate) offset: Offset,
}

impl Core {
    /// A partition of `events` is ours.
    pub(super) fn grant_events(
        &mut self,
        partition: Partition,
        epoch: Epoch,
        committed: Offset,
        totals: Totals,
    ) {
        let window = Window::new(epoch, committed, totals, self.settings.repeat_memory);
        let before = self.windows.insert(partition, window);
        assert!(before.is_none(), "a partition is given up before it is granted again");
    }

    /// Goes on counting where an earlier owner stopped.
    pub(super) fn resume_tally(&mut self, partition: Partition, records: &[TallyRecord]) {
        for record in records {
            for (webhook, totals) in &record.webhooks {
                let endpoint = self.endpoint_of(webhook);
                if let Some(window) = self.windows.get_mut(&partition) {
                    window.tally.resume(endpoint, totals, Offset(record.watermark));
                }
            }
        }
    }

    /// A piece of a tally has been written down, or is to be again.
    pub(super) fn finish_tally_put(
        &mut self,
        partition: Partition,
        epoch: Epoch,
        piece: u64,
        acknowledged: bool,
    ) {
        if let Some(window) = self.windows.get_mut(&partition).filter(|window| window.epoch == epoch) {
            window.tally.end_write(piece, acknowledged);
        }
    }

    /// Writes down what became of each webhook's deliveries in some partitions.
    pub(super) fn write_tallies_where(
        &mut self,
        includes: impl Fn(Partition) -> bool,
        actions: &mut Vec<Action>,
    ) {
        let endpoints = &self.endpoints;
        #[expect(clippy::expect_used, reason = "endpoints are never removed")]
        let id = |key: EndpointKey| &endpoints.get(super::index_of(key)).expect("a known endpoint").id;
        for (partition, window) in self.windows.iter_mut().filter(|(partition, _)| includes(**partition)) {
            let (epoch, watermark) = (window.epoch, window.watermark());
            let records = window.tally.begin_write(*partition, watermark, id);
            actions.extend(records.into_iter().map(|record| Action::PutTally { epoch, record }));
        }
    }

    /// Whether the lanes of this partition are ours.
    pub(crate) fn owns_lanes(&self, partition: Partition) -> bool {
        self.shards.contains_key(&partition)
    }

    /// Whether the partition is being revoked.
    pub(super) fn is_revoking(&self, journal: JournalName, partition: Partition) -> bool {
        self.revoking.contains_key(&(journal, partition))
    }

    /// Whether something may be started from this endpoint's lane.
    pub(super) fn works_lane(&self, key: EndpointKey) -> bool {
        let endpoint = self.endpoint(key);
        let is_owned = endpoint.owned().is_some();
        is_owned && !self.draining && !self.is_revoking(JournalName::Parked, endpoint.partition)
    }

    /// The lane of this endpoint, if it is ours under this epoch.
    pub(super) fn lane_under(&mut self, key: EndpointKey, epoch: Epoch) -> Option<&mut Lane> {
        let partition = self.endpoint(key).partition;
        let is_ours = self.shards.get(&partition).is_some_and(|shard| shard.epoch == epoch);
        self.endpoint_mut(key).owned_mut().filter(|_| is_ours)
    }

    /// Another owner waits for the partition: drains it.
    pub(super) fn revoke(&mut self, journal: JournalName, partition: Partition, actions: &mut Vec<Action>) {
        if self.epoch_of(journal, partition).is_none() {
            return;
        }
        let deadline = self.now.after(self.settings.revoke_timeout);
        self.revoking.entry((journal, partition)).or_insert(deadline);
        self.drain_due = Some(self.now);
        if journal == JournalName::Events {
            self.park_window(partition, false, actions);
        }
    }

    /// Goes on draining what is being revoked, and lets go of what has nothing left to settle or no time.
    pub(super) fn drain_revoked(&mut self, actions: &mut Vec<Action>) {
        if self.drain_due.is_none_or(|due| due > self.now) {
            return;
        }
        let revoking: Vec<_> = self.revoking.iter().map(|(of, deadline)| (*of, *deadline)).collect();
        for ((journal, partition), deadline) in revoking {
            match journal {
                // The second half of the time is for the appends and the commit.
                JournalName::Events if deadline <= self.now.after(self.settings.revoke_timeout / 2) => {
                    self.park_window(partition, true, actions);
                    self.write_tallies_where(|of| of == partition, actions);
                }
                JournalName::Events => self.write_tallies_where(|of| of == partition, actions),
                _ => self.write_lanes_where(|of| of == partition, true, actions),
            }
            self.commit_where(|of, which| (of, which) == (journal, partition), actions);
            let is_done = !self.is_in_flight(journal, partition) && self.is_written_down(journal, partition);
            if is_done || deadline <= self.now {
                self.let_go(journal, partition, actions);
            }
        }
        self.drain_due = (!self.revoking.is_empty()).then(|| self.now.after(DRAIN_TICK));
    }

    /// Whether everything that has been settled is written down and committed, and told apart by webhook.
    fn is_written_down(&self, journal: JournalName, partition: Partition) -> bool {
        let tally = self.windows.get(&partition).map(|window| &window.tally);
        let is_told_apart = journal != JournalName::Events || tally.is_none_or(Tally::is_written);
        is_told_apart && self.is_committed(journal, partition)
    }

    /// Whether everything that has been settled is written down and committed.
    fn is_committed(&self, journal: JournalName, partition: Partition) -> bool {
        match journal {
            JournalName::Events => self.windows.get(&partition).is_none_or(Window::is_committed),
            _ => {
                let mut here = self.endpoints.iter().filter(|endpoint| endpoint.partition == partition);
                self.shards.get(&partition).is_none_or(LaneShard::is_committed)
                    && here.all(|endpoint| endpoint.owned().is_none_or(Lane::is_written_down))
            }
        }
    }

    /// Whether something is in flight that may settle more of a partition that is being revoked.
    fn is_in_flight(&self, journal: JournalName, partition: Partition) -> bool {
        if journal == JournalName::Events {
            return self.deliveries.values().any(|delivery| delivery.partition == partition);
        }
        let is_here = |key: EndpointKey| self.endpoint(key).partition == partition;
        let for_lane = |target: &Target| matches!(target, Target::Lane { .. } | Target::Detached { .. });
        self.attempts.values().any(|attempt| for_lane(&attempt.target) && is_here(attempt.endpoint))
            || self.appends.values().any(|append| append.is_from_lane() && is_here(append.endpoint()))
    }

    /// After [`Input::DrainRequested`](super::Input::DrainRequested): once all has ended and is written down,
    /// the next owners need not wait.
    pub(super) fn let_go_of_all_once_settled(&mut self, actions: &mut Vec<Action>) {
        let owned: Vec<_> = self.owned().collect();
        let is_written_down = |(journal, partition): &_| self.is_written_down(*journal, *partition);
        if self.attempts.is_empty() && self.appends.is_empty() && owned.iter().all(is_written_down) {
            for (journal, partition) in owned {
                self.let_go(journal, partition, actions);
            }
        }
    }

    /// Everything that was read is settled, nothing waits in a lane of ours, and all of that is committed: the
    /// committed positions. `None` while anything is left to do.
    pub(crate) fn settled_positions(&self) -> Option<Vec<(JournalName, Partition, Offset)>> {
        let is_idle = self.attempts.is_empty() && self.appends.is_empty() && self.deliveries.is_empty();
        let are_drained = self.endpoints.iter().filter_map(Endpoint::owned).all(Lane::is_drained);
        let is_committed = |(journal, partition)| self.is_committed(journal, partition);
        let events = self.windows.iter().map(|(of, window)| (JournalName::Events, *of, window.committed()));
        let parked = self.shards.iter().map(|(of, shard)| (JournalName::Parked, *of, shard.committed()));
        (is_idle && are_drained && self.owned().all(is_committed)).then(|| events.chain(parked).collect())
    }

    /// The partitions that are ours.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (JournalName, Partition)> {
        let events = self.windows.keys().map(|partition| (JournalName::Events, *partition));
        events.chain(self.shards.keys().map(|partition| (JournalName::Parked, *partition)))
    }

    pub(super) fn epoch_of(&self, journal: JournalName, partition: Partition) -> Option<Epoch> {
        match journal {
            JournalName::Events => self.windows.get(&partition).map(|window| window.epoch),
            _ => self.shards.get(&partition).map(|shard| shard.epoch),
        }
    }

    fn let_go(&mut self, journal: JournalName, partition: Partition, actions: &mut Vec<Action>) {
        let Some(epoch) = self.epoch_of(journal, partition) else { return };
        self.lose(journal, partition);
        actions.push(Action::LetGo { journal, partition, epoch });
    }

    /// The partition is somebody else's: forgets it.
    pub(super) fn lose(&mut self, journal: JournalName, partition: Partition) {
        self.revoking.remove(&(journal, partition));
        match journal {
            JournalName::Events => self.forget_window(partition),
            _ => self.forget_lanes(partition),
        }
    }

    fn forget_window(&mut self, partition: Partition) {
        let Some(window) = self.windows.remove(&partition) else { return };
        self.totals_of_past_windows.add(&window.gained());
        self.deliveries.retain(|_, delivery| delivery.partition != partition);
        self.orphan_appends(|core, append| {
            append.delivery().is_some_and(|key| !core.deliveries.contains_key(&key))
        });
    }

    fn forget_lanes(&mut self, partition: Partition) {
        if self.shards.remove(&partition).is_none() {
            return;
        }
        for endpoint in self.endpoints.iter_mut().filter(|endpoint| endpoint.partition == partition) {
            let gained = endpoint.owned().map(Lane::gained).unwrap_or_default();
            self.counts_of_past_lanes = self.counts_of_past_lanes.plus(&gained);
            endpoint.leave_lane();
        }
        let endpoints = &self.endpoints;
        let is_here = |key: EndpointKey| {
            endpoints.get(super::index_of(key)).is_some_and(|endpoint| endpoint.partition == partition)
        };
        for attempt in self.attempts.values_mut().filter(|attempt| is_here(attempt.endpoint)) {
            attempt.is_probe = false;
            if matches!(attempt.target, Target::Lane { .. }) {
                attempt.target = Target::Orphaned;
            }
        }
        self.orphan_appends(|core, append| {
            append.is_from_lane() && core.endpoint(append.endpoint()).partition == partition
        });
    }

    /// The watch shows how a lane is written down (`None`: no more). We know better of our own.
    pub(super) fn see_lane(
        &mut self,
        webhook: &WebhookId,
        record: Option<&LaneRecord>,
        actions: &mut Vec<Action>,
    ) {
        let key = self.endpoint_of(webhook);
        let (hold, now) = (self.settings.lane_interval * 2, self.now);
        let endpoint = self.endpoint_mut(key);
        if matches!(endpoint.lane, EndpointLane::Remote(_)) {
            endpoint.see_lane(record, hold, now);
            self.pump(key, actions);
        }
    }

    /// Commits what has moved.
    pub(super) fn commit(&mut self, actions: &mut Vec<Action>) {
        self.commit_where(|_, _| true, actions);
    }

    fn commit_where(&mut self, includes: impl Fn(JournalName, Partition) -> bool, actions: &mut Vec<Action>) {
        for (partition, window) in &mut self.windows {
            if includes(JournalName::Events, *partition)
                && let Some(offset) = window.begin_commit()
            {
                let totals = window.totals();
                assert!(totals.add_up(), "every planned delivery below the watermark is accounted for");
                let committing = Committing { partition: *partition, epoch: window.epoch, offset };
                actions.push(Action::CommitWatermark { committing, totals });
            }
        }
        let mut begun = Vec::new();
        for (partition, shard) in &mut self.shards {
            if includes(JournalName::Parked, *partition)
                && let Some(offset) = shard.begin_commit()
            {
                let committing = Committing { partition: *partition, epoch: shard.epoch, offset };
                begun.push((committing, shard.committed()));
            }
        }
        if begun.is_empty() {
            return;
        }
        let needed = self.least_of_lanes(|lane| lane.needed_from);
        let uncounted = self.least_of_lanes(Lane::uncounted_from);
        actions.extend(begun.into_iter().map(|(committing, committed)| {
            let needed = needed.get(&committing.partition).copied().unwrap_or(committed);
            let of = committing.partition;
            let counted_to = uncounted.get(&of).copied().unwrap_or(committing.offset).0;
            let words = RegisteredWords { counted_to };
            Action::CommitRegistered { committing, words, needed_from: needed.min(committed) }
        }));
    }

    /// The lowest offset per partition that one of our lanes names.
    pub(super) fn least_of_lanes(
        &self,
        named: impl Fn(&Lane) -> Option<Offset>,
    ) -> BTreeMap<Partition, Offset> {
        let mut least: BTreeMap<Partition, Offset> = BTreeMap::new();
        for endpoint in &self.endpoints {
            if let Some(offset) = endpoint.owned().and_then(&named) {
                let so_far = least.entry(endpoint.partition).or_insert(offset);
                *so_far = offset.min(*so_far);
            }
        }
        least
    }

    /// A commit has ended. Whoever is fenced has lost the partition, whether he has been told or not.
    pub(super) fn finish_commit(
        &mut self,
        journal: JournalName,
        committing: Committing,
        result: Result<(), CommitError>,
        actions: &mut Vec<Action>,
    ) {
        let Committing { partition, epoch, offset } = committing;
        if self.epoch_of(journal, partition) != Some(epoch) {
            return;
        }
        if result == Err(CommitError::Fenced) {
            return self.let_go(journal, partition, actions);
        }
        match journal {
            JournalName::Events => {
                let window = self.windows.get_mut(&partition);
                window.into_iter().for_each(|window| window.end_commit(offset, result.is_ok()));
            }
            _ => {
                let shard = self.shards.get_mut(&partition);
                shard.into_iter().for_each(|shard| shard.end_commit(offset, result.is_ok()));
            }
        }
    }
}
