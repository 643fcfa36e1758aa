//! What is posted for the n-th payment: a pure function of the seed and n, so that the same seed gives the
//! same notifications, whatever the order in which workers take them.

use std::sync::Arc;
use std::time::Duration;

use hookline_schemas::ids::{GatewayId, WebhookId};
use hookline_schemas::money::Amount;
use hookline_schemas::notification::NotificationType;
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::fixtures::{Encoding, Fixture, Shape, Subject};

/// Transactions per payment that are kept free: its own, and a refund's.
const TRANSACTIONS_PER_PAYMENT: u64 = 4;
/// The time that the first payment carries: 2026-05-28 12:00:00 UTC.
const FIRST_OCCURRED_AT: Timestamp = Timestamp(1_779_969_600_000);

/// What happens to one payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Story {
    /// Check, Pay, in one of the shapes that a card or SberPay gives.
    Purchase,
    /// Check and Pay of an automatic charge.
    SubscriptionCharge,
    /// Check, Pay (authorized), Confirm.
    TwoStage,
    /// Check, Pay (authorized), Cancel.
    Released,
    /// Check, Pay (completed), Confirm: two notifications of one event.
    ConfirmedTwice,
    /// Check, Fail.
    Declined,
    /// Check, Pay, Refund.
    Refunded,
    /// A subscription changed its status.
    Subscription,
    /// A receipt.
    Receipt,
    /// A cash register's state.
    CashRegister,
    /// An SBP account was bound.
    SbpBinding,
    /// Check, and the payer goes away.
    Abandoned,
}

/// How often each story happens, by weight.
#[derive(Debug, Clone)]
pub struct Mix(pub Vec<(Story, u32)>);

impl Mix {
    /// Purchases mostly, and some of everything else.
    pub fn everything() -> Self {
        Self(vec![
            (Story::Purchase, 60),
            (Story::SubscriptionCharge, 8),
            (Story::TwoStage, 6),
            (Story::Released, 2),
            (Story::ConfirmedTwice, 2),
            (Story::Declined, 12),
            (Story::Refunded, 4),
            (Story::Subscription, 2),
            (Story::Receipt, 2),
            (Story::CashRegister, 1),
            (Story::SbpBinding, 1),
        ])
    }

    /// Checks alone.
    pub fn checks() -> Self {
        Self(vec![(Story::Abandoned, 1)])
    }

    /// Received and failed payments alone: each is one event of a type that every webhook asks for.
    pub fn received_and_failed() -> Self {
        Self(vec![(Story::Purchase, 80), (Story::SubscriptionCharge, 10), (Story::Declined, 10)])
    }

    fn pick(&self, random: &mut StdRng) -> Story {
        let total: u32 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut left = random.random_range(0..total.max(1));
        for (story, weight) in &self.0 {
            match left.checked_sub(*weight) {
                None => return *story,
                Some(rest) => left = rest,
            }
        }
        Story::Purchase
    }
}

/// One of several sites for which payments are posted, whose events go to one webhook alone.
#[derive(Debug, Clone)]
pub struct Site {
    /// The gateway in the typed URLs.
    pub gateway_id: GatewayId,
    /// Its public id, part of every event's identity.
    pub public_id: String,
    /// The API secret to sign with; no other site has it.
    pub api_secret: Secret,
    /// The only one of its organization.
    pub webhook: WebhookId,
}

/// The part of the simulator's options that decides what is posted.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The same seed gives the same notifications.
    pub seed: u64,
    /// Which stories.
    pub mix: Mix,
    /// The transaction of the first payment; the next ones follow. By default just below 2^32, so that a run
    /// crosses it.
    pub first_transaction_id: u64,
    /// The share of notifications that is posted at the shared URL, 0 to 1.
    pub shared_url_share: f64,
    /// The share of accepted notifications that is posted once more, at the other URL, 0 to 1.
    pub duplicate_share: f64,
    /// The longest time between a Check and what follows; the actual one is random.
    pub longest_payer_delay: Duration,
    /// Payments take turns with these sites. Where there are none, every payment is the target's own.
    pub sites: Arc<[Site]>,
}

