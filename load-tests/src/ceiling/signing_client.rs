//! The ceiling of delivery: a client that has nothing to do but to sign twice and to post.
//!
//! One thread, a raw hyper connection for each request that may be in flight, bodies that are rendered beforehand. What
//! hookline does beside that is what its ratio to this counts: to read and to understand events, to plan, to keep every
//! promise about them, and to write down what became of them.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use hookline_schemas::event::{Source, from_notification};
use hookline_schemas::gateway::{CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::notification::read_fields;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::signature::WebhookKey;
use hookline_schemas::time::Clock;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::process::cpu_of;
use crate::simulator::{Mix, PlanOptions, payment};
use crate::sink;

/// Different bodies; deliveries take turns with them.
const BODIES: u64 = 1024;

/// What it posts.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The sink that it posts to: where its first webhook is
    #[arg(long)]
    pub sink: SocketAddrV4,
    /// Webhooks; each gets every event
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub webhooks: u16,
    /// Events
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub events: u32,
    /// Requests in flight at each webhook, each with a connection of its own
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub in_flight: u16,
}

/// What it used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Requests that were answered 200.
    pub attempts: u64,
    /// User and system time from the first request to the last answer.
    pub cpu_seconds: f64,
    /// As long as that took.
    pub seconds: f64,
}

/// What the connections share.
#[derive(Debug)]
struct Work {
    webhooks: Vec<Target>,
    /// `webhook-id` by event.
    ids: Vec<String>,
    bodies: Vec<Bytes>,
    clock: Clock,
}

#[derive(Debug)]
struct Target {
    address: SocketAddrV4,
    host: HeaderValue,
    /// As it stands in a request's first line.
    path: Uri,
    key: WebhookKey,
    next_event: AtomicUsize,
}

/// Runs it as this process, and prints what it used as one line of JSON.
///
/// # Errors
///
/// If something was not answered with 200.
#[expect(clippy::print_stdout, reason = "whoever has started it reads its figures there")]
pub async fn run(options: Options) -> anyhow::Result<()> {
    let spent = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(post_all(&options))
    });
    println!("{}", serde_json::to_string(&spent.await.context("the client has failed")??)?);
    Ok(())
}

async fn post_all(options: &Options) -> anyhow::Result<Spent> {
    let work = Arc::new(Work::new(options)?);
    let mut drivers = JoinSet::new();
    let mut senders = Vec::new();
    for (webhook, target) in work.webhooks.iter().enumerate() {
        for _ in 0..options.in_flight {
            let stream = TcpStream::connect(target.address).await.context("failed to connect to the sink")?;
            stream.set_nodelay(true)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Its error reaches whoever waits for an answer.
            drivers.spawn(async { connection.await.unwrap_or_default() });
            senders.push((webhook, sender));
        }
    }
    let (cpu_before, before) = (cpu_of("self")?, work.clock.elapsed());
    let mut posting = JoinSet::new();
    for (webhook, sender) in senders {
        posting.spawn(post(Arc::clone(&work), webhook, sender));
    }
    let mut attempts = 0;
    while let Some(posted) = posting.join_next().await {
        attempts += posted.context("a connection has failed")??;
    }
    let cpu_seconds = cpu_of("self")?.saturating_sub(cpu_before).as_secs_f64();
    let seconds = work.clock.elapsed().saturating_sub(before).as_secs_f64();
    Ok(Spent { attempts, cpu_seconds, seconds })
}

/// Posts one webhook's events over one connection, as long as there are some.
async fn post(work: Arc<Work>, webhook: usize, mut sender: SendRequest<Full<Bytes>>) -> anyhow::Result<u64> {
    let target = work.webhooks.get(webhook).context("the webhook is one of ours")?;
    let mut posted = 0;
    while let Some(request) = work.next_request(target) {
        sender.ready().await?;
        let mut answer = sender.send_request(request).await?;
        ensure!(answer.status() == StatusCode::OK, "answered with {}", answer.status());
        while let Some(frame) = answer.body_mut().frame().await {
            frame?;
        }
        posted += 1;
    }
    Ok(posted)
}

