//! Load for an edge, as much as one core can make: what is compared with a ceiling must not be held up by its caller.
//!
//! Raw sockets, because hyper's client costs as much as the server under test. Each request is one write of bytes that
//! were made and signed before the clock started; an answer is read up to its content-length, and is right if it is 200
//! with the code 0. One request in flight per connection, connections that are kept.
//!
//! Closed loop: each connection asks again when it is answered; what is measured is how much the server takes, and its
//! latency is that of a queue of so many. Open loop: requests are due by the clock, whether the server keeps up or not,
//! and latency counts from when they were due. What the generator itself was late is measured apart: where that is not
//! far below the latencies, they are the generator's. In open loop its core is never idle.
//!
//! It has a thread and a runtime of its own, on a core of its own where one is named. It remembers nothing of what it
//! asked: that nothing is lost is for the simulator's ledger and the checker.

mod answer;
mod caller;
mod requests;
mod schedule;
mod tally;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::try_join_all;
use hookline_schemas::time::Clock;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;

use crate::{affinity, process};
use caller::{Caller, Course};
pub use requests::{EventRecord, Requests, Sender, records};
pub(crate) use schedule::Schedule;
pub use tally::Tally;

/// For the answers that are under way when the time is over, and for connecting.
const GRACE: Duration = Duration::from_secs(20);

/// How much is asked, and for how long.
#[derive(Debug, Clone)]
pub struct Load {
    /// Whom.
    pub address: SocketAddr,
    /// Connections; as many requests are in flight at most.
    pub connections: usize,
    /// Requests per second; without it each connection asks again when it is answered.
    pub per_second: Option<NonZeroU32>,
    /// For so long.
    pub time: Duration,
    /// And no more requests than these.
    pub most: u64,
    /// The number of the first request.
    pub first: u64,
    /// The core of the generator; without one it may run anywhere.
    pub core: Option<usize>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Of all connections.
    pub tally: Tally,
    /// From the first request to the last answer.
    pub lasted: Duration,
    /// The share of that in which the generator was busy. In closed loop: near 1, and it was the limit.
    pub busy: f64,
    /// The number of the request that would have been next.
    pub next: u64,
}

impl Outcome {
    /// Right answers per second.
    pub fn per_second(&self) -> f64 {
        let seconds = self.lasted.as_secs_f64();
        if seconds > 0.0 { as_float(self.tally.right) / seconds } else { 0.0 }
    }
}

/// Asks; every connection is closed when this returns. What was not right is in the tally.
///
/// # Errors
///
/// If nobody can be connected to, the core is not to be had, or answers are still missing long after the end.
pub async fn run(load: Load, requests: Arc<Requests>, clock: Clock) -> anyhow::Result<Outcome> {
    anyhow::ensure!(!requests.is_empty() && load.connections > 0, "there is nothing to ask");
    let (done, outcome) = oneshot::channel();
    let thread = move || {
        // Nobody listens any more only if the scenario is ending.
        let _ = done.send(on_this_thread(&load, requests, clock));
    };
    std::thread::Builder::new().name("load".to_owned()).spawn(thread).context("no thread for the load")?;
    outcome.await.context("the generator panicked")?
}

fn on_this_thread(load: &Load, requests: Arc<Requests>, clock: Clock) -> anyhow::Result<Outcome> {
    load.core.map(affinity::pin).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let within = load.time.saturating_add(GRACE);
        match tokio::time::timeout(within, ask(load, requests, clock)).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("there are requests without an answer {} s after the end", GRACE.as_secs()),
        }
    })
}

async fn ask(load: &Load, requests: Arc<Requests>, clock: Clock) -> anyhow::Result<Outcome> {
    let callers = (0..load.connections).map(|_| Caller::connect(load.address));
    let callers =
        try_join_all(callers).await.with_context(|| format!("nobody answers at {}", load.address))?;
    let began = clock.elapsed();
    let course = Arc::new(Course {
        requests,
        first: load.first,
        schedule: load.per_second.map(Schedule::new),
        clock,
        began,
        until: began.saturating_add(load.time),
        most: load.most,
        taken: AtomicU64::new(0),
        turn: Mutex::new(()),
    });
    let cpu_before = process::cpu_of("thread-self")?;
    let mut asking: JoinSet<Tally> =
        callers.into_iter().map(|caller| caller.ask(Arc::clone(&course))).collect();
    let mut tally = Tally::new();
    while let Some(asked) = asking.join_next().await {
        tally.add(asked?);
    }
    let lasted = clock.elapsed().saturating_sub(began);
    let cpu = process::cpu_of("thread-self")?.saturating_sub(cpu_before);
    let busy = if lasted.is_zero() { 0.0 } else { cpu.as_secs_f64() / lasted.as_secs_f64() };
    let next = load.first.wrapping_add(course.taken.load(Ordering::Relaxed));
    Ok(Outcome { tally, lasted, busy, next })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run; 52 bits are enough")]
pub(crate) const fn as_float(count: u64) -> f64 {
    count as f64
}
