//! Secrets in headers, targets and broken heads.
//!
//! Not here: bodies (`bodies`, `refused`).

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tunnelwarden::config::Algorithm;
use tunnelwarden::identify::dev::DevKey;
use tunnelwarden::json::Json;

use super::hunt::Hunt;
use crate::harness::{PATIENCE, World, collection};

/// All of them, each over HTTP/1.1 and HTTP/2 where it can be said in both.
pub async fn drive(world: &World, hunt: &mut Hunt) {
    tokens(world, hunt).await;
    headers(world, hunt).await;
    targets(world, hunt).await;
    broken(world, hunt).await;
    broken_http2(world, hunt).await;
}

/// Notes a token: the whole, and the signature alone.
fn note(hunt: &mut Hunt, what: &str, token: &str) {
    hunt.known(what, token);
    if let Some((_, signature)) = token.rsplit_once('.') {
        hunt.known(&format!("{what}: its signature"), signature);
    }
}

async fn tokens(world: &World, hunt: &mut Hunt) {
    let signed = |change: &dyn Fn(&mut tunnelwarden::json::Object)| {
        let mut claims = world.claims("admin");
        change(&mut claims);
        world.key.sign(&Json::Object(claims), &[]).unwrap()
    };
    let stranger = DevKey::generate(Algorithm::Es256).unwrap();
    let good = world.token("viewer");
    let (front, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{front}.{}", stranger.sign(&Json::Object(world.claims("admin")), &[]).unwrap());
    let tokens = [
        ("a good token", good.clone()),
        ("an expired token", signed(&|claims| claims.set("exp", 1))),
        ("a token from elsewhere", signed(&|claims| claims.set("iss", "https://elsewhere.example"))),
        ("a token for elsewhere", signed(&|claims| claims.set("aud", "elsewhere"))),
        ("a stranger's token", stranger.sign(&Json::Object(world.claims("admin")), &[]).unwrap()),
        ("a forged token", forged),
        ("no token at all", hunt.plain("a word for a token")),
        ("a token of Cloudflare's", format!("cfut_{}", hunt.plain("a Cloudflare token"))),
    ];
    for (what, token) in tokens {
        note(hunt, what, &token);
        for authorization in [format!("Bearer {token}"), format!("Basic {token}"), token.clone()] {
            let agent = format!("tool/1.0 (token={token})");
            let with = [("authorization", authorization.as_str()), ("user-agent", agent.as_str())];
            send(world, hunt, "", &with).await;
            send(world, hunt, "/", &with).await;
        }
        let twice = format!("Bearer {token}");
        send(world, hunt, "", &[("authorization", twice.as_str()), ("authorization", twice.as_str())]).await;
        // A token where none belongs, on a call that is good. A mere word there is anybody's user agent.
        if what.starts_with("no token") {
            continue;
        }
        let bearer = format!("Bearer {good}");
        let agent = format!("tool/1.0 {token}");
        send(world, hunt, "", &[("authorization", bearer.as_str()), ("user-agent", agent.as_str())]).await;
    }
}

async fn headers(world: &World, hunt: &mut Hunt) {
    let good = format!("Bearer {}", world.token("admin"));
    for name in [
        "x-auth-key",
        "x-auth-email",
        "x-auth-user-service-key",
        "cookie",
        "proxy-authorization",
        "cf-access-token",
        "cf-access-jwt-assertion",
        "cf-access-client-secret",
        "x-api-key",
        "if-match",
        "x-magic-new-hc-target",
        "x-stainless-retry-count",
        "x-request-id",
        "x-http-method-override",
        "referer",
        "accept",
        "expect",
        "traceparent",
    ] {
        let secret = hunt.plain(&format!("header {name}"));
        for value in [secret.clone(), format!("\"{secret}\""), format!("session={secret}; other=1")] {
            for path in ["", "/abcd", "/abcd/psk_generate"] {
                send(world, hunt, path, &[("authorization", &good), (name, &value)]).await;
                send(world, hunt, path, &[(name, &value)]).await;
            }
        }
        // The same in the one header that is kept.
        let is_credential = ["auth-key", "service-key", "cookie", "authorization", "cf-access", "api-key"];
        if is_credential.iter().any(|part| name.contains(part)) {
            let agent = format!("tool/1.0 {secret}");
            let with = [("authorization", good.as_str()), (name, &secret), ("user-agent", &agent)];
            send(world, hunt, "", &with).await;
            send(world, hunt, "", &with[1..]).await;
        }
    }
}

async fn targets(world: &World, hunt: &mut Hunt) {
    let good = format!("Bearer {}", world.token("admin"));
    let secret = hunt.plain("a target");
    let paths = [
        format!("/{secret}"),
        format!("/{secret}/psk_generate"),
        format!("/abcd/{secret}"),
        format!("/abcd/psk_generate/{secret}"),
        format!("/%{secret}"),
        format!("/abcd;psk={secret}"),
        format!("?{secret}"),
        format!("?psk={secret}"),
        format!("?validate_only={secret}"),
        format!("/abcd?token={secret}"),
        format!("/abcd?validate_only=true&psk={secret}"),
    ];
    for path in &paths {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            send_as(world, hunt, method, path, &[("authorization", &good)]).await;
        }
    }
    for target in [
        format!("/{secret}"),
        format!("/client/v4/{secret}"),
        format!("/client/v4/accounts/{secret}/magic/ipsec_tunnels"),
        format!("/client/v4/user/tokens/verify?token={secret}"),
        format!("http://user:{secret}@host/client/v4"),
        format!("http://host/{secret}?{secret}"),
        format!("{secret}:443"),
        format!("{}/{secret}#{secret}", collection()),
    ] {
        for method in ["GET", "CONNECT", "POST", secret.as_str()] {
            let head = format!("{method} {target} HTTP/1.1\r\nhost: {secret}\r\nconnection: close\r\n\r\n");
            let answer = world.raw(head.as_bytes()).await;
            hunt.refused(format!("the answer to {head}"), answer);
        }
    }
}

