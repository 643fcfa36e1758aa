//! Reading a body: bounded bytes, bounded time.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::admission::Permit;
use crate::answer::Refusal;

/// Reads the whole body within the permit's length and the time-out, and before it is too late.
pub(crate) async fn read<B>(
    body: B,
    permit: &Permit<'_>,
    timeout: Duration,
    too_late: impl Future<Output = ()>,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut body = pin!(collect(body, permit.max_body));
    if let Some(body) = at_hand(body.as_mut()).await {
        return body;
    }
    tokio::select! {
        biased;
        body = tokio::time::timeout(timeout, body) => body.unwrap_or(Err(Refusal::SlowBody)),
        () = too_late => Err(Refusal::SlowBody),
    }
}

/// What is there at once, or when it is asked for once more: what has come with its head hyper hands over as soon as
/// somebody has asked. So no timer is armed for nearly all bodies.
async fn at_hand<F: Future>(mut body: Pin<&mut F>) -> Option<F::Output> {
    let mut was_asked = false;
    poll_fn(|context| match body.as_mut().poll(context) {
        Poll::Ready(body) => Poll::Ready(Some(body)),
        Poll::Pending if was_asked => Poll::Ready(None),
        Poll::Pending => {
            was_asked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// One frame is the usual case and is passed on without a copy.
async fn collect<B>(mut body: B, limit: u64) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0_u64;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BrokenBody)?.into_data() else { continue };
        length += data.len() as u64;
        if length > limit {
            return Err(Refusal::TooLarge);
        }
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_come_is_asked_for_twice_and_no_more() {
        for (comes_at, expected) in [(1, Some(1)), (2, Some(2)), (3, None)] {
            let mut asked = 0;
            let body = pin!(poll_fn(|_| {
                asked += 1;
                if asked < comes_at { Poll::Pending } else { Poll::Ready(asked) }
            }));
            assert_eq!(at_hand(body).await, expected);
        }
    }
}
