//! What may go wrong in the simulated world.

use hookline_schemas::time::Timestamp;
use proptest::prelude::*;

/// What may go wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    /// Processes over one log, from 1.
    pub(super) processes: usize,
    /// Partitions move, and the former owner drains them.
    pub(super) moves: bool,
    /// Partitions are lost without a word, and the former owner goes on for a while.
    pub(super) losses: bool,
    pub(super) crashes: bool,
    pub(super) appends: bool,
    pub(super) receivers: bool,
    pub(super) down: bool,
    /// A receiver goes and comes back every few seconds: its lane fills and drains.
    pub(super) flaps: bool,
    pub(super) poison: bool,
    /// A receiver says now and then that it is gone.
    pub(super) gone: bool,
    /// Operators probe, pause, move and enable.
    pub(super) operators: bool,
    /// Wall clocks are minutes apart: each process has one for each of its lives, and so has each edge.
    pub(super) clocks: bool,
    /// A webhook is deleted in the middle of it all.
    pub(super) deletes: bool,
    /// A webhook limits how many attempts start in a second.
    pub(super) rate: bool,
    /// All but the healthy receiver answer 503.
    pub(super) refuses_until: Timestamp,
}

impl Faults {
    pub(super) const NONE: Self = Self {
        processes: 1,
        moves: false,
        losses: false,
        crashes: false,
        appends: false,
        receivers: false,
        down: false,
        flaps: false,
        poison: false,
        gone: false,
        operators: false,
        clocks: false,
        deletes: false,
        rate: false,
        refuses_until: Timestamp(0),
    };
    /// All but the deletion, because it ends much of what the others do.
    pub(super) const ALL: Self = Self {
        processes: 3,
        moves: true,
        losses: true,
        crashes: true,
        appends: true,
        receivers: true,
        down: true,
        flaps: true,
        poison: true,
        gone: true,
        operators: true,
        clocks: true,
        deletes: false,
        rate: true,
        refuses_until: Timestamp(0),
    };

    /// Whether only receivers misbehave.
    pub(super) const fn are_receivers_alone(self) -> bool {
        !(self.moves || self.losses || self.crashes || self.appends)
            && !(self.operators || self.clocks || self.deletes)
    }

    /// Whether the same process sends everything from the beginning to the end, and knows what it has sent.
    pub(super) const fn leave_one_process_alone(self) -> bool {
        self.processes == 1 && !self.losses && !self.crashes
    }

    pub(super) fn any() -> impl Strategy<Value = Self> {
        let group = (1_usize..=3, any::<[bool; 5]>());
        (group, any::<[bool; 5]>(), any::<[bool; 3]>()).prop_map(|(group, receivers, others)| {
            let (processes, [moves, losses, crashes, appends, clocks]) = group;
            let [receivers, down, poison, gone, operators] = receivers;
            let [deletes, flaps, rate] = others;
            Self {
                processes,
                moves,
                losses,
                crashes,
                appends,
                receivers,
                down,
                flaps,
                poison,
                gone,
                operators,
                clocks,
                deletes,
                rate,
                refuses_until: Timestamp(0),
            }
        })
    }
}
