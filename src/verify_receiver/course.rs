//! The course of the checks: what is posted at a receiver, in which order, and what each is for.
//!
//! It owns the order and the wording. How an answer is judged stands in `judge`, what is posted in `sample`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use hookline_outbound::{NoAnswer, Outbound, Patience};
use hookline_schemas::event::EventType;
use hookline_schemas::time::Clock;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use super::judge::{Answered, Judgement, Reaction, Verdict, Verified, is_taken, refused, taken};
use super::report::{Finding, Report};
use super::sample::{Envelope, Sample, Samples, with_another_sum};

/// How far from now a stale timestamp is: twice the tolerance of Standard Webhooks.
const STALE: u64 = 600;

/// For the body of an answer, as in the dispatcher: the outcome is known before it.
const BODY_TIMEOUT: Duration = Duration::from_millis(500);

/// What to do where a right signature was not taken.
const COMPARE: &str = "where the signature was refused, compare the secret, and verify the bytes of the body as \
                       they came, before anything parses them";

/// What to do where a forged webhook was taken.
const VERIFY: &str =
    "whoever knows the address can credit whom he likes, so verify one of the two signatures";

/// Where webhooks go, and what they carry beside hookline's own headers.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) url: Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// For the connection and the head of an answer.
    pub(super) timeout: Duration,
}

/// The checks of one receiver, under way.
#[derive(Debug)]
pub(super) struct Course {
    outbound: Outbound,
    receiver: Receiver,
    samples: Samples,
    clock: Clock,
    report: Report,
    connections: Connections,
}

/// What was seen of connections.
#[derive(Debug, Default)]
struct Connections {
    answers: usize,
    used: HashSet<SocketAddr>,
    /// Answers whose bodies were too long or too slow to be read.
    left_unread: usize,
}

impl Course {
    /// Prepares it; nothing is sent.
    pub(super) fn new(
        outbound: Outbound,
        receiver: Receiver,
        samples: Samples,
        clock: Clock,
        report: Report,
    ) -> Self {
        Self { outbound, receiver, samples, clock, report, connections: Connections::default() }
    }

    /// Makes all checks, and tells of each as soon as it is made.
    ///
    /// # Errors
    ///
    /// If the first request reaches nobody; nothing was told then.
    pub(super) async fn run(mut self) -> Result<Report, NoAnswer> {
        let payment = self.samples.payment(EventType::PaymentReceived);
        let envelope = self.signed(&payment);
        let first = match self.post(&payment, &envelope).await {
            Err(missing) if missing.is_unreachable() => return Err(missing),
            reaction => reaction,
        };
        let judgement = taken("a rightly signed PAYMENT_RECEIVED", COMPARE, &first);
        self.tell("payment_received", &payment, &first, judgement);
        let second = self.payment_failed().await;
        if is_taken(&first) || is_taken(&second) {
            let verified = self.forged().await;
            self.stale(verified).await;
            self.repeated(&payment, &envelope).await;
            self.out_of_order().await;
            self.rotated(verified).await;
            self.of_later_versions().await;
        } else {
            let says = "everything else: not asked, because what takes nothing that is rightly signed shows nothing \
                        by refusing";
            self.report.tell(Finding::of_no_request("the_rest", Judgement::info(says.to_owned())));
        }
        self.tell_of_connections();
        Ok(self.report)
    }

    async fn payment_failed(&mut self) -> Reaction {
        let failed = self.samples.payment(EventType::PaymentFailed);
        let envelope = self.signed(&failed);
        let reaction = self.post(&failed, &envelope).await;
        let judgement = taken("a rightly signed PAYMENT_FAILED", COMPARE, &reaction);
        self.tell("payment_failed", &failed, &reaction, judgement);
        reaction
    }

