use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::measure::Stage;
use crate::trace::parent::TRACEPARENT;

fn exporter(sampled_percent: u32, follows_clients: bool) -> (Exporter, mpsc::Receiver<Ended>) {
    let (queue, calls) = mpsc::channel(1);
    (Exporter { queue, sampled_percent, follows_clients, metrics: Metrics::new() }, calls)
}

fn parent(flags: &str) -> HeaderMap {
    let value = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    HeaderMap::from_iter([(TRACEPARENT, HeaderValue::try_from(value).unwrap())])
}

fn ended(context: Context) -> Ended {
    Ended {
        context,
        request_id: uuid::Uuid::from_u128(1),
        arrived: jiff::Timestamp::from_second(1_790_000_000).unwrap(),
        listen: Duration::from_millis(1),
        stages: vec![(Stage::Identify, Duration::from_millis(2)), (Stage::Outcome, Duration::from_millis(8))],
        refused_in: Some((Stage::Limit, Duration::from_millis(4))),
        took: Duration::from_millis(20),
        operation: None,
        method: "?",
        status: 429,
        refusal: Some("rate_limited"),
    }
}

#[test]
fn a_client_turns_its_spans_off_and_never_on_unless_it_is_followed() {
    #[track_caller]
    fn check(percent: u32, follows: bool, headers: &HeaderMap, sampled: bool) {
        let (exporter, _calls) = exporter(percent, follows);
        for _ in 0..200 {
            assert_eq!(exporter.begin(headers).unwrap().is_sampled, sampled);
        }
    }
    let (sampled, unsampled, none) = (parent("01"), parent("00"), HeaderMap::new());
    check(100, false, &none, true);
    check(100, false, &sampled, true);
    check(100, false, &unsampled, false);
    check(0, false, &none, false);
    check(0, false, &sampled, false);
    check(0, true, &sampled, true);
    check(0, true, &none, false);
    check(100, true, &unsampled, false);
}

#[test]
fn one_trace_of_a_client_is_told_of_as_often_as_any_other() {
    let (exporter, _calls) = exporter(50, false);
    let sampled = (0..1000).filter(|_| exporter.begin(&parent("01")).unwrap().is_sampled).count();
    // The chance of being outside is below 1 in 10^30.
    assert!((300..700).contains(&sampled), "{sampled}");
}

#[tokio::test]
async fn what_the_queue_can_not_take_is_dropped_and_counted_and_nobody_waits() {
    let (exporter, mut calls) = exporter(100, false);
    let context = exporter.begin(&HeaderMap::new()).unwrap();
    for _ in 0..3 {
        exporter.end(ended(context));
    }
    let unsampled = Context { is_sampled: false, ..context };
    exporter.end(ended(unsampled));
    assert!(calls.recv().await.is_some());
    let dropped = "tunnelwarden_trace_spans_dropped_total{reason=\"queue_full\"} 10";
    let told = exporter.metrics.render();
    assert!(told.contains(dropped), "{told}");
}

#[test]
fn spans_stand_behind_each_other_in_the_order_of_the_stages() {
    let (exporter, _calls) = exporter(100, false);
    let call = ended(exporter.begin(&parent("01")).unwrap());
    let spans = spans::of(&call);
    assert_eq!(spans.len(), spans::count(&call));
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["request", "listen", "identify", "limit", "outcome"]);
    let [whole, stages @ ..] = spans.as_slice() else { panic!("no spans") };
    assert!(whole.parent_span_is_remote);
    let took = whole.end_time.duration_since(whole.start_time).unwrap();
    assert_eq!(took, Duration::from_millis(21), "what the clients waits for, and `listen`");
    let mut at = whole.start_time;
    for (span, millis) in stages.iter().zip([1, 2, 4, 8]) {
        assert_eq!(span.parent_span_id, whole.span_context.span_id());
        assert_eq!(span.start_time, at);
        at += Duration::from_millis(millis);
        assert_eq!(span.end_time, at);
    }
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_started() {
    let mut config = config::Trace {
        otlp_endpoint: None,
        ca_file: None,
        sampled_percent: 100,
        follows_clients: false,
        timeout: Duration::from_secs(1),
    };
    assert!(start(&config, "a", &Metrics::new()).unwrap().is_none());
    config.otlp_endpoint = Some(http::Uri::from_static("https://127.0.0.1:1"));
    config.ca_file = Some("/nowhere.pem".into());
    assert!(check(&config).unwrap().contains("/nowhere.pem"));
    assert!(start(&config, "a", &Metrics::new()).is_err());
}
