//! Receivers that do their worst, each in a pen of its own: a port of the loopback, or an address that leads
//! nowhere.
//!
//! What one does stands in its `Manner`; the server in `server.rs` does nothing else. That hookline survives
//! them is for the scenario to find out.

mod server;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Bytes that are repeated at once.
const LOAD: usize = 16 * 1024;
/// Between two pieces of what is slow.
const SLOWLY: Duration = Duration::from_secs(1);

/// One way to be bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A head that comes one byte a second.
    SlowHead,
    /// 200, and then a body that comes one byte a second.
    SlowBody,
    /// The same with 500.
    SlowBodyOfAnError,
    /// 200 and a body without end.
    EndlessBody,
    /// The same with 500.
    EndlessBodyOfAnError,
    /// 500 and a small body without end that unpacks to a thousand times as much.
    Bomb,
    /// `100 Continue`, for ever.
    EndlessContinue,
    /// A head of 20 KiB.
    HugeHead,
    /// A head without end.
    EndlessHead,
    /// A redirect to where the secrets of a cloud are.
    Redirects,
    /// Resets the connection once the head of a 200 has gone out.
    ResetsAfterHead,
    /// The same in the middle of the body.
    ResetsInBody,
    /// Resets the connection without an answer.
    Resets,
    /// Answers 200 and at once closes its side of a connection that was to be kept.
    HalfCloses,
    /// Answers the first request of a connection, and no other.
    ForgetsTheSecond,
    /// Accepts, and says nothing.
    Silent,
    /// The same where TLS is expected.
    SilentTls,
    /// Plain HTTP where TLS is expected.
    PlainTls,
    /// Something that is no HTTP.
    Rubbish,
    /// 410.
    Gone,
    /// 413.
    TooLarge,
    /// 429, and leave me alone for an hour.
    Busy,
    /// A private address.
    Private,
    /// A name that nobody knows.
    Unknown,
    /// A port at which nobody listens.
    Refused,
}

/// What a server does with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Before it says anything.
    pub(crate) hears: Hears,
    pub(crate) says: Vec<u8>,
    pub(crate) then: Then,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hears {
    /// A whole request.
    Request,
    /// Some bytes.
    Something,
}