    /// Each under an id of its own: a receiver that knows an id already may take what it would refuse.
    async fn forged(&mut self) -> Verified {
        let unsigned = self.forge("unsigned", "no signature header at all", VERIFY, Envelope::unsigned).await;
        self.forge("wrong_signature", "two signatures that nobody made", VERIFY, Envelope::wrongly_signed)
            .await;

        let sample = self.samples.payment(EventType::PaymentReceived);
        let envelope = self.samples.sign_as_another(&sample, self.now());
        let reaction = self.post(&sample, &envelope).await;
        let judgement = refused("two signatures under another secret", VERIFY, &reaction);
        self.tell("foreign_secret", &sample, &reaction, judgement);

        let sample = self.samples.payment(EventType::PaymentReceived);
        let envelope = self.signed(&sample);
        let sample = with_another_sum(&sample);
        let reaction = self.post(&sample, &envelope).await;
        let otherwise = "any sum would be credited, so sign the bytes of the body as they came, and compare";
        let judgement = refused("a body whose sum was changed after it was signed", otherwise, &reaction);
        self.tell("changed_body", &sample, &reaction, judgement);

        self.which_is_verified(unsigned).await
    }

    /// A webhook whose signatures are not right; whether it was taken.
    async fn forge(
        &mut self,
        check: &'static str,
        what: &str,
        otherwise: &str,
        forge: fn(Envelope) -> Envelope,
    ) -> bool {
        let sample = self.samples.payment(EventType::PaymentReceived);
        let envelope = forge(self.signed(&sample));
        let reaction = self.post(&sample, &envelope).await;
        self.tell(check, &sample, &reaction, refused(what, otherwise, &reaction));
        is_taken(&reaction)
    }

    async fn which_is_verified(&mut self, takes_unsigned: bool) -> Verified {
        let izi = self.samples.payment(EventType::PaymentReceived);
        let envelope = self.signed(&izi).izi_alone();
        let izi_reaction = self.post(&izi, &envelope).await;
        let standard = self.samples.payment(EventType::PaymentReceived);
        let envelope = self.signed(&standard).standard_alone();
        let standard_reaction = self.post(&standard, &envelope).await;
        let verified = Verified {
            takes_unsigned,
            takes_izi_alone: is_taken(&izi_reaction),
            takes_standard_alone: is_taken(&standard_reaction),
        };
        let judgement = verified.tell_of("X-IZI-Signature", &izi_reaction);
        self.tell("izi_alone", &izi, &izi_reaction, judgement);
        let judgement = verified.tell_of("webhook-signature", &standard_reaction);
        self.tell("standard_alone", &standard, &standard_reaction, judgement);
        verified
    }

    async fn stale(&mut self, verified: Verified) {
        let now = self.now();
        for (check, what, timestamp) in [
            ("too_old", "a webhook of 10 minutes ago", now.saturating_sub(STALE)),
            ("from_the_future", "a webhook from 10 minutes ahead", now.saturating_add(STALE)),
        ] {
            let sample = self.samples.payment(EventType::PaymentReceived);
            let envelope = verified.what_binds_time(self.samples.sign(&sample, timestamp));
            let reaction = self.post(&sample, &envelope).await;
            self.tell(check, &sample, &reaction, verified.judge_time(what, &reaction));
        }
    }

    async fn repeated(&mut self, payment: &Sample, envelope: &Envelope) {
        let otherwise =
            "answer 2xx to an id that you know already, because hookline repeats what it got no answer to";
        let reaction = self.post(payment, envelope).await;
        let judgement = taken("the first webhook once more, to the byte", otherwise, &reaction);
        self.tell("replayed", payment, &reaction, judgement);

        let later = self.samples.sign(payment, envelope.timestamp.saturating_add(1));
        let reaction = self.post(payment, &later).await;
        let what = "the first webhook once more, with a new timestamp and signature";
        let mut judgement = taken(what, otherwise, &reaction);
        if judgement.verdict == Verdict::Ok {
            let once = format!(
                "; whether it was processed once can't be seen from here: look for exactly one credit for {}",
                payment.id
            );
            judgement.says.push_str(&once);
        }
        self.tell("duplicated", payment, &reaction, judgement);
    }

    async fn out_of_order(&mut self) {
        let (refund, payment) = self.samples.refund_and_payment();
        let otherwise = "order is best effort, so take what comes, and go by occurredAt, status and originalTransactionId";
        for (check, what, sample) in [
            ("refund_first", "a PAYMENT_REFUNDED before its PAYMENT_RECEIVED", refund),
            ("payment_second", "the PAYMENT_RECEIVED after its PAYMENT_REFUNDED", payment),
        ] {
            let envelope = self.signed(&sample);
            let reaction = self.post(&sample, &envelope).await;
            self.tell(check, &sample, &reaction, taken(what, otherwise, &reaction));
        }
    }

