//! Which edges get requests, as a load balancer in front of them knows it: it asks each whether it is ready.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;

use crate::admin::Admin;

/// The edges that were ready when they were asked last.
#[derive(Debug)]
pub struct Picker {
    ready: Vec<AtomicBool>,
    admins: Vec<Admin>,
}

impl Picker {
    /// One edge for each of these; all are held to be ready until they are asked.
    pub fn new(admins: Vec<Admin>) -> Self {
        Self { ready: admins.iter().map(|_| AtomicBool::new(true)).collect(), admins }
    }

    /// Asks all of them again and again, this long after the answers. Silence counts as not ready. Never ends.
    pub async fn watch(&self, every: Duration) {
        loop {
            let asked = self.admins.iter().map(|admin| tokio::time::timeout(every, admin.get("/readyz")));
            for (ready, answer) in self.ready.iter().zip(join_all(asked).await) {
                ready.store(matches!(answer, Ok(Ok(_))), Ordering::Relaxed);
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Whose turn it is: the edges that are ready take turns; if none is, all do.
    pub(super) fn pick(&self, turn: usize) -> Option<usize> {
        let is_ready = |place: &usize| self.ready.get(*place).is_some_and(|one| one.load(Ordering::Relaxed));
        let places = || 0..self.ready.len();
        let ready = places().filter(is_ready).count();
        match turn.checked_rem(ready) {
            Some(nth) => places().filter(is_ready).nth(nth),
            None => turn.checked_rem(self.ready.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_ready_take_turns_and_all_do_if_none_is() {
        let admin = Admin::at(([127, 0, 0, 1], 1).into());
        let picker = Picker::new(vec![admin, admin, admin]);
        for (ready, expected) in [
            ([true, true, true], [0, 1, 2, 0]),
            ([true, false, true], [0, 2, 0, 2]),
            ([false, true, false], [1, 1, 1, 1]),
            ([false, false, false], [0, 1, 2, 0]),
        ] {
            picker.ready.iter().zip(ready).for_each(|(one, is)| one.store(is, Ordering::Relaxed));
            let picked: Vec<_> = (0..4).filter_map(|turn| picker.pick(turn)).collect();
            assert_eq!(picked, expected, "{ready:?}");
        }
        assert_eq!(Picker::new(Vec::new()).pick(7), None);
    }
}
