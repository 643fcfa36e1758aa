//! The path of a notification: admit, read, verify, answer or append.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use hookline_event_log::Log;
use hookline_schemas::check::{DirectoryKey, TopUp};
use hookline_schemas::event::{Event, Source, from_notification};
use hookline_schemas::notification::{
    Classified, Field, Fields, NotificationType, ReadBodyError, classify, read_fields,
};
use hookline_schemas::time::{Clock, Timestamp};
use http::{HeaderMap, Request, header};
use hyper::body::Body;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Permit};
use crate::answer::{Accepted, Refusal};
use crate::append::Appender;
use crate::body;
use crate::check::{self, CheckCode, Known};
use crate::directory::Directory;
use crate::gateway_metrics::Tallies;
use crate::gateways::Gateways;
use crate::metrics::EdgeMetrics;
use crate::quarantine::Quarantine;
use crate::route::{Route, body_format};
use crate::settings::Settings;
use crate::source::{self, FailureLimit};
use crate::tls::Tls;
use crate::verify::{Unverified, VerifiedNotification, verify};

/// How long it goes on at the end while somebody is connected. With his next answer he hears that his connection ends;
/// closed at once, it might end under a request that is on its way. Who asks more rarely is hardly about to. After that,
/// whoever has begun a request has as long for the rest of it.
pub(crate) const LAST_CALL: Duration = Duration::from_secs(2);

/// The largest event, encoded, in bytes.
const MAX_EVENT: usize = 768 * 1024;

/// Everything that a request needs, shared by all of them.
pub(crate) struct Edge<L: Log> {
    pub(crate) settings: Settings,
    /// None, until they are known.
    pub(crate) gateways: Arc<ArcSwapOption<Gateways>>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) admission: Admission,
    pub(crate) failures: FailureLimit,
    pub(crate) appender: Appender<L>,
    pub(crate) quarantine: Quarantine<L>,
    pub(crate) metrics: EdgeMetrics,
    pub(crate) tallies: Tallies,
    /// Where it speaks TLS itself.
    pub(crate) tls: Option<Tls>,
    /// Each answer is the last one on its connection.
    pub(crate) is_draining: AtomicBool,
    /// Cancelled once nobody is accepted any more.
    pub(crate) end: CancellationToken,
    pub(crate) clock: Clock,
}

impl<L: Log> Edge<L> {
    /// Whether everything is known that a notification is compared with: missing must never mean *unknown*.
    pub(crate) fn is_ready(&self) -> bool {
        self.directory.is_loaded() && self.gateways.load().is_some()
    }

    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Resolves once nobody has been accepted for so long that whoever is still sending holds up the next process.
    async fn last_call_is_over(&self) {
        self.end.cancelled().await;
        tokio::time::sleep(LAST_CALL).await;
    }

    fn verify(&self, unverified: Unverified<'_>) -> Result<VerifiedNotification, Refusal> {
        let gateways = self.gateways.load();
        let gateways = gateways.as_deref().ok_or(Refusal::NotReady)?;
        verify(gateways, &self.directory, &self.failures, unverified)
    }
}

/// Takes one request, whose head is there, to its answer.
pub(crate) async fn accept<L, B>(
    edge: &Edge<L>,
    request: Request<B>,
    peer: IpAddr,
) -> Result<Accepted, Refusal>
where
    L: Log,
    B: Body<Data = Bytes> + Unpin,
{
    let (notification, _permit) = receive(edge, request, peer).await?;
    let now = edge.clock.wall();
    notification.gateway().tally(&edge.tallies).verified(now);

    let fields = read_fields(notification.format(), notification.body());
    let kind = kind_of(&notification, fields.as_ref())?;
    let outcome = match kind {
        NotificationType::Check => Ok(Accepted::Check(answer_check(edge, &notification, &fields, now))),
        _ => {
            let made = make_event(edge, &notification, kind, &fields);
            let keeping = keep(edge, &notification, kind, made);
            let kept = tokio::time::timeout(edge.settings.answer_timeout, keeping).await;
            kept.unwrap_or(Err(Refusal::DeadlinePassed))
        }
    };
    edge.metrics.notified(kind, outcome);
    outcome
}

