//! Payments against what could be told of them: any order, any number of times.

use proptest::prelude::*;

use super::*;
use crate::event::{Source, from_notification};
use crate::gateway::{CheckPolicy, Gateway};
use crate::ids::RefundId;
use crate::notification::{BodyFormat, NotificationType, read_fields};

fn amount(text: &str) -> Amount {
    text.parse().expect("a sum")
}

/// The event of a notification about transaction 700 (for a refund: of that one), accepted at this second.
fn told(kind: NotificationType, rest: &str, second: u64) -> Event {
    let gateway = Gateway {
        id: GatewayId::new("gw_1"),
        organization: OrganizationId::new("org_1"),
        public_id: "pk_1".to_owned(),
        api_secrets: Vec::new(),
        default_club: ClubId::new("club_1"),
        shared_url: false,
        policy: CheckPolicy::lenient(),
    };
    let number = if kind == NotificationType::Refund { "" } else { "TransactionId=700&" };
    let body = format!("{number}InvoiceId=top_1&AccountId=client_1&DateTime=2026-05-28+12:55:43&{rest}");
    let fields = read_fields(BodyFormat::Form, body.as_bytes()).expect("a form");
    from_notification(Source {
        gateway: &gateway,
        kind,
        format: BodyFormat::Form,
        body: body.as_bytes(),
        fields: &fields,
        top_up_club: None,
        accepted_at: Timestamp(1_800_000_000_000 + second * 1_000),
    })
    .expect("it is understood")
}

fn held(sum: &str) -> Event {
    told(NotificationType::Pay, &format!("Amount={sum}&Currency=RUB&Status=Authorized&TestMode=0"), 1)
}

fn paid(sum: &str) -> Event {
    told(NotificationType::Pay, &format!("Amount={sum}&Currency=RUB&Status=Completed&TestMode=0"), 2)
}

fn confirmed(sum: &str) -> Event {
    told(NotificationType::Confirm, &format!("Amount={sum}&Currency=RUB&Status=Completed&TestMode=0"), 3)
}

fn cancelled(sum: &str) -> Event {
    told(NotificationType::Cancel, &format!("Amount={sum}"), 4)
}

fn failed() -> Event {
    let rest =
        "Amount=100.00&Currency=RUB&Status=Declined&Reason=InsufficientFunds&ReasonCode=5051&TestMode=0";
    told(NotificationType::Fail, rest, 5)
}

fn refunded(transaction: u64, sum: &str, status: &str) -> Event {
    let rest = format!("TransactionId={transaction}&PaymentTransactionId=700&Amount={sum}&Status={status}");
    told(NotificationType::Refund, &rest, 6)
}

/// The payment once these have been taken in this order.
fn after(events: &[&Event]) -> PaymentRecord {
    let place = |event: &Event| {
        // The same event has the same place, whenever it is taken.
        EventPlace { partition: 1, offset: event.accepted_at.0 }
    };
    let (first, rest) = events.split_first().expect("an event");
    let mut payment = PaymentRecord::begun_by(first, place(first)).expect("a payment");
    for event in rest {
        let _ = payment.take(event, place(event));
    }
    payment
}

fn request(id: &str, sum: Option<&str>) -> RefundRequest {
    RefundRequest {
        id: RefundId::new(id),
        amount: sum.map(amount),
        requested_by: "user_1".to_owned(),
        reason: None,
        at: Timestamp(1_800_000_100_000),
    }
}

#[test]
fn the_status_follows_from_what_was_told() {
    use PaymentStatus::{Authorized, Cancelled, Confirmed, Failed, Pending};
    let (hold, pay, capture) = (held("100.00"), paid("100.00"), confirmed("60.00"));
    let (cancel, fail, refund) = (cancelled("100.00"), failed(), refunded(900, "10.00", ""));
    for (events, status, sum, credited) in [
        (vec![&hold], Authorized, Some("100.00"), "0"),
        (vec![&pay], Confirmed, Some("100.00"), "100.00"),
        (vec![&hold, &capture], Confirmed, Some("60.00"), "60.00"),
        (vec![&pay, &capture], Confirmed, Some("60.00"), "60.00"),
        (vec![&hold, &cancel], Cancelled, Some("100.00"), "0"),
        (vec![&hold, &capture, &cancel], Cancelled, Some("60.00"), "0"),
        (vec![&fail], Failed, Some("100.00"), "0"),
        (vec![&fail, &pay], Confirmed, Some("100.00"), "100.00"),
        (vec![&refund], Pending, None, "0"),
        (vec![&refund, &pay], Confirmed, Some("100.00"), "100.00"),
    ] {
        let payment = after(&events);
        let types: Vec<_> = events.iter().map(|event| event.event_type).collect();
        assert_eq!(payment.status(), status, "{types:?}");
        assert_eq!(payment.amount(), sum.map(amount), "{types:?}");
        assert_eq!(payment.credited(), amount(credited), "{types:?}");
    }
}

