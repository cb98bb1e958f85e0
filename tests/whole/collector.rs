//! A collector of traces as the program meets it: a socket that takes OTLP over HTTP and keeps every byte.
//!
//! Not here: what should be in it (`traces`, `canary`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::PATIENCE;

/// What the collector does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It takes it.
    Takes,
    /// It refuses it.
    Refuses,
    /// It reads it and never answers.
    Hangs,
}

pub struct Collector {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<(Parts, Bytes)>>>,
    task: JoinHandle<()>,
}

impl Collector {
    pub async fn start(manner: Manner) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let kept: Arc<Mutex<Vec<(Parts, Bytes)>>> = Arc::default();
        let keeping = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let kept = Arc::clone(&keeping);
                let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let kept = Arc::clone(&kept);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        kept.lock().unwrap().push((head, body));
                        let status = match manner {
                            Manner::Takes => 200,
                            Manner::Refuses => 503,
                            Manner::Hangs => std::future::pending().await,
                        };
                        let answer = Response::builder().status(status).body(Full::<Bytes>::default());
                        Ok::<_, Infallible>(answer.unwrap())
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
                );
            }
        });
        Self { address, kept, task }
    }

    /// What `trace.otlp_endpoint` is set to.
    pub fn endpoint(&self) -> String {
        format!("\"http://{}\"", self.address)
    }

    /// Every request, each with its head.
    pub fn requests(&self) -> Vec<(Parts, Bytes)> {
        self.kept.lock().unwrap().clone()
    }

    /// All that came: heads as text, and bodies.
    pub fn bytes(&self) -> Vec<u8> {
        let each = |(head, body): (Parts, Bytes)| [format!("{head:?}").into_bytes(), body.to_vec()].concat();
        self.requests().into_iter().flat_map(each).collect()
    }

    pub fn exports(&self) -> Vec<ExportTraceServiceRequest> {
        let each = |(head, body): (Parts, Bytes)| {
            assert_eq!((head.method, head.uri.path()), (Method::POST, "/v1/traces"));
            assert_eq!(head.headers["content-type"], "application/x-protobuf");
            ExportTraceServiceRequest::decode(body).unwrap()
        };
        self.requests().into_iter().map(each).collect()
    }

    pub fn spans(&self) -> Vec<Span> {
        let resources = self.exports().into_iter().flat_map(|export| export.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The spans of the call with this request id, once all of them are there: the call's, then those below it, in
    /// the order of their beginnings.
    pub async fn call(&self, request_id: &str) -> (Span, Vec<Span>) {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            let is_call = |span: &&Span| {
                attributes(&span.attributes).get("tunnelwarden.request_id").map(String::as_str)
                    == Some(request_id)
            };
            // A call's spans come in one request.
            if let Some(call) = spans.iter().find(is_call) {
                let below = spans.iter().filter(|span| span.parent_span_id == call.span_id).cloned();
                let mut below: Vec<Span> = below.collect();
                below.sort_by_key(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
                return (call.clone(), below);
            }
            assert!(tokio::time::Instant::now() < until, "no span of {request_id} among {spans:#?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// By their keys; values as text.
pub fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("neither text nor number: {other:?}"),
    };
    attributes.iter().map(|one| (one.key.clone(), text(&one.value))).collect()
}
