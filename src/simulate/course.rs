//! What is posted for the n-th payment. Pure: arguments, a number and a time give the notifications.

use std::time::Duration;

use hookline_load_tests::fixtures::{Encoding, Fixture, Shape, Subject, Terms};
use hookline_schemas::money::Amount;
use hookline_schemas::notification::NotificationType;
use hookline_schemas::time::Timestamp;

/// The types that can be asked for: those of CloudPayments' handbook.
pub(super) const TYPES: [NotificationType; 7] = [
    NotificationType::Check,
    NotificationType::Pay,
    NotificationType::Fail,
    NotificationType::Confirm,
    NotificationType::Refund,
    NotificationType::Cancel,
    NotificationType::Recurrent,
];

/// Transactions per payment that are kept free: its own, and a refund's.
const TRANSACTIONS_PER_PAYMENT: u64 = 4;

/// What payments are made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// What is posted for each; empty: the whole course of a payment.
    pub(super) types: Vec<NotificationType>,
    /// Whether the money is held first.
    pub(super) two_stage: bool,
    /// How many of a hundred payments fail.
    pub(super) fail_percent: u8,
    /// The first payment's transaction; the next ones follow.
    pub(super) first_transaction: u64,
    /// Each payment has one of its own without it.
    pub(super) invoice_id: Option<String>,
    pub(super) account_id: String,
    pub(super) amount: Amount,
    pub(super) currency: String,
    /// Whether the site is in test mode.
    pub(super) test: bool,
}

impl Plan {
    /// The notifications of the payment with this number, which happens now, in order.
    pub(super) fn notifications(&self, number: u64, now: Timestamp) -> Vec<Fixture> {
        let offset = number.saturating_mul(TRANSACTIONS_PER_PAYMENT);
        let transaction_id = self.first_transaction.saturating_add(offset);
        let invoice_id = self.invoice_id.clone().unwrap_or_else(|| format!("simulated-{transaction_id}"));
        let account_id = self.account_id.clone();
        let subject =
            Subject { transaction_id, invoice_id, account_id, amount: self.amount, occurred_at: now };
        let terms = Terms {
            currency: Some(self.currency.clone()),
            test_mode: Some(self.test),
            two_stage: self.two_stage,
        };
        let types = if self.types.is_empty() { self.whole_course(number) } else { self.types.clone() };
        let shapes = types.into_iter().map(|kind| self.shape(kind));
        shapes.map(|shape| Fixture::on_terms(shape, &subject, &terms, Encoding::LowerCase)).collect()
    }

    fn whole_course(&self, number: u64) -> Vec<NotificationType> {
        let mut types = vec![NotificationType::Check];
        match (self.fails(number), self.two_stage) {
            (true, _) => types.push(NotificationType::Fail),
            (false, true) => types.extend([NotificationType::Pay, NotificationType::Confirm]),
            (false, false) => types.push(NotificationType::Pay),
        }
        types
    }

    /// Failures are spread evenly, so that a hundred payments in a row have exactly as many as was asked for.
    fn fails(&self, number: u64) -> bool {
        let failed_before = |number: u64| number.saturating_mul(u64::from(self.fail_percent)) / 100;
        failed_before(number.saturating_add(1)) > failed_before(number)
    }

    fn shape(&self, kind: NotificationType) -> Shape {
        match kind {
            NotificationType::Check => Shape::Check,
            NotificationType::Pay if self.two_stage => Shape::PayAuthorized,
            NotificationType::Pay if self.test => Shape::PayInTestMode,
            NotificationType::Pay => Shape::Pay2026,
            NotificationType::Fail => Shape::Fail,
            NotificationType::Confirm => Shape::Confirm,
            NotificationType::Refund => Shape::Refund,
            NotificationType::Cancel => Shape::Cancel,
            NotificationType::Recurrent => Shape::Recurrent,
            NotificationType::Receipt => Shape::Receipt,
            NotificationType::Kkt => Shape::Kkt,
            NotificationType::SbpToken => Shape::SbpToken,
        }
    }
}

/// A transaction number that no run before has used: thousands of milliseconds since 1970.
pub(super) fn fresh_transaction(now: Timestamp) -> u64 {
    u64::try_from(now.since(Timestamp(0)).as_micros()).unwrap_or(u64::MAX)
}

/// When the payment with this number is due, counted from the first.
pub(super) fn due(number: u64, per_second: u32) -> Duration {
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            types: Vec::new(),
            two_stage: false,
            fail_percent: 0,
            first_transaction: 1_779_972_943_000_000,
            invoice_id: None,
            account_id: "client-1".to_owned(),
            amount: "100.00".parse().expect("a sum"),
            currency: "KZT".to_owned(),
            test: false,
        }
    }

    fn bodies(plan: &Plan, number: u64) -> Vec<(NotificationType, String)> {
        let fixtures = plan.notifications(number, Timestamp(1_779_972_943_000));
        let body = |fixture: &Fixture| String::from_utf8(fixture.body.to_vec()).expect("ASCII");
        fixtures.iter().map(|fixture| (fixture.kind(), body(fixture))).collect()
    }

    #[test]
    fn a_payment_takes_its_course() {
        use NotificationType::{Check, Confirm, Fail, Pay, Refund};
        let failing = Plan { fail_percent: 100, ..plan() };
        let two_stage = Plan { two_stage: true, ..plan() };
        let named = Plan { types: vec![Pay, Refund], ..plan() };
        for (plan, expected) in [
            (plan(), vec![(Check, "Completed"), (Pay, "Completed")]),
            (two_stage, vec![(Check, "Authorized"), (Pay, "Authorized"), (Confirm, "Completed")]),
            (failing, vec![(Check, "Completed"), (Fail, "Declined")]),
            (named, vec![(Pay, "Completed"), (Refund, "")]),
        ] {
            let bodies = bodies(&plan, 0);
            let kinds: Vec<_> = bodies.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, expected.iter().map(|(kind, _)| *kind).collect::<Vec<_>>());
            for ((kind, body), (_, status)) in bodies.iter().zip(expected) {
                assert!(status.is_empty() || body.contains(&format!("&Status={status}&")), "{kind}: {body}");
            }
        }
    }

    #[test]
    fn what_was_asked_for_stands_in_the_bodies() {
        let plan = Plan { invoice_id: Some("order 7".to_owned()), test: true, ..plan() };
        for (kind, body) in bodies(&plan, 3) {
            for part in [
                "TransactionId=1779972943000012&Amount=100.00&Currency=KZT&PaymentAmount=100.00&PaymentCurrency=KZT&",
                "InvoiceId=order+7&AccountId=client-1&",
                "DateTime=2026-05-28+12%3a55%3a43&",
                "TestMode=1",
            ] {
                assert!(body.contains(part), "{kind}: {part} in {body}");
            }
        }
        assert_ne!(bodies(&self::plan(), 0), bodies(&self::plan(), 1));
    }

    #[test]
    fn as_many_payments_fail_as_was_asked_for() {
        for percent in [0, 1, 10, 33, 99, 100] {
            let plan = Plan { fail_percent: percent, ..plan() };
            let failed = (0..100).filter(|number| plan.fails(*number)).count();
            assert_eq!(failed, usize::from(percent));
        }
    }

    #[test]
    fn payments_are_due_at_their_rate() {
        for (number, per_second, millis) in [(0, 5, 0), (1, 5, 200), (50, 5, 10_000), (3, 0, 3000)] {
            assert_eq!(due(number, per_second), Duration::from_millis(millis));
        }
    }
}