/// What happens once it has been said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next request is answered in the same manner.
    Repeats,
    /// Nothing more is said.
    Waits,
    /// The connection is reset.
    Resets,
    /// Its own side of the connection is closed.
    HalfCloses,
    /// This is said again and again, with so much time between.
    GoesOn(Vec<u8>, Duration),
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::SlowHead,
        Self::SlowBody,
        Self::SlowBodyOfAnError,
        Self::EndlessBody,
        Self::EndlessBodyOfAnError,
        Self::Bomb,
        Self::EndlessContinue,
        Self::HugeHead,
        Self::EndlessHead,
        Self::Redirects,
        Self::ResetsAfterHead,
        Self::ResetsInBody,
        Self::Resets,
        Self::HalfCloses,
        Self::ForgetsTheSecond,
        Self::Silent,
        Self::SilentTls,
        Self::PlainTls,
        Self::Rubbish,
        Self::Gone,
        Self::TooLarge,
        Self::Busy,
        Self::Private,
        Self::Unknown,
        Self::Refused,
    ];

    /// For ids and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowHead => "slow_head",
            Self::SlowBody => "slow_body",
            Self::SlowBodyOfAnError => "slow_body_of_an_error",
            Self::EndlessBody => "endless_body",
            Self::EndlessBodyOfAnError => "endless_body_of_an_error",
            Self::Bomb => "bomb",
            Self::EndlessContinue => "endless_continue",
            Self::HugeHead => "huge_head",
            Self::EndlessHead => "endless_head",
            Self::Redirects => "redirects",
            Self::ResetsAfterHead => "resets_after_head",
            Self::ResetsInBody => "resets_in_body",
            Self::Resets => "resets",
            Self::HalfCloses => "half_closes",
            Self::ForgetsTheSecond => "forgets_the_second",
            Self::Silent => "silent",
            Self::SilentTls => "silent_tls",
            Self::PlainTls => "plain_tls",
            Self::Rubbish => "rubbish",
            Self::Gone => "gone",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Private => "private",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }

    const fn scheme(self) -> &'static str {
        match self {
            Self::SilentTls | Self::PlainTls => "https",
            _ => "http",
        }
    }

    /// What its server does; none, where there is no server.
    pub(crate) fn manner(self) -> Option<Manner> {
        let manner = |says: &str, then| Manner { hears: Hears::Request, says: says.into(), then };
        let endless = || Then::GoesOn(vec![b'x'; LOAD], Duration::ZERO);
        let slow = || Then::GoesOn(b"x".to_vec(), SLOWLY);
        let answers = |status: &str| {
            manner(&format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno"), Then::Repeats)
        };
        Some(match self {
            Self::SlowHead => manner("HTTP/1.1 200 OK\r\nx-slow: ", slow()),
            Self::SlowBody => manner("HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n", slow()),
            Self::SlowBodyOfAnError => manner("HTTP/1.1 500 No\r\ncontent-length: 60000\r\n\r\n", slow()),
            Self::EndlessBody => manner("HTTP/1.1 200 OK\r\n\r\n", endless()),
            Self::EndlessBodyOfAnError => manner("HTTP/1.1 500 No\r\n\r\n", endless()),
            Self::Bomb => manner(
                "HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\n\r\n",
                Then::GoesOn(zeros_packed().repeat(16), Duration::ZERO),
            ),
            Self::EndlessContinue => {
                manner("", Then::GoesOn(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(600), Duration::ZERO))
            }
            Self::HugeHead => {
                let field = format!("x-long: {}\r\n", "x".repeat(2_000));
                answers(&format!("200 OK\r\n{}x-end: 1", field.repeat(10)))
            }
            Self::EndlessHead => manner("HTTP/1.1 200 OK\r\nx-long: ", endless()),
            Self::Redirects => manner(
                "HTTP/1.1 307 There\r\nlocation: http://169.254.169.254/latest/\r\ncontent-length: 0\r\n\r\n",
                Then::Repeats,
            ),
            Self::ResetsAfterHead => manner("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", Then::Resets),
            Self::ResetsInBody => manner("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome", Then::Resets),
            Self::Resets => manner("", Then::Resets),
            Self::HalfCloses => manner("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Then::HalfCloses),
            Self::ForgetsTheSecond => manner("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Then::Waits),
            Self::Silent | Self::SilentTls => manner("", Then::Waits),
            Self::PlainTls => Manner { hears: Hears::Something, ..answers("200 OK") },
            Self::Rubbish => manner("220 mail.example ESMTP\r\n", Then::Waits),
            Self::Gone => answers("410 Gone"),
            Self::TooLarge => answers("413 Too Large"),
            Self::Busy => answers("429 Too Many\r\nretry-after: 3600"),
            Self::Private | Self::Unknown | Self::Refused => return None,
        })
    }
}

/// A gzip member of a mebibyte of zeros. Members may follow each other.
fn zeros_packed() -> Vec<u8> {
    const HEAD: [u8; 19] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0xed, 0xc1, 0x31, 1, 0, 0, 0, 0xc2, 0xa0];
    const MORE: [u8; 6] = [0xf5, 0x4f, 0x6d, 0x08, 0x5f, 0xa0];
    const TAIL: [u8; 10] = [0x3e, 0x03, 0x1c, 0xea, 0x38, 0xa7, 0, 0, 0x10, 0];
    [&HEAD[..], &MORE, &[0; 1016], &TAIL].concat()
}

/// All of them, each in its pen; they are gone when it is dropped.
#[derive(Debug)]
pub struct Zoo {
    pens: HashMap<Kind, SocketAddr>,
    _servers: JoinSet<()>,
}

impl Zoo {
    /// Opens it: whoever listens at all does so when this returns.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub async fn open() -> anyhow::Result<Self> {
        let mut pens = HashMap::new();
        let mut servers = JoinSet::new();
        for kind in Kind::ALL {
            let Some(manner) = kind.manner() else { continue };
            let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to bind a pen")?;
            pens.insert(kind, listener.local_addr()?);
            servers.spawn(server::serve(listener, manner));
        }
        Ok(Self { pens, _servers: servers })
    }

    /// Where one is found.
    pub fn url(&self, kind: Kind) -> String {
        match self.pens.get(&kind) {
            Some(address) => format!("{}://{address}/hooks", kind.scheme()),
            None if kind == Kind::Private => "http://10.0.0.1/hooks".to_owned(),
            None if kind == Kind::Unknown => "http://nowhere.invalid/hooks".to_owned(),
            None => "http://127.0.0.1:1/hooks".to_owned(),
        }
    }

    /// Where its server listens, if it has one.
    pub fn address(&self, kind: Kind) -> Option<SocketAddr> {
        self.pens.get(&kind).copied()
    }
}