    async fn rotated(&mut self, verified: Verified) {
        let sample = self.samples.payment(EventType::PaymentReceived);
        let envelope = verified.what_binds_time(self.samples.sign_in_rotation(&sample, self.now()));
        let reaction = self.post(&sample, &envelope).await;
        let judgement =
            verified.judge_rotation("two signatures in webhook-signature, ours second", &reaction);
        self.tell("rotation", &sample, &reaction, judgement);
    }

    async fn of_later_versions(&mut self) {
        for (check, what, otherwise, sample) in [
            (
                "unknown_member",
                "a payload with members that you don't know",
                "later versions may add some, so ignore what you don't know",
                self.samples.with_unknown_members(),
            ),
            (
                "unknown_type",
                "an event of a type that you don't know",
                "answer 2xx to what you don't handle",
                self.samples.of_unknown_type(),
            ),
        ] {
            let envelope = self.signed(&sample);
            let reaction = self.post(&sample, &envelope).await;
            self.tell(check, &sample, &reaction, taken(what, otherwise, &reaction).at_most_advice());
        }
    }

    fn tell_of_connections(&mut self) {
        let Connections { answers, used, left_unread } = &self.connections;
        // One that was read a moment ago may not be free again yet, so a few more say nothing.
        let mut says = match used.len() {
            1 => format!("{answers} answers came over one connection: it keeps them alive"),
            used if used * 2 <= *answers => {
                format!("{answers} answers came over {used} connections: it keeps them alive")
            }
            used => format!(
                "{answers} answers came over {used} connections: it closes them, so that deliveries cost a new one \
                 each; keep them alive if you can"
            ),
        };
        if *left_unread > 0 {
            let unread = format!(
                "; {left_unread} bodies were longer than 64 KiB or slower than {BODY_TIMEOUT:?}, and hookline closes \
                 a connection whose answer it has not read"
            );
            says.push_str(&unread);
        }
        self.report.tell(Finding::of_no_request("connection", Judgement::info(says)));
    }

    fn tell(&mut self, check: &'static str, sample: &Sample, reaction: &Reaction, judgement: Judgement) {
        self.report.tell(Finding::new(check, &sample.id, reaction, judgement));
    }

    fn now(&self) -> u64 {
        self.clock.wall().unix_seconds()
    }

    /// Signs it rightly, now.
    fn signed(&self, sample: &Sample) -> Envelope {
        self.samples.sign(sample, self.now())
    }

    async fn post(&mut self, sample: &Sample, envelope: &Envelope) -> Reaction {
        let request = self.receiver.request(sample, envelope);
        let patience = Patience { head: self.receiver.timeout, body: BODY_TIMEOUT };
        let answer = self.outbound.send(request, patience).await?;
        self.connections.answers += 1;
        self.connections.used.extend(answer.connection);
        self.connections.left_unread += usize::from(!answer.is_whole);
        Ok(Answered { status: answer.response.status(), after: answer.after })
    }
}

impl Verified {
    /// Of both signatures the one that binds the time, where it is enough: the other would hide it.
    fn what_binds_time(self, envelope: Envelope) -> Envelope {
        let is_enough = !self.takes_unsigned && self.takes_standard_alone;
        if is_enough { envelope.standard_alone() } else { envelope }
    }
}

impl Receiver {
    /// The request as the dispatcher makes it.
    fn request(&self, sample: &Sample, envelope: &Envelope) -> Request<Full<bytes::Bytes>> {
        let mut request = Request::new(Full::new(sample.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        headers.extend(self.headers.iter().cloned());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("webhook-timestamp", HeaderValue::from(envelope.timestamp));
        let values = [
            ("webhook-id", Some(sample.id.as_str())),
            ("webhook-signature", envelope.standard.as_deref()),
            ("x-izi-signature", envelope.izi.as_deref()),
        ];
        for (name, value) in values {
            // Ids and signatures are letters, digits and a few marks.
            if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
                headers.insert(name, value);
            }
        }
        request
    }
}
