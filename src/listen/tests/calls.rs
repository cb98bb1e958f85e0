use super::*;

#[tokio::test]
async fn a_connection_serves_request_after_request() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    for _ in 0..3 {
        send(&mut stream, b"GET / HTTP/1.1\r\nhost: a\r\nuser-agent: tester\r\n\r\n").await;
        let answer = until(&mut stream, "good").await;
        assert_eq!(statuses(&answer), [200]);
    }
    let origin = serving.double.origins.lock().unwrap()[0].clone();
    assert_eq!(origin.address, std::net::IpAddr::from([127, 0, 0, 1]));
    assert_eq!(origin.user_agent.as_deref(), Some("tester"));
    assert_eq!(serving.stop().await, Drained::Whole);
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_continue() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    let head = b"PUT /body HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n";
    send(&mut stream, head).await;
    until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    send(&mut stream, b"abc").await;
    let answer = until(&mut stream, "3 bytes").await;
    assert_eq!(statuses(&answer), [200]);
}

#[tokio::test]
async fn chunks_make_one_body() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    let head = "PUT /body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    send(&mut stream, format!("{head}3\r\nabc\r\n4\r\nd").as_bytes()).await;
    send(&mut stream, b"efg\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = until(&mut stream, "good").await;
    assert!(answer.contains("7 bytes"), "{answer}");
    assert_eq!(statuses(&answer), [200, 200]);
}

#[tokio::test]
async fn a_client_that_hangs_up_stops_nothing() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    send(&mut stream, b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    serving.double.until(|asked| asked.len() == 1).await;
    drop(stream);
    serving.double.until_gone().await;
    serving.double.go.notify_one();
    serving.double.until(|asked| asked.contains(&Asked::Finished { gone: true })).await;
}

#[tokio::test]
async fn a_panic_is_an_internal_fault_and_the_listener_lives() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    send(&mut stream, b"GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = until(&mut stream, "log").await;
    assert_eq!(statuses(&answer), [500], "{answer}");
    assert_eq!(serving.double.refusals(), ["internal"]);
    send(&mut stream, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(&mut stream, "good").await;
    assert_eq!(serving.stop().await, Drained::Whole);
}

#[tokio::test]
async fn the_drain_waits_for_calls_and_closes_idle_connections() {
    let serving = serve(&limits());
    let (mut busy, mut idle, mut fresh) =
        (serving.connect().await, serving.connect().await, serving.connect().await);
    send(&mut idle, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(&mut idle, "good").await;
    send(&mut fresh, b"GET / HT").await;
    send(&mut busy, b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    serving.double.until(|asked| asked.len() == 2).await;
    serving.stop.send_replace(true);
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut fresh).await, "");
    assert!(!serving.served.is_finished());
    serving.double.go.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.ends_with("waited"), "{answer}");
    assert_eq!(serving.stop().await, Drained::Whole);
}

#[tokio::test]
async fn the_drain_waits_for_calls_whose_clients_left() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    send(&mut stream, b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    serving.double.until(|asked| asked.len() == 1).await;
    drop(stream);
    serving.double.until_gone().await;
    serving.stop.send_replace(true);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!serving.served.is_finished());
    serving.double.go.notify_one();
    assert_eq!(serving.stop().await, Drained::Whole);
}

#[tokio::test]
async fn the_drain_ends_when_its_time_is_up() {
    let serving = serve(&config::Listen { drain_timeout: Duration::from_millis(50), ..limits() });
    let mut stream = serving.connect().await;
    send(&mut stream, b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    serving.double.until(|asked| asked.len() == 1).await;
    assert_eq!(serving.stop().await, Drained::Cut);
}

#[tokio::test]
async fn calls_whose_clients_left_count_and_more_are_refused() {
    let serving = serve(&config::Listen { max_connections: 2, ..limits() });
    for calls in 1..=2 {
        let mut stream = serving.connect().await;
        send(&mut stream, b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
        serving.double.until(|asked| asked.len() == calls).await;
    }
    while serving.connections.open() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut stream = serving.connect().await;
    send(&mut stream, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let answer = rest(&mut stream).await;
    assert_eq!(statuses(&answer), [503], "{answer}");
    assert_eq!(serving.double.refusals(), ["overloaded"]);
    serving.double.go.notify_waiters();
    assert_eq!(serving.stop().await, Drained::Whole);
}
