//! Defects that tests put into the core on purpose, to show that the simulation would catch them. Outside of
//! tests there are none, and the questions cost nothing.

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The watermark is one event too far.
    WatermarkTooFar,
    /// R is one record too far.
    RegisteredTooFar,
    /// An endpoint that comes back is never taken for healthy again.
    BreakerNeverCloses,
    /// The end of an attempt does not give back its permit.
    PermitLeaked,
    /// An owner that has been deposed is believed that its lane is drained.
    DeposedBelieved,
    /// A lane that is taken over forgets one of the records that were not counted yet.
    RecordForgotten,
    /// What is delivered is not counted.
    DeliveryUncounted,
}

/// Whether this is broken now.
#[cfg(not(test))]
pub(crate) const fn is(_: Defect) -> bool {
    false
}

#[cfg(test)]
pub(crate) use in_tests::{is, put_in};

#[cfg(test)]
mod in_tests {
    use std::cell::Cell;

    use super::Defect;

    thread_local! {
        static PUT_IN: Cell<Option<Defect>> = const { Cell::new(None) };
    }

    pub(crate) fn is(defect: Defect) -> bool {
        PUT_IN.get() == Some(defect)
    }

    /// Breaks it on this thread, until the guard is dropped.
    pub(crate) fn put_in(defect: Defect) -> Guard {
        PUT_IN.set(Some(defect));
        Guard
    }

    /// As long as it lives something is broken.
    #[must_use]
    pub(crate) struct Guard;

    impl Drop for Guard {
        fn drop(&mut self) {
            PUT_IN.set(None);
        }
    }
}
