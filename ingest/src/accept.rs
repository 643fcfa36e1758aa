//! The path of a notification: admit, read, verify, answer or append.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use hookline_event_log::Log;
use hookline_schemas::event::{Source, from_notification};
use hookline_schemas::notification::{
    Classified, Field, Fields, NotificationType, ReadBodyError, classify, read_fields,
};
use hookline_schemas::time::Clock;
use http::{HeaderMap, Request, header};
use hyper::body::Body;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
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
    let (head, body) = request.into_parts();
    let route = Route::of(&head.method, head.uri.path())?;
    let format = body_format(&head.headers)?;
    if !edge.is_ready() {
        return Err(Refusal::NotReady);
    }
    let limit = max_body(&edge.settings, &route);
    let permit = edge.admission.try_admit(&route, content_length(&head.headers), limit)?;
    let body = tokio::select! {
        biased;
        body = body::read(body, &permit, edge.settings.body_timeout) => body?,
        () = edge.last_call_is_over() => return Err(Refusal::SlowBody),
    };

    let source = source::address_of(peer, &head.headers, &edge.settings.trusted_proxies);
    let unverified = Unverified { route, format, headers: &head.headers, body, source };
    let notification = edge.verify(unverified)?;

    notification.gateway().tally(&edge.tallies).verified(edge.clock.wall());

    let fields = read_fields(notification.format(), notification.body());
    let kind = kind_of(&notification, fields.as_ref())?;
    let answer = answer(edge, &notification, kind, fields);
    let answered = tokio::time::timeout(edge.settings.answer_timeout, answer).await;
    let outcome = answered.unwrap_or(Err(Refusal::DeadlinePassed));
    edge.metrics.notified(kind, outcome);
    outcome
}

/// Answers a verified notification; the first wait is on the log.
async fn answer<L: Log>(
    edge: &Edge<L>,
    notification: &VerifiedNotification,
    kind: NotificationType,
    fields: Result<Fields<'_>, ReadBodyError>,
) -> Result<Accepted, Refusal> {
    match (kind, fields) {
        (NotificationType::Check, Ok(fields)) => {
            Ok(Accepted::Check(answer_check(edge, notification, &fields)))
        }
        (NotificationType::Check, Err(_)) => Ok(Accepted::Check(CheckCode::NotAccepted)),
        (_, Ok(fields)) => append(edge, notification, kind, &fields).await,
        (_, Err(unreadable)) => quarantine(edge, notification, kind, unreadable.to_string()).await,
    }
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
    fields: &Fields<'_>,
) -> CheckCode {
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
        now: edge.clock.wall(),
    };
    check::answer(fields, known)
}

async fn append<L: Log>(
    edge: &Edge<L>,
    notification: &VerifiedNotification,
    kind: NotificationType,
    fields: &Fields<'_>,
) -> Result<Accepted, Refusal> {
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
    let event = match event {
        Ok(event) => event,
        Err(reason) => return quarantine(edge, notification, kind, reason.to_string()).await,
    };
    let record = event.encode();
    // Parked copies are larger than the event, and the log takes 1 MiB.
    if record.len() > MAX_EVENT {
        return quarantine(edge, notification, kind, "the event is too large".to_owned()).await;
    }
    let taken_at = edge.appender.append(&event, record.into(), top_up, &edge.directory, began).await?;
    Ok(Accepted::Appended { taken_at })
}

async fn quarantine<L: Log>(
    edge: &Edge<L>,
    notification: &VerifiedNotification,
    kind: NotificationType,
    reason: String,
) -> Result<Accepted, Refusal> {
    edge.quarantine.keep(notification, kind, reason, edge.clock.now()).await?;
    Ok(Accepted::Quarantined)
}

fn max_body(settings: &Settings, route: &Route) -> u64 {
    match route {
        Route::Typed { .. } => settings.max_body.as_u64(),
        Route::Shared => settings.max_shared_body.as_u64().min(settings.max_body.as_u64()),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
