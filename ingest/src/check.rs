//! The rules of Check: may this be paid? Pure; the first rule that matches decides.
//!
//! What can't be understood is never approved. Amounts are compared with Amount and Currency, the parameters
//! of the payment, not with what the card was charged.

use hookline_schemas::check::{Client, TopUp};
use hookline_schemas::gateway::{Acceptance, CheckPolicy};
use hookline_schemas::money::Amount;
use hookline_schemas::notification::{Field, Fields, has_fields_of_a_payment};
use hookline_schemas::time::Timestamp;

/// The answer to a Check. Source: CloudPayments' table of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CheckCode {
    /// 0: go on.
    MayBePaid,
    /// 10: no such order.
    WrongInvoice,
    /// 11: no such client.
    WrongAccount,
    /// 12: not this sum.
    WrongAmount,
    /// 13: cannot be accepted.
    NotAccepted,
    /// 20: the order has expired; the payer is told so.
    Expired,
}

impl CheckCode {
    /// Every code, for the table of metrics.
    pub(crate) const ALL: [Self; 6] = [
        Self::MayBePaid,
        Self::WrongInvoice,
        Self::WrongAccount,
        Self::WrongAmount,
        Self::NotAccepted,
        Self::Expired,
    ];

    /// The number, as a metric label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::MayBePaid => "0",
            Self::WrongInvoice => "10",
            Self::WrongAccount => "11",
            Self::WrongAmount => "12",
            Self::NotAccepted => "13",
            Self::Expired => "20",
        }
    }

    /// The body of the answer.
    pub(crate) const fn body(self) -> &'static [u8] {
        match self {
            Self::MayBePaid => br#"{"code":0}"#,
            Self::WrongInvoice => br#"{"code":10}"#,
            Self::WrongAccount => br#"{"code":11}"#,
            Self::WrongAmount => br#"{"code":12}"#,
            Self::NotAccepted => br#"{"code":13}"#,
            Self::Expired => br#"{"code":20}"#,
        }
    }
}

/// What is known about a Check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// What the gateway accepts.
    pub(crate) policy: &'a CheckPolicy,
    /// The client that AccountId names.
    pub(crate) client: Option<&'a Client>,
    /// The top-up that InvoiceId names.
    pub(crate) top_up: Option<&'a TopUp>,
    /// The time.
    pub(crate) now: Timestamp,
}

/// Whether a body that came as a Check is that of a made payment, a Fail or a Refund, which must not be
/// swallowed as a Check.
pub(crate) fn is_type_conflict(fields: &Fields<'_>) -> bool {
    let of_a_fail_or_refund = [Field::ReasonCode, Field::PaymentTransactionId];
    has_fields_of_a_payment(fields)
        || of_a_fail_or_refund.into_iter().any(|field| fields.text(field).is_some())
        || fields.text(Field::Status) == Some("Declined")
}

/// Answers a Check.
pub(crate) fn answer(fields: &Fields<'_>, known: Known<'_>) -> CheckCode {
    let Known { policy, client, top_up, now } = known;
    let refuses = |acceptance| acceptance == Acceptance::Refuse;
    let account = fields.text(Field::AccountId);
    let invoice = fields.text(Field::InvoiceId);

    if policy.paused || client.is_some_and(|client| client.blocked) {
        return CheckCode::NotAccepted;
    }
    let Some(is_test) = test_mode(fields) else { return CheckCode::NotAccepted };
    if !is_payment(fields) || (is_test && refuses(policy.test_payments)) {
        return CheckCode::NotAccepted;
    }
    let named_by_top_up = top_up.is_some_and(|top_up| top_up.client_id.as_deref() == account);
    let account_is_known = account.is_some() && (client.is_some() || named_by_top_up);
    if !account_is_known && refuses(policy.unknown_clients) {
        return CheckCode::WrongAccount;
    }
    if is_another_clients(top_up, account) {
        return CheckCode::WrongAccount;
    }
    let subscription = fields.text(Field::SubscriptionId);
    let invoice_acceptance = match (invoice, top_up, subscription) {
        (Some(_), Some(_), _) => Acceptance::Accept,
        (Some(_), None, _) => policy.unknown_invoices,
        (None, _, Some(_)) => policy.subscription_charges,
        (None, _, None) => policy.without_invoice,
    };
    if refuses(invoice_acceptance) {
        return CheckCode::WrongInvoice;
    }
    if top_up.is_some_and(|top_up| top_up.paid) {
        return CheckCode::NotAccepted;
    }
    if top_up.and_then(|top_up| top_up.expires_at).is_some_and(|expires_at| expires_at <= now) {
        return CheckCode::Expired;
    }
    match fields.parse::<Amount>(Field::Amount) {
        None => CheckCode::NotAccepted,
        Some(amount) if sum_fits(amount, fields.text(Field::Currency), policy, top_up) => {
            CheckCode::MayBePaid
        }
        Some(_) => CheckCode::WrongAmount,
    }
}

