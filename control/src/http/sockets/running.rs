//! The subscriptions of one socket, each of which has its turn.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use async_graphql::Response as Answer;
use futures::StreamExt;
use futures::stream::BoxStream;

/// Those that run, by the ids that the client gave them.
#[derive(Default)]
pub(super) struct Running {
    streams: VecDeque<(String, BoxStream<'static, Answer>)>,
}

impl Running {
    pub(super) fn count(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.streams.iter().any(|(running, _)| running == id)
    }

    pub(super) fn begin(&mut self, id: String, stream: BoxStream<'static, Answer>) {
        self.streams.push_back((id, stream));
    }

    /// Whether there was such a one.
    pub(super) fn stop(&mut self, id: &str) -> bool {
        let before = self.streams.len();
        self.streams.retain(|(running, _)| running != id);
        self.streams.len() < before
    }

    /// The next answer of any of them; nothing: it has ended, and runs no more. Waits for ever if none runs.
    pub(super) async fn next(&mut self) -> (String, Option<Answer>) {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(String, Option<Answer>)> {
        for _ in 0..self.streams.len() {
            let Some((id, mut stream)) = self.streams.pop_front() else { break };
            // Who was asked stands behind the others, so that one that always answers keeps nobody waiting.
            match stream.poll_next_unpin(context) {
                Poll::Pending => self.streams.push_back((id, stream)),
                Poll::Ready(None) => return Poll::Ready((id, None)),
                Poll::Ready(answer) => {
                    self.streams.push_back((id.clone(), stream));
                    return Poll::Ready((id, answer));
                }
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn one_that_always_answers_keeps_nobody_waiting() {
        let mut running = Running::default();
        running.begin("busy".to_owned(), stream::repeat_with(|| Answer::new(1)).boxed());
        running.begin("silent".to_owned(), stream::pending().boxed());
        running.begin("other".to_owned(), stream::repeat_with(|| Answer::new(2)).take(2).boxed());
        let mut heard = Vec::new();
        for _ in 0..6 {
            let (id, answer) = running.next().await;
            heard.push((id, answer.is_some()));
        }
        let heard: Vec<_> = heard.iter().map(|(id, is_some)| (id.as_str(), *is_some)).collect();
        let (busy, other) = (("busy", true), ("other", true));
        assert_eq!(heard, [busy, other, busy, other, busy, ("other", false)]);
        assert!(!running.has("other") && running.has("silent") && running.count() == 2);
        assert!(running.stop("silent") && !running.stop("silent"));
    }
}
