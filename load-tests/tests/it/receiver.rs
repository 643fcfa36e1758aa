//! What the receiver believes, answers and writes down.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hookline_load_tests::receiver::{Delivery, Endpoint, Fault, Limits, Profile, Receiver};
use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::signature::WebhookKey;
use hookline_schemas::time::Clock;
use http::{Request, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const OURS: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const THEIRS: &str = "whsec_FxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA";

fn secret(text: &str) -> WebhookSecret {
    WebhookSecret::parse(text).expect("a secret")
}

async fn receiver(profile: Profile, limits: Limits) -> Receiver {
    let endpoint =
        |id: &str, text, profile| Endpoint { webhook: WebhookId::new(id), secret: secret(text), profile };
    let endpoints = vec![endpoint("wh_1", OURS, profile), endpoint("wh_2", THEIRS, Profile::Healthy)];
    Receiver::start(endpoints, limits, 7, Clock::start()).await.expect("a receiver")
}

/// Posts one event, signed with this secret; the status, or an error if the connection was closed.
async fn deliver(url: &str, text: &str, id: &str) -> anyhow::Result<u16> {
    let url: Uri = url.parse()?;
    let body = format!(
        r#"{{"id":"{id}","type":"PAYMENT_FAILED","timestamp":"2026-05-30T14:32:00Z","clubId":"club_1",
           "data":{{"gatewayTransactionId":"7"}}}}"#
    );
    let timestamp = Clock::start().wall().unix_seconds();
    let signatures = WebhookKey::new(&secret(text)).sign(id, timestamp, body.as_bytes());
    let request = Request::post(url.path())
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signatures.standard)
        .header("x-izi-signature", signatures.izi)
        .body(Full::new(Bytes::from(body)))?;
    let address: SocketAddr = url.authority().context("no address")?.as_str().parse()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    let exchange = async { anyhow::Ok(sender.send_request(request).await?.status().as_u16()) };
    tokio::select! {
        biased;
        status = exchange => status,
        _ = connection => anyhow::bail!("closed"),
    }
}

fn only(receiver: &Receiver) -> Delivery {
    let mut deliveries = receiver.snapshot();
    assert_eq!(deliveries.len(), 1);
    deliveries.remove(0)
}

#[tokio::test]
async fn accepts_what_is_signed_with_the_endpoints_own_secret() {
    let receiver = receiver(Profile::Healthy, Limits::default()).await;
    let status = deliver(&receiver.url(&WebhookId::new("wh_1")), OURS, "evt_1").await.expect("an answer");
    assert_eq!(status, 200);
    let delivery = only(&receiver);
    assert_eq!(delivery.webhook, WebhookId::new("wh_1"));
    assert_eq!(delivery.event_id.as_str(), "evt_1");
    assert_eq!(delivery.event_type, Some(EventType::PaymentFailed));
    assert_eq!(delivery.transaction.as_deref(), Some("7"));
    assert_eq!((delivery.fault, delivery.status, receiver.accepted()), (None, 200, 1));
    assert!(delivery.received_at <= delivery.answered_at);
}

#[tokio::test]
async fn refuses_what_is_signed_with_another_endpoints_secret() {
    let receiver = receiver(Profile::Healthy, Limits::default()).await;
    let status = deliver(&receiver.url(&WebhookId::new("wh_1")), THEIRS, "evt_1").await.expect("an answer");
    assert_eq!(status, 401);
    assert_eq!((only(&receiver).fault, receiver.accepted()), (Some(Fault::IziSignature), 0));
}

#[tokio::test]
async fn a_foreign_sender_is_not_judged_and_its_transaction_is_known() {
    let receiver = receiver(Profile::Foreign, Limits::default()).await;
    let status = deliver(&receiver.url(&WebhookId::new("wh_1")), THEIRS, "evt_1").await.expect("an answer");
    assert_eq!((status, receiver.accepted()), (200, 1));
    let delivery = only(&receiver);
    assert_eq!((delivery.transaction.as_deref(), delivery.fault), (Some("7"), None));
}

#[tokio::test]
async fn a_path_that_is_no_endpoint_is_not_found_and_not_recorded() {
    let receiver = receiver(Profile::Healthy, Limits::default()).await;
    let status = deliver(&receiver.url(&WebhookId::new("wh_9")), OURS, "evt_1").await.expect("an answer");
    assert_eq!((status, receiver.snapshot().len()), (404, 0));
}