/// A top-up names its client: nobody else pays it by mistake. A payment without AccountId is let through to
/// the other rules, because the payment form need not pass one.
fn is_another_clients(top_up: Option<&TopUp>, account: Option<&str>) -> bool {
    match (top_up.and_then(|top_up| top_up.client_id.as_deref()), account) {
        (Some(owner), Some(account)) => owner != account,
        _ => false,
    }
}

/// Whether it is a test; `None` where nobody can tell.
fn test_mode(fields: &Fields<'_>) -> Option<bool> {
    match fields.text(Field::TestMode) {
        None => Some(false),
        Some(text) if text == "0" || text.eq_ignore_ascii_case("false") => Some(false),
        Some(_) => fields.flag(Field::TestMode).then_some(true),
    }
}

fn is_payment(fields: &Fields<'_>) -> bool {
    matches!(fields.text(Field::OperationType), None | Some("Payment"))
        && fields.parse::<u64>(Field::TransactionId).is_some_and(|id| id > 0)
}

fn sum_fits(amount: Amount, currency: Option<&str>, policy: &CheckPolicy, top_up: Option<&TopUp>) -> bool {
    let as_topped_up =
        top_up.is_none_or(|top_up| top_up.amount == amount && currency == Some(top_up.currency.as_str()));
    let in_currency = policy.currency.as_deref().is_none_or(|only| currency == Some(only));
    let in_limits = policy.min_amount.is_none_or(|least| amount >= least)
        && policy.max_amount.is_none_or(|most| amount <= most);
    as_topped_up && in_currency && in_limits
}

#[cfg(test)]
mod tests {
    use hookline_schemas::notification::{BodyFormat, read_fields};

    use super::*;

    fn policy() -> CheckPolicy {
        CheckPolicy {
            paused: false,
            test_payments: Acceptance::Accept,
            unknown_clients: Acceptance::Refuse,
            unknown_invoices: Acceptance::Refuse,
            without_invoice: Acceptance::Refuse,
            subscription_charges: Acceptance::Accept,
            max_amount: "5000.00".parse().ok(),
            min_amount: None,
            currency: None,
        }
    }

    fn top_up() -> TopUp {
        TopUp {
            amount: "100.00".parse().expect("a sum"),
            currency: "RUB".to_owned(),
            client_id: Some("c-1".to_owned()),
            club_id: None,
            expires_at: Some(Timestamp(2_000)),
            paid: false,
        }
    }

    fn code(body: &str, policy: &CheckPolicy, client: Option<&Client>, top_up: Option<&TopUp>) -> CheckCode {
        let fields = read_fields(BodyFormat::Form, body.as_bytes()).expect("a form");
        answer(&fields, Known { policy, client, top_up, now: Timestamp(1_000) })
    }

    const BODY: &str = "TransactionId=1&Amount=100.00&Currency=RUB&AccountId=c-1&InvoiceId=i-1&TestMode=0";

