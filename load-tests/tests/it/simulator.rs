//! What the simulator posts, and what it writes down.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use hookline_load_tests::fixtures::form_decoded;
use hookline_load_tests::simulator::{
    Ledger, Mix, Options, Pace, PlanOptions, RetryRule, Simulator, Site, Story, Target,
};
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{EventId, GatewayId, Meaning, WebhookId};
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use hookline_schemas::time::Clock;
use tokio_util::sync::CancellationToken;

use crate::stub::{Posted, Stub};

const ACCEPTED: (u16, &str) = (200, r#"{"code":0}"#);

fn target(stub: &Stub) -> Target {
    Target {
        addresses: vec![stub.address],
        gateway_id: GatewayId::new("gw_1"),
        public_id: "pk_1".to_owned(),
        api_secret: Secret::new("api-secret"),
    }
}

fn options(payments: u64, plan: PlanOptions) -> Options {
    let retry = RetryRule {
        intervals: vec![Duration::from_millis(5)],
        attempts: 5,
        answer_timeout: Duration::from_secs(5),
    };
    Options { payments, concurrency: 4, pace: Pace::Closed, retry, plan }
}

fn purchases() -> PlanOptions {
    PlanOptions {
        mix: Mix(vec![(Story::Purchase, 1)]),
        shared_url_share: 0.0,
        duplicate_share: 0.0,
        ..PlanOptions::default()
    }
}

async fn run(stub: &Stub, options: Options) -> Ledger {
    Simulator::new(target(stub), options, Clock::start()).run(CancellationToken::new()).await
}

fn is_check(posted: &Posted) -> bool {
    posted.path.ends_with("/check")
}

#[tokio::test]
async fn posts_the_same_bytes_again_until_they_are_answered() {
    let stub = Stub::start(|posted, before| match before {
        _ if is_check(posted) => ACCEPTED,
        0 => (503, r#"{"code":13}"#),
        1 => (200, r#"{"code":13}"#),
        2 => (0, ""),
        _ => ACCEPTED,
    })
    .await;
    let ledger = run(&stub, options(20, purchases())).await;
    assert_eq!(ledger.entries.len(), 20);
    for (id, entry) in &ledger.entries {
        assert_eq!((entry.posted, entry.answered.is_some()), (4, true));
        let transaction = entry.transaction_id.to_string();
        assert_eq!(*id, EventId::compute("pk_1", Meaning::Received, &transaction));
    }
    assert_eq!((ledger.accepted, ledger.given_up, ledger.posts), (20, 0, 100));
    let mut bodies: HashMap<_, u32> = HashMap::new();
    for posted in stub.posted().into_iter().filter(|posted| !is_check(posted)) {
        *bodies.entry(posted.body).or_default() += 1;
    }
    assert!(bodies.len() == 20 && bodies.values().all(|times| *times == 4), "{bodies:?}");
}

#[tokio::test]
async fn what_one_edge_does_not_answer_is_posted_to_the_next() {
    let alive = Stub::start(|_, _| ACCEPTED).await;
    let dying = Stub::start(|posted, _| if is_check(posted) { ACCEPTED } else { (0, "") }).await;
    // Reserved, and nobody listens: connections are refused.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = nobody.local_addr().expect("an address");
    drop(nobody);
    let target = Target { addresses: vec![dead, dying.address, alive.address], ..target(&alive) };
    let options = options(60, purchases());
    let ledger = Simulator::new(target, options, Clock::start()).run(CancellationToken::new()).await;
    assert_eq!((ledger.given_up, ledger.unanswered.total()), (0, ledger.unanswered.silent));
    assert!(!ledger.entries.is_empty() && ledger.checks_unanswered > 0);
    assert!(ledger.entries.values().all(|entry| entry.answered.is_some() && entry.posted <= 3));
    let shares = [&alive, &dying].map(|stub| stub.posted().len() as u64);
    assert!(shares.iter().all(|share| share * 4 > ledger.posts), "{shares:?} of {}", ledger.posts);
}

#[tokio::test]
async fn gives_up_when_the_attempts_are_used() {
    let stub =
        Stub::start(|posted, _| if is_check(posted) { ACCEPTED } else { (503, r#"{"code":13}"#) }).await;
    let ledger = run(&stub, options(3, purchases())).await;
    assert_eq!((ledger.accepted, ledger.given_up), (0, 3));
    assert!(ledger.entries.values().all(|entry| entry.posted == 5 && entry.answered.is_none()));
}

#[tokio::test]
async fn a_payment_ends_with_a_check_that_is_refused_or_unanswered() {
    let refused = Stub::start(|_, _| (200, r#"{"code":12}"#)).await;
    let ledger = run(&refused, options(5, purchases())).await;
    assert_eq!((ledger.checks_by_code.get(&12), ledger.checks_unanswered), (Some(&5), 0));
    let silent = Stub::start(|_, _| (0, "")).await;
    let unanswered = run(&silent, options(5, purchases())).await;
    assert_eq!((unanswered.checks_by_code.len(), unanswered.checks_unanswered), (0, 5));
    for stub in [refused, silent] {
        let posted = stub.posted();
        assert!(posted.len() == 5 && posted.iter().all(is_check), "{posted:?}");
    }
}

#[tokio::test]
async fn signs_raw_and_decoded_bytes_and_keeps_connections() {
    let stub = Stub::start(|_, _| ACCEPTED).await;
    let plan = PlanOptions { shared_url_share: 0.5, ..PlanOptions::default() };
    run(&stub, options(300, plan)).await;
    let key = ContentKey::new(&Secret::new("api-secret"));
    let posted = stub.posted();
    let mut formats = HashSet::new();
    for request in &posted {
        assert!(key.verifies(&request.body, request.header("content-hmac")), "{request:?}");
        let content_type = request.header("content-type");
        formats.insert(content_type.to_vec());
        let decoded = match content_type {
            b"application/x-www-form-urlencoded" => form_decoded(&request.body),
            b"application/json" => request.body.to_vec(),
            _ => panic!("{request:?}"),
        };
        assert!(key.verifies(&decoded, request.header("x-content-hmac")), "{request:?}");
    }
    assert_eq!(formats.len(), 2);
    let connections: HashSet<_> = posted.iter().map(|request| request.connection).collect();
    assert_eq!(connections.len(), 4);
    let shared = posted.iter().filter(|request| request.path == "/payments/cloudpayments/callback").count();
    let typed = posted.iter().filter(|request| request.path.starts_with("/payments/cloudpayments/gw_1/"));
    assert!(shared > 100 && shared + typed.count() == posted.len(), "{shared}");
}

#[tokio::test]
async fn a_duplicate_goes_to_the_other_url_and_counts_under_its_event() {
    let stub = Stub::start(|_, _| ACCEPTED).await;
    let plan = PlanOptions { duplicate_share: 1.0, ..purchases() };
    let ledger = run(&stub, options(10, plan)).await;
    assert_eq!(ledger.entries.len(), 10);
    assert!(ledger.entries.values().all(|entry| entry.posted == 2));
    let mut paths: HashMap<_, Vec<String>> = HashMap::new();
    for posted in stub.posted().into_iter().filter(|posted| !is_check(posted)) {
        paths.entry(posted.body).or_default().push(posted.path);
    }
    for paths in paths.values() {
        assert_eq!(paths, &["/payments/cloudpayments/gw_1/pay", "/payments/cloudpayments/callback"]);
    }
}

#[tokio::test]
async fn a_pay_and_its_confirm_are_one_event() {
    let stub = Stub::start(|_, _| ACCEPTED).await;
    let mix = Mix(vec![(Story::ConfirmedTwice, 1)]);
    let ledger = run(&stub, options(10, PlanOptions { mix, ..purchases() })).await;
    assert_eq!((ledger.entries.len(), ledger.accepted), (10, 20));
    let is_received = |event_type| event_type == EventType::PaymentReceived;
    assert!(ledger.entries.values().all(|entry| entry.posted == 2 && is_received(entry.event_type)));
}

#[tokio::test]
async fn sites_take_turns_each_with_its_url_its_secret_and_its_webhook() {
    let stub = Stub::start(|_, _| ACCEPTED).await;
    let site = |number: u32| Site {
        gateway_id: GatewayId::new(format!("gw_{number}")),
        public_id: format!("pk_{number}"),
        api_secret: Secret::new(format!("secret-{number}")),
        webhook: WebhookId::new(format!("wh_{number}")),
    };
    let ledger =
        run(&stub, options(9, PlanOptions { sites: (0..3).map(site).collect(), ..purchases() })).await;
    for number in 0..3_u32 {
        let key = ContentKey::new(&Secret::new(format!("secret-{number}")));
        let prefix = format!("/payments/cloudpayments/gw_{number}/");
        let posted = stub.posted().into_iter().filter(|posted| posted.path.starts_with(&prefix));
        let posted: Vec<Posted> = posted.collect();
        assert_eq!(posted.len(), 6, "{posted:?}");
        assert!(posted.iter().all(|posted| key.verifies(&posted.body, posted.header("content-hmac"))));
        let webhook = WebhookId::new(format!("wh_{number}"));
        let events = ledger.entries.iter().filter(|(_, entry)| entry.addressee.as_ref() == Some(&webhook));
        for (id, entry) in events {
            let transaction = entry.transaction_id.to_string();
            assert_eq!(*id, EventId::compute(&format!("pk_{number}"), Meaning::Received, &transaction));
            assert_eq!(entry.payment % 3, u64::from(number));
        }
    }
    assert_eq!(ledger.entries.len(), 9);
}

#[tokio::test]
async fn in_open_loop_late_answers_count_from_when_they_were_due() {
    // One worker, 10 ms for each answer, 1000 payments a second due: the last is almost a second late.
    let stub = Stub::start(|_, _| {
        std::thread::sleep(Duration::from_millis(10));
        ACCEPTED
    })
    .await;
    let options =
        Options { concurrency: 1, pace: Pace::Open { per_second: 1000 }, ..options(50, purchases()) };
    let ledger = run(&stub, options).await;
    assert!(ledger.answer_micros.max() > 500_000, "{}", ledger.answer_micros.max());
    assert!(ledger.check_micros.max() > 500_000, "{}", ledger.check_micros.max());
}

#[tokio::test]
async fn in_open_loop_payments_begin_when_they_are_due() {
    let stub = Stub::start(|_, _| ACCEPTED).await;
    let options = Options { pace: Pace::Open { per_second: 100 }, ..options(50, purchases()) };
    let clock = Clock::start();
    // The clock is older than the run: what is due counts from the run's own start.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let ledger = Simulator::new(target(&stub), options, clock).run(CancellationToken::new()).await;
    assert!(ledger.began >= Duration::from_millis(400), "{:?}", ledger.began);
    assert!(ledger.duration() >= Duration::from_millis(480), "{:?}", ledger.duration());
}

#[tokio::test]
async fn once_stopped_it_finishes_what_has_begun_and_begins_nothing() {
    for pace in [Pace::Open { per_second: 100 }, Pace::Closed] {
        let stub = Stub::start(|posted, before| match before {
            0..3 if !is_check(posted) => (503, ""),
            _ => ACCEPTED,
        })
        .await;
        let options = Options { pace, ..options(2_000, purchases()) };
        let simulator = Simulator::new(target(&stub), options, Clock::start());
        let stop = CancellationToken::new();
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            stop.cancel();
        };
        let (ledger, ()) = tokio::join!(simulator.run(stop.clone()), stopping);
        let begun = ledger.entries.len();
        assert!((5..1_000).contains(&begun), "{pace:?} {begun}");
        assert!(ledger.entries.values().all(|entry| entry.answered.is_some()), "{pace:?}");
    }
}
