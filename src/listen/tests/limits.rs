use super::*;

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn slow_headers_and_idle_connections_are_closed_without_an_answer() {
    let serving = serve(&config::Listen { header_timeout: SHORT, ..limits() });
    for begun in ["", "GET / HT", "PRI * HT", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let mut stream = serving.connect().await;
        send(&mut stream, begun.as_bytes()).await;
        assert_eq!(rest(&mut stream).await, "", "{begun}");
    }
    assert_eq!(serving.double.asked(), []);
    let mut stream = serving.connect().await;
    send(&mut stream, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(statuses(&rest(&mut stream).await), [200]);
}

#[tokio::test]
async fn slow_bodies_are_408() {
    let serving = serve(&config::Listen { body_timeout: SHORT, ..limits() });
    let mut stream = serving.connect().await;
    send(&mut stream, b"PUT /body HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na").await;
    assert_eq!(statuses(&rest(&mut stream).await), [408]);
    assert_eq!(serving.double.refusals(), ["body_timeout"]);
}

#[tokio::test]
async fn bodies_over_the_limit_are_413() {
    for (fields, body) in [
        ("content-length: 1025".to_owned(), String::new()),
        ("content-length: 1025".to_owned(), "x".repeat(1025)),
        ("content-length: 999999999999999999".to_owned(), String::new()),
        ("transfer-encoding: chunked".to_owned(), format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025))),
        ("transfer-encoding: chunked".to_owned(), format!("ffffffff\r\n{}", "x".repeat(9000))),
    ] {
        let serving = serve(&limits());
        let mut stream = serving.connect().await;
        send(
            &mut stream,
            format!("PUT /body HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n\r\n{body}")
                .as_bytes(),
        )
        .await;
        let answer = rest(&mut stream).await;
        assert_eq!(statuses(&answer), [413], "{fields}: {answer}");
        assert_eq!(serving.double.refusals(), ["body_too_large"], "{fields}");
    }
}

#[tokio::test]
async fn a_body_of_the_limit_is_taken() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    let head = "PUT /body HTTP/1.1\r\nhost: a\r\ncontent-length: 1024\r\n\r\n";
    send(&mut stream, format!("{head}{}", "x".repeat(1024)).as_bytes()).await;
    assert_eq!(statuses(&until(&mut stream, "1024 bytes").await), [200]);
}

#[tokio::test]
async fn a_body_that_ends_early_is_told_so() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    send(&mut stream, b"PUT /body HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na").await;
    stream.shutdown().await.unwrap();
    assert_eq!(statuses(&rest(&mut stream).await), [400]);
    assert_eq!(serving.double.refusals(), ["body_incomplete"]);
}

#[tokio::test]
async fn an_unread_body_is_no_second_request() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    let inner = "GET /inner HTTP/1.1\r\nhost: a\r\n\r\n";
    let head = format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", inner.len() + 1);
    send(&mut stream, format!("{head}{inner}").as_bytes()).await;
    assert_eq!(statuses(&rest(&mut stream).await), [200]);
    assert_eq!(serving.double.asked(), [Asked::Called("/".to_owned())]);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let serving = serve(&config::Listen { body_timeout: SHORT, max_connections: 1, ..limits() });
    let mut stream = serving.connect().await;
    send(&mut stream, b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await;
    serving.double.until(|asked| asked.len() == 1).await;
    // With one slot in all, another client is served only after the first lost its own.
    let served = async {
        loop {
            let mut other = serving.connect().await;
            let _ = other.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
            if statuses(&rest(&mut other).await) == [200] {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
    let got = rest(&mut stream).await;
    assert!(got.len() < 32 * 1024 * 1024, "{}", got.len());
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so_and_recorded() {
    let serving = serve(&config::Listen { max_connections: 1, ..limits() });
    let mut first = serving.connect().await;
    send(&mut first, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(&mut first, "good").await;
    let mut second = serving.connect().await;
    send(&mut second, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = rest(&mut second).await;
    assert_eq!(statuses(&answer), [503], "{answer}");
    assert_eq!(serving.double.refusals(), ["overloaded"]);
    send(&mut first, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(statuses(&rest(&mut first).await), [200]);
    assert_eq!(serving.stop().await, Drained::Whole);
}

#[tokio::test]
async fn a_request_behind_an_answer_that_takes_long_to_read_is_served() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    let second = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    send(&mut stream, format!("GET /long HTTP/1.1\r\nhost: a\r\n\r\n{second}").as_bytes()).await;
    let answers = rest(&mut stream).await;
    assert!(answers.len() > 32 * 1024 * 1024);
    assert!(answers.ends_with("good"));
}

/// Connects from one of this machine's addresses.
pub(super) async fn from(address: [u8; 4], serving: &Serving) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    socket.connect(serving.address).await.unwrap()
}

#[tokio::test]
async fn an_address_that_opens_all_it_can_and_idles_keeps_nobody_else_out() {
    let limits = config::Listen { max_connections: 16, connections_per_address: 8, ..limits() };
    let serving = serve(&limits);
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = from([127, 0, 0, 2], &serving).await;
        let _ = stream.write_all(b"G").await;
        idle.push(stream);
    }
    for _ in 0..10 {
        let mut stream = from([127, 0, 0, 1], &serving).await;
        send(&mut stream, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert_eq!(statuses(&rest(&mut stream).await), [200]);
    }
    assert_eq!(serving.connections.open(), 8);
    assert!(serving.double.refusals().iter().all(|refusal| refusal == "overloaded"));
}
