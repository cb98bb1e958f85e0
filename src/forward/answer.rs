//! The upstream's answer: bounded, complete, decoded, with the headers that may be given on.
//!
//! Identity encoding is asked for; gzip is decoded if it comes all the same, under the same bound as a plain
//! body, so a small body can't become a large one. Any other encoding can't be recorded, and is a failure.
//!
//! Not here: what the body says (`tunnel`), the answer to the client (`respond`).

use std::io::Read as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::refusal::Refusal;

/// A whole answer of the upstream.
#[derive(Clone)]
pub struct Answer {
    /// Its status: never 1xx or 3xx.
    pub status: StatusCode,
    /// Its headers, by allow-list.
    pub headers: HeaderMap,
    /// Its body, decoded.
    pub body: Bytes,
    /// Whether the body came gzipped.
    pub was_gzip: bool,
    /// Whether the body is declared as JSON. Whether it is, its reader finds out.
    pub is_json: bool,
    /// From before the first byte went out to the last byte of the body.
    pub duration: Duration,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without headers and body, which may hold the only copy of a PSK.
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// Cloudflare's name for the exchange.
    #[must_use]
    pub fn cf_ray(&self) -> Option<&str> {
        cf_ray(&self.headers)
    }

    /// The declared type of the body.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE)?.to_str().ok()
    }
}

/// The headers that are given on. Cookies, hop-by-hop fields, lengths and encodings are not among them, nor is
/// anything that a browser would obey.
const KEPT: [HeaderName; 8] = [
    CONTENT_TYPE,
    RETRY_AFTER,
    HeaderName::from_static("api-version"),
    HeaderName::from_static("cf-ray"),
    HeaderName::from_static("deprecation"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("sunset"),
];

/// Bytes of a header's value that are given on, and values of one name: a list may come in several fields.
const MAX_VALUE: usize = 1024;
const MAX_VALUES: usize = 4;

pub(super) fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in KEPT {
        let is_list = name == "ratelimit" || name == "ratelimit-policy";
        let values = headers.get_all(&name).iter().filter(|value| value.len() <= MAX_VALUE);
        for value in values.take(if is_list { MAX_VALUES } else { 1 }) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// The `cf-ray`, if it is one: 16 hex digits, a dash and an airport. Bounded, as it goes into the record.
pub(super) fn cf_ray(headers: &HeaderMap) -> Option<&str> {
    let ray = headers.get("cf-ray")?.to_str().ok()?;
    let plain = ray.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (!ray.is_empty() && ray.len() <= 64 && plain).then_some(ray)
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Why a status can't be given on.
pub(super) fn unusable(status: StatusCode) -> Option<Refusal> {
    if status.is_redirection() {
        Some(Refusal::UpstreamAnswer("it is a redirect, which is never followed"))
    } else if status.is_informational() {
        Some(Refusal::UpstreamAnswer("it asks to switch to another protocol"))
    } else {
        None
    }
}

const TOO_LARGE: Refusal = Refusal::UpstreamAnswer("it is larger than `upstream.max_answer_bytes`");
const DAMAGED: Refusal = Refusal::UpstreamAnswer("its gzip encoding is damaged");

/// Reads a body to its end, at most `max` bytes.
pub(super) async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(TOO_LARGE);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // A cut body, by length or in chunks, shows as an error here.
        let frame = frame.map_err(|_| Refusal::UpstreamDropped)?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > max.saturating_sub(whole.len()) {
            return Err(TOO_LARGE);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Decodes a body as its headers say; tells whether it was gzip.
pub(super) fn decode(headers: &HeaderMap, body: Bytes, max: usize) -> Result<(Bytes, bool), Refusal> {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let mut encodings = values
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity"));
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok((body, false)),
        (Some(one), None) if one.eq_ignore_ascii_case(b"gzip") || one.eq_ignore_ascii_case(b"x-gzip") => {
            gunzip(&body, max).map(|plain| (plain, true))
        }
        _ => Err(Refusal::UpstreamAnswer("it is in an encoding that was not asked for")),
    }
}

fn gunzip(packed: &[u8], max: usize) -> Result<Bytes, Refusal> {
    if packed.is_empty() {
        return Ok(Bytes::new());
    }
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut plain = Vec::new();
    // Stops one byte past the limit, whatever is still to come.
    let decoder = flate2::bufread::MultiGzDecoder::new(packed);
    decoder.take(limit).read_to_end(&mut plain).map_err(|_| DAMAGED)?;
    if plain.len() > max { Err(TOO_LARGE) } else { Ok(plain.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn check(encoding: &str, body: &[u8], want: Result<(&str, bool), Refusal>) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        let got = decode(&headers, Bytes::copy_from_slice(body), 100);
        assert_eq!(got, want.map(|(text, gzip)| (Bytes::from(text.to_owned()), gzip)), "{encoding}");
    }

    #[test]
    fn gzip_is_decoded_and_nothing_else_is() {
        let unknown = || Err(Refusal::UpstreamAnswer("it is in an encoding that was not asked for"));
        check("identity", b"{}", Ok(("{}", false)));
        check("", b"{}", Ok(("{}", false)));
        check("gzip", &gzip(b"{}"), Ok(("{}", true)));
        check("X-GZip", &gzip(b"{}"), Ok(("{}", true)));
        check("gzip", b"", Ok(("", true)));
        check("br", b"{}", unknown());
        check("gzip, gzip", &gzip(&gzip(b"{}")), unknown());
        check("gzip, br", &gzip(b"{}"), unknown());
    }

    #[test]
    fn damaged_gzip_is_refused() {
        let good = gzip(b"{\"result\":1}");
        check("gzip", &good[..good.len() - 1], Err(DAMAGED));
        check("gzip", b"{}", Err(DAMAGED));
        check("gzip", &[&good[..], b"tail"].concat(), Err(DAMAGED));
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        check("gzip", &flipped, Err(DAMAGED));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        check("gzip", &gzip(&[b'a'; 100]), Ok((&"a".repeat(100), true)));
        check("gzip", &gzip(&[b'a'; 101]), Err(TOO_LARGE));
        check("gzip", &gzip(&vec![0; 5_000_000]), Err(TOO_LARGE));
    }

    #[test]
    fn only_named_headers_are_given_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-type", "text/html"),
            ("set-cookie", "a=b"),
            ("content-length", "3"),
            ("connection", "close"),
            ("location", "https://elsewhere.example"),
            ("ratelimit", "\"a\";r=1"),
            ("ratelimit", "\"b\";r=1"),
            ("x-anything", "1"),
        ] {
            headers.append(http::HeaderName::from_static(name), value.parse().unwrap());
        }
        headers.insert("api-version", "v".repeat(MAX_VALUE + 1).parse().unwrap());
        let kept = kept(&headers);
        let shown: Vec<_> = kept.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        let want =
            [("content-type", "application/json"), ("ratelimit", "\"a\";r=1"), ("ratelimit", "\"b\";r=1")];
        assert_eq!(shown, want);
    }
}