proptest! {
    /// Whatever is told, in whatever order and however often, ends in one record.
    #[test]
    fn order_and_repetition_change_nothing(
        which in proptest::collection::vec(0_usize..8, 1..20),
        seed in any::<u64>(),
    ) {
        let all = [
            held("100.00"), paid("100.00"), confirmed("60.00"), cancelled("100.00"), failed(),
            refunded(900, "10.00", ""), refunded(901, "5.00", "Completed"), refunded(901, "5.00", "Declined"),
        ];
        let told: Vec<&Event> = which.iter().filter_map(|index| all.get(*index)).collect();
        let mut once = told.clone();
        once.sort_by(|one, other| one.id.cmp(&other.id).then(one.fingerprint.cmp(&other.fingerprint)));
        once.dedup();
        let mut shuffled = told.clone();
        shuffled.sort_by_key(|event| (event.fingerprint ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        prop_assert_eq!(after(&told), after(&once));
        prop_assert_eq!(after(&shuffled), after(&once));
    }

    /// However refunds are asked for, answered and told of, no more goes back than came in.
    #[test]
    fn what_goes_back_is_never_above_the_original(steps in proptest::collection::vec((0_u8..3, 0_u8..6, 1_u32..40), 0..60)) {
        let mut payment = after(&[&paid("100.00")]);
        let mut at_the_bank = Amount::ZERO;
        for (step, number, sum) in steps {
            let id = format!("rf_{number}");
            let transaction = format!("90{number}");
            match step {
                0 if payment.refund(&RefundId::new(&id)).is_none() => {
                    let asked = payment.request_refund(request(&id, Some(&format!("{sum}.00"))));
                    at_the_bank = at_the_bank.plus(asked.unwrap_or(Amount::ZERO));
                }
                1 => payment.refund_made(&RefundId::new(&id), &transaction),
                // Its notification, before or after the answer.
                2 => if let Some(refund) = payment.refund(&RefundId::new(&id)) {
                    let sum = refund.amount.to_string();
                    let _ = payment.take(&refunded(900 + u64::from(number), &sum, ""), EventPlace { partition: 0, offset: 0 });
                },
                _ => {}
            }
            prop_assert!(at_the_bank <= amount("100.00"));
            prop_assert!(payment.refunded() <= at_the_bank);
        }
    }
}

#[test]
fn a_refund_is_asked_for_within_what_is_left() {
    let mut payment = after(&[&paid("100.00")]);
    assert_eq!(payment.request_refund(request("rf_1", Some("60.00"))), Ok(amount("60.00")));
    assert_eq!(payment.refundable(), amount("40.00"), "it is reserved before anybody has answered");
    assert_eq!(payment.refunded(), Amount::ZERO);
    let above = Err(NotRefundable::Above(amount("40.00")));
    assert_eq!(payment.request_refund(request("rf_2", Some("40.01"))), above);
    assert_eq!(payment.request_refund(request("rf_2", Some("0.00"))), above);
    assert_eq!(payment.request_refund(request("rf_2", None)), Ok(amount("40.00")));
    payment.refund_declined(&RefundId::new("rf_1"), "no");
    assert_eq!(payment.refundable(), amount("60.00"), "what was declined can be asked for again");
    payment.refund_made(&RefundId::new("rf_1"), "901");
    let not_received = Err(NotRefundable::NotReceived(PaymentStatus::Authorized));
    assert_eq!(after(&[&held("100.00")]).request_refund(request("rf_1", None)), not_received);
    for number in 3..200 {
        let _ = payment.request_refund(request(&format!("rf_{number}"), Some("0.01")));
    }
    assert_eq!(payment.request_refund(request("rf_x", Some("0.01"))), Err(NotRefundable::TooMany));
}

#[test]
fn the_answer_and_the_notification_of_a_refund_are_one() {
    let (id, notification) = (RefundId::new("rf_1"), refunded(900, "30.00", ""));
    let place = EventPlace { partition: 1, offset: notification.accepted_at.0 };
    let asked = || {
        let mut payment = after(&[&paid("100.00")]);
        payment.request_refund(request("rf_1", Some("30.00"))).expect("there is enough");
        payment
    };
    let mut answered_first = asked();
    answered_first.refund_made(&id, "900");
    assert!(answered_first.take(&notification, place));
    let mut told_first = asked();
    assert!(told_first.take(&notification, place));
    assert_eq!(told_first.refunded(), amount("30.00"));
    assert_eq!(told_first.refundable(), amount("40.00"), "until the answer they may be two");
    told_first.refund_made(&id, "900");
    assert_eq!(told_first, answered_first);
    assert_eq!((told_first.refunds.len(), told_first.refundable()), (1, amount("70.00")));
}

#[test]
fn a_transaction_belongs_to_one_intent() {
    let mut payment = after(&[&paid("100.00")]);
    for id in ["rf_1", "rf_2"] {
        payment.request_refund(request(id, Some("10.00"))).expect("there is enough");
    }
    payment.refund_made(&RefundId::new("rf_1"), "900");
    let before = payment.clone();
    payment.refund_made(&RefundId::new("rf_2"), "900");
    payment.refund_made(&RefundId::new("rf_unknown"), "900");
    assert_eq!(payment, before);
    assert_eq!(payment.open_refunds().count(), 1);
}

#[test]
fn a_refund_that_is_declined_in_the_end_has_not_gone_back() {
    let mut payment = after(&[&paid("100.00")]);
    payment.request_refund(request("rf_1", Some("30.00"))).expect("there is enough");
    payment.refund_made(&RefundId::new("rf_1"), "900");
    let _ = payment.take(&refunded(900, "30.00", "Declined"), EventPlace { partition: 0, offset: 0 });
    assert_eq!((payment.refunded(), payment.refundable()), (Amount::ZERO, amount("100.00")));
}

#[test]
fn what_a_refund_says_of_the_club_does_not_count() {
    let of_refund = Event { club_id: ClubId::new("club_default"), ..refunded(900, "10.00", "") };
    let of_payment = Event { club_id: ClubId::new("club_7"), ..paid("100.00") };
    assert_eq!(after(&[&of_refund, &of_payment]).club_id.as_str(), "club_7");
    assert_eq!(after(&[&of_payment, &of_refund]).club_id.as_str(), "club_7");
}

#[test]
fn events_that_are_no_payment_are_about_none() {
    let payout = told(NotificationType::Pay, "Amount=1.00&Status=Completed&OperationType=CardPayout", 1);
    assert_eq!(Subject::of(&payout), None);
    assert!(PaymentRecord::begun_by(&payout, EventPlace { partition: 0, offset: 0 }).is_none());
    let declined = told(NotificationType::Fail, "Amount=1.00&OperationType=Refund&ReasonCode=5000", 1);
    assert_eq!(Subject::of(&declined), Some(Subject::RefundOf(&GatewayId::new("gw_1"), "700")));
}

#[test]
fn a_receipt_belongs_to_its_payment_and_begins_none() {
    let receipt = told(NotificationType::Receipt, "Id=r_1&Type=Income&Amount=100.00", 7);
    let place = EventPlace { partition: 1, offset: 9 };
    assert!(PaymentRecord::begun_by(&receipt, place).is_none());
    assert_eq!(Subject::of(&receipt), Some(Subject::Payment(&GatewayId::new("gw_1"), "700")));
    let mut payment = after(&[&paid("100.00")]);
    assert!(payment.take(&receipt, place));
    assert!(!payment.take(&receipt, place), "twice is once");
    assert_eq!(payment.events.get(&receipt.id), Some(&place));
    assert_eq!((payment.status(), payment.events.len()), (PaymentStatus::Confirmed, 2));
}

#[test]
fn a_record_survives_its_encoding() {
    let mut payment = after(&[&held("100.00"), &confirmed("60.00"), &refunded(900, "10.00", "")]);
    payment.request_refund(request("rf_1", None)).expect("there is enough");
    let encoded = crate::delivery::encode(&payment);
    assert_eq!(crate::delivery::decode::<PaymentRecord>(&encoded).ok(), Some(payment));
}
