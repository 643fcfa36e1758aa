//! A connection that reads no more for one request than an answer may have.
//!
//! The client's own limits are those of one head and one body; what comes before the head, interim answers
//! without end, it skips. Here all of it together is bounded, whatever it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

/// Read at once.
const CHUNK: usize = 4 * 1024;

/// More came than an answer may have.
#[derive(Debug, thiserror::Error)]
#[error("the answer is too long")]
struct TooLong;

/// A connection with a ration for each request.
#[derive(Debug)]
pub(crate) struct Rationed<T> {
    inner: T,
    ration: usize,
    left: usize,
}

impl<T> Rationed<T> {
    /// So many bytes per request.
    pub(crate) const fn new(inner: T, ration: usize) -> Self {
        Self { inner, ration, left: ration }
    }
}

impl<T: Read + Unpin> Read for Rationed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK];
        let most = CHUNK.min(into.remaining());
        let mut read = ReadBuf::new(chunk.get_mut(..most).unwrap_or_default());
        std::task::ready!(Pin::new(&mut self.inner).poll_read(context, read.unfilled()))?;
        let read = read.filled();
        self.left = match self.left.checked_sub(read.len()) {
            Some(left) => left,
            None => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TooLong))),
        };
        into.put_slice(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for Rationed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A request begins, or goes on: nothing else is written.
        self.left = self.ration;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.left = self.ration;
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }
}
