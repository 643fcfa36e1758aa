//! Posting: one notification until CloudPayments would be content or give up, and a line per answer.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use hookline_load_tests::fixtures::Fixture;
use hookline_load_tests::simulator::{CallbackUrl, RetryRule, Signed, answered_code};
use hookline_outbound::{Outbound, Patience};
use hookline_schemas::ids::GatewayId;
use hookline_schemas::notification::NotificationType;
use hookline_schemas::signature::ContentKey;
use hookline_schemas::time::Clock;
use http::Uri;
use http::uri::InvalidUri;
use serde_json::{Map, Value, json};

use super::course::TYPES;
use super::meaning::{self, Came};
use crate::readable::readable;

/// The edge, and the site on whose behalf notifications are posted.
#[derive(Debug)]
pub(super) struct Edge {
    /// As it was named: scheme, host and port; a path before hookline's own, if a proxy wants one.
    pub(super) base: String,
    /// None at the URL that all gateways share.
    gateway: Option<GatewayId>,
    /// Where each type is posted.
    urls: HashMap<NotificationType, Uri>,
    key: ContentKey,
}

impl Edge {
    /// An edge and a gateway of it; without one the URL that all gateways share.
    ///
    /// # Errors
    ///
    /// If the gateway's id makes no URL.
    pub(super) fn new(base: String, gateway: Option<GatewayId>, key: ContentKey) -> Result<Self, InvalidUri> {
        let (named, none) = (gateway.as_ref(), GatewayId::new(""));
        let url = if named.is_some() { CallbackUrl::Typed } else { CallbackUrl::Shared };
        let urls = TYPES.into_iter().map(|kind| {
            let path = url.path(named.unwrap_or(&none), kind);
            Ok((kind, format!("{base}{path}").parse()?))
        });
        Ok(Self { urls: urls.collect::<Result<_, InvalidUri>>()?, base, gateway, key })
    }
}

/// When an unanswered notification is posted again.
#[derive(Debug)]
pub(super) struct Retry {
    /// What CloudPayments does.
    pub(super) documented: RetryRule,
    /// What is done here: the same, or faster, or nothing.
    pub(super) here: RetryRule,
}

/// What posts have come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Notifications that were answered 0 in the end.
    pub(super) taken: u64,
    /// Those that were not.
    pub(super) not_taken: u64,
    /// Posts that reached somebody.
    pub(super) reached: u64,
}

impl Tally {
    /// Adds others.
    pub(super) const fn add(&mut self, other: Self) {
        self.taken += other.taken;
        self.not_taken += other.not_taken;
        self.reached += other.reached;
    }
}

/// Posts notifications.
#[derive(Debug)]
pub(super) struct Poster {
    pub(super) outbound: Outbound,
    pub(super) edge: Edge,
    pub(super) retry: Retry,
    pub(super) clock: Clock,
    /// One JSON object a line, in place of text.
    pub(super) json: bool,
}

impl Poster {
    /// Posts all of one payment. A Check that is not answered 0 ends it: CloudPayments declines the payment.
    pub(super) async fn play(&self, notifications: &[Fixture]) -> Tally {
        let mut tally = Tally::default();
        for notification in notifications {
            let is_taken = self.notify(notification, &mut tally).await;
            match is_taken {
                true => tally.taken += 1,
                false => tally.not_taken += 1,
            }
            if !is_taken && notification.kind() == NotificationType::Check {
                break;
            }
        }
        tally
    }

    /// Posts a notification until it is answered 0 or given up; a Check is asked once.
    async fn notify(&self, notification: &Fixture, tally: &mut Tally) -> bool {
        let signed = Signed::new(notification, &self.edge.key);
        let is_check = notification.kind() == NotificationType::Check;
        let mut posted = 0;
        loop {
            posted += 1;
            let began = self.clock.elapsed();
            let came = self.post(&signed).await;
            let after = self.clock.elapsed().saturating_sub(began);
            tally.reached += u64::from(!matches!(&came, Came::Nothing(missing) if missing.is_unreachable()));
            let again = |rule: &RetryRule| rule.wait_after(posted).filter(|_| !is_check && !came.is_zero());
            let (then, here) = (again(&self.retry.documented), again(&self.retry.here));
            self.tell(notification, &Post { posted, came: &came, after, then, here });
            match here {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return came.is_zero(),
            }
        }
    }

