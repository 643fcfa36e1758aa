//! Cores that are broken on purpose: the simulation is worth something only if it notices.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::defect::{self, Defect};
use super::faults::Faults;
use super::{comes_back, run};

/// So many seeds are tried at most.
const SEEDS: u64 = 100;

/// What a run complains of, if it does.
fn complaint(seed: u64, faults: Faults) -> Option<String> {
    let ended = catch_unwind(AssertUnwindSafe(|| comes_back(&mut run(seed, faults))));
    let panic = ended.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
}

/// The first seed with which the defect is noticed; without it nothing is, with any of the seeds before.
fn first_complaint(broken: Defect, faults: Faults) -> (u64, String) {
    for seed in 0..SEEDS {
        assert_eq!(complaint(seed, faults), None, "with {seed} nothing is broken");
        let guard = defect::put_in(broken);
        let complaint = complaint(seed, faults);
        drop(guard);
        if let Some(complaint) = complaint {
            return (seed, complaint);
        }
    }
    panic!("{broken:?} goes unnoticed with {SEEDS} seeds")
}

#[test]
fn every_defect_is_noticed_for_what_it_is() {
    let failing = Faults { receivers: true, down: true, ..Faults::NONE };
    let crashing = Faults { processes: 2, crashes: true, down: true, receivers: true, ..Faults::NONE };
    let losing = Faults { processes: 3, losses: true, flaps: true, ..Faults::NONE };
    let table = [
        (Defect::WatermarkTooFar, failing, "is below the watermark"),
        (Defect::RegisteredTooFar, losing, "is below R"),
        (Defect::BreakerNeverCloses, failing, "sends directly again"),
        (Defect::PermitLeaked, Faults::NONE, "permits are taken"),
        (Defect::DeposedBelieved, losing, "is below R"),
        (Defect::RecordForgotten, crashing, "stand below"),
    ];
    for (broken, faults, expected) in table {
        let (seed, complaint) = first_complaint(broken, faults);
        assert!(complaint.contains(expected), "{broken:?} with {seed}: {complaint}");
    }
}