/// What is no HTTP, with secrets in it.
async fn broken(world: &World, hunt: &mut Hunt) {
    let secret = hunt.plain("a broken head");
    let path = collection();
    for head in [
        format!("{secret}\r\n\r\n"),
        format!("GET {path} {secret}\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\n{secret}\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nhost: a\r\n{secret}\u{1}: a\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nhost: a\r\n x-auth-key: {secret}\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\u{0}\r\n\r\n"),
        format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {secret}\r\n\r\n"),
        format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {secret}\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", secret.repeat(2000)),
        format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}"),
    ] {
        // The last one is never whole: it ends when its author does.
        if head.ends_with("\r\n\r\n") {
            let answer = world.raw(head.as_bytes()).await;
            hunt.refused("an answer to a broken head".to_owned(), answer);
        } else {
            let mut stream = tokio::net::TcpStream::connect(world.proxy().api).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
        }
    }
}

/// What is HTTP/2 up to its fields, of which one can't be read.
async fn broken_http2(world: &World, hunt: &mut Hunt) {
    let secret = hunt.plain("a broken field of HTTP/2");
    for (method, scheme, authority, path) in [
        ("GET", "http", "a", format!("/client/v4?psk={secret} <")),
        ("GET", "http", "a", secret.clone()),
        ("GET", "http", format!("user:{secret}@a b").as_str(), "/".to_owned()),
        ("GET", format!("{secret} x").as_str(), "a", "/".to_owned()),
        (format!("{secret} x").as_str(), "http", "a", "/".to_owned()),
    ] {
        let fields = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", &path)];
        // Literal fields with literal names, neither compressed (RFC 7541 section 6.2.2).
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let block: Vec<u8> =
            fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
        // RFC 9113 sections 3.4, 4.1 and 6.2: the preface, no settings, and all fields in one frame.
        let length = u8::try_from(block.len()).unwrap();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let head = [0, 0, length, 1, 5, 0, 0, 0, 1];
        let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings, &head, &block].concat();
        let mut stream = tokio::net::TcpStream::connect(world.proxy().api).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = [0; 256];
        // Until it was read: the answer is a reset of the stream, or the end.
        while let Ok(Ok(count @ 1..)) =
            tokio::time::timeout(std::time::Duration::from_millis(200), stream.read(&mut answer)).await
        {
            hunt.refused("the answer to broken HTTP/2".to_owned(), answer[..count].to_vec());
        }
    }
}

async fn send(world: &World, hunt: &mut Hunt, path: &str, headers: &[(&str, &str)]) {
    let method = if path.ends_with("psk_generate") { Method::POST } else { Method::GET };
    send_as(world, hunt, method, path, headers).await;
}

/// Sends it over both versions of HTTP. What can't be said in one of them is not said there.
async fn send_as(world: &World, hunt: &mut Hunt, method: Method, path: &str, headers: &[(&str, &str)]) {
    let uri = format!("http://{}{}{path}", world.proxy().api, collection());
    let mut builder = Client::builder(TokioExecutor::new());
    for is_http2 in [false, true] {
        let mut request = Request::builder().method(method.clone()).uri(&uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let Ok(request) = request.body(Full::<Bytes>::default()) else { return };
        let client = builder.http2_only(is_http2).build_http();
        let exchange = async {
            let answer = client.request(request).await.ok()?;
            let status = answer.status();
            Some((status, answer.into_body().collect().await.ok()?.to_bytes()))
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
        // A good answer to a good caller holds what it holds.
        if let Some((_, body)) = answer.filter(|(status, _)| !status.is_success()) {
            hunt.refused(format!("the answer to {method} {path}"), body);
        }
    }
}