/// Admits, reads and verifies. Nothing else needs the head.
async fn receive<'edge, L, B>(
    edge: &'edge Edge<L>,
    request: Request<B>,
    peer: IpAddr,
) -> Result<(VerifiedNotification, Permit<'edge>), Refusal>
where
    L: Log,
    B: Body<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    let route = Route::of(&head.method, head.uri.path())?;
    let format = body_format(&head.headers)?;
    if !edge.is_ready() {
        return Err(Refusal::NotReady);
    }
    let limit = max_body(&edge.settings, route);
    let permit = edge.admission.try_admit(route, content_length(&head.headers), limit)?;
    let body = body::read(body, &permit, edge.settings.body_timeout, edge.last_call_is_over()).await?;

    let source = source::address_of(peer, &head.headers, &edge.settings.trusted_proxies);
    let unverified = Unverified { route, format, headers: &head.headers, body, source };
    Ok((edge.verify(unverified)?, permit))
}

/// The type: of the URL, else of the fields.
fn kind_of(
    notification: &VerifiedNotification,
    fields: Result<&Fields<'_>, &ReadBodyError>,
) -> Result<NotificationType, Refusal> {
    if let Some(declared) = notification.declared() {
        return Ok(declared);
    }
    match fields.map(classify) {
        Ok(Classified::As(kind)) => Ok(kind),
        Ok(Classified::Unknown) | Err(_) => Err(Refusal::UnknownType),
    }
}

/// Answers a Check from memory: no wait, no lock held, no log.
fn answer_check<L: Log>(
    edge: &Edge<L>,
    notification: &VerifiedNotification,
    fields: &Result<Fields<'_>, ReadBodyError>,
    now: Timestamp,
) -> CheckCode {
    let Ok(fields) = fields else { return CheckCode::NotAccepted };
    if check::is_type_conflict(fields) {
        edge.metrics.type_conflict();
        return CheckCode::NotAccepted;
    }
    let gateway = &notification.gateway().gateway;
    let top_up = edge.directory.top_up(gateway, fields);
    // Whoever pays, the client that the top-up names may be blocked.
    let named = || top_up.as_ref().and_then(|(_, top_up)| top_up.client_id.as_deref());
    let account = fields.text(Field::AccountId).or_else(named);
    let client = account.and_then(|account| edge.directory.client(gateway, account));
    let known = Known {
        policy: &gateway.policy,
        client: client.as_ref(),
        top_up: top_up.as_ref().map(|(_, top_up)| top_up),
        now,
    };
    check::answer(fields, known)
}

/// An event, on its way into the log.
struct Made {
    event: Event,
    record: Vec<u8>,
    top_up: Option<(DirectoryKey, TopUp)>,
    began: Duration,
}

/// Makes the event of everything but a Check; or says why there is none.
fn make_event<L: Log>(
    edge: &Edge<L>,
    notification: &VerifiedNotification,
    kind: NotificationType,
    fields: &Result<Fields<'_>, ReadBodyError>,
) -> Result<Made, String> {
    let fields = fields.as_ref().map_err(ToString::to_string)?;
    let gateway = &notification.gateway().gateway;
    let began = edge.clock.elapsed();
    let top_up = edge.directory.top_up(gateway, fields);
    let event = from_notification(Source {
        gateway,
        kind,
        format: notification.format(),
        body: notification.body(),
        fields,
        top_up_club: top_up.as_ref().and_then(|(_, top_up)| top_up.club_id.as_ref()),
        accepted_at: edge.clock.at(began),
    });
    let event = event.map_err(|reason| reason.to_string())?;
    let record = event.encode();
    // Parked copies are larger than the event, and the log takes 1 MiB.
    if record.len() > MAX_EVENT {
        return Err("the event is too large".to_owned());
    }
    Ok(Made { event, record, top_up, began })
}

/// Has it in the log when it returns: the event, or what none could be made of in quarantine.
async fn keep<L: Log>(
    edge: &Edge<L>,
    notification: &VerifiedNotification,
    kind: NotificationType,
    made: Result<Made, String>,
) -> Result<Accepted, Refusal> {
    match made {
        Ok(Made { event, record, top_up, began }) => {
            let appending = edge.appender.append(&event, record.into(), top_up, &edge.directory, began);
            Ok(Accepted::Appended { taken_at: appending.await? })
        }
        Err(reason) => {
            edge.quarantine.keep(notification, kind, reason, edge.clock.now()).await?;
            Ok(Accepted::Quarantined)
        }
    }
}

fn max_body(settings: &Settings, route: Route<'_>) -> u64 {
    match route {
        Route::Typed { .. } => settings.max_body.as_u64(),
        Route::Shared => settings.max_shared_body.as_u64().min(settings.max_body.as_u64()),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
