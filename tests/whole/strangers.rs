//! Callers whose tokens take long to judge: they wait for keys, and keep nobody waiting who is known.
//!
//! Not here: the sums (`src/limit/address.rs`).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tunnelwarden::config::Algorithm;
use tunnelwarden::identify::dev::DevKey;
use tunnelwarden::json::Json;

use crate::harness::{PATIENCE, Wishes, World, collection};

/// Serves these keys, and from when `held` is true nothing any more; counts who asks.
async fn keys(listener: TcpListener, text: String, held: watch::Receiver<bool>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (text, mut held) = (text.clone(), held.clone());
        tokio::spawn(async move {
            let mut head = [0u8; 4096];
            let _ = stream.read(&mut head).await;
            let _ = held.wait_for(|held| !held).await;
            let length = text.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

#[tokio::test]
async fn tokens_of_unknown_keys_that_wait_for_a_slow_issuer_take_no_place_from_known_callers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut world = World::prepared(Wishes {
        config: vec![
            ("listen.max_connections", "100".to_owned()),
            ("issuer.jwks_file", String::new()),
            ("issuer.jwks_url", format!("\"http://{address}/jwks\"")),
            ("issuer.jwks_min_interval", "\"100ms\"".to_owned()),
        ],
        ..Wishes::default()
    })
    .await;
    let (hold, held) = watch::channel(false);
    let serving = tokio::spawn(keys(listener, world.key.jwks().to_string(), held));
    world.launch().await;
    let known = world.token("viewer");
    let call = async || world.try_call(&known, Method::GET, "", None, &[]).await.unwrap().status;
    assert_eq!(call().await, 200);
    hold.send_replace(true);
    tokio::time::sleep(Duration::from_millis(150)).await;
    // More than all calls that there is room for, each with a key that nobody knows.
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let io = TokioIo::new(world.connect_from([127, 0, 0, 2]).await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..50 {
            let key = DevKey::generate(Algorithm::Es256).unwrap();
            let token = key.sign(&Json::Object(world.claims("viewer")), &[]).unwrap();
            let request = Request::get(format!("http://a{}", collection()))
                .header("authorization", format!("Bearer {token}"))
                .body(Full::<Bytes>::default())
                .unwrap();
            let mut sender = sender.clone();
            waiting.push(tokio::spawn(async move {
                let _ = sender.ready().await;
                sender.send_request(request).await.map(|answer| answer.status().as_u16())
            }));
        }
    }
    // Those that are one too many are told or cut off; the others wait.
    let most = async {
        while waiting.iter().filter(|call| !call.is_finished()).count() > 32 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, most).await.expect("only so many wait");
    assert_eq!(call().await, 200, "from another address");
    let head = format!(
        "GET {} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {known}\r\nconnection: close\r\n\r\n",
        collection()
    );
    let answer = world.raw_from([127, 0, 0, 2], head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "from the same address: {answer}");
    assert!(waiting.iter().any(|call| !call.is_finished()), "they wait still");
    hold.send_replace(false);
    for call in waiting {
        let _ = tokio::time::timeout(PATIENCE, call).await.expect("it ends");
    }
    serving.abort();
}
