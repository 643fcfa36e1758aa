//! Reading answers: status and body of one after the other on a connection, in whatever pieces they come.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// An answer of hookline has less than 200 bytes.
const LONGEST: usize = 8 * 1024;
/// Headers of an answer; hookline's have four.
const MOST_HEADERS: usize = 32;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("the connection ended before the answer")]
    Ended,
    #[error("the connection broke")]
    Broken(#[from] std::io::Error),
    #[error("that is no HTTP")]
    NoHttp(#[from] httparse::Error),
    #[error("the answer does not say how long its body is")]
    NoLength,
    #[error("the answer has more than {LONGEST} bytes")]
    TooLong,
    #[error("there is more than one answer")]
    Unasked,
}

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
    /// The bytes of all of it.
    length: usize,
}

/// What has come on one connection.
#[derive(Debug)]
pub(super) struct Answers {
    buffer: Box<[u8]>,
    /// Of the buffer, how much has come.
    filled: usize,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; LONGEST].into(), filled: 0 }
    }

    /// Waits for the whole answer to the one request in flight.
    pub(super) async fn next(&mut self, stream: &mut TcpStream) -> Result<Answer<'_>, NoAnswer> {
        self.filled = 0;
        loop {
            let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
            if room.is_empty() {
                return Err(NoAnswer::TooLong);
            }
            let read = stream.read(room).await?;
            if read == 0 {
                return Err(NoAnswer::Ended);
            }
            self.filled += read;
            if parse(self.come())?.is_some() {
                break;
            }
        }
        // Parsed again, because a borrow can't leave the loop: a tenth of a microsecond.
        let answer = parse(self.come())?.ok_or(NoAnswer::Ended)?;
        if answer.length == self.filled { Ok(answer) } else { Err(NoAnswer::Unasked) }
    }

    fn come(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }
}

/// The answer at the beginning of these bytes, once all of it is there.
fn parse(bytes: &[u8]) -> Result<Option<Answer<'_>>, NoAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(begin) = head.parse(bytes)? else { return Ok(None) };
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    let length: usize = length.ok_or(NoAnswer::NoLength)?;
    let end = begin.saturating_add(length);
    let status = head.code.ok_or(NoAnswer::NoLength)?;
    Ok(bytes.get(begin..end).map(|body| Answer { status, body, length: end }))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 10\r\n\r\n{\"code\":0}";

    #[test]
    fn an_answer_is_there_with_its_last_byte() {
        for split in 0..ANSWER.len() {
            let begun = parse(&ANSWER[..split]).expect("the beginning of an answer");
            assert_eq!(begun, None, "{split}");
        }
        let answer = parse(ANSWER).expect("HTTP").expect("whole");
        assert_eq!((answer.status, answer.body), (200, &b"{\"code\":0}"[..]));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for bytes in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ] {
            assert!(parse(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    /// What is read, if a server writes these pieces and then ends the connection.
    async fn read_of(pieces: &'static [&'static [u8]]) -> Result<(u16, Vec<u8>), NoAnswer> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let writing = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            for piece in pieces {
                stream.write_all(piece).await.expect("a write");
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        let reading = async {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let mut answers = Answers::new();
            answers.next(&mut stream).await.map(|answer| (answer.status, answer.body.to_vec()))
        };
        tokio::join!(writing, reading).1
    }

    #[tokio::test]
    async fn answers_in_pieces_are_put_together() {
        let (head, body) = ANSWER.split_at(ANSWER.len() - 10);
        let (status, head) = head.split_at(9);
        let pieces: &'static [&'static [u8]] = Box::leak(Box::new([status, head, &body[..3], &body[3..]]));
        assert_eq!(read_of(pieces).await.expect("an answer"), (200, body.to_vec()));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_or_goes_on_is_none() {
        assert!(matches!(
            read_of(&[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"]).await,
            Err(NoAnswer::Ended)
        ));
        assert!(matches!(
            read_of(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{"]).await,
            Err(NoAnswer::Unasked)
        ));
    }
}
