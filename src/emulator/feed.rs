//! A response body that can be slow, huge, or break off.
//!
//! Not here: which of these an answer is (`answer`).

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// One step of sending a body.
#[derive(Debug)]
pub(super) enum Step {
    Data(Bytes),
    /// The same bytes, so many times.
    Repeat(Bytes, usize),
    Wait(Duration),
    /// The body fails: HTTP/1.1 closes the connection, HTTP/2 resets the stream.
    Fail,
}

/// A body, step by step.
#[derive(Debug)]
pub(super) struct Feed {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Bytes still promised, where the length is announced.
    left: Option<u64>,
}

/// Why a body or a whole answer breaks off: it was asked for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("broken off by an emulator fault")]
pub(super) struct Broken;

impl Feed {
    /// A body that comes at once and whole.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self::steps([Step::Data(bytes)], Some(length))
    }

    /// A body by steps, announced as `length` bytes long, or not announced.
    pub(super) fn steps(steps: impl IntoIterator<Item = Step>, length: Option<u64>) -> Self {
        Self { steps: steps.into_iter().collect(), sleep: None, left: length }
    }

    fn sent(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
        Frame::data(bytes)
    }
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.sleep = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Data(bytes)) if bytes.is_empty() => {}
                Some(Step::Data(bytes)) => return Poll::Ready(Some(Ok(self.sent(bytes)))),
                Some(Step::Repeat(_, 0)) => {}
                Some(Step::Repeat(bytes, times)) => {
                    self.steps.push_front(Step::Repeat(bytes.clone(), times - 1));
                    return Poll::Ready(Some(Ok(self.sent(bytes))));
                }
                Some(Step::Wait(wait)) => self.sleep = Some(Box::pin(tokio::time::sleep(wait))),
                Some(Step::Fail) => return Poll::Ready(Some(Err(Broken))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
