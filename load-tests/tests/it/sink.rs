//! The sink over real sockets: what it counts, and what it refuses.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use hookline_load_tests::sink::{self, Counts, EventHash, Sink, VERIFIED_OF, path_of, secret_text};
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::signature::WebhookKey;
use hookline_schemas::time::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A sink and what ends it when it is dropped.
struct Running {
    sink: Arc<Sink>,
    address: SocketAddr,
    _server: JoinSet<()>,
}

async fn running(webhooks: u16) -> Running {
    let sink = Sink::new(webhooks, Duration::ZERO).expect("a sink");
    let listeners =
        sink::listeners(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), webhooks).await.expect("ports");
    let address = listeners.first().expect("a listener").local_addr().expect("an address");
    let mut server = JoinSet::new();
    server.spawn(Arc::clone(&sink).serve(listeners, CancellationToken::new()));
    Running { sink, address, _server: server }
}

/// A delivery to a webhook, signed by the secret of another or its own.
fn delivery(webhook: u16, signed_by: u16, id: &str) -> Vec<u8> {
    let body = format!(r#"{{"id":"{id}"}}"#);
    let timestamp = Clock::start().wall().unix_seconds();
    let secret = WebhookSecret::parse(&secret_text(signed_by)).expect("a secret");
    let signatures = WebhookKey::new(&secret).sign(id, timestamp, body.as_bytes());
    format!(
        "POST {} HTTP/1.1\r\nhost: a\r\nwebhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\n\
         webhook-signature: {}\r\nx-izi-signature: {}\r\ncontent-length: {}\r\n\r\n{body}",
        path_of(webhook),
        signatures.standard,
        signatures.izi,
        body.len()
    )
    .into_bytes()
}

fn event(number: usize) -> String {
    format!("evt_{number}")
}

/// Sends bytes in pieces of this size, and reads as much as all answers take.
async fn send(address: SocketAddr, bytes: &[u8], piece: usize, answers: usize) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    for piece in bytes.chunks(piece) {
        stream.write_all(piece).await.expect("it reads");
        tokio::task::yield_now().await;
    }
    let mut read = vec![0; TAKEN.len() * answers];
    let whole = tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut read));
    whole.await.expect("in time").expect("as many answers");
    String::from_utf8(read).expect("a text")
}

#[tokio::test]
async fn counts_each_of_200_deliveries_pipelined_and_in_pieces_over_4_connections() {
    let running = running(2).await;
    let mut senders = JoinSet::new();
    for (connection, piece) in [1_000_000, 1000, 97, 7].into_iter().enumerate() {
        let numbers = connection * 25..connection * 25 + 25;
        let both =
            numbers.flat_map(|number| [1, 2].map(|webhook| delivery(webhook, webhook, &event(number))));
        let (bytes, address) = (both.collect::<Vec<_>>().concat(), running.address);
        senders.spawn(async move { send(address, &bytes, piece, 50).await });
    }
    for answers in senders.join_all().await {
        assert_eq!(answers, TAKEN.repeat(50));
    }
    let counts = running.sink.counts();
    let verified =
        (0..100).flat_map(|number| [1, 2].map(|webhook| EventHash::of(&event(number)).at(webhook).0));
    let verified = verified.filter(|mark| mark.is_multiple_of(VERIFIED_OF)).count();
    let expected = Counts {
        connections: 4,
        requests: 200,
        by_webhook: vec![100, 100],
        distinct: 200,
        verified: verified.try_into().expect("a small number"),
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    assert!(verified > 0);
}

#[tokio::test]
async fn tells_which_delivery_was_lost_and_which_came_twice() {
    let running = running(2).await;
    let came = [(1, 1), (2, 1), (1, 2), (1, 3), (1, 3), (2, 3)];
    let bytes: Vec<_> =
        came.iter().map(|(webhook, number)| delivery(*webhook, *webhook, &event(*number))).collect();
    send(running.address, &bytes.concat(), 1_000_000, came.len()).await;
    let times = |webhook, number| running.sink.times(EventHash::of(&event(number)).at(webhook));
    let all = [1, 2].map(|webhook| [1, 2, 3].map(|number| times(webhook, number)));
    assert_eq!(all, [[1, 1, 2], [1, 0, 1]]);
    let counts = running.sink.counts();
    assert_eq!((counts.requests, counts.distinct, counts.repeated), (6, 5, 1));
}

#[tokio::test]
async fn refuses_a_bad_signature_where_it_looks_at_one() {
    let running = running(2).await;
    let looked_at = |number: &usize| EventHash::of(&event(*number)).at(1).0.is_multiple_of(VERIFIED_OF);
    let number = (0..).find(looked_at).expect("one of 64 is");
    let refused = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
    let answer = send(running.address, &delivery(1, 2, &event(number)), 1_000_000, 1).await;
    assert!(refused.starts_with(&answer), "{answer}");
    let answer = send(running.address, &delivery(1, 1, &event(number)), 1_000_000, 1).await;
    assert_eq!(answer, TAKEN);
    let counts = running.sink.counts();
    assert_eq!((counts.verified, counts.bad_signatures, counts.requests, counts.distinct), (2, 1, 1, 1));
}

#[tokio::test]
async fn what_is_for_nobody_or_no_request_is_malformed() {
    let running = running(1).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for (what, answer) in [
        (text(&delivery(2, 2, "evt_1")), "HTTP/1.1 404"),
        (text(&delivery(1, 1, "evt_1")).replace("webhook-id", "webhook-it"), "HTTP/1.1 404"),
        ("nothing\r\n\r\n".to_owned(), "HTTP/1.1 400"),
    ] {
        assert!(send(running.address, what.as_bytes(), 1_000_000, 1).await.starts_with(answer), "{what}");
    }
    let counts = running.sink.counts();
    assert_eq!((counts.malformed, counts.requests), (3, 0));
}
