//! What is known of a call that got no usable answer.

use super::server::{Act, Server, answer, good};
use super::*;

const UNKNOWN: Sent = Sent::Unknown;

async fn against(acts: Vec<Vec<Act>>, operation: Operation) -> (Result<Answer, Failure>, Server) {
    let server = Server::start(acts).await;
    let got = send(&upstream(&config(&server.base)), operation).await;
    (got, server)
}

async fn answered(bytes: impl Into<Vec<u8>>) -> Result<Answer, Failure> {
    against(vec![vec![Act::Answer(bytes.into())]], Operation::Update).await.0
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for operation in Operation::ALL {
        let got = send(&upstream(&config(&base)), operation).await;
        check_failure(got, Refusal::UpstreamUnreachable, Sent::No, None);
    }
}

#[tokio::test]
async fn a_connection_that_takes_too_long_to_open_means_that_nothing_was_sent() {
    // Accepts, and never answers the TLS handshake.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&format!("https://{}", listener.local_addr().unwrap()));
    config.connect_timeout = Duration::from_millis(50);
    let got = send(&upstream(&config), Operation::Create).await;
    check_failure(got, Refusal::UpstreamUnreachable, Sent::No, None);
    // The same where the whole exchange's deadline comes first.
    config.connect_timeout = Duration::from_secs(20);
    config.write_timeout = Duration::from_millis(50);
    let got = send(&upstream(&config), Operation::Create).await;
    check_failure(got, Refusal::UpstreamUnreachable, Sent::No, None);
}