    async fn post(&self, signed: &Signed<'_>) -> Came {
        // Every type that is posted has a URL.
        let url = self.edge.urls.get(&signed.fixture().kind()).cloned().unwrap_or_default();
        let within = self.retry.here.answer_timeout;
        let request = signed.request(url);
        match self.outbound.send(request, Patience { head: within, body: within }).await {
            Ok(answer) => Came::Answer {
                status: answer.response.status(),
                code: answered_code(&answer.response).filter(|_| answer.is_whole),
            },
            Err(missing) => Came::Nothing(missing),
        }
    }

    fn tell(&self, notification: &Fixture, post: &Post<'_>) {
        let gateway = self.edge.gateway.as_ref().map(GatewayId::as_str);
        let meaning = meaning::of(notification.kind(), post.came, gateway);
        let line =
            if self.json { post.json(notification, meaning) } else { post.text(notification, &meaning) };
        // A reader that has seen enough is no failure.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// One post, as it is told.
struct Post<'a> {
    /// How often until now, this time included.
    posted: u32,
    came: &'a Came,
    after: Duration,
    /// When CloudPayments would post it again.
    then: Option<Duration>,
    /// When it is posted again here.
    here: Option<Duration>,
}

impl Post<'_> {
    const fn status_and_code(&self) -> (Option<u16>, Option<u64>) {
        match self.came {
            Came::Answer { status, code } => (Some(status.as_u16()), *code),
            Came::Nothing(_) => (None, None),
        }
    }

    fn json(&self, notification: &Fixture, meaning: String) -> String {
        let (status, code) = self.status_and_code();
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let members = [
            ("type", json!(notification.kind())),
            ("transaction", json!(notification.transaction_id)),
            ("posted", json!(self.posted)),
            ("taken", json!(self.came.is_zero())),
            ("status", json!(status)),
            ("code", json!(code)),
            ("millis", json!(millis(self.after))),
            ("says", json!(meaning)),
            ("again_in_seconds", json!(self.then.map(|wait| wait.as_secs()))),
            ("again_here_in_millis", json!(self.here.map(millis))),
        ];
        let known = members.into_iter().filter(|(_, value)| !value.is_null());
        Value::Object(known.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()).to_string()
    }

    fn text(&self, notification: &Fixture, meaning: &str) -> String {
        let (status, code) = self.status_and_code();
        let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let code = code.map_or_else(|| "-".to_owned(), |code| format!("code {code}"));
        let (kind, transaction) = (notification.kind().as_str(), notification.transaction_id);
        let after = readable(self.after);
        let then = self.what_follows(notification.kind());
        format!("{kind:<10}{transaction:<18}{status:<5}{code:<9}{after:<8}{meaning}{then}")
    }

    /// What CloudPayments does next, and what is done here.
    fn what_follows(&self, kind: NotificationType) -> String {
        if self.came.is_zero() {
            return String::new();
        }
        match (self.then, self.here) {
            _ if kind == NotificationType::Check => "; CloudPayments declines the payment".to_owned(),
            (None, _) => "; CloudPayments would not send this again".to_owned(),
            (Some(then), None) => format!("; CloudPayments would send this again in {}", readable(then)),
            (Some(then), Some(here)) if then == here => {
                format!("; CloudPayments would send this again in {}, and so it is done here", readable(then))
            }
            (Some(then), Some(here)) => format!(
                "; CloudPayments would send this again in {}, here it is {}",
                readable(then),
                readable(here)
            ),
        }
    }
}
