//! One connection: all requests that one read brought are taken, and answered by one write.

use std::sync::Arc;

use anyhow::Context;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::reader::{Request, first};
use super::record::{EventHash, Mark};
use super::{COUNTS, Sink, TIMES, number_of};
use crate::serve::locked;

/// Room for one read: some requests.
const READ_BYTES: usize = 16 * 1024;

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What is known of a connection.
#[derive(Debug, Default)]
struct Connection {
    /// A delivery came over it.
    is_counted: bool,
    /// Its answers that are not written yet.
    answers: Vec<u8>,
}

/// Serves until the other side ends, or says what is no request.
pub(super) async fn serve(sink: Arc<Sink>, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection::default();
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        let Ok(1..) = stream.read_buf(&mut buffer).await else { return };
        let goes_on = connection.take_all(&sink, &mut buffer);
        if connection.answers.is_empty() {
            continue;
        }
        if !sink.delay.is_zero() {
            tokio::time::sleep(sink.delay).await;
        }
        if stream.write_all(&connection.answers).await.is_err() || !goes_on {
            return;
        }
        connection.answers.clear();
    }
}

impl Connection {
    /// Takes every request that is there as a whole. Whether the connection goes on.
    fn take_all(&mut self, sink: &Sink, buffer: &mut BytesMut) -> bool {
        loop {
            let length = match first(buffer) {
                Ok(Some(request)) => {
                    self.answer(sink, &request);
                    request.length
                }
                Ok(None) => return true,
                Err(_) => {
                    locked(&sink.record).counts.malformed += 1;
                    self.answers.extend_from_slice(BAD_REQUEST);
                    return false;
                }
            };
            buffer.advance(length);
        }
    }

    fn answer(&mut self, sink: &Sink, request: &Request<'_>) {
        if let Some(webhook) = number_of(request.path) {
            let answer = self.take(sink, webhook, request);
            return self.answers.extend_from_slice(answer);
        }
        let told = match request.path {
            COUNTS => serde_json::to_vec(&locked(&sink.record).counts).ok(),
            TIMES => times(sink, request.body).ok(),
            _ => None,
        };
        match told {
            Some(body) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                self.answers.extend_from_slice(head.as_bytes());
                self.answers.extend_from_slice(&body);
            }
            None => self.answers.extend_from_slice(NOT_FOUND),
        }
    }

    /// Takes a delivery, and says how it is answered.
    fn take(&mut self, sink: &Sink, webhook: u16, request: &Request<'_>) -> &'static [u8] {
        let (Some(endpoint), Some(id)) = (sink.endpoint(webhook), request.id) else {
            locked(&sink.record).counts.malformed += 1;
            return NOT_FOUND;
        };
        let mark = EventHash::of(id).at(webhook);
        let verified = sink.verifies(mark).then(|| sink.is_signed(endpoint, request));
        let mut record = locked(&sink.record);
        let counts = &mut record.counts;
        counts.connections += u64::from(!std::mem::replace(&mut self.is_counted, true));
        counts.verified += u64::from(verified.is_some());
        if verified == Some(false) {
            counts.bad_signatures += 1;
            return UNAUTHORIZED;
        }
        record.take(webhook, mark);
        TAKEN
    }
}

/// How often each of these deliveries came, as JSON.
fn times(sink: &Sink, marks: &[u8]) -> anyhow::Result<Vec<u8>> {
    let record = locked(&sink.record);
    let (marks, rest) = marks.as_chunks::<8>();
    anyhow::ensure!(rest.is_empty(), "marks have eight bytes each");
    let times: Vec<u32> = marks.iter().map(|mark| record.times(Mark(u64::from_le_bytes(*mark)))).collect();
    serde_json::to_vec(&times).context("numbers make JSON")
}
