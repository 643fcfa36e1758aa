//! One round of one sender: at full speed, at half of that, and killed in the middle.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookline_schemas::time::Clock;

use super::contestant::Contestant;
use super::correlation::{Outcome, Published};
use super::publisher::{Load, Progress, publish};
use super::{Options, per_second};
use crate::receiver::Receiver;
use crate::serve::locked;

/// Between two looks whether all has been delivered.
const DRAIN_INTERVAL: Duration = Duration::from_millis(250);
/// After all has been delivered: copies shall be seen, and what is written about deliveries belongs to their cost.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a killed sender stays dead.
const DEAD: Duration = Duration::from_millis(500);
/// Between two looks whether it is time to kill.
const KILL_INTERVAL: Duration = Duration::from_millis(5);

/// Where all senders meet: the receiver, the numbers that are used up, and what is going on.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) clock: Clock,
    pub(super) receiver: &'a Receiver,
    pub(super) options: &'a Options,
    pub(super) phase: &'a Mutex<String>,
    /// The number of the next event: no two events of a run share one.
    pub(super) next_event: u64,
}

/// What was measured in a round.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) full: Course,
    /// User and system time of all processes for that.
    pub(super) cpu: Duration,
    /// Events per second of the next.
    pub(super) paced_per_second: f64,
    pub(super) paced: Course,
    pub(super) killed: Course,
}

/// A load, and what became of it.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) published: Published,
    pub(super) outcome: Outcome,
}

impl Field<'_> {
    /// All three, one after the other.
    pub(super) async fn round(&mut self, contestant: &mut Contestant) -> anyhow::Result<Round> {
        self.enter(contestant, "full speed");
        let load = self.load(self.options.events, None);
        let before = contestant.cpu().await?;
        let full = self.undisturbed(contestant, load).await?;
        let cpu = contestant.cpu().await?.saturating_sub(before);

        // Half of what it has delivered: how late deliveries are where nothing piles up.
        self.enter(contestant, "half speed");
        let delivered = per_second(full.outcome.accepted, full.outcome.lasted.as_secs_f64());
        let paced_per_second = (delivered / 2.0).max(1.0);
        let load = self.load(self.options.paced_events(paced_per_second), Some(paced_per_second));
        let paced = self.undisturbed(contestant, load).await?;

        self.enter(contestant, "kill -9");
        let killed = self.killed(contestant).await?;
        Ok(Round { full, cpu, paced_per_second, paced, killed })
    }

    /// Each event is published once another is accepted, or when it is due.
    async fn undisturbed(&mut self, contestant: &Contestant, load: Load) -> anyhow::Result<Course> {
        let came = self.receiver.accepted();
        let sender = (contestant.adapter.as_ref(), contestant.address);
        let published = publish(self.clock, sender, load, &Progress::default()).await?;
        Ok(self.drain(published, came).await)
    }

    /// At full speed, and killed once half of the events were accepted.
    async fn killed(&mut self, contestant: &mut Contestant) -> anyhow::Result<Course> {
        let load = self.load(self.options.events, None);
        let came = self.receiver.accepted();
        let progress = Progress::default();
        // Shared, because it is published to while it is killed.
        let adapter = Arc::clone(&contestant.adapter);
        let publishing = publish(self.clock, (adapter.as_ref(), contestant.address), load, &progress);
        let killing = async {
            while progress.accepted() < load.events / 2 && !progress.is_over(load.events) {
                tokio::time::sleep(KILL_INTERVAL).await;
            }
            contestant.kill().await?;
            tokio::time::sleep(DEAD).await;
            contestant.start().await
        };
        let (published, ()) = tokio::try_join!(publishing, killing)?;
        Ok(self.drain(published, came).await)
    }

    fn load(&mut self, events: u64, per_second: Option<f64>) -> Load {
        let first = self.next_event;
        self.next_event += events;
        Load { first, events, in_flight: self.options.in_flight, per_second }
    }

    /// Waits until everything that is owed came, or nothing more comes. The record is looked through only once enough
    /// came, because that takes time that the sender could use.
    async fn drain(&self, published: Published, came_before: u64) -> Course {
        let owed = published.accepted.iter().flatten().count();
        let owed = u64::try_from(owed).unwrap_or(u64::MAX).saturating_mul(self.options.endpoints.into());
        let mut latest = (self.receiver.accepted(), self.clock.elapsed());
        loop {
            let accepted = self.receiver.accepted();
            if accepted != latest.0 {
                latest = (accepted, self.clock.elapsed());
            }
            let is_enough = accepted.saturating_sub(came_before) >= owed;
            let is_quiet = self.clock.elapsed().saturating_sub(latest.1) >= self.options.patience();
            if is_quiet || is_enough && self.outcome(&published).lost == 0 {
                break;
            }
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
        tokio::time::sleep(SETTLE).await;
        let outcome = self.outcome(&published);
        Course { published, outcome }
    }

    fn outcome(&self, published: &Published) -> Outcome {
        let deliveries = self.receiver.snapshot();
        published.compare(&published.arrivals(&deliveries), self.options.endpoints.into())
    }

    fn enter(&self, contestant: &Contestant, phase: &str) {
        *locked(self.phase) = format!("{}, {phase}", contestant.name);
    }
}
