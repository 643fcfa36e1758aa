//! Receivers that do their worst: how an attempt at each of them ends, and that none of them gets more than its
//! share of time and memory.

#![expect(clippy::indexing_slicing, reason = "a panic fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookline_dispatcher::{EndpointState, Settings};
use hookline_event_log::JournalName;
use hookline_schemas::delivery::{AttemptRecord, decode};
use hookline_schemas::webhook::Webhook;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::surroundings::{Running, append, event, open, records, settings, start, until, webhook};

const TIMEOUT: Duration = Duration::from_millis(700);

/// What a receiver says once it has read a request, and what it does then.
#[derive(Debug, Clone, Copy)]
struct Manner {
    says: &'static [u8],
    then: Then,
}

#[derive(Debug, Clone, Copy)]
enum Then {
    /// Waits for whatever comes, and says nothing more.
    Waits,
    Closes,
    Resets,
    /// The same again and again, after so much time.
    GoesOn(&'static [u8], Duration),
}

const NOW: Duration = Duration::ZERO;
const SLOWLY: Duration = Duration::from_millis(100);
/// Zeros without end, compressed: what comes first of them.
const BOMB: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc1\x01\x0d\x00\x00\x00\xc2";
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n";
const INTERIMS: &[u8] = &repeated::<{ INTERIM.len() * 100 }>(INTERIM);
const LINE: &[u8] = &[b'x'; 8 * 1024];

/// As often as it fits.
const fn repeated<const LENGTH: usize>(what: &[u8]) -> [u8; LENGTH] {
    let mut all = [0; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        all[at] = what[at % what.len()];
        at += 1;
    }
    all
}

/// What a receiver does, and how an attempt ends there: what the metrics call it, and how the answer begins that
/// is kept for the integrator.
const TABLE: [(&str, Manner, &str, Option<&str>); 25] = [
    ("silent", Manner { says: b"", then: Then::Waits }, "timeout", None),
    (
        "slow_head",
        Manner { says: b"HTTP/1.1 200 OK\r\na: ", then: Then::GoesOn(b"b", SLOWLY) },
        "timeout",
        None,
    ),
    ("closes", Manner { says: b"", then: Then::Closes }, "broken", None),
    ("resets", Manner { says: b"", then: Then::Resets }, "broken", None),
    ("resets_in_head", Manner { says: b"HTTP/1.1 200 OK\r\na:", then: Then::Resets }, "broken", None),
    ("rubbish", Manner { says: b"SSH-2.0-OpenSSH_9.9\r\n", then: Then::Waits }, "broken", None),
    (
        "endless_head",
        Manner { says: b"HTTP/1.1 200 OK\r\na: ", then: Then::GoesOn(LINE, NOW) },
        "broken",
        None,
    ),
    ("endless_100", Manner { says: b"", then: Then::GoesOn(INTERIMS, NOW) }, "broken", None),
    ("slow_100", Manner { says: b"", then: Then::GoesOn(INTERIM, SLOWLY) }, "timeout", None),
    (
        "slow_body_200",
        Manner { says: b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n", then: Then::GoesOn(b"x", SLOWLY) },
        "delivered",
        None,
    ),
    (
        "slow_body_500",
        Manner {
            says: b"HTTP/1.1 500 No\r\ncontent-length: 900\r\n\r\nno",
            then: Then::GoesOn(b"x", SLOWLY),
        },
        "5xx",
        Some("nox"),
    ),
    (
        "endless_body_200",
        Manner { says: b"HTTP/1.1 200 OK\r\n\r\n", then: Then::GoesOn(LINE, NOW) },
        "delivered",
        None,
    ),
    (
        "endless_body_500",
        Manner { says: b"HTTP/1.1 500 No\r\n\r\nno", then: Then::GoesOn(LINE, NOW) },
        "5xx",
        Some("noxxx"),
    ),
    (
        "bomb",
        Manner { says: b"HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\n\r\n", then: Then::GoesOn(BOMB, NOW) },
        "5xx",
        // As it came: nothing has been unpacked.
        Some("\u{fffd}"),
    ),
    (
        "redirects",
        Manner {
            says: b"HTTP/1.1 307 There\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
            then: Then::Waits,
        },
        "3xx",
        None,
    ),
    (
        "upgrades",
        Manner { says: b"HTTP/1.1 101 Now\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", then: Then::Waits },
        "5xx",
        None,
    ),
    (
        "resets_in_200",
        Manner { says: b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", then: Then::Resets },
        "delivered",
        None,
    ),
    (
        "resets_in_500",
        Manner { says: b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nx", then: Then::Resets },
        "5xx",
        Some("x"),
    ),
    (
        "closes_in_204",
        Manner { says: b"HTTP/1.1 204 OK\r\ncontent-length: 9\r\n\r\n", then: Then::Closes },
        "delivered",
        None,
    ),
    (
        "gone",
        Manner { says: b"HTTP/1.1 410 Gone\r\ncontent-length: 4\r\n\r\ngone", then: Then::Waits },
        "410",
        Some("gone"),
    ),
    (
        "too_large",
        Manner { says: b"HTTP/1.1 413 No\r\ncontent-length: 8\r\n\r\n\x1b[2Jno\r\n", then: Then::Waits },
        "4xx",
        Some("[2Jno"),
    ),
    (
        "busy",
        Manner {
            says: b"HTTP/1.1 429 No\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n",
            then: Then::Waits,
        },
        "429",
        None,
    ),
    (
        "bad_length",
        Manner {
            says: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
            then: Then::Waits,
        },
        "broken",
        None,
    ),
    (
        "bad_chunk",
        Manner { says: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", then: Then::Waits },
        "delivered",
        None,
    ),
    ("old", Manner { says: b"HTTP/1.0 200 OK\r\n\r\nok", then: Then::Closes }, "delivered", None),
];

/// A receiver with such manners.
#[derive(Debug)]
struct Rude {
    address: SocketAddr,
    /// The most that one connection took of what was said on it.
    most_taken: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Rude {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (most_taken, open): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let (taken, opened) = (Arc::clone(&most_taken), Arc::clone(&open));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (taken, opened) = (Arc::clone(&taken), Arc::clone(&opened));
                opened.fetch_add(1, Ordering::SeqCst);
                connections.spawn(async move {
                    taken.fetch_max(misbehave(stream, manner).await, Ordering::SeqCst);
                    opened.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, most_taken, open, _serving: serving }
    }
}

/// Until the other side has closed; how many bytes it took.
async fn misbehave(mut stream: TcpStream, manner: Manner) -> usize {
    let mut request = vec![0; 64 * 1024];
    if stream.read(&mut request).await.is_err() || stream.write_all(manner.says).await.is_err() {
        return 0;
    }
    let mut taken = manner.says.len();
    match manner.then {
        Then::Closes => {}
        // With nothing lingering a close is a reset, once what was said has been taken.
        Then::Resets => {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.set_zero_linger().expect("a socket");
        }
        Then::Waits => while stream.read(&mut request).await.is_ok_and(|read| read > 0) {},
        Then::GoesOn(again, after) => {
            let (mut reading, mut writing) = stream.split();
            let going_on = async {
                while writing.write_all(again).await.is_ok() {
                    taken += again.len();
                    tokio::time::sleep(after).await;
                }
            };
            let closed = async { while reading.read(&mut request).await.is_ok_and(|read| read > 0) {} };
            tokio::select! {
                () = going_on => {}
                () = closed => {}
            }
        }
    }
    taken
}

/// The first attempt at each webhook, by its id.
async fn first_attempt(running: &Running, webhook: &str) -> Option<AttemptRecord> {
    let attempts = records(&running.log, JournalName::Attempts).await;
    let read = attempts.iter().filter_map(|record| decode::<AttemptRecord>(record).ok());
    read.into_iter().find(|record| record.webhook.as_str() == webhook && record.number == 1)
}

fn hostile_settings() -> Settings {
    // One attempt and its quick retry, and nothing more for as long as the test takes.
    let hours = vec![Duration::from_secs(3_600)];
    Settings { attempt_timeout: TIMEOUT, retry_schedule: hours.clone(), probe_schedule: hours, ..settings() }
}

#[tokio::test]
async fn each_ends_as_it_should_and_takes_no_more_than_its_share() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut receivers = Vec::new();
    for (name, manner, ..) in TABLE {
        receivers.push((name, Rude::start(manner).await));
    }
    let webhooks = receivers.iter().map(|(name, rude)| webhook(name, &format!("http://{}/", rude.address)));
    let running = start(open(directory.path()), hostile_settings(), webhooks.collect());
    append(&running.log, &event(1)).await;
    for (name, _, expected, answer) in TABLE {
        until(name, async || first_attempt(&running, name).await.is_some()).await;
        let record = first_attempt(&running, name).await.expect("an attempt");
        let ended = record.outcome.failure().map_or("delivered", |reason| reason.label());
        assert_eq!(ended, expected, "{name}: {record:?}");
        let (kept, began) = (record.answer.as_deref().unwrap_or_default(), answer.unwrap_or_default());
        assert!(kept.starts_with(began) && kept.is_empty() == began.is_empty(), "{name}: {record:?}");
        // In bytes 1 KiB; a byte that is no text is replaced by three.
        assert!(kept.chars().count() <= 1024, "{name}: {} of the answer are kept", kept.len());
        assert!(record.duration_ms < 1_500, "{name}: {record:?}");
    }
    // What is still open to one of them is a connection that may be used again.
    for (name, rude) in &receivers {
        until(name, async || rude.open.load(Ordering::SeqCst) <= 1).await;
    }
    running.stop().await.expect("drained");
    for (name, rude) in receivers {
        until(name, async || rude.open.load(Ordering::SeqCst) == 0).await;
        // What one end of the loopback takes into its buffers is some megabytes; what hookline reads is less than
        // a tenth of one. Without an end to it this would be gigabytes.
        let taken = rude.most_taken.load(Ordering::SeqCst);
        assert!(taken < 12 * 1024 * 1024, "{name} got rid of {taken} bytes");
    }
}

/// (URL, how an attempt at it ends, how the endpoint is then.)
const NOWHERE: [(&str, &str, &str, EndpointState); 5] = [
    ("private", "http://10.0.0.1/", "blocked_address", EndpointState::Down),
    ("metadata", "http://169.254.169.254/latest/", "blocked_address", EndpointState::Down),
    ("unknown", "http://nowhere.invalid/", "resolve", EndpointState::Down),
    ("refused", "http://127.0.0.1:1/", "connect", EndpointState::Down),
    // Nothing can be sent to everybody: the endpoint is not to blame.
    ("local", "http://255.255.255.255/", "local", EndpointState::Active),
];

#[tokio::test]
async fn where_nobody_can_be_reached_the_reason_is_told_and_what_waits_goes_on_waiting() {
    let directory = tempfile::tempdir().expect("a directory");
    let allowed = ["127.0.0.0/8", "255.255.255.255/32"].map(|network| network.parse().expect("a network"));
    let settings = Settings { allow_addresses: allowed.to_vec(), attempt_timeout: TIMEOUT, ..settings() };
    let webhooks: Vec<Webhook> = NOWHERE.iter().map(|(name, url, ..)| webhook(name, url)).collect();
    let running = start(open(directory.path()), settings, webhooks);
    append(&running.log, &event(1)).await;
    for (name, _, reason, state) in NOWHERE {
        let ends_so = async || {
            let status = running.status(name).await;
            (status.state, status.last_failure, status.backlog) == (state, Some(reason), 1)
        };
        until(name, ends_so).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let local = running.status("local").await;
    assert_eq!((local.state, local.backlog, local.dead), (EndpointState::Active, 1, 0));
    running.stop().await.expect("drained");
}
