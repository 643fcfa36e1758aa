//! One connection with one request in flight at most, and what all of them share.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hookline_schemas::time::Clock;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::answer::{Answers, NoAnswer};
use super::requests::Requests;
use super::schedule::Schedule;
use super::tally::Tally;

/// What CloudPayments takes for "accepted", and for "may be paid".
const RIGHT: (u16, &[u8]) = (200, b"{\"code\":0}");

/// What is asked, when, and until when.
pub(super) struct Course {
    pub(super) requests: Arc<Requests>,
    /// The number of the first request among them.
    pub(super) first: u64,
    /// None: each is sent when another is over.
    pub(super) schedule: Option<Schedule>,
    pub(super) clock: Clock,
    pub(super) began: Duration,
    pub(super) until: Duration,
    pub(super) most: u64,
    /// Requests that have been taken.
    pub(super) taken: AtomicU64,
    /// Whoever waits for the next request to be due; the others wait for him. The first in is the first out.
    pub(super) turn: Mutex<()>,
}

/// One request that may be sent.
struct Due {
    number: u64,
    at: Duration,
    /// By how much the generator itself has missed it.
    late: Duration,
}

impl Course {
    /// Waits until the next request may be sent; none, once the time is over or there was enough.
    async fn next(&self, free_since: Duration) -> Option<Due> {
        match self.schedule {
            None => {
                let number = self.take(free_since)?;
                Some(Due { number, at: free_since, late: Duration::ZERO })
            }
            Some(schedule) => {
                let _turn = self.turn.lock().await;
                let due = self.began + schedule.due(self.taken.load(Ordering::Relaxed));
                let number = self.take(due)?;
                let mut now = self.clock.elapsed();
                // tokio's timers count milliseconds, which is as long as an answer may take at most. So this thread
                // never sleeps: it looks at the sockets and at the clock in turn.
                while now < due {
                    tokio::task::yield_now().await;
                    now = self.clock.elapsed();
                }
                Some(Due { number, at: due, late: now.saturating_sub(due.max(free_since)) })
            }
        }
    }

    fn take(&self, at: Duration) -> Option<u64> {
        if at >= self.until || self.taken.load(Ordering::Relaxed) >= self.most {
            return None;
        }
        Some(self.taken.fetch_add(1, Ordering::Relaxed))
    }
}

/// A connection.
pub(super) struct Caller {
    stream: TcpStream,
    answers: Answers,
}

impl Caller {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answers: Answers::new() })
    }

    /// Asks until the course is over, or the connection.
    pub(super) async fn ask(mut self, course: Arc<Course>) -> Tally {
        let mut tally = Tally::new();
        let mut free_since = course.clock.elapsed();
        while let Some(due) = course.next(free_since).await {
            let request = course.requests.at(course.first.wrapping_add(due.number));
            let answered = self.exchange(request, &mut tally).await;
            free_since = course.clock.elapsed();
            match answered {
                Ok(true) => tally.answered(free_since.saturating_sub(due.at)),
                Ok(false) => {}
                Err(reason) => {
                    tally.broken(&reason);
                    break;
                }
            }
            if course.schedule.is_some() {
                tally.late_micros.saturating_record(crate::simulator::micros(due.late));
            }
        }
        tally
    }

    /// Whether the answer was right; one that was not is counted.
    async fn exchange(&mut self, request: &[u8], tally: &mut Tally) -> Result<bool, NoAnswer> {
        self.stream.write_all(request).await?;
        let answer = self.answers.next(&mut self.stream).await?;
        let is_right = (answer.status, answer.body) == RIGHT;
        if !is_right {
            tally.refused(answer.status, answer.body);
        }
        Ok(is_right)
    }
}
