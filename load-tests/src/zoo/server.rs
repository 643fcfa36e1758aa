//! A server with manners: it hears, says, and does what they ask for, and nothing else.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Hears, Manner, Then};

/// No request is longer.
const MAX_REQUEST: usize = 64 * 1024;
/// What was said is taken by now, so that a reset does not overtake it.
const TAKEN_AFTER: std::time::Duration = std::time::Duration::from_millis(5);

pub(super) async fn serve(listener: TcpListener, manner: Manner) {
    let manner = Arc::new(manner);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Too many open files: the next may do better.
            Ok((stream, _)) = listener.accept() => {
                let manner = Arc::clone(&manner);
                // An error is the other side's end of it.
                connections.spawn(async move { drop(misbehave(stream, &manner).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn misbehave(mut stream: TcpStream, manner: &Manner) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    loop {
        hear(&mut stream, manner.hears).await?;
        stream.write_all(&manner.says).await?;
        match &manner.then {
            Then::Repeats => {}
            Then::Waits => return until_closed(&mut stream).await,
            Then::Resets => {
                tokio::time::sleep(TAKEN_AFTER).await;
                // With nothing that lingers a close is a reset.
                return stream.set_zero_linger();
            }
            Then::HalfCloses => {
                stream.shutdown().await?;
                return until_closed(&mut stream).await;
            }
            Then::GoesOn(what, after) => {
                let (mut reading, mut writing) = stream.split();
                let going_on = async {
                    loop {
                        writing.write_all(what).await?;
                        tokio::time::sleep(*after).await;
                    }
                };
                return tokio::select! {
                    ended = going_on => ended,
                    ended = until_closed(&mut reading) => ended,
                };
            }
        }
    }
}

async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

async fn hear(stream: &mut TcpStream, what: Hears) -> io::Result<()> {
    let mut heard = Vec::new();
    while heard.len() < MAX_REQUEST {
        if stream.read_buf(&mut heard).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if what == Hears::Something || is_whole(&heard) {
            return Ok(());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Whether a request has come to its end; hookline's name the length of their bodies.
fn is_whole(heard: &[u8]) -> bool {
    let text = String::from_utf8_lossy(heard);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let named = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned);
    let length = head.lines().find_map(named).and_then(|length| length.trim().parse::<usize>().ok());
    let length = length.unwrap_or_default();
    // Heads are ASCII, so that their bytes are counted by the text.
    heard.len() >= head.len() + 4 + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_with_its_body() {
        for (heard, expected) in [
            ("", false),
            ("POST / HTTP/1.1\r\ncontent-length: 3\r\n", false),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", false),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", true),
            ("GET / HTTP/1.1\r\n\r\n", true),
        ] {
            assert_eq!(is_whole(heard.as_bytes()), expected, "{heard:?}");
        }
    }
}
