//! Traces: what a collector is told of a call, and that nobody waits for a collector.
//!
//! Not here: the choice of calls and the order of spans (`src/otlp/tests.rs`), `traceparent`'s form
//! (`src/trace/parent.rs`), secrets in what is exported (`canary`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tunnelwarden::emulator::Fault;
use tunnelwarden::json::{self, Json};
use tunnelwarden::operation::Operation;

use crate::collector::{Collector, Manner, attributes};
use crate::harness::{Answer, PATIENCE, Wishes, World, tunnel_body};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

async fn world(collector: &Collector, more: &[(&'static str, &str)]) -> World {
    let mut config = vec![("trace.otlp_endpoint", collector.endpoint())];
    config.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    World::with(Wishes { config, ..Wishes::default() }).await
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// What the upstream was sent as `traceparent`, last.
fn sent_on(world: &World) -> Option<String> {
    world.emulator.calls().last().unwrap().header("traceparent").map(str::to_owned)
}

/// Each line of the log that was written in the way of this call.
fn lines_of(world: &World, answer: &Answer) -> Vec<Json> {
    let log = world.stderr();
    let lines =
        log.lines().map(|line| json::read(line.as_bytes(), 8).unwrap_or_else(|e| panic!("{e}: {line}")));
    let id = answer.header("x-request-id");
    lines.filter(|line| line.get("request.id").and_then(Json::as_str) == Some(&id)).collect()
}

#[tokio::test]
async fn a_change_is_a_span_with_one_for_each_stage_in_the_clients_trace() {
    let collector = Collector::start(Manner::Takes).await;
    let world = world(&collector, &[]).await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let path = format!("/{}", made.text_at("/result/id"));
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let with = [("traceparent", parent.as_str()), ("tracestate", "vendor=opaque")];
    let put = world.call_with("operator", Method::PUT, &path, Some(&tunnel_body("a", 2)), &with).await;
    assert_eq!(put.status, 200, "{}", put.text());

    let (call, stages) = collector.call(&put.header("x-request-id")).await;
    assert_eq!((hex(&call.trace_id), hex(&call.parent_span_id)), (TRACE.to_owned(), SPAN.to_owned()));
    assert_eq!((call.name.as_str(), call.kind()), ("update", SpanKind::Server));
    let told = attributes(&call.attributes);
    let want = [
        ("http.request.method", "PUT"),
        ("http.response.status_code", "200"),
        ("tunnelwarden.operation", "update"),
        ("tunnelwarden.request_id", &put.header("x-request-id")),
    ];
    assert_eq!(told, BTreeMap::from(want.map(|(key, value)| (key.to_owned(), value.to_owned()))));
    let order = ["listen", "identify", "limit", "body", "authorize", "state", "intent", "forward", "outcome"];
    assert_eq!(names(&stages), order);
    for pair in stages.windows(2) {
        assert_eq!(pair[0].end_time_unix_nano, pair[1].start_time_unix_nano, "{pair:#?}");
    }
    assert!(stages.iter().all(|stage| hex(&stage.trace_id) == TRACE && stage.attributes.is_empty()));
    assert_eq!(call.start_time_unix_nano, stages[0].start_time_unix_nano);
    assert!(call.end_time_unix_nano >= stages[8].end_time_unix_nano);

    // The upstream's spans belong below the stage that called it, and it gets nothing else of the client's.
    let upstream: Vec<_> = world.emulator.calls().into_iter().rev().take(2).collect();
    for (seen, stage) in upstream.iter().zip([&stages[7], &stages[5]]) {
        assert_eq!(
            seen.header("traceparent"),
            Some(format!("00-{TRACE}-{}-01", hex(&stage.span_id)).as_str())
        );
        assert_eq!(seen.header("tracestate"), None);
    }

    let resources = collector.exports().into_iter().flat_map(|export| export.resource_spans);
    for resource in resources.filter_map(|spans| spans.resource) {
        let told = attributes(&resource.attributes);
        assert_eq!(told["service.name"], "tunnelwarden");
        assert_eq!(
            told.keys().collect::<Vec<_>>(),
            ["service.instance.id", "service.name", "service.version"]
        );
    }
    let lines = lines_of(&world, &put);
    assert!(lines.len() >= 3, "two of the upstream and one of the answer: {lines:?}");
    assert!(lines.iter().all(|line| line.get("trace.id").and_then(Json::as_str) == Some(TRACE)), "{lines:?}");
}

#[tokio::test]
async fn a_refusal_stands_on_the_stage_that_refused() {
    let collector = Collector::start(Manner::Takes).await;
    let world = world(&collector, &[]).await;
    let body = tunnel_body("a", 1);
    let denied = world.call("viewer", Method::POST, "", Some(&body)).await;
    let made = world.call("operator", Method::POST, "", Some(&body)).await;
    // What it leaves out would be turned off, which only the state before tells.
    let (path, weak) =
        (format!("/{}", made.text_at("/result/id")), body.replace(",\"replay_protection\":true", ""));
    let weakened = world.call("operator", Method::PUT, &path, Some(&weak)).await;
    let stranger = world.try_call("nobody", Method::GET, "", None, &[]).await.unwrap();
    let broken = world.raw(b"no HTTP at all\r\n\r\n").await;
    let broken = broken.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap().to_owned();
    for (id, status, refusal, order) in [
        (
            denied.header("x-request-id"),
            "403",
            "forbidden",
            &["listen", "identify", "limit", "body", "authorize", "outcome"][..],
        ),
        (
            weakened.header("x-request-id"),
            "403",
            "forbidden",
            &["listen", "identify", "limit", "body", "authorize", "state", "authorize", "outcome"],
        ),
        (stranger.header("x-request-id"), "401", "token_invalid", &["listen", "identify", "outcome"]),
        (broken, "400", "malformed_request", &["listen", "outcome"]),
    ] {
        let (call, stages) = collector.call(&id).await;
        let told = attributes(&call.attributes);
        assert_eq!(
            (told["http.response.status_code"].as_str(), told["tunnelwarden.refusal"].as_str()),
            (status, refusal)
        );
        assert_eq!(names(&stages), order, "{refusal}");
        let refused = &stages[stages.len() - 2];
        assert_eq!(attributes(&refused.attributes)["tunnelwarden.refusal"], refusal);
        assert!(call.parent_span_id.is_empty());
        let ids: BTreeSet<_> = stages.iter().chain([&call]).map(|span| span.span_id.clone()).collect();
        assert_eq!(ids.len(), stages.len() + 1, "{stages:#?}");
    }
}

#[tokio::test]
async fn what_fails_upstream_is_a_fault_of_the_stage_that_called() {
    let collector = Collector::start(Manner::Takes).await;
    let world = world(&collector, &[]).await;
    world.emulator.fault(Fault::DropBefore, Operation::List, 2);
    let got = world.call("viewer", Method::GET, "", None).await;
    assert_eq!(got.status, 502, "{}", got.text());
    let (call, stages) = collector.call(&got.header("x-request-id")).await;
    let faults: Vec<&str> =
        stages.iter().chain([&call]).filter(|span| is_fault(span)).map(|s| s.name.as_str()).collect();
    assert_eq!(faults, ["forward", "list"]);
}

fn is_fault(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

#[tokio::test]
async fn what_is_not_sampled_goes_on_and_is_not_told_of() {
    let collector = Collector::start(Manner::Takes).await;
    let mut world = world(&collector, &[("trace.sampling", "\"0%\"")]).await;
    let asked = format!("00-{TRACE}-{SPAN}-01");
    let got = world.call_with("viewer", Method::GET, "", None, &[("traceparent", &asked)]).await;
    assert_eq!(got.status, 200);
    let sent = sent_on(&world).unwrap();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
    let line = lines_of(&world, &got).pop().unwrap();
    assert_eq!(line.get("trace.id").and_then(Json::as_str), Some(TRACE));
    world.stop().await;
    assert!(collector.requests().is_empty());
}

#[tokio::test]
async fn without_a_collector_there_are_no_traces() {
    let world = World::start().await;
    let asked = format!("00-{TRACE}-{SPAN}-01");
    let got = world.call_with("viewer", Method::GET, "", None, &[("traceparent", &asked)]).await;
    assert_eq!(got.status, 200);
    assert_eq!(sent_on(&world), None);
    let lines = lines_of(&world, &got);
    assert!(!lines.is_empty() && lines.iter().all(|line| line.get("trace.id").is_none()), "{lines:?}");
}

/// The value of a metric that counts spans.
async fn spans(world: &World, name: &str) -> u64 {
    let text = world.admin("/metrics").await.text();
    let line =
        text.lines().find_map(|line| line.strip_prefix("tunnelwarden_trace_spans_")?.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
}

const FAILED: &str = "dropped_total{reason=\"export_failed\"}";

#[tokio::test]
async fn a_collector_that_refuses_hangs_or_is_not_there_costs_spans_and_no_call() {
    let gone = {
        let gone = Collector::start(Manner::Takes).await;
        gone.endpoint()
    };
    let (refusing, hanging) =
        (Collector::start(Manner::Refuses).await, Collector::start(Manner::Hangs).await);
    for endpoint in [gone, refusing.endpoint(), hanging.endpoint()] {
        let config =
            vec![("trace.otlp_endpoint", endpoint.clone()), ("trace.timeout", "\"200ms\"".to_owned())];
        let mut world = World::with(Wishes { config, ..Wishes::default() }).await;
        for _ in 0..5 {
            let got = world.call("viewer", Method::GET, "", None).await;
            assert_eq!(got.status, 200);
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        // A read has a span of its own and seven stages.
        while spans(&world, FAILED).await < 5 * 8 {
            assert!(tokio::time::Instant::now() < until, "{endpoint}: {}", spans(&world, FAILED).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(spans(&world, FAILED).await, 5 * 8, "{endpoint}");
        assert_eq!(spans(&world, "exported_total").await, 0, "{endpoint}");
        let told = world.stderr().matches("the collector does not take spans").count();
        assert_eq!(told, 1, "once a minute: {}", world.stderr());
        world.stop().await;
    }
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_end() {
    let collector = Collector::start(Manner::Takes).await;
    let config = vec![("trace.otlp_endpoint", collector.endpoint())];
    let env = vec![("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), "x-key=a-key-of-the-collectors".to_owned())];
    let mut world = World::with(Wishes { config, env, ..Wishes::default() }).await;
    let got = world.call("viewer", Method::GET, "", None).await;
    world.stop().await;
    let (call, stages) = collector.call(&got.header("x-request-id")).await;
    assert_eq!((call.name.as_str(), stages.len()), ("list", 7));
    assert_eq!(collector.requests()[0].0.headers["x-key"], "a-key-of-the-collectors");
    assert!(!world.stderr().contains("a-key-of-the-collectors"));
}