#[tokio::test]
async fn a_flaky_endpoint_refuses_its_share() {
    let receiver = receiver(Profile::Flaky { per_cent: 30 }, Limits::default()).await;
    let url = receiver.url(&WebhookId::new("wh_1"));
    let mut refused = 0;
    for number in 0..200 {
        let status = deliver(&url, OURS, &format!("evt_{number}")).await.expect("an answer");
        assert!(matches!(status, 200 | 500), "{status}");
        refused += u32::from(status == 500);
    }
    assert!((30..90).contains(&refused), "{refused}");
    assert_eq!(receiver.accepted(), u64::from(200 - refused));
}

#[tokio::test]
async fn an_endpoint_that_is_down_answers_nothing_until_it_is_told() {
    let receiver = receiver(Profile::Down, Limits::default()).await;
    let webhook = WebhookId::new("wh_1");
    assert!(deliver(&receiver.url(&webhook), OURS, "evt_1").await.is_err());
    assert_eq!((only(&receiver).status, receiver.accepted()), (0, 0));
    receiver.set_profile(&webhook, Profile::Healthy);
    assert_eq!(deliver(&receiver.url(&webhook), OURS, "evt_1").await.expect("an answer"), 200);
}

#[tokio::test]
async fn a_slow_endpoint_records_only_those_who_waited() {
    let receiver = receiver(Profile::Slow(Duration::from_millis(200)), Limits::default()).await;
    let url = receiver.url(&WebhookId::new("wh_1"));
    let impatient = tokio::time::timeout(Duration::from_millis(50), deliver(&url, OURS, "evt_1")).await;
    assert!(impatient.is_err());
    assert_eq!(deliver(&url, OURS, "evt_2").await.expect("an answer"), 200);
    let delivery = only(&receiver);
    assert_eq!(delivery.event_id.as_str(), "evt_2");
    assert!(delivery.answered_at - delivery.received_at >= Duration::from_millis(200));
}

#[tokio::test]
async fn an_endpoint_answers_the_status_that_it_is_told_except_to_strangers() {
    let receiver = receiver(Profile::Status(429), Limits::default()).await;
    let url = receiver.url(&WebhookId::new("wh_1"));
    assert_eq!(deliver(&url, OURS, "evt_1").await.expect("an answer"), 429);
    assert_eq!(deliver(&url, THEIRS, "evt_2").await.expect("an answer"), 401);
    let statuses: Vec<u16> = receiver.snapshot().iter().map(|delivery| delivery.status).collect();
    assert_eq!((statuses, receiver.accepted()), (vec![429, 401], 0));
}

#[tokio::test]
async fn an_endpoint_that_hangs_says_nothing_and_lets_go_of_those_who_gave_up() {
    let receiver = receiver(Profile::Hang(Duration::from_secs(60)), Limits::default()).await;
    let url = receiver.url(&WebhookId::new("wh_1"));
    let waiting = (0..20).map(|number| {
        let url = url.clone();
        async move {
            let event = format!("evt_{number}");
            tokio::time::timeout(Duration::from_millis(200), deliver(&url, OURS, &event)).await
        }
    });
    assert!(futures::future::join_all(waiting).await.iter().all(Result::is_err));
    let clock = Clock::start();
    while receiver.connections() > 0 {
        assert!(clock.elapsed() < Duration::from_secs(10), "{} connections", receiver.connections());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(receiver.snapshot().len(), 0);
    let short = Profile::Hang(Duration::from_millis(50));
    receiver.set_profile(&WebhookId::new("wh_1"), short);
    assert!(deliver(&url, OURS, "evt_1").await.is_err());
    assert_eq!((only(&receiver).status, receiver.accepted()), (0, 0));
}

#[tokio::test]
async fn the_record_is_bounded_and_says_so() {
    let receiver = receiver(Profile::Healthy, Limits { deliveries: 2 }).await;
    for number in 0..5 {
        let url = receiver.url(&WebhookId::new("wh_1"));
        deliver(&url, OURS, &format!("evt_{number}")).await.expect("an answer");
    }
    assert_eq!((receiver.snapshot().len(), receiver.forgotten(), receiver.accepted()), (2, 3, 5));
}

#[tokio::test]
async fn once_stopped_the_port_is_closed() {
    let receiver = receiver(Profile::Healthy, Limits::default()).await;
    let url = receiver.url(&WebhookId::new("wh_1"));
    receiver.stop().await;
    assert!(deliver(&url, OURS, "evt_1").await.is_err());
}
