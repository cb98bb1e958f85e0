//! Requests: where one ends does not depend on how the bytes come, and another reader of heads agrees; a path is one
//! operation in one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tunnelwarden::listen::{Framed, framed};
use tunnelwarden::operation::route;

const MAX_HEAD: usize = 4096;

/// One head as another reader has it.
fn check_head(head: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(head).expect("a head that another reader takes");
    assert_eq!(parsed, httparse::Status::Complete(head.len()), "another reader ends it elsewhere");
    let count =
        |name: &str| request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert!(count("content-length") + count("transfer-encoding") <= 1, "two lengths");
    assert!(count("host") <= 1, "two hosts");
    let (Some(method), Some(target)) = (request.method, request.path) else { panic!("no request line") };
    let Ok(method) = http::Method::from_bytes(method.as_bytes()) else { return };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if let Ok(found) = route(&method, path, query) {
        let upstream = format!("/client/v4{}", found.upstream_path());
        let (to, asked) =
            upstream.split_once('?').map_or((&*upstream, None), |(to, asked)| (to, Some(asked)));
        assert_eq!(to, path, "what goes upstream is another path");
        assert!(asked == query || (asked.is_none() && query == Some("validate_only=false")), "{query:?}");
        assert_eq!(route(&method, to, asked), Ok(found), "what goes upstream is another call");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = framed(bytes, bytes.len().max(1), MAX_HEAD);
    for piece in [1, 7] {
        let pieces = framed(bytes, piece, MAX_HEAD);
        // Of several faults, another one may be seen first.
        let is_same = pieces.heads == whole.heads
            && pieces.passed == whole.passed
            && pieces.refusal.is_some() == whole.refusal.is_some();
        assert!(is_same, "{whole:?}, but by {piece} {pieces:?}");
    }
    let Framed { heads, passed, .. } = &whole;
    heads.iter().for_each(|head| check_head(head));
    // Nothing is made up: what passes stands in the input, but for an empty line before a request.
    assert!(passed.len() <= bytes.len());
});