#[tokio::test]
async fn a_connection_closed_after_the_request_leaves_it_unknown() {
    let (got, server) = against(vec![vec![Act::Drop]], Operation::Create).await;
    check_failure(got, Refusal::UpstreamDropped, UNKNOWN, None);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_connection_closed_at_once_is_never_told_as_an_effect() {
    let (got, server) = against(vec![vec![Act::Close]], Operation::Create).await;
    let failure = got.unwrap_err();
    // Whether the request was written before the close was seen is for the kernel to say.
    match failure.sent {
        Sent::No => assert_eq!(failure.refusal, Refusal::UpstreamUnreachable),
        Sent::Unknown => assert_eq!(failure.refusal, Refusal::UpstreamDropped),
        Sent::Yes => panic!("nothing was answered"),
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn silence_until_the_deadline_leaves_it_unknown() {
    let server = Server::start(vec![vec![Act::Hang]]).await;
    let mut config = config(&server.base);
    config.write_timeout = Duration::from_millis(200);
    let got = send(&upstream(&config), Operation::GeneratePsk).await;
    check_failure(got, Refusal::UpstreamTimeout, UNKNOWN, None);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_body_that_does_not_end_in_time_was_answered() {
    let head = "HTTP/1.1 200 OK\r\ncf-ray: 8c1f-FRA\r\ncontent-length: 50\r\n\r\n{";
    let server = Server::start(vec![vec![Act::Answer(head.into()), Act::Hang]]).await;
    let mut config = config(&server.base);
    config.write_timeout = Duration::from_millis(200);
    let failure = send(&upstream(&config), Operation::GeneratePsk).await.unwrap_err();
    assert_eq!(failure.cf_ray.as_deref(), Some("8c1f-FRA"));
    check_failure(Err(failure), Refusal::UpstreamTimeout, Sent::Yes, Some(200));
}

#[tokio::test]
async fn a_cut_answer_is_no_answer() {
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"success\":true}";
    check_failure(answered(short).await, Refusal::UpstreamDropped, Sent::Yes, Some(200));
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n";
    check_failure(answered(chunks).await, Refusal::UpstreamDropped, Sent::Yes, Some(200));
    check_failure(answered("HTTP/1.1 200 OK\r\ncf-r").await, Refusal::UpstreamDropped, UNKNOWN, None);
}

#[tokio::test]
async fn an_answer_that_can_not_be_given_on_says_why() {
    let no = |what| Refusal::UpstreamAnswer(what);
    let moved = "location: https://elsewhere.example/\r\n";
    let redirect = || no("it is a redirect, which is never followed");
    check_failure(answered(answer("302 Found", moved, b"")).await, redirect(), Sent::Yes, Some(302));
    check_failure(answered(answer("307 Moved", moved, b"")).await, redirect(), Sent::Yes, Some(307));
    let brotli = answer("200 OK", "content-encoding: br\r\n", b"x");
    let encoding = no("it is in an encoding that was not asked for");
    check_failure(answered(brotli).await, encoding, Sent::Yes, Some(200));
    let large = || no("it is larger than `upstream.max_answer_bytes`");
    let declared = answer("200 OK", "", &[b' '; 64 * 1024 + 1]);
    check_failure(answered(declared).await, large(), Sent::Yes, Some(200));
    let mut endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    (0..20).for_each(|_| endless.extend([b"2000\r\n".as_slice(), &[b' '; 0x2000], b"\r\n"].concat()));
    check_failure(answered(endless).await, large(), Sent::Yes, Some(200));
    let garbage = no("it is not well-formed HTTP");
    check_failure(answered("<html>not HTTP at all</html>\r\n\r\n").await, garbage, UNKNOWN, None);
}

#[tokio::test]
async fn a_gzip_bomb_is_refused() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &vec![0; 10_000_000]).unwrap();
    let bomb = answer("200 OK", "content-encoding: gzip\r\n", &encoder.finish().unwrap());
    assert!(bomb.len() < 64 * 1024, "it passes as a small body");
    let refusal = Refusal::UpstreamAnswer("it is larger than `upstream.max_answer_bytes`");
    check_failure(answered(bomb).await, refusal, Sent::Yes, Some(200));
}

#[tokio::test]
async fn huge_headers_are_refused() {
    let many = answer("200 OK", &"x-filler: y\r\n".repeat(500), b"{}");
    let too_large = || Refusal::UpstreamAnswer("its headers are too large");
    check_failure(answered(many).await, too_large(), UNKNOWN, None);
    let long = answer("200 OK", &format!("x-filler: {}\r\n", "y".repeat(200_000)), b"{}");
    check_failure(answered(long).await, too_large(), UNKNOWN, None);
}

#[tokio::test]
async fn a_read_is_tried_again_when_its_pooled_connection_was_dead() {
    let server = Server::start(vec![vec![Act::Answer(good()), Act::Drop], vec![Act::Answer(good())]]).await;
    let upstream = upstream(&config(&server.base));
    send(&upstream, Operation::List).await.unwrap();
    send(&upstream, Operation::Get).await.unwrap();
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_read_is_tried_twice_at_most() {
    let dead = vec![Act::Answer(good()), Act::Drop];
    let server = Server::start(vec![dead, vec![Act::Drop], vec![Act::Answer(good())]]).await;
    let upstream = upstream(&config(&server.base));
    send(&upstream, Operation::List).await.unwrap();
    check_failure(send(&upstream, Operation::List).await, Refusal::UpstreamDropped, UNKNOWN, None);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_write_is_never_tried_again() {
    for operation in Operation::ALL.into_iter().filter(|operation| operation.is_write()) {
        let dead = vec![Act::Answer(good()), Act::Drop];
        let server = Server::start(vec![dead, vec![Act::Answer(good())]]).await;
        let upstream = upstream(&config(&server.base));
        send(&upstream, Operation::List).await.unwrap();
        check_failure(send(&upstream, operation).await, Refusal::UpstreamDropped, UNKNOWN, None);
        assert_eq!(server.seen().len(), 2, "{operation:?}");
    }
}

#[tokio::test]
async fn a_read_on_a_fresh_connection_is_not_tried_again() {
    let (got, server) = against(vec![vec![Act::Drop], vec![Act::Answer(good())]], Operation::List).await;
    check_failure(got, Refusal::UpstreamDropped, UNKNOWN, None);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_second_try_needs_budget() {
    let dead = vec![Act::Answer(good()), Act::Drop];
    let server = Server::start(vec![dead, vec![Act::Answer(good())]]).await;
    let upstream = upstream(&config(&server.base));
    let (requests, window) = (2, Duration::from_secs(600));
    let config = config::Budget { requests, window, reserve: 0, reserve_roles: Vec::new() };
    let budget = Budget::new(&config, SystemClock::new(), None);
    let route = route(Operation::List);
    upstream.send_route(&budget.take_own().await.unwrap(), outgoing(&route)).await.unwrap();
    let got = upstream.send_route(&budget.take_own().await.unwrap(), outgoing(&route)).await;
    check_failure(got, Refusal::UpstreamDropped, UNKNOWN, None);
    assert_eq!(server.seen().len(), 2);
}

/// Each connection answers once and then closes its side, while the next call is already on its way: the
/// moment at which "was it sent?" is hardest to tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn not_sent_means_that_no_byte_arrived() {
    let server = Server::start(vec![vec![Act::AnswerAndListen(good())]; 400]).await;
    let upstream = upstream(&config(&server.base));
    let route = route(Operation::Create);
    let mut results = Vec::new();
    for call in 0..200u128 {
        let request_id = Uuid::from_u128(call);
        let got = upstream.send_route(&taken().await, Outgoing { request_id, ..outgoing(&route) }).await;
        results.push((request_id, got));
    }
    drop(upstream);
    // Bytes still on their way count too; a wait too short could only hide a fault, never invent one.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let seen = server.seen().concat();
    for (id, got) in results {
        let arrived = seen.matches(&id.to_string()).count();
        match got.map_err(|failure| failure.sent) {
            Ok(_) => assert_eq!(arrived, 1, "{id}"),
            Err(Sent::No) => assert_eq!(arrived, 0, "{id}"),
            Err(Sent::Unknown) => assert!(arrived <= 1, "{id}"),
            Err(Sent::Yes) => panic!("{id}: an answer without an answer"),
        }
    }
}
