//! An integrator that costs little: many endpoints that take whatever comes, for loads at which
//! [`receiver`](crate::receiver) would be what is measured.
//!
//! It owns a compact record of what came, so that its owner can tell each lost and each repeated delivery, and it looks
//! at the signatures of one delivery in [`VERIFIED_OF`]. It does not read bodies, know when anything came, or know what
//! should have come. Each webhook has an address of its own: integrators seldom share one, and what a client keeps by
//! address is kept for each of them.
//!
//! A scenario has it as a process of its own ([`SinkProcess`]), so that its time is told apart from hookline's and the
//! caller's.

mod connection;
mod process;
mod reader;
mod record;

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::signature::{StandardHeaders, WebhookKey};
use hookline_schemas::time::Clock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::serve::{locked, serve};
pub use process::SinkProcess;
use reader::Request;
use record::Record;
pub use record::{Counts, EventHash, Mark};

/// The signatures of one delivery in so many are verified; which ones follows from event and webhook, so that a copy
/// is treated as its original was.
pub const VERIFIED_OF: u64 = 64;
/// GET tells the [`Counts`].
const COUNTS: &str = "/counts";
/// POST of marks, eight bytes each, the lowest first: how often each of them came.
const TIMES: &str = "/times";
/// Before a webhook's number in the path of its URL.
const PATH: &str = "/hooks/wh_";
/// The tolerance that Standard Webhooks recommends, in seconds.
const TOLERANCE_SECONDS: u64 = 300;

/// How a sink is run.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where wh_1 is; the others are at the addresses behind it, at the same port
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddrV4,
    /// Webhooks, wh_1 and so on
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub webhooks: u16,
    /// Milliseconds before each answer
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub delay_ms: u64,
}

/// What its connections share.
#[derive(Debug)]
pub struct Sink {
    /// By the webhooks' numbers, which begin with 1.
    keys: Vec<WebhookKey>,
    delay: Duration,
    clock: Clock,
    record: Mutex<Record>,
}

impl Sink {
    /// With so many webhooks, each of which signs by [`secret_text`].
    ///
    /// # Errors
    ///
    /// If a secret is none, which would be a mistake here.
    pub fn new(webhooks: u16, delay: Duration) -> anyhow::Result<Arc<Self>> {
        let keys = (1..=webhooks).map(|number| {
            let secret = WebhookSecret::parse(&secret_text(number))?;
            anyhow::Ok(WebhookKey::new(&secret))
        });
        let (keys, record) = (keys.collect::<Result<_, _>>()?, Mutex::new(Record::new(webhooks)));
        Ok(Arc::new(Self { keys, delay, clock: Clock::start(), record }))
    }

    /// Takes what comes until it is stopped, or dropped; at [`listeners`], or fewer.
    pub async fn serve(self: Arc<Self>, listeners: Vec<TcpListener>, stop: CancellationToken) {
        let at_each = listeners.into_iter().map(|listener| {
            serve(listener, stop.clone(), |stream| connection::serve(Arc::clone(&self), stream))
        });
        futures::future::join_all(at_each).await;
    }

    /// What it has counted until now.
    pub fn counts(&self) -> Counts {
        locked(&self.record).counts.clone()
    }

    /// How often this delivery came.
    pub fn times(&self, mark: Mark) -> u32 {
        locked(&self.record).times(mark)
    }

    fn endpoint(&self, webhook: u16) -> Option<&WebhookKey> {
        self.keys.get(usize::from(webhook).checked_sub(1)?)
    }

    const fn verifies(&self, mark: Mark) -> bool {
        mark.0.is_multiple_of(VERIFIED_OF)
    }

    fn is_signed(&self, key: &WebhookKey, request: &Request<'_>) -> bool {
        let Request { id, timestamp, standard, izi, body, .. } = *request;
        let headers = StandardHeaders { id, timestamp, signature: standard };
        let now = self.clock.wall().unix_seconds();
        izi.is_some_and(|signature| key.verifies_izi(body, signature))
            && key.verify_standard(&headers, body, now, TOLERANCE_SECONDS).is_ok()
    }
}

/// Binds an address for each webhook, the first of them here; with a free port of that one where it is 0.
///
/// # Errors
///
/// If one can't be bound.
pub async fn listeners(first: SocketAddrV4, webhooks: u16) -> anyhow::Result<Vec<TcpListener>> {
    let listener = TcpListener::bind(first).await.context("failed to bind the sink")?;
    let first = SocketAddrV4::new(*first.ip(), listener.local_addr()?.port());
    let mut listeners = vec![listener];
    for webhook in 2..=webhooks {
        let address = address_of(first, webhook);
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.with_context(|| format!("failed to bind the sink at {address}"))?);
    }
    Ok(listeners)
}

/// Where a webhook is, if the first is here.
pub fn address_of(first: SocketAddrV4, webhook: u16) -> SocketAddrV4 {
    let behind = u32::from(webhook.saturating_sub(1));
    SocketAddrV4::new(Ipv4Addr::from_bits(first.ip().to_bits().saturating_add(behind)), first.port())
}

/// The path of a webhook's URL.
pub fn path_of(webhook: u16) -> String {
    format!("{PATH}{webhook}")
}

/// The secret of a webhook: 32 digits are base64 of 24 bytes.
pub fn secret_text(webhook: u16) -> String {
    format!("whsec_{webhook:032}")
}

fn number_of(path: &str) -> Option<u16> {
    path.strip_prefix(PATH)?.parse().ok()
}

/// Runs it as this process, until its standard input ends: so that it ends with whoever has started it, however that
/// one ends. Its address is the first line that it prints.
///
/// # Errors
///
/// If the address can't be bound.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    // Of its own, because reading can't be stopped; it ends with the process.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stopped.cancel();
    });
    // One thread, because then nobody wakes another one.
    let serving = tokio::task::spawn_blocking(move || serve_alone(&options, stop));
    serving.await.context("the sink has failed")?
}

#[expect(clippy::print_stdout, reason = "whoever has started it reads its address there")]
fn serve_alone(options: &Options, stop: CancellationToken) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listeners = listeners(options.listen, options.webhooks).await?;
        println!("{}", listeners.first().context("one is bound")?.local_addr()?);
        let sink = Sink::new(options.webhooks, Duration::from_millis(options.delay_ms))?;
        sink.serve(listeners, stop).await;
        Ok(())
    })
}
