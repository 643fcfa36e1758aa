//! What the acquirer posts, when, and what it makes of the answers.

use std::collections::HashMap;
use std::time::Duration;

use hookline_load_tests::acquirer::{Acquirer, NotificationSettings, Paid, Payer, Site, Status};
use hookline_load_tests::fixtures::form_decoded;
use hookline_load_tests::simulator::RetryRule;
use hookline_schemas::event::{Event, EventType, Source, from_notification};
use hookline_schemas::gateway::{CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, EventId, GatewayId, Meaning, OrganizationId};
use hookline_schemas::notification::{BodyFormat, NotificationType, read_fields};
use hookline_schemas::payload::EventData;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use hookline_schemas::time::Timestamp;

use crate::stub::{Posted, Rule, Stub};

const ACCEPTED: (u16, &str) = (200, r#"{"code":0}"#);
const WITHIN: Duration = Duration::from_secs(20);

/// An acquirer that posts everything to a stub with this rule.
async fn posting_to(rule: Rule) -> anyhow::Result<(Acquirer, Stub)> {
    let stub = Stub::start(rule).await;
    let acquirer = Acquirer::start(vec![Site::new("pk_1", "s3cret")]).await?;
    acquirer.set_retry_rule(RetryRule {
        intervals: vec![Duration::from_millis(5)],
        attempts: 5,
        answer_timeout: Duration::from_secs(5),
    });
    acquirer.post_to("pk_1", &format!("http://{}/cp", stub.address));
    Ok((acquirer, stub))
}

/// A payment of one order by one client.
fn payer(amount: &str) -> Payer {
    let (invoice_id, account_id) = (Some("order-17".to_owned()), Some("client-3".to_owned()));
    Payer { invoice_id, account_id, ..Payer::new(amount) }
}

fn gateway() -> Gateway {
    Gateway {
        id: GatewayId::new("gw_1"),
        organization: OrganizationId::new("org_1"),
        public_id: "pk_1".to_owned(),
        api_secrets: Vec::new(),
        default_club: ClubId::new("club_1"),
        shared_url: true,
        policy: CheckPolicy::lenient(),
    }
}

/// What the contract makes of a body.
fn event(kind: NotificationType, body: &[u8]) -> Event {
    let fields = read_fields(BodyFormat::Form, body).expect("a readable body");
    let source = Source {
        gateway: &gateway(),
        kind,
        format: BodyFormat::Form,
        body,
        fields: &fields,
        top_up_club: None,
        accepted_at: Timestamp(0),
    };
    from_notification(source).expect("an event")
}

/// The types that came, in order.
fn kinds(stub: &Stub) -> Vec<NotificationType> {
    let kind = |posted: &Posted| NotificationType::of_segment(posted.path.trim_start_matches("/cp/"));
    stub.posted().iter().map(|posted| kind(posted).expect("a type")).collect()
}

#[tokio::test]
async fn each_notification_becomes_the_event_that_it_should() -> anyhow::Result<()> {
    let (acquirer, stub) = posting_to(|_, _| ACCEPTED).await?;
    let pay = async |payment: Payer| anyhow::Ok(acquirer.pay("pk_1", &payment).await?.transaction_id);
    let paid = pay(payer("1490.00")).await?;
    let tried = pay(Payer { declined: Some(5051), ..payer("10.00") }).await?;
    let test = pay(Payer { test_mode: true, currency: "KZT".to_owned(), ..payer("5") }).await?;
    let refund = acquirer.refund("pk_1", paid, "400.50")?;
    let held = pay(Payer { two_stage: true, ..payer("100.00") }).await?;
    acquirer.confirm("pk_1", held, "70")?;
    let released = pay(Payer { two_stage: true, ..payer("9.00") }).await?;
    acquirer.cancel("pk_1", released)?;
    acquirer.settled(WITHIN).await?;

    let expected = [
        (NotificationType::Pay, EventType::PaymentReceived, Meaning::Received, paid, "1490.00"),
        (NotificationType::Fail, EventType::PaymentFailed, Meaning::Failed, tried, "10.00"),
        (NotificationType::Pay, EventType::PaymentReceived, Meaning::Received, test, "5.00"),
        (NotificationType::Refund, EventType::PaymentRefunded, Meaning::Refunded, refund, "400.50"),
        (NotificationType::Pay, EventType::PaymentAuthorized, Meaning::Authorized, held, "100.00"),
        (NotificationType::Confirm, EventType::PaymentReceived, Meaning::Received, held, "70.00"),
        (NotificationType::Pay, EventType::PaymentAuthorized, Meaning::Authorized, released, "9.00"),
        (NotificationType::Cancel, EventType::PaymentCancelled, Meaning::Cancelled, released, "9.00"),
    ];
    let made = acquirer.posted("pk_1");
    let made: Vec<_> = made.iter().filter(|posted| posted.kind != NotificationType::Check).collect();
    assert_eq!(made.len(), expected.len());
    let mut data = Vec::new();
    for (posted, (kind, event_type, meaning, transaction, amount)) in made.iter().zip(expected) {
        let event = event(posted.kind, &posted.body);
        let id = EventId::compute("pk_1", meaning, &transaction.to_string());
        assert_eq!((posted.kind, event.event_type, &event.id), (kind, event_type, &id));
        assert_eq!((posted.transaction_id, posted.event_id.as_ref()), (transaction, Some(&id)));
        assert_eq!((posted.posts, posted.is_answered), (1, true));
        let EventData::Payment(payment) = event.data else { panic!("a payment") };
        assert_eq!(
            (payment.amount.to_string().as_str(), payment.invoice_id.as_deref()),
            (amount, Some("order-17"))
        );
        data.push(payment);
    }
    let [_, fail, test, refund, ..] = data.as_slice() else { panic!("{data:?}") };
    assert_eq!((fail.reason_code, fail.reason.as_deref()), (Some(5051), Some("InsufficientFunds")));
    assert_eq!((test.test_mode, test.currency.as_deref()), (true, Some("KZT")));
    assert_eq!(refund.original_transaction_id, Some(paid.to_string()));
    assert_eq!(stub.posted().len(), acquirer.posted("pk_1").len(), "each once");
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn everything_is_signed_under_the_newest_secret() -> anyhow::Result<()> {
    let (acquirer, stub) = posting_to(|_, _| ACCEPTED).await?;
    acquirer.pay("pk_1", &payer("1.00")).await?;
    acquirer.settled(WITHIN).await?;
    acquirer.set_secrets("pk_1", vec![Secret::new("newest"), Secret::new("s3cret")]);
    acquirer.pay("pk_1", &payer("2.00")).await?;
    acquirer.settled(WITHIN).await?;
    let posted = stub.posted();
    assert_eq!(kinds(&stub), [NotificationType::Check, NotificationType::Pay].repeat(2));
    for (posted, secret) in posted.iter().zip(["s3cret", "s3cret", "newest", "newest"]) {
        let key = ContentKey::new(&Secret::new(secret));
        assert!(key.verifies(&posted.body, posted.header("content-hmac")), "{}", posted.path);
        assert!(
            key.verifies(&form_decoded(&posted.body), posted.header("x-content-hmac")),
            "{}",
            posted.path
        );
        assert_eq!(posted.header("content-type"), b"application/x-www-form-urlencoded");
    }
    acquirer.stop().await;
    Ok(())
}

/// Answers a Check with the code that its client number names.
fn by_account(posted: &Posted, _: usize) -> (u16, &'static str) {
    let says = |text: &str| String::from_utf8_lossy(&posted.body).contains(&format!("AccountId={text}&"));
    match () {
        () if !posted.path.ends_with("/check") => ACCEPTED,
        () if says("unknown") => (200, r#"{"code":11}"#),
        () if says("expired") => (200, r#"{"code":20}"#),
        () if says("garbage") => (200, "<html>"),
        () if says("overloaded") => (503, r#"{"code":13}"#),
        () if says("silent") => (0, ""),
        () => ACCEPTED,
    }
}

#[tokio::test]
async fn a_check_decides_before_the_bank_does() -> anyhow::Result<()> {
    let (acquirer, _stub) = posting_to(by_account).await?;
    for (account_id, check_code, reason_code) in [
        ("known", Some(0), 0),
        ("unknown", Some(11), 3002),
        ("expired", Some(20), 3004),
        ("garbage", None, 3005),
        ("overloaded", None, 3006),
        ("silent", None, 3007),
    ] {
        let payment = Payer { account_id: Some(account_id.to_owned()), ..payer("10.00") };
        let paid = acquirer.pay("pk_1", &payment).await?;
        let status = if reason_code == 0 { Status::Completed } else { Status::Declined };
        let expected = Paid { transaction_id: paid.transaction_id, check_code, status };
        assert_eq!(paid, expected, "{account_id}");
        let stands = acquirer.transactions("pk_1").pop().expect("a transaction");
        assert_eq!((stands.status, stands.reason_code), (status, reason_code), "{account_id}");
        acquirer.settled(WITHIN).await?;
        let told = acquirer.posted("pk_1").pop().expect("a notification");
        let kind = if reason_code == 0 { NotificationType::Pay } else { NotificationType::Fail };
        assert_eq!((told.kind, told.is_answered), (kind, true), "{account_id}");
        let EventData::Payment(data) = event(kind, &told.body).data else { panic!("a payment") };
        assert_eq!(data.reason_code.unwrap_or_default(), reason_code, "{account_id}");
    }
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_check_that_is_not_set_is_not_asked_and_one_that_is_set_otherwise_is_not_answered()
-> anyhow::Result<()> {
    let (acquirer, stub) = posting_to(|_, _| ACCEPTED).await?;
    let by_get = NotificationSettings::posted_to(format!("http://{}/cp/check", stub.address));
    let by_get = NotificationSettings { http_method: "GET".to_owned(), ..by_get };
    acquirer.set_notification("pk_1", NotificationType::Check, by_get);
    let paid = acquirer.pay("pk_1", &payer("10.00")).await?;
    assert_eq!((paid.check_code, paid.status), (None, Status::Declined));
    acquirer.set_notification("pk_1", NotificationType::Check, NotificationSettings::default());
    let paid = acquirer.pay("pk_1", &payer("10.00")).await?;
    assert_eq!((paid.check_code, paid.status), (None, Status::Completed));
    acquirer.settled(WITHIN).await?;
    assert!(!kinds(&stub).contains(&NotificationType::Check));
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_is_not_answered_with_zero_is_posted_again_until_it_is_given_up() -> anyhow::Result<()> {
    let (acquirer, stub) = posting_to(|posted, before| match posted.path.as_str() {
        "/cp/pay" if before < 3 => (503, r#"{"code":13}"#),
        "/cp/refund" => (200, r#"{"code":13}"#),
        _ => ACCEPTED,
    })
    .await?;
    let paid = acquirer.pay("pk_1", &payer("10.00")).await?.transaction_id;
    acquirer.settled(WITHIN).await?;
    acquirer.refund("pk_1", paid, "1.00")?;
    acquirer.settled(WITHIN).await?;
    let posted = acquirer.posted("pk_1");
    let counts: Vec<_> = posted.iter().map(|posted| (posted.posts, posted.is_answered)).collect();
    assert_eq!(counts, [(1, true), (4, true), (5, false)]);
    assert_eq!(stub.posted().len(), 10);

    // What waits for its next post is on its way.
    acquirer.set_retry_rule(RetryRule::documented());
    acquirer.refund("pk_1", paid, "1.00")?;
    assert!(acquirer.settled(Duration::from_millis(200)).await.is_err());
    acquirer.stop().await;
    Ok(())
}

/// The transactions that came at `/cp/pay`, in order.
fn pays(stub: &Stub) -> Vec<String> {
    let transaction = |posted: Posted| {
        let body = String::from_utf8_lossy(&posted.body).into_owned();
        body.split('&').next().map(str::to_owned)
    };
    stub.posted().into_iter().filter(|posted| posted.path == "/cp/pay").filter_map(transaction).collect()
}

#[tokio::test]
async fn what_is_thrown_away_is_made_and_comes_late_in_the_order_of_the_seed() -> anyhow::Result<()> {
    let (acquirer, stub) = posting_to(|_, _| ACCEPTED).await?;
    acquirer.drop_notifications("pk_1", Some(&[NotificationType::Pay]));
    for _ in 0..20 {
        acquirer.pay("pk_1", &payer("10.00")).await?;
    }
    acquirer.post_again("pk_1", 1).await?;
    acquirer.settled(WITHIN).await?;
    assert!(kinds(&stub).iter().all(|kind| *kind == NotificationType::Check));
    let made = acquirer.posted("pk_1");
    assert_eq!(made.iter().filter(|posted| posted.posts == 0 && !posted.is_answered).count(), 20);

    acquirer.drop_notifications("pk_1", None);
    for seed in [1, 1, 2] {
        acquirer.post_again("pk_1", seed).await?;
    }
    let order = pays(&stub);
    let [first, same, other] = [0, 20, 40].map(|from| order.get(from..from + 20).unwrap_or_default());
    assert_eq!((first.len(), first), (20, same));
    assert_ne!(first, other);
    assert_eq!(kinds(&stub).iter().filter(|kind| **kind == NotificationType::Check).count(), 20);
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_thousand_payments_go_over_few_connections() -> anyhow::Result<()> {
    let (acquirer, stub) = posting_to(|_, _| ACCEPTED).await?;
    for _ in 0..1_000 {
        acquirer.pay("pk_1", &payer("10.00")).await?;
    }
    acquirer.settled(WITHIN).await?;
    let posted = stub.posted();
    assert_eq!(posted.len(), 2_000);
    let connections = posted.iter().map(|posted| posted.connection).max().unwrap_or_default() + 1;
    // A pool opens one now and then that it does not need.
    assert!(connections <= 200, "{connections}");
    assert!(acquirer.posted("pk_1").iter().all(|posted| posted.is_answered && posted.posts == 1));
    let mut by_type = HashMap::new();
    kinds(&stub).into_iter().for_each(|kind| *by_type.entry(kind).or_insert(0) += 1);
    assert_eq!(by_type, HashMap::from([(NotificationType::Check, 1_000), (NotificationType::Pay, 1_000)]));
    acquirer.stop().await;
    Ok(())
}
