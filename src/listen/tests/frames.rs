//! HTTP/2 by hand: what no client library would send.

use tokio::io::AsyncWriteExt as _;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 section 7.
const REFUSED_STREAM: u32 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [a, b, c, kind, flags];
    [head.as_slice(), &stream.to_be_bytes(), payload].concat()
}

/// A header block without compression (RFC 7541 section 6.2.2), of names that are not indexed.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn request(stream: u32, method: &str, path: &str, fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")];
    frame(HEADERS, END_HEADERS | flags, stream, &block(&[&pseudo, fields].concat()))
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    request(stream, "GET", path, &[], END_STREAM)
}

async fn open(serving: &Serving) -> TcpStream {
    let mut stream = serving.connect().await;
    send(&mut stream, &[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    stream
}

/// The next frame: its kind, flags, stream and payload. None at the connection's end.
async fn next(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let read = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        Some((kind, flags, u32::from_be_bytes(id), payload))
    };
    tokio::time::timeout(PATIENCE, read).await.expect("a frame or the end")
}

/// Why a stream is reset.
async fn reset(stream: &mut TcpStream, id: u32) -> u32 {
    loop {
        let (kind, _, of, payload) = next(stream).await.expect("the connection goes on");
        assert_ne!(kind, GOAWAY, "{payload:?}");
        if kind == RST_STREAM && of == id {
            return u32::from_be_bytes(payload.try_into().unwrap());
        }
    }
}

/// Waits until a stream has its whole answer.
async fn answered(stream: &mut TcpStream, id: u32) {
    loop {
        let (kind, flags, of, _) = next(stream).await.expect("the connection goes on");
        if of == id && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return;
        }
        assert!(of != id || kind != RST_STREAM, "it was reset");
    }
}

/// Sends `flood` after a connection has opened: it is ended, and others are served meanwhile.
async fn ends(what: &str, begin: Vec<u8>, flood: Vec<u8>) {
    let serving = serve(&config::Listen { header_timeout: PATIENCE * 10, ..limits() });
    let mut other = serving.connect().await;
    let stream = open(&serving).await;
    let (mut reads, mut writes) = stream.into_split();
    let sending = tokio::spawn(async move {
        let _ = writes.write_all(&begin).await;
        let _ = writes.write_all(&flood).await;
        // Not closed: it is for the listener to do that.
        std::future::pending::<()>().await;
    });
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, reads.read_to_end(&mut all)).await;
    assert!(read.is_ok(), "{what}: the connection goes on");
    sending.abort();
    send(&mut other, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(&mut other, "good").await;
}

const MANY: usize = 10_000;

#[tokio::test]
async fn floods_of_frames_that_ask_for_nothing_end_their_connection() {
    let upload = request(1, "PUT", "/body", &[], 0);
    for (what, begin, one) in [
        ("pings", vec![], frame(PING, 0, 0, &[0; 8])),
        ("settings", vec![], frame(SETTINGS, 0, 0, &[])),
        ("priorities", vec![], frame(2, 0, 1, &[0, 0, 0, 0, 16])),
        ("windows", upload.clone(), frame(8, 0, 1, &[0, 0, 0, 1])),
        ("empty data", upload.clone(), frame(DATA, 0, 1, &[])),
        ("padding", upload, frame(DATA, 8, 1, &[2, 0, 0])),
        ("frames that nobody knows", vec![], frame(200, 0, 0, &[])),
    ] {
        ends(what, begin, one.repeat(MANY)).await;
    }
}

#[tokio::test]
async fn floods_of_resets_end_their_connection() {
    let ids = || (0..u32::try_from(MANY).unwrap()).map(|n| n * 2 + 1);
    let cancel = [0, 0, 0, 8];
    let one = |id| [get(id, "/wait"), frame(RST_STREAM, 0, id, &cancel)].concat();
    ends("resets", vec![], ids().flat_map(one).collect()).await;
}

#[tokio::test]
async fn a_head_that_never_ends_ends_its_connection() {
    let begun = frame(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")]));
    let more = frame(CONTINUATION, 0, 1, &block(&[("x", "y")]));
    ends("continuations", begun.clone(), more.repeat(MANY)).await;
    ends("empty continuations", begun.clone(), frame(CONTINUATION, 0, 1, &[]).repeat(MANY)).await;
    let large = frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(120))]).repeat(100));
    ends("large continuations", begun, large.repeat(1000)).await;
}