impl PlanOptions {
    /// The site of the payment with this number, if it is not the target's own.
    pub fn site(&self, number: u64) -> Option<&Site> {
        let turn = usize::try_from(number).unwrap_or_default().checked_rem(self.sites.len())?;
        self.sites.get(turn)
    }
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            mix: Mix::everything(),
            first_transaction_id: 4_294_960_000,
            shared_url_share: 0.2,
            duplicate_share: 0.02,
            longest_payer_delay: Duration::ZERO,
            sites: Arc::default(),
        }
    }
}

/// Where a notification is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackUrl {
    /// The URL of the gateway and the type.
    Typed,
    /// The URL that all gateways and types share.
    Shared,
}

impl CallbackUrl {
    /// Its path at hookline's edge.
    pub fn path(self, gateway: &GatewayId, kind: NotificationType) -> String {
        match self {
            Self::Typed => format!("/payments/cloudpayments/{gateway}/{kind}"),
            Self::Shared => "/payments/cloudpayments/callback".to_owned(),
        }
    }
}

/// One notification of a payment.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is posted.
    pub fixture: Fixture,
    /// Where.
    pub url: CallbackUrl,
    /// Where it is posted once more after it was accepted, if it is.
    pub again: Option<CallbackUrl>,
}

/// All of one payment. A step begins when the one before it is over.
#[derive(Debug, Clone)]
pub struct Payment {
    /// Its number.
    pub number: u64,
    /// The Check; refused or unanswered, nothing follows.
    pub check: Option<Step>,
    /// How long the payer takes after the Check.
    pub payer_delay: Duration,
    /// What follows.
    pub steps: Vec<Step>,
}

