//! The spans of a call: one of the whole, and below it one for each stage.
//!
//! Their attributes are ids and words of our own lists: no path, header, name or text of a client's. Names are those of
//! OpenTelemetry's semantic conventions for HTTP, and our own below `tunnelwarden.`; the record has the rest, by
//! `tunnelwarden.request_id`. Not here: sending (`otlp`).

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::measure::Stage;
use crate::operation::Operation;
use crate::trace::{Context, Ended, SpanId};

const SERVICE: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Who tells; `instance` differs from process to process.
pub(super) fn resource(instance: &str) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", SERVICE),
            KeyValue::new("service.version", VERSION),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ])
        .build()
}

/// How many spans [`of`] makes.
pub(super) fn count(call: &Ended) -> usize {
    // The call's own, and that of `listen`, which may be the one that refuses.
    1 + call.stages.len() + usize::from(call.refused_in.is_some()) + usize::from(!refused_unread(call))
}

/// Whether the listener itself refused it.
fn refused_unread(call: &Ended) -> bool {
    call.refused_in.is_some_and(|(stage, _)| stage == Stage::Listen)
}

/// The call's span, then those of its stages in their order.
pub(super) fn of(call: &Ended) -> Vec<SpanData> {
    let since_1970 = Duration::from_micros(call.arrived.as_microsecond().try_into().unwrap_or_default());
    let arrived = after(SystemTime::UNIX_EPOCH, since_1970);
    let began = arrived.checked_sub(call.listen).unwrap_or(arrived);
    let mut spans = Vec::with_capacity(count(call));
    spans.push(whole(call, began, after(arrived, call.took)));
    let mut from = began;
    let mut add = |stage: Stage, took: Duration, span: SpanId, refusal: Option<&'static str>| {
        let to = after(from, took);
        let is_fault = stage == Stage::Forward && call.refusal.is_none() && call.status >= FAULT;
        spans.push(of_stage(&call.context, (stage, span), [from, to], refusal, is_fault));
        from = to;
    };
    let id = |stage| call.context.span_of(stage);
    if !refused_unread(call) {
        add(Stage::Listen, call.listen, id(Stage::Listen), None);
    }
    let recorded = call.stages.iter().filter(|(stage, _)| *stage == Stage::Outcome);
    let before = call.stages.iter().filter(|(stage, _)| *stage != Stage::Outcome);
    before.for_each(|(stage, took)| add(*stage, *took, id(*stage), None));
    if let Some((stage, took)) = call.refused_in {
        // A policy may decide a second time, once the state is known.
        let again = call.stages.iter().any(|(passed, _)| *passed == stage);
        let span = if again { call.context.span_of_again(stage) } else { id(stage) };
        add(stage, took, span, call.refusal);
    }
    // Where no stage refused, the call could not be recorded.
    let refusal = call.refusal.filter(|_| call.refused_in.is_none());
    recorded.for_each(|(stage, took)| add(*stage, *took, id(*stage), refusal));
    spans
}

/// Statuses from here on are faults of ours or of the upstream.
const FAULT: u16 = 500;

fn whole(call: &Ended, from: SystemTime, to: SystemTime) -> SpanData {
    let method = if call.method == "?" { "_OTHER" } else { call.method };
    let operation = call.operation.map(Operation::name);
    let mut attributes = vec![
        KeyValue::new("tunnelwarden.request_id", call.request_id.to_string()),
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.response.status_code", i64::from(call.status)),
        KeyValue::new("tunnelwarden.operation", operation.unwrap_or("none")),
    ];
    attributes.extend(call.refusal.map(|refusal| KeyValue::new("tunnelwarden.refusal", refusal)));
    let Context { span, parent, .. } = call.context;
    let of = Of { name: operation.unwrap_or("request"), kind: SpanKind::Server, span, parent };
    let status =
        if call.status >= FAULT { Status::error(call.refusal.unwrap_or_default()) } else { Status::Unset };
    SpanData {
        parent_span_is_remote: parent.is_some(),
        ..span_data(&call.context, of, [from, to], attributes, status)
    }
}

fn of_stage(
    context: &Context,
    (stage, span): (Stage, SpanId),
    times: [SystemTime; 2],
    refusal: Option<&'static str>,
    is_fault: bool,
) -> SpanData {
    let kind = match stage {
        Stage::State | Stage::Forward => SpanKind::Client,
        Stage::Listen
        | Stage::Identify
        | Stage::Limit
        | Stage::Body
        | Stage::Authorize
        | Stage::Intent
        | Stage::Outcome => SpanKind::Internal,
    };
    let attributes = refusal.map(|refusal| KeyValue::new("tunnelwarden.refusal", refusal));
    let status = match refusal {
        Some(refusal) => Status::error(refusal),
        None if is_fault => Status::error(""),
        None => Status::Unset,
    };
    let of = Of { name: stage.name(), kind, span, parent: Some(context.span) };
    span_data(context, of, times, attributes.into_iter().collect(), status)
}

/// What tells one span of a call from another.
struct Of {
    name: &'static str,
    kind: SpanKind,
    span: SpanId,
    parent: Option<SpanId>,
}

fn span_data(
    context: &Context,
    of: Of,
    [start_time, end_time]: [SystemTime; 2],
    attributes: Vec<KeyValue>,
    status: Status,
) -> SpanData {
    let id = |span: SpanId| opentelemetry::trace::SpanId::from_bytes(span.0);
    SpanData {
        span_context: SpanContext::new(
            opentelemetry::trace::TraceId::from_bytes(context.trace.0),
            id(of.span),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: of.parent.map_or(opentelemetry::trace::SpanId::INVALID, id),
        parent_span_is_remote: false,
        span_kind: of.kind,
        name: of.name.into(),
        start_time,
        end_time,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: InstrumentationScope::builder(SERVICE).with_version(VERSION).build(),
    }
}

/// So much later; the same where no clock goes so far.
fn after(time: SystemTime, took: Duration) -> SystemTime {
    time.checked_add(took).unwrap_or(time)
}
