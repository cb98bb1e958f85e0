use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Health, Serving, serve};
use crate::measure::states::{IssuerKeys, States};
use crate::measure::{Dropped, Metrics, Stage};
use crate::operation::Operation;
use crate::refusal::Refusal;

struct Admin {
    serving: Serving,
    stop: watch::Sender<bool>,
    broken: Arc<AtomicBool>,
}

async fn admin(metrics: Metrics) -> Admin {
    let broken = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&broken);
    let health = Health {
        problems: Arc::new(move || {
            seen.load(Ordering::SeqCst)
                .then(|| "the audit store can't be written".to_owned())
                .into_iter()
                .collect()
        }),
        warnings: Arc::new(|| vec!["the policy file can't be read; the old policy stays".to_owned()]),
        metrics,
    };
    let (stop, stopped) = watch::channel(false);
    let serving =
        serve(SocketAddr::from(([127, 0, 0, 1], 0)), health, axum::Router::new(), stopped).await.unwrap();
    Admin { serving, stop, broken }
}

impl Admin {
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.serving.address).await.unwrap();
        let text = format!("{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        answer
    }
}

#[tokio::test]
async fn readiness_follows_the_problems_and_liveness_does_not() {
    let admin = admin(Metrics::new()).await;
    let good = admin.ask("GET /readyz").await;
    assert!(good.starts_with("HTTP/1.1 200 "), "{good}");
    assert!(good.contains("{\"status\":\"ready\",\"problems\":[],\"warnings\":[\"the policy file"), "{good}");
    admin.broken.store(true, Ordering::SeqCst);
    let bad = admin.ask("GET /readyz").await;
    assert!(bad.starts_with("HTTP/1.1 503 "), "{bad}");
    assert!(bad.contains("\"problems\":[\"the audit store can't be written\"]"), "{bad}");
    assert!(admin.ask("GET /livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn what_is_not_served_is_json_too() {
    let admin = admin(Metrics::new()).await;
    for (request, status) in
        [("GET /", 404), ("GET /livez/", 404), ("POST /livez", 405), ("GET /client/v4", 404)]
    {
        let answer = admin.ask(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains("content-type: application/json"), "{request}: {answer}");
        assert!(answer.contains("{\"error\":\""), "{request}: {answer}");
    }
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let metrics = Metrics::new().with_states(|| States {
        connections: 7,
        queue_appends: 3,
        queue_bytes: 6000,
        is_writable: true,
        checkpoint_age: Duration::from_millis(1500),
        checkpoint_file_ages: vec![Duration::from_secs(2), Duration::from_secs(90)],
        unresolved: 2,
        unresolved_age: Duration::from_secs(60),
        budget_left: 1100,
        budget_limit: 1200,
        issuers: vec![IssuerKeys {
            issuer: "https://idp.example/\"a\"".to_owned(),
            age: Duration::from_secs(30),
            is_usable: true,
        }],
        ..States::default()
    });
    metrics.commit(3, Duration::from_millis(2));
    metrics.dropped(Dropped::QueueFull, 9);
    metrics.request(Some(Operation::GeneratePsk), true, StatusCode::OK);
    metrics.request(None, false, StatusCode::NOT_FOUND);
    metrics.refusal(&Refusal::UnknownRoute);
    metrics.stage(Stage::Identify, Duration::from_micros(80));
    metrics.append(Duration::from_millis(3), false);
    metrics.upstream(Operation::List.name(), Duration::from_secs(1));
    let admin = admin(metrics).await;
    let text = admin.ask("GET /metrics").await;
    for line in [
        "content-type: text/plain; version=0.0.4",
        "# HELP tunnelwarden_requests_total Calls answered",
        "# TYPE tunnelwarden_requests_total counter",
        "tunnelwarden_requests_total{operation=\"generate_psk\",decision=\"allow\",status=\"2xx\"} 1",
        "tunnelwarden_requests_total{operation=\"none\",decision=\"deny\",status=\"4xx\"} 1",
        "tunnelwarden_refusals_total{refusal=\"unknown_route\"} 1",
        "tunnelwarden_stage_duration_seconds_bucket{stage=\"identify\",le=\"0.00005\"} 0",
        "tunnelwarden_stage_duration_seconds_bucket{stage=\"identify\",le=\"0.0001\"} 1",
        "tunnelwarden_audit_append_duration_seconds_count 1",
        "tunnelwarden_audit_append_failures_total 1",
        "tunnelwarden_upstream_duration_seconds_sum{operation=\"list\"} 1",
        "tunnelwarden_connections 7",
        "tunnelwarden_audit_batch_entries_bucket{le=\"2\"} 0",
        "tunnelwarden_audit_batch_entries_bucket{le=\"4\"} 1",
        "tunnelwarden_audit_commit_duration_seconds_count 1",
        "tunnelwarden_audit_queue_appends 3",
        "tunnelwarden_audit_queue_bytes 6000",
        "tunnelwarden_audit_writable 1",
        "tunnelwarden_audit_owed_entries 0",
        "tunnelwarden_audit_checkpoint_age_seconds 1.5",
        "tunnelwarden_audit_checkpoint_file_age_seconds{file=\"1\"} 90",
        "tunnelwarden_unresolved_intents 2",
        "tunnelwarden_unresolved_intents_oldest_age_seconds 60",
        "tunnelwarden_upstream_budget_remaining 1100",
        "tunnelwarden_upstream_budget_limit 1200",
        r#"tunnelwarden_jwks_age_seconds{issuer="https://idp.example/\"a\""} 30"#,
        r#"tunnelwarden_jwks_usable{issuer="https://idp.example/\"a\""} 1"#,
        concat!("tunnelwarden_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "tunnelwarden_trace_spans_dropped_total{reason=\"queue_full\"} 9",
        "tunnelwarden_trace_spans_dropped_total{reason=\"export_failed\"} 0",
        "tunnelwarden_trace_spans_exported_total 0",
    ] {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
    let named = |start: &str| -> BTreeSet<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix(start)?.split(' ').next());
        names.map(str::to_owned).collect()
    };
    assert_eq!(named("# TYPE "), named("# HELP "), "every metric is explained");
}

#[tokio::test]
async fn the_admin_listener_ends_when_told() {
    let admin = admin(Metrics::new()).await;
    admin.ask("GET /livez").await;
    admin.stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(20), admin.serving.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn whoever_holds_all_places_keeps_no_probe_from_its_answer() {
    let admin = admin(Metrics::new()).await;
    let mut held = Vec::new();
    // All places, and then more than there are for probes.
    for _ in 0..super::CONNECTIONS + 3 * super::PROBES {
        let mut stream = TcpStream::connect(admin.serving.address).await.unwrap();
        let _ = stream.write_all(b"G").await;
        held.push(stream);
    }
    for _ in 0..10 {
        for path in ["/livez", "/readyz"] {
            let answer = admin.ask(&format!("GET {path}")).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
    }
    let other = admin.ask("GET /metrics").await;
    assert!(other.starts_with("HTTP/1.1 503 ") && other.contains("retry-after: 1"), "{other}");
    drop(held);
    let back = async {
        while !admin.ask("GET /metrics").await.starts_with("HTTP/1.1 200 ") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.unwrap();
}
