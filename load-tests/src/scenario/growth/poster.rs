//! Posts payments over many connections, each until it is answered with code 0, and keeps no record of them: millions
//! would not fit into it.
//!
//! Every event is alike, so that costs can be compared. There is no Check before: it would cost without being delivered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use hookline_schemas::money::Amount;
use hookline_schemas::notification::NotificationType;
use hookline_schemas::time::Clock;
use http::HeaderValue;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::tenants::Site;
use crate::connection::Connection;
use crate::fixtures::{Encoding, Fixture, Shape, Subject};
use crate::simulator::{CallbackUrl, Signed, answered_code};

/// Posts under way at once.
const CONNECTIONS: usize = 64;
/// For one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// After what was not answered with code 0.
const WAIT: Duration = Duration::from_millis(20);
/// So often one is posted at most.
const MOST_POSTS: u32 = 3_000;
/// Below 2^32, which a long run crosses.
const FIRST_TRANSACTION: u64 = 4_290_000_000;

/// Posts to one edge.
#[derive(Debug)]
pub(super) struct Poster {
    edge: SocketAddr,
    clock: Clock,
    /// The number of the next event, of all that are ever posted.
    next: u64,
}

/// What those that post share.
#[derive(Debug)]
struct Shared {
    edge: SocketAddr,
    host: HeaderValue,
    clock: Clock,
    sites: Arc<[Site]>,
    amount: Amount,
    first: u64,
    events: u64,
    next: AtomicU64,
    progress: Arc<AtomicU64>,
}

impl Poster {
    pub(super) const fn new(edge: SocketAddr, clock: Clock) -> Self {
        Self { edge, clock, next: 0 }
    }

    /// Posts so many events, to the sites by turns, of which as many may have begun as is told meanwhile. All have been
    /// answered with code 0 when this returns; how many have been until now is told.
    pub(super) fn post(
        &mut self,
        sites: &Arc<[Site]>,
        events: u64,
        allowed: watch::Receiver<u64>,
    ) -> anyhow::Result<(Arc<AtomicU64>, impl Future<Output = anyhow::Result<()>> + use<>)> {
        let progress = Arc::new(AtomicU64::new(0));
        let shared = Arc::new(Shared {
            edge: self.edge,
            host: HeaderValue::from_str(&self.edge.to_string())?,
            clock: self.clock,
            sites: Arc::clone(sites),
            amount: "1490.00".parse().context("not a sum")?,
            first: self.next,
            events,
            next: AtomicU64::new(0),
            progress: Arc::clone(&progress),
        });
        self.next += events;
        let posting = async move {
            let mut workers = JoinSet::new();
            for _ in 0..CONNECTIONS {
                workers.spawn(work(Arc::clone(&shared), allowed.clone()));
            }
            while let Some(worked) = workers.join_next().await {
                worked.context("whoever posts has panicked")??;
            }
            Ok(())
        };
        Ok((progress, posting))
    }
}

async fn work(shared: Arc<Shared>, mut allowed: watch::Receiver<u64>) -> anyhow::Result<()> {
    let mut connection = Connection::to(shared.edge);
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.events {
            return Ok(());
        }
        drop(allowed.wait_for(|allowed| number < *allowed).await.context("nobody allows anything")?);
        shared.post(&mut connection, number).await?;
        shared.progress.fetch_add(1, Ordering::Relaxed);
    }
}

impl Shared {
    async fn post(&self, connection: &mut Connection, number: u64) -> anyhow::Result<()> {
        let number = self.first + number;
        let turn = usize::try_from(number)?.checked_rem(self.sites.len());
        let site = turn.and_then(|turn| self.sites.get(turn)).context("there is no site")?;
        let fixture = self.fixture(number);
        let signed = Signed::new(&fixture, &site.key);
        let url = CallbackUrl::Typed.path(&site.gateway_id, NotificationType::Pay);
        for _ in 0..MOST_POSTS {
            let mut request = signed.request(url.parse()?);
            request.headers_mut().insert(http::header::HOST, self.host.clone());
            let answer = connection.send(request, ANSWER_WITHIN).await;
            if answer.as_ref().ok().and_then(answered_code) == Some(0) {
                return Ok(());
            }
            tokio::time::sleep(WAIT).await;
        }
        bail!("an event was not taken in {MOST_POSTS} posts")
    }

    fn fixture(&self, number: u64) -> Fixture {
        let subject = Subject {
            transaction_id: FIRST_TRANSACTION + number,
            invoice_id: format!("order-{number}"),
            account_id: format!("client-{}", number % 5000),
            amount: self.amount,
            occurred_at: self.clock.wall(),
        };
        Fixture::new(Shape::Pay2026, &subject, Encoding::LowerCase)
    }
}
