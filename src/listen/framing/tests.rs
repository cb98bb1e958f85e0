use super::*;

/// Feeds `bytes` in pieces of `piece` and gives what passed, or the refusal.
fn feed(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, usize), Refusal> {
    let Framed { heads, passed, refusal } = framed(bytes, piece, 4096);
    refusal.map_or(Ok((passed, heads.len())), Err)
}

#[track_caller]
fn passes(request: &str, heads: usize) {
    for piece in [1, 2, 3, 7, request.len()] {
        assert_eq!(
            feed(request.as_bytes(), piece),
            Ok((request.as_bytes().to_vec(), heads)),
            "{request:?} by {piece}"
        );
    }
}

#[track_caller]
fn refused(request: &[u8], word: &str) {
    for piece in [1, 2, 3, 7, request.len()] {
        let got = feed(request, piece);
        let Err(refusal) = got else { panic!("{:?} passed: {got:?}", request.escape_ascii().to_string()) };
        let said = format!("{refusal:?}");
        assert!(said.contains(word), "{:?} by {piece}: {said}", request.escape_ascii().to_string());
    }
}

#[test]
fn strict_requests_pass_byte_for_byte() {
    passes("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 1);
    passes("GET / HTTP/1.0\r\n\r\n", 1);
    passes("PUT /x?y=z HTTP/1.1\r\nHost:a\r\nContent-Length: 3\r\n\r\nabc", 1);
    passes("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 2);
    passes("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 1);
    passes(
        "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0A\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        2,
    );
    passes("GET / HTTP/1.1\r\nhost: a\r\nx: caf\u{e9}\tb\r\n\r\n", 1);
}

#[test]
fn one_empty_line_before_a_request_is_dropped() {
    let request = b"\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for piece in [1, 3, 100] {
        assert_eq!(feed(request, piece), Ok((request[2..].to_vec(), 1)));
    }
    refused(b"\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "empty lines");
}

#[test]
fn lines_that_readers_split_differently_are_refused() {
    refused(b"GET / HTTP/1.1\nhost: a\n\n", "bare LF");
    refused(b"GET / HTTP/1.1\r\nhost: a\r\nx: y\nz: w\r\n\r\n", "bare LF");
    refused(b"GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n", "bare CR");
    refused(b"GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n", "folded");
    refused(b"GET / HTTP/1.1\r\n host: a\r\n\r\n", "white space");
    refused(b"GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n", "token");
    refused(b"GET / HTTP/1.1\r\nhost: a\r\n: y\r\n\r\n", "token");
    refused(b"GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n", "colon");
    refused(b"GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", "control");
}

#[test]
fn request_lines_have_one_form() {
    refused(b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", "one space");
    refused(b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n", "one space");
    refused(b"GET /\r\n\r\n", "one space");
    refused(b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", "one space");
    refused(b"GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n", "printable");
    refused(b"GET /\xc3\xa9 HTTP/1.1\r\nhost: a\r\n\r\n", "printable");
    refused(b"\x16\x03\x01\x02\x00\x01\x00", "printable");
    refused(b"G(T / HTTP/1.1\r\nhost: a\r\n\r\n", "token");
    refused(b"GET /x#y HTTP/1.1\r\nhost: a\r\n\r\n", "fragment");
    refused(b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", "version");
    refused(b"GET / http/1.1\r\nhost: a\r\n\r\n", "version");
    refused(b"GET / HTTP/1.1\r\n\r\n", "no `host`");
    refused(b"GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n", "more than one `host`");
}

#[test]
fn lengths_that_readers_take_differently_are_refused() {
    let with = |fields: &str| format!("PUT / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\nabc").into_bytes();
    refused(&with("content-length: 3\r\ncontent-length: 3"), "more than one");
    refused(&with("content-length: 3\r\ncontent-length: 4"), "more than one");
    refused(&with("content-length: 3, 3"), "one number");
    refused(&with("content-length: +3"), "one number");
    refused(&with("content-length: 0x3"), "one number");
    refused(&with("content-length:"), "one number");
    refused(&with("content-length: 99999999999999999999"), "one number");
    refused(&with("content-length: 3\r\ntransfer-encoding: chunked"), "both");
    refused(&with("transfer-encoding: chunked\r\ncontent-length: 3"), "both");
    refused(&with("transfer-encoding: gzip, chunked"), "once");
    refused(&with("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), "once");
    refused(&with("transfer-encoding: identity"), "once");
    refused(&with("transfer-encoding:\u{b}chunked"), "control");
    refused(b"PUT / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", "HTTP/1.0");
}

#[test]
fn chunks_have_one_form() {
    let with = |body: &str| {
        format!("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}").into_bytes()
    };
    refused(&with("3;x=y\r\nabc\r\n0\r\n\r\n"), "extension");
    refused(&with("3 \r\nabc\r\n0\r\n\r\n"), "extension");
    refused(&with("3\nabc\r\n0\r\n\r\n"), "hex digits");
    refused(&with("\r\nabc"), "without a size");
    refused(&with("-1\r\nabc"), "without a size");
    refused(&with("000000003\r\nabc"), "too many");
    refused(&with("3\r\nabcd\r\n0\r\n\r\n"), "longer or shorter");
    refused(&with("3\r\nabc\n0\r\n\r\n"), "longer or shorter");
    refused(&with("0\r\nx: y\r\n\r\n"), "trailer");
}

#[test]
fn heads_are_bounded_in_bytes_and_fields() {
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(5000));
    refused(long.as_bytes(), "HeadersTooLarge");
    let whole = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(5000));
    refused(whole.as_bytes(), "HeadersTooLarge");
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS));
    refused(many.as_bytes(), "HeadersTooLarge");
    passes(&format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS - 1)), 1);
}

proptest::proptest! {
    /// Smugglers cut their bytes where it hurts; the verdict does not depend on it.
    #[test]
    fn how_the_bytes_are_cut_changes_nothing(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "GET / HTTP/1.1\r\n", "PUT / HTTP/1.1\r\n", "host: a\r\n", "content-length: 3\r\n", "\r\n", "\r", "\n",
            "transfer-encoding: chunked\r\n", "abc", "3\r\nabc\r\n", "0\r\n\r\n", " ", "x: y\r\n", "5;x\r\n", "\0", "#",
        ]), 0..12),
        piece in 1usize..9,
    ) {
        let bytes = words.concat().into_bytes();
        let (whole, cut) = (feed(&bytes, bytes.len().max(1)), feed(&bytes, piece));
        proptest::prop_assert_eq!(whole.is_ok(), cut.is_ok());
        if let (Ok(whole), Ok(cut)) = (whole, cut) {
            proptest::prop_assert_eq!(whole, cut);
        }
    }
}
