//! Each of the zoo does what it says: otherwise hookline would pass for nothing.

use std::time::Duration;

use hookline_load_tests::zoo::{Kind, Zoo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST: &[u8] = b"POST /hooks HTTP/1.1\r\nhost: zoo\r\ncontent-length: 4\r\n\r\nbody";
/// For so long one listens: two pieces of what is slow come in this time.
const LISTENED: Duration = Duration::from_millis(1_300);

/// How a connection was found once it was listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Open,
    Closed,
    Reset,
}

/// What one connection brings, for a bounded time and up to so many bytes.
async fn listen(stream: &mut TcpStream, most: usize) -> (Vec<u8>, Ended) {
    let mut heard = Vec::new();
    let listening = async {
        while heard.len() < most {
            match stream.read_buf(&mut heard).await {
                Ok(0) => return Ended::Closed,
                Ok(_) => {}
                Err(_) => return Ended::Reset,
            }
        }
        Ended::Open
    };
    let ended = tokio::time::timeout(LISTENED, listening).await.unwrap_or(Ended::Open);
    (heard, ended)
}

async fn connect(zoo: &Zoo, kind: Kind) -> TcpStream {
    let address = zoo.address(kind).expect("a pen");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(REQUEST).await.expect("it hears");
    stream
}

/// (Who, how it begins, at least and at most so many bytes, how the connection is then.) What is endless is
/// listened to up to the most.
const TABLE: [(Kind, &str, usize, usize, Ended); 22] = [
    (Kind::SlowHead, "HTTP/1.1 200 OK\r\nx-slow: x", 26, 29, Ended::Open),
    (Kind::SlowBody, "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\nx", 43, 46, Ended::Open),
    (Kind::SlowBodyOfAnError, "HTTP/1.1 500 No\r\ncontent-length: 60000\r\n\r\nx", 43, 46, Ended::Open),
    (Kind::EndlessBody, "HTTP/1.1 200 OK\r\n\r\nxxx", 1 << 20, 1 << 20, Ended::Open),
    (Kind::EndlessBodyOfAnError, "HTTP/1.1 500 No\r\n\r\nxxx", 1 << 20, 1 << 20, Ended::Open),
    (Kind::Bomb, "HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\n\r\n", 1 << 20, 1 << 20, Ended::Open),
    (
        Kind::EndlessContinue,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
        1 << 20,
        1 << 20,
        Ended::Open,
    ),
    (Kind::HugeHead, "HTTP/1.1 200 OK\r\nx-long: xxx", 20_000, 21_000, Ended::Open),
    (Kind::EndlessHead, "HTTP/1.1 200 OK\r\nx-long: xxx", 1 << 20, 1 << 20, Ended::Open),
    (Kind::Redirects, "HTTP/1.1 307 There\r\nlocation: http://169.254.169.254/", 50, 200, Ended::Open),
    (Kind::ResetsAfterHead, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", 38, 38, Ended::Reset),
    (Kind::ResetsInBody, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome", 42, 42, Ended::Reset),
    (Kind::Resets, "", 0, 0, Ended::Reset),
    (Kind::HalfCloses, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 38, 38, Ended::Closed),
    (Kind::ForgetsTheSecond, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 38, 38, Ended::Open),
    (Kind::Silent, "", 0, 0, Ended::Open),
    (Kind::SilentTls, "", 0, 0, Ended::Open),
    (Kind::PlainTls, "HTTP/1.1 200 OK\r\n", 20, 60, Ended::Open),
    (Kind::Rubbish, "220 mail.example ESMTP\r\n", 24, 24, Ended::Open),
    (Kind::Gone, "HTTP/1.1 410 Gone\r\ncontent-length: 2\r\n\r\nno", 30, 60, Ended::Open),
    (Kind::TooLarge, "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno", 30, 60, Ended::Open),
    (Kind::Busy, "HTTP/1.1 429 Too Many\r\nretry-after: 3600\r\n", 30, 80, Ended::Open),
];

#[tokio::test]
async fn each_does_what_it_says() {
    let zoo = &Zoo::open().await.expect("a zoo");
    let found = TABLE.map(|(kind, .., most, _)| async move {
        // A byte more than may come, so that it would be noticed; what is endless is stopped.
        let most = if most == 1 << 20 { most } else { most + 1 };
        listen(&mut connect(zoo, kind).await, most).await
    });
    let found = futures::future::join_all(found).await;
    for ((kind, begins, least, most, ended), (heard, found)) in TABLE.into_iter().zip(found) {
        let text = String::from_utf8_lossy(&heard);
        assert!(text.starts_with(begins), "{kind:?} says {:?}", text.get(..100));
        // The last load of what is endless may be more than was asked for.
        let range = least..=most + if most == 1 << 20 { 1 << 20 } else { 0 };
        assert!(range.contains(&heard.len()), "{kind:?} says {} bytes", heard.len());
        assert_eq!(found, ended, "{kind:?}");
    }
    let served = Kind::ALL.into_iter().filter(|kind| zoo.address(*kind).is_some());
    assert_eq!(served.count(), TABLE.len(), "every one with a server is listened to");
}

#[tokio::test]
async fn connections_are_kept_and_forgotten_as_they_say() {
    let zoo = Zoo::open().await.expect("a zoo");
    for (kind, answers_again) in
        [(Kind::Gone, true), (Kind::Redirects, true), (Kind::ForgetsTheSecond, false), (Kind::Rubbish, false)]
    {
        let mut stream = connect(&zoo, kind).await;
        let mut first = [0; 16];
        stream.read_exact(&mut first).await.expect("an answer");
        let (rest, _) = listen(&mut stream, 1 << 20).await;
        stream.write_all(REQUEST).await.expect("it is open");
        let (again, _) = listen(&mut stream, 1 << 20).await;
        assert_eq!(!again.is_empty(), answers_again, "{kind:?} {rest:?} {again:?}");
    }
    // Its side is closed, and ours is not: it goes on hearing.
    let mut stream = connect(&zoo, Kind::HalfCloses).await;
    let (_, ended) = listen(&mut stream, 1 << 20).await;
    assert_eq!(ended, Ended::Closed);
    stream.write_all(REQUEST).await.expect("it hears");
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.write_all(REQUEST).await.expect("it still hears");
}

#[tokio::test]
async fn those_without_a_server_lead_nowhere() {
    let zoo = Zoo::open().await.expect("a zoo");
    for (kind, url) in [
        (Kind::Private, "http://10.0.0.1/hooks"),
        (Kind::Unknown, "http://nowhere.invalid/hooks"),
        (Kind::Refused, "http://127.0.0.1:1/hooks"),
    ] {
        assert_eq!((zoo.url(kind).as_str(), zoo.address(kind)), (url, None));
    }
    assert!(tokio::net::TcpStream::connect("127.0.0.1:1").await.is_err());
    assert!(tokio::net::lookup_host("nowhere.invalid:80").await.is_err());
    for kind in [Kind::SilentTls, Kind::PlainTls] {
        assert!(zoo.url(kind).starts_with("https://127.0.0.1:"), "{kind:?}");
    }
}
