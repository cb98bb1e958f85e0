//! Requests as bytes, and answers out of bytes: nothing between the test and the socket that could mend either.
//!
//! Not here: what to ask (the tables), clients that do as SDKs do (`harness`).

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tunnelwarden::json::{self, Json, Object};
use tunnelwarden::operation::{AccountId, TunnelId};

use crate::harness::{ACCOUNT, Answer, PATIENCE, World, collection};

/// A request line with a target below the collection.
pub(super) fn line(method: &str, below: &str) -> String {
    format!("{method} {}{below} HTTP/1.1", collection())
}

/// The header line of a role's token.
pub(super) fn bearer(world: &World, role: &str) -> String {
    format!("authorization: Bearer {}", world.token(role))
}

/// The header line of a token with these claims changed; `Null` takes one out.
pub(super) fn with_claims(world: &World, changes: &[(&'static str, Json)]) -> String {
    format!("authorization: Bearer {}", world.key.sign(&claims(world, changes), &[]).unwrap())
}

/// A viewer's claims, changed.
pub(super) fn claims(world: &World, changes: &[(&'static str, Json)]) -> Json {
    let mut claims: Object = world.claims("viewer");
    for (name, value) in changes {
        claims.remove(name);
        if *value != Json::Null {
            claims.set(*name, value.clone());
        }
    }
    Json::Object(claims)
}

/// A request with a request line, header lines and a body, as bytes.
pub(super) fn request(line: &str, headers: &[&str], body: Option<&str>) -> Vec<u8> {
    let mut text = format!("{line}\r\nhost: a\r\nconnection: close\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    if let Some(body) = body {
        text += &format!("content-length: {}\r\n", body.len());
    }
    format!("{text}\r\n{}", body.unwrap_or_default()).into_bytes()
}

/// Asks with a role's token; a body is declared as JSON.
pub(super) async fn ask(world: &World, role: &str, line: &str, body: Option<&str>) -> Answer {
    let bearer = bearer(world, role);
    let declared = body.map(|_| "content-type: application/json");
    let headers: Vec<&str> = [Some(bearer.as_str()), declared].into_iter().flatten().collect();
    send(world, &request(line, &headers, body)).await
}

/// Asks with these header lines and no others of the test's own.
pub(super) async fn ask_with(world: &World, line: &str, headers: &[&str], body: Option<&str>) -> Answer {
    send(world, &request(line, headers, body)).await
}

/// Sends bytes and reads the one answer to them.
pub(super) async fn send(world: &World, bytes: &[u8]) -> Answer {
    send_to(world.proxy().api, bytes).await
}

/// The same, to a proxy that the test runs in its own process.
pub(super) async fn send_to(address: SocketAddr, bytes: &[u8]) -> Answer {
    exchange(address, bytes, false).await
}

/// Sends bytes, says that no more will come, and reads the one answer.
pub(super) async fn send_and_end(world: &World, bytes: &[u8]) -> Answer {
    exchange(world.proxy().api, bytes, true).await
}

async fn exchange(address: SocketAddr, bytes: &[u8], end: bool) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        if end {
            stream.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        // A reset after the answer is an end like any other.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    read(&tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time"))
}

/// The one answer in what came over a connection.
pub(super) fn read(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    }
    assert_eq!(headers["content-length"], body.len().to_string().as_str(), "one answer and no more: {text}");
    Answer { status: status.unwrap(), headers, body: Bytes::from(body.to_owned()) }
}

/// The tests' account.
pub(super) fn account() -> AccountId {
    AccountId::parse(ACCOUNT).unwrap()
}

/// Puts a tunnel with this id into the emulator, and gives its path below the collection. Its number, of two hex
/// digits, makes its addresses its own.
pub(super) fn tunnel(world: &World, id: &str) -> String {
    let n = u8::from_str_radix(id, 16).unwrap();
    let mut tunnel = json::read(crate::harness::tunnel_body(&format!("t{id}"), n).as_bytes(), 8).unwrap();
    tunnel.as_object_mut().unwrap().set("id", id);
    assert_eq!(world.emulator.put_tunnel(account(), &tunnel), Ok(TunnelId::parse(id).unwrap()));
    format!("/{id}")
}
