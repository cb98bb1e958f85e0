//! A day of calls, so that there is something to look at: good ones, refused ones, limited ones, a lost answer.
//!
//! The script is a client like any other: it has a base URL and tokens, and sees the proxy from outside.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::emulator::{Emulator, Fault};
use crate::json::{self, Json};
use crate::operation::Operation;

use super::files::Files;

struct Day<'a> {
    out: &'a mut (dyn Write + Send),
    client: Client<HttpConnector, Full<Bytes>>,
    collection: String,
    files: &'a Files,
}

struct Answer {
    status: u16,
    body: Json,
}

/// How long the script waits for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads at once that go over the demo's 20 a second.
const BURST: usize = 30;

/// Plays the day.
pub(super) async fn play(
    out: &mut (dyn Write + Send),
    base: &str,
    emulator: &Emulator,
    files: &Files,
    account: &str,
) -> Result<(), String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let collection = format!("{base}/accounts/{account}/magic/ipsec_tunnels");
    let mut day = Day { out, client, collection, files };
    day.say("\nA day of calls:")?;

    let seen = day.call("a viewer looks around", "viewer", Method::GET, "", None).await?;
    let branch = r#"{"name":"branch-7","cloudflare_endpoint":"203.0.113.1","interface_address":"10.200.7.0/31","customer_endpoint":"198.51.100.7","replay_protection":true}"#;
    let made = day.call("an operator connects a branch", "operator", Method::POST, "", Some(branch)).await?;
    let id = made.body.pointer("/result/id").and_then(Json::as_str).unwrap_or_default().to_owned();
    let tunnel = format!("/{id}");
    let psk = format!("{tunnel}/psk_generate");
    day.call("an admin mints its key", "admin", Method::POST, &psk, None).await?;
    let moved = branch.replace("198.51.100.7", "198.51.100.77");
    day.call("the branch's address changes", "operator", Method::PUT, &tunnel, Some(&moved)).await?;
    let weaker = moved.replace(",\"replay_protection\":true", "");
    day.call("a field left out would weaken it", "operator", Method::PUT, &tunnel, Some(&weaker)).await?;
    day.call("an operator wants a key", "operator", Method::POST, &psk, None).await?;
    day.call("a viewer wants to delete", "viewer", Method::DELETE, &tunnel, None).await?;
    day.call("security has no business here", "security", Method::GET, "", None).await?;
    let odd = branch.replace("replay_protection", "replay_protektion");
    day.call("a misspelled field", "operator", Method::POST, "", Some(&odd)).await?;
    day.call("nobody in particular", "nobody", Method::GET, "", None).await?;

    emulator.fault(Fault::DropAfter, Operation::GeneratePsk, 1);
    day.call("the upstream drops the answer to a new key", "admin", Method::POST, &psk, None).await?;
    day.call("the tool tries again at once", "admin", Method::POST, &psk, None).await?;
    emulator.fault(Fault::Html, Operation::Get, 1);
    day.call("the upstream has a bad moment", "viewer", Method::GET, &tunnel, None).await?;
    day.burst().await?;
    let site = seen.body.pointer("/result/ipsec_tunnels/0/id").and_then(Json::as_str).unwrap_or_default();
    let key = format!("/{site}/psk_generate");
    day.call("an admin mints a new key for the first site", "admin", Method::POST, &key, None).await?;
    day.call("the branch closes", "admin", Method::DELETE, &tunnel, None).await?;
    Ok(())
}

impl Day<'_> {
    fn say(&mut self, text: &str) -> Result<(), String> {
        writeln!(self.out, "{text}").map_err(|e| e.to_string())
    }

    async fn call(
        &mut self,
        what: &str,
        role: &str,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<Answer, String> {
        let request = self.request(role, method, path, body)?;
        let answer = exchange(self.client.clone(), request).await?;
        let error = answer.body.pointer("/errors/0/message").and_then(Json::as_str).unwrap_or_default();
        let error = if error.is_empty() { String::new() } else { format!(": {error}") };
        self.say(&format!("  {} {what}{error}", answer.status))?;
        Ok(answer)
    }

    async fn burst(&mut self) -> Result<(), String> {
        // All at once: one after the other, a slow machine would stay within the limit.
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..BURST {
            calls.spawn(exchange(self.client.clone(), self.request("viewer", Method::GET, "", None)?));
        }
        let mut limited = 0;
        while let Some(answer) = calls.join_next().await {
            limited += usize::from(answer.map_err(|e| e.to_string())??.status == 429);
        }
        self.say(&format!("  429 a tool without a pause: {limited} of {BURST} calls were refused"))
    }

    fn request(
        &self,
        role: &str,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.collection))
            .header("authorization", format!("Bearer {}", self.files.token(role)))
            .header("user-agent", "tunnelwarden-demo");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default().to_owned()));
        request.body(body).map_err(|e| e.to_string())
    }
}

async fn exchange(
    client: Client<HttpConnector, Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let exchange = async {
        let answer = client.request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
        let body = json::read(&bytes, json::MAX_DEPTH).unwrap_or(Json::Null);
        Ok(Answer { status, body })
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(Err("the proxy did not answer".to_owned()))
}
