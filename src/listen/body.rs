//! A request's body, read whole, within a size and a time.
//!
//! Not here: what is in it (`json`, `tunnel`).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::line::Line;
use crate::refusal::Refusal;

/// A body that has not been read yet. Dropping it unread is allowed: the connection then closes after the
/// answer, so that no byte of the body is taken for another request.
pub struct Body(Source);

enum Source {
    Whole(Bytes),
    Incoming { incoming: Incoming, limit: usize, timeout: Duration, line: Arc<Line> },
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Body").finish_non_exhaustive()
    }
}

impl Body {
    /// A body that is already there: for tests of later stages.
    #[must_use]
    pub const fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(bytes))
    }

    pub(super) const fn incoming(
        incoming: Incoming,
        limit: usize,
        timeout: Duration,
        line: Arc<Line>,
    ) -> Self {
        Self(Source::Incoming { incoming, limit, timeout, line })
    }

    /// Whether the headers alone say that there is nothing in it.
    #[must_use]
    pub fn declared_empty(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Incoming { incoming, .. } => incoming.is_end_stream(),
        }
    }

    /// The whole body. A declared length over the limit is refused before a byte is read.
    ///
    /// # Errors
    /// [`Refusal::BodyTooLarge`], [`Refusal::BodyTimeout`], [`Refusal::BodyIncomplete`], and
    /// [`Refusal::MalformedRequest`] where its framing is not strict.
    pub async fn read(self) -> Result<Bytes, Refusal> {
        match self.0 {
            Source::Whole(bytes) => Ok(bytes),
            Source::Incoming { incoming, limit, timeout, line } => {
                let read = tokio::time::timeout(timeout, read(incoming, limit, &line)).await;
                read.unwrap_or(Err(Refusal::BodyTimeout))
            }
        }
    }
}

async fn read(mut incoming: Incoming, limit: usize, line: &Line) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::BodyTooLarge { limit };
    let declared = incoming.size_hint().lower();
    if declared > limit as u64 {
        return Err(too_large());
    }
    // What is declared is a promise, not a reason to set memory aside: that is done as the bytes come.
    let mut whole = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else { return Err(line.fault().unwrap_or(Refusal::BodyIncomplete)) };
        let Ok(data) = frame.into_data() else {
            return Err(Refusal::MalformedRequest("trailer fields, which are not taken"));
        };
        if data.len() > limit - whole.len() {
            return Err(too_large());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
