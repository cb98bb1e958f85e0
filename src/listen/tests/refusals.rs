use super::*;

/// Sends `bytes` on a fresh connection: there must be one answer, with the status, and one refusal.
async fn check(bytes: &[u8], status: u16, refusal: &str) {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    send(&mut stream, bytes).await;
    let answer = rest(&mut stream).await;
    let shown = bytes.escape_ascii().to_string();
    assert_eq!(statuses(&answer), [status], "{shown}: {answer}");
    assert!(answer.contains("x-request-id: "), "{shown}: {answer}");
    assert!(answer.contains("connection: close"), "{shown}: {answer}");
    assert_eq!(serving.double.asked(), [Asked::Refused(refusal.to_owned())], "{shown}");
    drop(stream);
    assert_eq!(serving.stop().await, Drained::Whole);
}

#[tokio::test]
async fn bytes_that_are_not_strict_http_get_our_answer_and_one_record() {
    for bytes in [
        b"GARBAGE\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\nhost: a\n\n",
        b"GET /x#y HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        b"GET / HTTP/3.0\r\nhost: a\r\n\r\n",
        b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\nabc",
    ] {
        check(bytes, 400, "malformed_request").await;
    }
}

#[tokio::test]
async fn what_only_hyper_refuses_gets_our_answer_too() {
    for target in ["http://[", "/<>", "a:b:c", "ht tp://x", "::::", "http:///", "/\"{}", "\\"] {
        let serving = serve(&limits());
        let mut stream = serving.connect().await;
        send(
            &mut stream,
            format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        let answer = rest(&mut stream).await;
        assert_eq!(statuses(&answer).len(), 1, "{target}: {answer}");
        assert!(answer.contains("x-request-id: "), "{target}: {answer}");
        assert_eq!(serving.double.asked().len(), 1, "{target}");
    }
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_431() {
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(9000));
    check(long.as_bytes(), 431, "headers_too_large").await;
    let endless = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(9000));
    check(endless.as_bytes(), 431, "headers_too_large").await;
    let target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(9000));
    check(target.as_bytes(), 431, "headers_too_large").await;
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(101));
    check(many.as_bytes(), 431, "headers_too_large").await;
}

/// As [`check`], for a request that is good HTTP: the connection may stay open.
async fn check_open(head: &str, status: u16, asked: Asked) {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    send(&mut stream, format!("{head}\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).await;
    let answer = rest(&mut stream).await;
    assert_eq!(statuses(&answer), [status], "{head}: {answer}");
    assert_eq!(serving.double.asked(), [asked], "{head}");
}

#[tokio::test]
async fn upgrades_tunnels_and_unknown_expectations_are_refused() {
    let header = || Asked::Refused("bad_header".to_owned());
    check_open("GET / HTTP/1.1\r\nupgrade: h2c", 400, header()).await;
    check_open("GET / HTTP/1.1\r\nupgrade: websocket", 400, header()).await;
    check_open("GET / HTTP/1.1\r\nexpect: 200-ok", 400, header()).await;
    check_open("GET / HTTP/1.1\r\nexpect: 100-continue\r\nexpect: x", 400, header()).await;
    check_open("CONNECT a:443 HTTP/1.1", 400, Asked::Refused("malformed_request".to_owned())).await;
}

#[tokio::test]
async fn other_forms_of_target_can_be_told_from_the_origin_form() {
    let called = |text: &str| Asked::Called(text.to_owned());
    check_open("GET http://a/client/v4 HTTP/1.1", 200, called("Absolute")).await;
    check_open("GET a:443 HTTP/1.1", 200, called("Authority")).await;
    check_open("OPTIONS * HTTP/1.1", 200, called("Asterisk")).await;
    check_open("GET //a/b HTTP/1.1", 200, called("//a/b")).await;
    check_open("GET /a%2e%2e/ HTTP/1.1", 200, called("/a%2e%2e/")).await;
}

#[tokio::test]
async fn a_bad_request_behind_good_ones_is_refused_after_their_answers() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    let good = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let body = "PUT /body HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    send(&mut stream, format!("{good}{body}{good}BAD\r\n\r\n{good}").as_bytes()).await;
    let answer = rest(&mut stream).await;
    assert_eq!(statuses(&answer), [200, 200, 200, 400], "{answer}");
    let called = |path: &str| Asked::Called(path.to_owned());
    let refused = Asked::Refused("malformed_request".to_owned());
    assert_eq!(serving.double.asked(), [called("/"), called("/body"), called("/"), refused]);
}

#[tokio::test]
async fn the_next_request_waits_for_the_answer_before_it() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    send(&mut stream, b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\nBAD\r\n\r\n").await;
    serving.double.until(|asked| asked.len() == 1).await;
    serving.double.go.notify_one();
    let answer = rest(&mut stream).await;
    assert_eq!(statuses(&answer), [200, 400], "{answer}");
    let order = serving.double.asked();
    assert_eq!(order[1], Asked::Finished { gone: false });
    assert_eq!(order[2], Asked::Refused("malformed_request".to_owned()));
}

#[tokio::test]
async fn a_body_that_is_framed_badly_is_refused_within_its_call() {
    for chunks in ["3;x\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "0\r\nx: y\r\n\r\n", "zz\r\n"] {
        let serving = serve(&limits());
        let mut stream = serving.connect().await;
        let head = "PUT /body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        send(&mut stream, format!("{head}{chunks}GET / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert_eq!(statuses(&answer), [400], "{chunks}: {answer}");
        assert_eq!(serving.double.refusals(), ["malformed_request"], "{chunks}");
        assert_eq!(serving.double.asked().len(), 2, "{chunks}: {:?}", serving.double.asked());
    }
}

#[tokio::test]
async fn a_service_that_wants_no_answer_closes_the_connection() {
    let serving = serve(&limits());
    let mut stream = serving.connect().await;
    send(&mut stream, b"GET /silent HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(serving.double.asked(), [Asked::Called("/silent".to_owned())]);
    assert_eq!(serving.stop().await, Drained::Whole);
}
