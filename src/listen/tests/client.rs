//! Whose connection, and whose request: what balancers say in front.

use std::net::IpAddr;

use super::http2::pair;
use super::limits::from;
use super::*;
use crate::config::Cidr;
use crate::listen::Failed;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// A header of PROXY protocol for a client at this address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let addresses = [client.as_slice(), &[127, 0, 0, 1, 1, 2, 3, 4]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".as_slice(), &addresses].concat()
}

fn behind_a_balancer() -> config::Listen {
    config::Listen { proxy_protocol: vec![Cidr::parse("127.0.0.1").unwrap()], ..limits() }
}

fn addresses(serving: &Serving) -> Vec<IpAddr> {
    serving.double.origins.lock().unwrap().iter().map(|origin| origin.address).collect()
}

#[tokio::test]
async fn a_client_behind_a_balancer_is_who_the_balancer_says() {
    let serving = serve(&behind_a_balancer());
    for (begins, client) in [
        (header([192, 0, 2, 1]), [192, 0, 2, 1]),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec(), [127, 0, 0, 1]),
        // With a field that means nothing to us.
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xc0\x00\x02\x02\x7f\0\0\x01\0\0\0\0\x04\0\x01\0".to_vec(),
            [192, 0, 2, 2],
        ),
    ] {
        let mut stream = serving.connect().await;
        send(&mut stream, &[&begins, GET].concat()).await;
        assert_eq!(statuses(&rest(&mut stream).await), [200]);
        assert_eq!(addresses(&serving).last(), Some(&IpAddr::from(client)));
    }
}

#[tokio::test]
async fn the_header_is_before_tls() {
    let directory = tempfile::tempdir().unwrap();
    let (tls, trusted) = pair(directory.path());
    let serving = serve(&config::Listen { tls: Some(tls), ..behind_a_balancer() });
    let mut stream = serving.connect().await;
    send(&mut stream, &header([192, 0, 2, 1])).await;
    let mut stream = super::http2::tls_over(stream, &trusted, &["http/1.1"]).await;
    send(&mut stream, GET).await;
    assert_eq!(statuses(&rest(&mut stream).await), [200]);
    assert_eq!(addresses(&serving), [IpAddr::from([192, 0, 2, 1])]);
}

#[tokio::test]
async fn what_comes_from_a_balancer_without_the_header_is_closed() {
    let serving =
        serve(&config::Listen { header_timeout: Duration::from_millis(300), ..behind_a_balancer() });
    for begins in [
        GET.to_vec(),
        [b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n", GET].concat(),
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00".as_slice(), GET].concat(),
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x12\x00\x0c".as_slice(), &[7; 12], GET].concat(),
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".as_slice(), &[7; 12], GET].concat(),
        // No end: it has as long as a head.
        b"\r\n\r\n\0\r\nQUIT".to_vec(),
        header([192, 0, 2, 1])[..20].to_vec(),
        Vec::new(),
    ] {
        let mut stream = serving.connect().await;
        send(&mut stream, &begins).await;
        assert_eq!(rest(&mut stream).await, "", "{begins:?}");
    }
    assert_eq!(serving.double.asked(), []);
    // Those that said something, and said it whole.
    assert_eq!(serving.connections.failed(Failed::ProxyProtocol), 5);
}

#[tokio::test]
async fn the_header_from_anybody_else_is_no_http() {
    let serving = serve(&behind_a_balancer());
    let mut stream = from([127, 0, 0, 2], &serving).await;
    send(&mut stream, &[&header([192, 0, 2, 1]), GET].concat()).await;
    assert_eq!(statuses(&rest(&mut stream).await), [400]);
    assert_eq!(serving.double.refusals(), ["malformed_request"]);
    assert_eq!(addresses(&serving), [IpAddr::from([127, 0, 0, 2])]);
}

#[tokio::test]
async fn connections_of_a_balancer_count_for_its_clients() {
    let serving = serve(&config::Listen { connections_per_address: 2, ..behind_a_balancer() });
    let mut held = Vec::new();
    for n in 1..=3 {
        let mut stream = serving.connect().await;
        send(
            &mut stream,
            &[header([192, 0, 2, 1]), b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()].concat(),
        )
        .await;
        serving.double.until(|asked| asked.len() == n).await;
        held.push(stream);
    }
    assert_eq!(serving.double.refusals(), ["overloaded"]);
    assert_eq!(addresses(&serving), [IpAddr::from([192, 0, 2, 1]); 3]);
    for client in 2..20 {
        let mut stream = serving.connect().await;
        send(&mut stream, &[&header([192, 0, 2, client]), GET].concat()).await;
        assert_eq!(statuses(&rest(&mut stream).await), [200]);
    }
    serving.double.go.notify_waiters();
}

#[tokio::test]
async fn a_request_is_from_the_last_one_who_is_no_trusted_hop() {
    let serving =
        serve(&config::Listen { trusted_hops: vec![Cidr::parse("127.0.0.1").unwrap()], ..limits() });
    let ask = async |source: [u8; 4], fields: &str| {
        let mut stream = from(source, &serving).await;
        send(
            &mut stream,
            format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n").as_bytes(),
        )
        .await;
        let answer = rest(&mut stream).await;
        (statuses(&answer)[0], addresses(&serving).last().unwrap().to_string())
    };
    let said = "x-forwarded-for: 203.0.113.9, 192.0.2.1\r\n";
    assert_eq!(ask([127, 0, 0, 1], said).await, (200, "192.0.2.1".to_owned()));
    assert_eq!(ask([127, 0, 0, 2], said).await, (200, "127.0.0.2".to_owned()));
    assert_eq!(ask([127, 0, 0, 1], "").await, (200, "127.0.0.1".to_owned()));
    assert_eq!(ask([127, 0, 0, 1], "x-forwarded-for: what\r\n").await, (400, "127.0.0.1".to_owned()));
    assert_eq!(serving.double.refusals(), ["bad_header"]);
}

#[tokio::test]
async fn one_client_who_gets_no_answer_does_not_end_a_connection_that_others_share() {
    let serving =
        serve(&config::Listen { trusted_hops: vec![Cidr::parse("127.0.0.1").unwrap()], ..limits() });
    let mut client = super::http2::client(serving.connect().await).await;
    for _ in 0..3 {
        super::http2::ask(&mut client, super::http2::get("/silent")).await.unwrap_err();
        assert_eq!(super::http2::ask(&mut client, super::http2::get("/")).await.unwrap().0, 200);
    }
}
