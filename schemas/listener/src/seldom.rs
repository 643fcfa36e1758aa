//! A future that hardly ever has anything to say, beside one that is asked all the time.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// Asks its future only after that one has woken somebody. What waits for the end of a role or for a deadline looks at
/// something that all connections share, under a lock, as often as it is asked; and beside a connection it is asked with
/// every request.
#[derive(Debug)]
pub struct Seldom<F>(FuturesUnordered<F>);

impl<F: Future> Seldom<F> {
    /// This future, asked once at first.
    pub fn new(future: F) -> Self {
        Self(FuturesUnordered::from_iter([future]))
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match self.0.poll_next_unpin(context) {
            Poll::Ready(Some(output)) => Poll::Ready(output),
            // Nothing is left of it once it was ready: whoever asks again waits for ever.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;

    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn is_asked_when_it_was_woken_and_at_no_other_time() {
        let (sender, mut receiver) = oneshot::channel();
        let asked = Cell::new(0);
        let mut seldom = pin!(Seldom::new(std::future::poll_fn(|context| {
            asked.set(asked.get() + 1);
            receiver.poll_unpin(context)
        })));
        for _ in 0..3 {
            assert!(seldom.as_mut().now_or_never().is_none());
        }
        assert_eq!(asked.get(), 1);
        sender.send(7).expect("it is waited for");
        assert_eq!(seldom.await, Ok(7));
        assert_eq!(asked.get(), 2);
    }

    #[tokio::test]
    async fn wakes_whoever_waits_now_and_not_who_waited_first() {
        let (sender, receiver) = oneshot::channel();
        let mut seldom = Box::pin(Seldom::new(receiver));
        assert!(seldom.as_mut().now_or_never().is_none());
        let waiting = tokio_util::task::TaskTracker::new().spawn(seldom);
        tokio::task::yield_now().await;
        sender.send(7).expect("it is waited for");
        assert_eq!(waiting.await.expect("it ends"), Ok(7));
    }
}