impl Work {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let webhooks = (1..=options.webhooks).map(|number| {
            let secret = WebhookSecret::parse(&sink::secret_text(number))?;
            let (path, key) = (sink::path_of(number).parse()?, WebhookKey::new(&secret));
            let address = sink::address_of(options.sink, number);
            let host = HeaderValue::from_str(&address.to_string())?;
            anyhow::Ok(Target { address, host, path, key, next_event: AtomicUsize::new(0) })
        });
        Ok(Self {
            webhooks: webhooks.collect::<Result<_, _>>()?,
            ids: (0..options.events).map(|number| format!("evt_{number:026}")).collect(),
            bodies: bodies()?,
            clock: Clock::start(),
        })
    }

    fn next_request(&self, target: &Target) -> Option<Request<Full<Bytes>>> {
        let number = target.next_event.fetch_add(1, Ordering::Relaxed);
        let id = self.ids.get(number)?;
        let body = self.bodies.get(number.checked_rem(self.bodies.len())?)?;
        let timestamp = self.clock.wall().unix_seconds();
        let signatures = target.key.sign(id, timestamp, body);
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, target.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("hookline/", env!("CARGO_PKG_VERSION"))));
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        headers.insert("webhook-id", HeaderValue::from_str(id).ok()?);
        headers.insert("webhook-signature", HeaderValue::from_str(&signatures.standard).ok()?);
        headers.insert("x-izi-signature", HeaderValue::from_str(&signatures.izi).ok()?);
        Some(request)
    }
}

/// What hookline makes of the notifications that the scenarios post, as it sends it.
fn bodies() -> anyhow::Result<Vec<Bytes>> {
    let gateway = Gateway {
        id: GatewayId::new("gw_demo"),
        organization: OrganizationId::new("org_demo"),
        public_id: "pk_demo".to_owned(),
        api_secrets: Vec::new(),
        default_club: ClubId::new("club_1"),
        shared_url: true,
        policy: CheckPolicy::lenient(),
    };
    let plan = PlanOptions { mix: Mix::received_and_failed(), ..PlanOptions::default() };
    let payments = (0..BODIES).map(|number| payment(&plan, number));
    let notifications = payments.flat_map(|payment| payment.steps).map(|step| step.fixture);
    let accepted_at = Clock::start().wall();
    let bodies = notifications.map(|fixture| {
        let fields = read_fields(fixture.format, &fixture.body).context("a fixture can be read")?;
        let source = Source {
            gateway: &gateway,
            kind: fixture.kind(),
            format: fixture.format,
            body: &fixture.body,
            fields: &fields,
            top_up_club: None,
            accepted_at,
        };
        Ok(Bytes::from(from_notification(source).context("a fixture is understood")?.render()))
    });
    bodies.collect()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::sink::{EventHash, Sink};

    #[tokio::test]
    async fn posts_every_event_to_every_webhook_once_signed_and_over_the_connections_it_has() {
        let sink = Sink::new(3, Duration::ZERO).expect("a sink");
        let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let listeners = sink::listeners(nowhere, 3).await.expect("ports");
        let port = listeners[0].local_addr().expect("an address").port();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let stop = CancellationToken::new();
        let options = Options { sink: address, webhooks: 3, events: 200, in_flight: 2 };
        let (spent, ()) = tokio::join!(
            async {
                let spent = post_all(&options).await;
                stop.cancel();
                spent
            },
            Arc::clone(&sink).serve(listeners, stop.clone())
        );
        assert_eq!(spent.expect("everything was answered").attempts, 600);
        let counts = sink.counts();
        assert_eq!((counts.requests, counts.distinct, counts.connections), (600, 600, 6));
        assert!(counts.verified > 0);
        assert_eq!((counts.bad_signatures, counts.malformed), (0, 0));
        let last = EventHash::of(&format!("evt_{:026}", 199));
        assert_eq!((1..=4).map(|webhook| sink.times(last.at(webhook))).collect::<Vec<_>>(), [1, 1, 1, 0]);
    }

    #[test]
    fn its_bodies_are_what_hookline_sends() {
        let bodies = bodies().expect("bodies");
        assert_eq!(bodies.len(), 1024);
        assert!(bodies.iter().all(|body| (300..1200).contains(&body.len())));
    }
}