    #[test]
    fn each_rule_answers_with_its_code() {
        use CheckCode::{Expired, MayBePaid, NotAccepted, WrongAccount, WrongAmount, WrongInvoice};
        let known = Client { blocked: false };
        let blocked = Client { blocked: true };
        let paid = TopUp { paid: true, ..top_up() };
        let expired = TopUp { expires_at: Some(Timestamp(1_000)), ..top_up() };
        let paused = CheckPolicy { paused: true, ..policy() };
        let no_tests = CheckPolicy { test_payments: Acceptance::Refuse, ..policy() };
        let no_charges = CheckPolicy { subscription_charges: Acceptance::Refuse, ..policy() };
        let roubles = CheckPolicy { currency: Some("RUB".to_owned()), ..policy() };
        let charge = "TransactionId=1&Amount=100.00&Currency=RUB&AccountId=c-1&SubscriptionId=sc_1";
        let top_up = top_up();
        type Row<'a> = (&'a str, &'a CheckPolicy, Option<&'a Client>, Option<&'a TopUp>, CheckCode);
        let rows: [Row<'_>; 23] = [
            (BODY, &policy(), Some(&known), Some(&top_up), MayBePaid),
            (BODY, &policy(), None, Some(&top_up), MayBePaid),
            (BODY, &paused, Some(&known), Some(&top_up), NotAccepted),
            (BODY, &policy(), Some(&blocked), Some(&top_up), NotAccepted),
            (&BODY.replace("TestMode=0", "TestMode=1"), &no_tests, Some(&known), Some(&top_up), NotAccepted),
            (&BODY.replace("TestMode=0", "TestMode=1"), &policy(), Some(&known), Some(&top_up), MayBePaid),
            (
                &BODY.replace("TestMode=0", "TestMode=maybe"),
                &policy(),
                Some(&known),
                Some(&top_up),
                NotAccepted,
            ),
            (&BODY.replace("c-1", "c-2"), &policy(), None, Some(&top_up), WrongAccount),
            (&BODY.replace("c-1", "c-2"), &policy(), Some(&known), Some(&top_up), WrongAccount),
            (&BODY.replace("c-1", ""), &policy(), None, Some(&top_up), WrongAccount),
            (BODY, &policy(), Some(&known), None, WrongInvoice),
            (&BODY.replace("i-1", ""), &policy(), Some(&known), None, WrongInvoice),
            (charge, &policy(), Some(&known), None, MayBePaid),
            (charge, &no_charges, Some(&known), None, WrongInvoice),
            (BODY, &policy(), Some(&known), Some(&paid), NotAccepted),
            (BODY, &policy(), Some(&known), Some(&expired), Expired),
            (&BODY.replace("100.00", "100.01"), &policy(), Some(&known), Some(&top_up), WrongAmount),
            (&BODY.replace("RUB", "KZT"), &policy(), Some(&known), Some(&top_up), WrongAmount),
            (
                &BODY.replace("Amount=100.00", "Amount=100.0"),
                &policy(),
                Some(&known),
                Some(&top_up),
                MayBePaid,
            ),
            (&charge.replace("100.00", "5000.01"), &policy(), Some(&known), None, WrongAmount),
            (&charge.replace("RUB", "KZT"), &roubles, Some(&known), None, WrongAmount),
            (&charge.replace("100.00", "1e2"), &policy(), Some(&known), None, NotAccepted),
            (
                &format!("{BODY}&OperationType=CardPayout"),
                &policy(),
                Some(&known),
                Some(&top_up),
                NotAccepted,
            ),
        ];
        for (body, policy, client, top_up, expected) in rows {
            assert_eq!(
                code(body, policy, client, top_up),
                expected,
                "{body} {policy:?} {client:?} {top_up:?}"
            );
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let paid_and_expired = TopUp {
            paid: true,
            expires_at: Some(Timestamp(1)),
            amount: "1.00".parse().expect("a sum"),
            ..top_up()
        };
        let expired_and_wrong = TopUp { paid: false, ..paid_and_expired.clone() };
        let known = Client { blocked: false };
        assert_eq!(code(BODY, &policy(), Some(&known), Some(&paid_and_expired)), CheckCode::NotAccepted);
        assert_eq!(code(BODY, &policy(), Some(&known), Some(&expired_and_wrong)), CheckCode::Expired);
        assert_eq!(code(BODY, &policy(), None, None), CheckCode::WrongAccount);
    }

    #[test]
    fn payment_amount_does_not_count() {
        let known = Client { blocked: false };
        let body = format!("{BODY}&PaymentAmount=1.00&PaymentCurrency=USD");
        assert_eq!(code(&body, &policy(), Some(&known), Some(&top_up())), CheckCode::MayBePaid);
    }
}