#[tokio::test]
async fn frames_that_answers_have_earned_do_not_end_a_connection() {
    let serving = serve(&limits());
    let mut stream = open(&serving).await;
    for call in 0..100 {
        let id = call * 2 + 1;
        let few = frame(PING, 1, 0, &[0; 8]).repeat(40);
        send(&mut stream, &[few, get(id, "/")].concat()).await;
        answered(&mut stream, id).await;
    }
    assert_eq!(serving.double.asked().len(), 100);
}

#[tokio::test]
async fn trailers_are_refused_on_http2() {
    let serving = serve(&limits());
    let mut stream = open(&serving).await;
    let frames = [
        request(1, "PUT", "/body", &[], 0),
        frame(DATA, 0, 1, b"abc"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-more", "1")])),
    ];
    send(&mut stream, &frames.concat()).await;
    answered(&mut stream, 1).await;
    assert_eq!(serving.double.refusals(), ["malformed_request"]);
}

#[tokio::test]
async fn a_body_of_another_length_than_was_said_is_none() {
    let serving = serve(&limits());
    for (id, length, sent) in [(1, "4", "abc"), (3, "2", "abc")] {
        let mut stream = open(&serving).await;
        let frames = [
            request(id, "PUT", "/body", &[("content-length", length)], 0),
            frame(DATA, END_STREAM, id, sent.as_bytes()),
        ];
        send(&mut stream, &frames.concat()).await;
        // The library has reset the stream, so nobody hears of the refusal, and it has its record all the same.
        assert_eq!(reset(&mut stream, id).await, 1, "PROTOCOL_ERROR");
    }
    serving.double.until(|asked| !asked.is_empty()).await;
    assert!(serving.double.refusals().iter().all(|refusal| refusal == "body_incomplete"));
}

#[tokio::test]
async fn a_body_that_drips_is_408_on_http2() {
    let serving = serve(&config::Listen { body_timeout: Duration::from_millis(200), ..limits() });
    let mut stream = open(&serving).await;
    send(&mut stream, &request(1, "PUT", "/body", &[("content-length", "100")], 0)).await;
    let (mut reads, mut writes) = stream.into_split();
    let dripping = tokio::spawn(async move {
        while writes.write_all(&frame(DATA, 0, 1, b"a")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    serving.double.until(|asked| asked.len() == 2).await;
    assert_eq!(serving.double.refusals(), ["body_timeout"]);
    dripping.abort();
    let _ = tokio::time::timeout(PATIENCE, reads.read_u8()).await.unwrap();
}

#[tokio::test]
async fn one_stream_more_than_a_connection_may_have_is_refused() {
    let serving = serve(&limits());
    let mut stream = open(&serving).await;
    for n in 0..64 {
        send(&mut stream, &get(n * 2 + 1, "/wait")).await;
        serving.double.until(|asked| asked.len() == usize::try_from(n).unwrap() + 1).await;
    }
    send(&mut stream, &get(129, "/wait")).await;
    assert_eq!(reset(&mut stream, 129).await, REFUSED_STREAM);
    assert_eq!(serving.double.asked().len(), 64);
    serving.double.go.notify_waiters();
    answered(&mut stream, 127).await;
}

#[tokio::test]
async fn calls_whose_streams_were_reset_count_on_their_connection() {
    let serving = serve(&config::Listen { max_connections: 1000, ..limits() });
    let mut stream = open(&serving).await;
    for n in 0..64 {
        let id = n * 2 + 1;
        send(&mut stream, &get(id, "/wait")).await;
        serving.double.until(|asked| asked.len() == usize::try_from(n).unwrap() + 1).await;
        send(&mut stream, &frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).await;
    }
    send(&mut stream, &get(129, "/wait")).await;
    reset(&mut stream, 129).await;
    assert_eq!(serving.double.asked().len(), 64);
    let mut other = open(&serving).await;
    send(&mut other, &get(1, "/")).await;
    answered(&mut other, 1).await;
    serving.double.go.notify_waiters();
}

#[tokio::test]
async fn of_a_target_with_a_fragment_nobody_sees_the_fragment() {
    let serving = serve(&limits());
    let mut stream = open(&serving).await;
    send(&mut stream, &get(1, "/a#b?c")).await;
    answered(&mut stream, 1).await;
    assert_eq!(serving.double.asked(), [Asked::Called("/a".to_owned())]);
}
