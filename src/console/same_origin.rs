//! Whether a form was sent by a page of ours: a cookie that is sent along proves nothing by itself.
//!
//! Browsers of today say so in `Sec-Fetch-Site` (W3C Fetch Metadata), older ones in `Origin` (RFC 6454). What says neither is
//! refused. `SameSite=Strict` keeps the cookie from other sites' forms anyway; a header that an access proxy adds it does not.

use http::HeaderMap;
use http::header::{HOST, ORIGIN};

/// Whether it was.
pub(super) fn is_same(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let host = text(HOST.as_str());
    let origin = text(ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
    matches!((host, origin), (Some(host), Some((_, origin))) if host == origin)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(sent: &[(&'static str, &'static str)], expected: bool) {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        assert_eq!(is_same(&sent.iter().map(header).collect()), expected, "{sent:?}");
    }

    #[test]
    fn only_our_own_pages_send_forms() {
        let host = ("host", "audit.example:9090");
        check(&[host, ("sec-fetch-site", "same-origin")], true);
        for site in ["same-site", "cross-site", "none", ""] {
            check(&[host, ("sec-fetch-site", site), ("origin", "https://audit.example:9090")], false);
        }
        check(&[host, ("origin", "https://audit.example:9090")], true);
        check(&[host, ("origin", "https://audit.example")], false);
        check(&[host, ("origin", "https://evil.example")], false);
        check(&[host, ("origin", "null")], false);
        check(&[host], false);
        check(&[("origin", "https://audit.example:9090")], false);
    }
}