/// The payment with this number.
pub fn payment(options: &PlanOptions, number: u64) -> Payment {
    // An odd multiplier keeps neighbouring numbers apart and never merges two.
    let mut random = StdRng::seed_from_u64(options.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let story = options.mix.pick(&mut random);
    let subject = subject(options, number, &mut random);
    let encoding = match random.random_range(0..10) {
        0 => Encoding::Json,
        1..=2 => Encoding::UpperCase,
        _ => Encoding::LowerCase,
    };
    let (check, shapes) = script(story, &mut random);
    let mut step = |shape: Shape| {
        let shared = shape.fits_shared_url() && random.random_bool(options.shared_url_share.clamp(0.0, 1.0));
        let again = random.random_bool(options.duplicate_share.clamp(0.0, 1.0));
        let url = if shared { CallbackUrl::Shared } else { CallbackUrl::Typed };
        let other = match url {
            CallbackUrl::Typed if shape.fits_shared_url() => CallbackUrl::Shared,
            CallbackUrl::Typed | CallbackUrl::Shared => CallbackUrl::Typed,
        };
        Step { fixture: Fixture::new(shape, &subject, encoding), url, again: again.then_some(other) }
    };
    let check = check.map(&mut step);
    let steps = shapes.iter().copied().map(&mut step).collect();
    let longest_delay = u64::try_from(options.longest_payer_delay.as_micros()).unwrap_or(u64::MAX);
    let payer_delay = Duration::from_micros(random.random_range(0..=longest_delay));
    Payment { number, check, payer_delay, steps }
}

fn script(story: Story, random: &mut StdRng) -> (Option<Shape>, Vec<Shape>) {
    let check = Some(Shape::Check);
    match story {
        Story::Purchase => {
            let shape = match random.random_range(0..10) {
                0 => Shape::Pay2015,
                1 => Shape::PayInTestMode,
                2..=3 => Shape::PayBySber,
                _ => Shape::Pay2026,
            };
            (check, vec![shape])
        }
        Story::SubscriptionCharge => (Some(Shape::CheckOfSubscription), vec![Shape::PayBySubscription]),
        Story::TwoStage => (check, vec![Shape::PayAuthorized, Shape::Confirm]),
        Story::Released => (check, vec![Shape::PayAuthorized, Shape::Cancel]),
        Story::ConfirmedTwice => (check, vec![Shape::Pay2026, Shape::Confirm]),
        Story::Declined => (check, vec![Shape::Fail]),
        Story::Refunded => (check, vec![Shape::Pay2026, Shape::Refund]),
        Story::Subscription => (None, vec![Shape::Recurrent]),
        Story::Receipt => (None, vec![Shape::Receipt]),
        Story::CashRegister => (None, vec![Shape::Kkt]),
        Story::SbpBinding => (None, vec![Shape::SbpToken]),
        Story::Abandoned => (check, Vec::new()),
    }
}

/// What the payment with this number is about.
#[expect(clippy::expect_used, reason = "digits, a dot and two digits are a sum")]
pub(crate) fn subject(options: &PlanOptions, number: u64, random: &mut StdRng) -> Subject {
    let kopecks = random.random_range(100_u64..1_000_000);
    let amount: Amount = format!("{}.{:02}", kopecks / 100, kopecks % 100).parse().expect("a sum");
    let offset = number.saturating_mul(TRANSACTIONS_PER_PAYMENT);
    Subject {
        transaction_id: options.first_transaction_id.saturating_add(offset),
        invoice_id: format!("order-{number}"),
        account_id: format!("client-{}", number % 5000),
        amount,
        occurred_at: FIRST_OCCURRED_AT.after(Duration::from_secs(number)),
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn bodies(options: &PlanOptions, number: u64) -> Vec<(Vec<u8>, CallbackUrl, Option<CallbackUrl>)> {
        let payment = payment(options, number);
        let steps = payment.check.into_iter().chain(payment.steps);
        steps.map(|step| (step.fixture.body.to_vec(), step.url, step.again)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_notifications() {
        let one = PlanOptions::default();
        let other = PlanOptions { seed: 2, ..PlanOptions::default() };
        let run = |options: &PlanOptions| (0..200).map(|number| bodies(options, number)).collect::<Vec<_>>();
        assert_eq!(run(&one), run(&one));
        assert_ne!(run(&one), run(&other));
    }

    #[test]
    fn every_shape_occurs_and_no_event_or_transaction_belongs_to_two_payments() {
        let options = PlanOptions::default();
        let mut owners = HashMap::new();
        let mut transactions = HashMap::new();
        let mut shapes = std::collections::HashSet::new();
        for number in 0..2000 {
            let payment = payment(&options, number);
            for step in payment.check.iter().chain(&payment.steps) {
                shapes.insert(step.fixture.shape);
                let transaction = step.fixture.transaction_id;
                if transaction != 0 {
                    assert_eq!(*transactions.entry(transaction).or_insert(number), number);
                }
                if let Some(id) = step.fixture.event_id("pk_1") {
                    assert_eq!(*owners.entry(id).or_insert(number), number);
                }
            }
        }
        assert_eq!(shapes.len(), Shape::ALL.len());
    }

    #[test]
    fn what_fields_can_not_tell_apart_is_posted_at_typed_urls_alone() {
        let options = PlanOptions { shared_url_share: 1.0, duplicate_share: 1.0, ..PlanOptions::default() };
        for number in 0..500 {
            for step in payment(&options, number).steps {
                let expected = match step.fixture.shape.fits_shared_url() {
                    true => (CallbackUrl::Shared, Some(CallbackUrl::Typed)),
                    false => (CallbackUrl::Typed, Some(CallbackUrl::Typed)),
                };
                assert_eq!((step.url, step.again), expected, "{:?}", step.fixture.shape);
            }
        }
    }

    #[test]
    fn payments_take_turns_with_the_sites() {
        let site = |number: u32| Site {
            gateway_id: GatewayId::new(format!("gw_{number}")),
            public_id: format!("pk_{number}"),
            api_secret: Secret::new("api-secret"),
            webhook: WebhookId::new(format!("wh_{number}")),
        };
        let options = PlanOptions { sites: (0..3).map(site).collect(), ..PlanOptions::default() };
        let turns: Vec<&str> =
            (0..5).filter_map(|number| Some(options.site(number)?.public_id.as_str())).collect();
        assert_eq!(turns, ["pk_0", "pk_1", "pk_2", "pk_0", "pk_1"]);
        assert!(PlanOptions::default().site(7).is_none());
    }

    #[test]
    fn weights_decide_how_often() {
        let mix = Mix(vec![(Story::Purchase, 3), (Story::Receipt, 0), (Story::Declined, 1)]);
        let mut random = StdRng::seed_from_u64(7);
        let mut counts: HashMap<Story, u32> = HashMap::new();
        (0..4000).for_each(|_| *counts.entry(mix.pick(&mut random)).or_default() += 1);
        assert_eq!(counts.get(&Story::Receipt), None);
        assert!((2800..3200).contains(&counts[&Story::Purchase]), "{counts:?}");
    }
}
