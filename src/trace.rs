//! A call's place in a distributed trace, and what is told of the call when it has ended.
//!
//! A trace's ids and the decision to tell of it at all come in `traceparent` (W3C Trace Context, level 1). It is read
//! strictly: what is not exactly one good header counts as none, and nothing of it is passed on but the ids, written
//! anew. `tracestate`, which holds others' words, is neither read nor sent.
//!
//! All of this is plain values: a call outside of a trace, or with traces off, carries a `None`. Not here: who decides
//! (`otlp`), how spans get to a collector (`otlp`), the trace log's lines (`cli`), which take the ids from [`current`].

pub mod parent;

use std::fmt;
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use strum::EnumCount as _;
use uuid::Uuid;

use crate::measure::Stage;
use crate::operation::Operation;

use parent::Parent;

/// The id of a trace; not all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

impl fmt::Display for TraceId {
    /// 32 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The id of a span; not all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// Where a call stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace: the client's, or one of our own.
    pub trace: TraceId,
    /// The span of the whole call.
    pub span: SpanId,
    /// The client's span.
    pub parent: Option<SpanId>,
    /// Whether spans are told of.
    pub is_sampled: bool,
}

impl Context {
    /// The place of a call that came with `parent`; `ids` are random.
    #[must_use]
    pub fn new(parent: Option<Parent>, [trace, span]: [u128; 2], is_sampled: bool) -> Self {
        let span = u64::try_from(span >> 64).unwrap_or_default().max(1);
        Self {
            trace: parent.map_or_else(|| TraceId(trace.max(1).to_be_bytes()), |parent| parent.trace),
            span: SpanId(span.to_be_bytes()),
            parent: parent.map(|parent| parent.span),
            is_sampled,
        }
    }

    /// The span of a stage: follows from the call's, so that it is known before the stage has ended.
    #[must_use]
    pub fn span_of(&self, stage: Stage) -> SpanId {
        self.span_at(1 + stage as usize)
    }

    /// The span of a stage's second time.
    #[must_use]
    pub fn span_of_again(&self, stage: Stage) -> SpanId {
        self.span_at(1 + Stage::COUNT + stage as usize)
    }

    fn span_at(&self, place: usize) -> SpanId {
        let call = u64::from_be_bytes(self.span.0);
        let place = u64::try_from(place).unwrap_or_default();
        // Over the end comes zero, which is no id.
        let span = call.checked_add(place).unwrap_or(place);
        SpanId(span.to_be_bytes())
    }

    /// `traceparent` of what is sent in this stage.
    #[must_use]
    pub fn traceparent(&self, stage: Stage) -> Option<HeaderValue> {
        let parent = Parent { trace: self.trace, span: self.span_of(stage), is_sampled: self.is_sampled };
        HeaderValue::try_from(parent.to_string()).ok()
    }
}

/// A call that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its place.
    pub context: Context,
    /// Its id.
    pub request_id: Uuid,
    /// When it was taken up, after `listen`.
    pub arrived: Timestamp,
    /// How long it waited to be taken up.
    pub listen: Duration,
    /// The stages that ended, in their order and without gaps between them.
    pub stages: Vec<(Stage, Duration)>,
    /// The stage that refused it, in its place among them.
    pub refused_in: Option<(Stage, Duration)>,
    /// From being taken up to its answer.
    pub took: Duration,
    /// What it asked for, where that is known.
    pub operation: Option<Operation>,
    /// The request's method, `?` where HTTP names none like it.
    pub method: &'static str,
    /// The answer's status.
    pub status: u16,
    /// The refusal's name.
    pub refusal: Option<&'static str>,
}

/// What names a call in the trace log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The call's id.
    pub request_id: Uuid,
    /// Its place in a trace.
    pub trace: Option<Context>,
}

tokio::task_local! {
    static CURRENT: Tag;
}

/// Runs the work of a call, within which [`current`] tells the call.
pub async fn within<T>(tag: Tag, work: impl Future<Output = T>) -> T {
    CURRENT.scope(tag, work).await
}

/// The call that this task works on at this moment.
#[must_use]
pub fn current() -> Option<Tag> {
    CURRENT.try_with(|tag| *tag).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_trace_of_the_client_goes_on_and_each_stage_has_a_span_of_its_own() {
        let parent = Parent { trace: TraceId([7; 16]), span: SpanId([9; 8]), is_sampled: true };
        let context = Context::new(Some(parent), [1, u128::MAX], false);
        assert_eq!((context.trace, context.parent), (parent.trace, Some(parent.span)));
        let stages = [Stage::Listen, Stage::Forward, Stage::Outcome];
        let spans = stages.map(|stage| context.span_of(stage).0);
        let all: BTreeSet<[u8; 8]> =
            spans.into_iter().chain(stages.map(|stage| context.span_of_again(stage).0)).collect();
        assert!(all.len() == 6 && !all.contains(&[0; 8]) && !all.contains(&context.span.0), "{all:?}");
        let sent = context.traceparent(Stage::Forward).unwrap();
        let forward = u64::from_be_bytes(spans[1]);
        assert_eq!(sent, format!("00-{}-{forward:016x}-00", "07".repeat(16)).as_str());
    }

    #[test]
    fn ids_are_never_zero() {
        let context = Context::new(None, [0, 0], true);
        assert_eq!(context.trace.to_string(), format!("{}1", "0".repeat(31)));
        assert_ne!(context.span.0, [0; 8]);
    }

    #[tokio::test]
    async fn only_within_a_call_there_is_a_current_one() {
        assert_eq!(current(), None);
        let tag = Tag { request_id: Uuid::from_u128(7), trace: None };
        assert_eq!(within(tag, async { current() }).await, Some(tag));
        assert_eq!(current(), None);
    }
}
