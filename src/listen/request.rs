//! What of a request's head the listener itself looks at.
//!
//! Not here: paths and queries (`operation`), tokens (`identify`).

use std::net::IpAddr;

use http::header::{EXPECT, UPGRADE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Uri, Version};
use tokio::time::Instant;

use super::body::Body;
use super::framing::MAX_FIELDS;
use super::{Arrived, Form, Gone, Target, headers};
use crate::caller::{Origin, Thumbprint};
use crate::refusal::Refusal;

/// What the official SDKs count their attempts in.
const RETRY_COUNT: &str = "x-stainless-retry-count";

/// A retry count above this is taken as this: no SDK gets near it, and it stays one short number in the record.
const RETRY_COUNT_MAX: u32 = 1000;

/// Who sends this, as far as can be said before a token is looked at.
pub(super) fn origin(peer: IpAddr, certificate: Option<Thumbprint>, headers: &HeaderMap) -> Origin {
    // A second header can't lower what a first one says: an attempt that calls itself a retry is one.
    let retry_count = headers
        .get_all(RETRY_COUNT)
        .iter()
        .filter_map(|value| value.to_str().ok()?.trim().parse::<u32>().ok())
        .max()
        .unwrap_or(0)
        .min(RETRY_COUNT_MAX);
    let user_agent = headers.get(USER_AGENT).map(|value| printable(value.as_bytes()));
    Origin { address: peer, user_agent, retry_count, certificate }
}

fn printable(bytes: &[u8]) -> String {
    let kept = bytes.iter().take(Origin::USER_AGENT_MAX);
    kept.map(|b| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '?' }).collect()
}

/// What is refused whatever the path.
pub(super) fn refused(head: &Parts, max_header_bytes: usize) -> Option<Refusal> {
    if head.headers.len() > MAX_FIELDS || size(head) > max_header_bytes {
        return Some(Refusal::HeadersTooLarge);
    }
    if head.method == Method::CONNECT {
        return Some(Refusal::MalformedRequest("`CONNECT`, which asks for a tunnel; this is no such proxy"));
    }
    if head.headers.contains_key(UPGRADE) {
        let what = "asks for another protocol, which is not served";
        return Some(Refusal::BadHeader { name: "upgrade", what });
    }
    let mut expected = head.headers.get_all(EXPECT).iter();
    let only_continue = match (expected.next(), expected.next()) {
        (None, _) => true,
        (Some(value), None) => value.as_bytes().eq_ignore_ascii_case(b"100-continue"),
        (Some(_), Some(_)) => false,
    };
    if !only_continue {
        let what = "may be `100-continue`, once, and nothing else";
        return Some(Refusal::BadHeader { name: "expect", what });
    }
    None
}

/// Bytes of a head as HTTP/1 would send them. What HTTP/2 sends may be much shorter than what it stands for.
fn size(head: &Parts) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    // `: ` and CRLF beside each field.
    head.headers.iter().fold(target, |sum, (name, value)| sum + name.as_str().len() + value.len() + 4)
}

/// The request as the pipeline takes it.
pub(super) fn arrived(head: Parts, origin: Origin, body: Body, gone: Gone) -> Arrived {
    let target = target(&head.uri, head.version);
    let Parts { method, version, mut headers, .. } = head;
    headers::mark(&mut headers);
    Arrived { method, target, headers, version, origin, body, gone, at: Instant::now() }
}

/// Path and query as they were sent. Where a fragment came with them it was refused (HTTP/1: `framing`) or cut
/// off by the HTTP/2 library, which does not tell. Nobody can be misled by it: no one here has read it, what is
/// authorized and recorded is what is left, and what goes upstream is written anew from that.
fn target(uri: &Uri, version: Version) -> Target {
    let form = if uri.path() == "*" {
        Form::Asterisk
    } else if uri.authority().is_some() && uri.path_and_query().is_none() {
        Form::Authority
    } else if uri.authority().is_some() && version != Version::HTTP_2 {
        Form::Absolute
    } else {
        // HTTP/2 sends scheme, authority and path apart (RFC 9113 section 8.3.1): that is its origin form.
        Form::Origin
    };
    Target { path: uri.path().to_owned(), query: uri.query().map(str::to_owned), form }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn peer() -> IpAddr {
        IpAddr::from([192, 0, 2, 1])
    }

    #[test]
    fn a_user_agent_is_bounded_and_printable() {
        let mut headers = HeaderMap::new();
        assert_eq!(origin(peer(), None, &headers).user_agent, None);
        let long = HeaderValue::from_bytes(&[b"a\xff\tb".as_slice(), &[b'x'; 1000]].concat()).unwrap();
        headers.insert(USER_AGENT, long);
        let kept = origin(peer(), None, &headers).user_agent.unwrap();
        assert!(kept.starts_with("a??bx"), "{kept}");
        assert_eq!(kept.len(), Origin::USER_AGENT_MAX);
    }

    #[test]
    fn a_retry_count_is_a_bounded_number() {
        let count = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(RETRY_COUNT, HeaderValue::from_static(value));
            }
            origin(peer(), None, &headers).retry_count
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&["0"]), 0);
        assert_eq!(count(&["2"]), 2);
        assert_eq!(count(&["4294967295"]), RETRY_COUNT_MAX);
        assert_eq!(count(&["99999999999999"]), 0);
        assert_eq!(count(&["-1"]), 0);
        assert_eq!(count(&["x"]), 0);
        assert_eq!(count(&["0", "2"]), 2);
    }

    #[test]
    fn only_the_origin_form_is_called_so() {
        let form = |uri: &str, version| target(&uri.parse().unwrap(), version).form;
        assert_eq!(form("/a?b", Version::HTTP_11), Form::Origin);
        assert_eq!(form("//a/b", Version::HTTP_11), Form::Origin);
        assert_eq!(form("http://a/b", Version::HTTP_11), Form::Absolute);
        assert_eq!(form("a:443", Version::HTTP_11), Form::Authority);
        assert_eq!(form("*", Version::HTTP_11), Form::Asterisk);
        assert_eq!(form("http://a/b", Version::HTTP_2), Form::Origin);
    }
}
