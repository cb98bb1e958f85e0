//! The addresses that the proxy calls: the upstream's, an issuer's keys', and a collector's of traces.
//!
//! The first two carry or decide trust, so both are HTTPS, but on this very machine. Not here: calling them
//! (`forward`, `identify`, `otlp`).

use std::net::IpAddr;

use http::Uri;

/// Reads `upstream.base_url`.
pub(super) fn base_url(text: &str) -> Result<Uri, String> {
    if text.contains('?') {
        return Err("must have no query; remove what follows the `?`".to_owned());
    }
    let uri = absolute(text)?;
    if text.ends_with('/') {
        return Err("must not end in a slash; remove it".to_owned());
    }
    let odd = |segment: &str| matches!(segment, "" | "." | "..");
    if uri.path() != "/" && uri.path().split('/').skip(1).any(odd) || text.contains('%') {
        return Err("must have a plain path: no empty or dot segments, no percent signs".to_owned());
    }
    if !is_safe(&uri) {
        return Err(
            "must be https; http is taken for loopback addresses only, as the token goes with it".to_owned()
        );
    }
    Ok(uri)
}

/// Reads `jwks_url`.
pub(super) fn jwks_url(text: &str, allow_insecure: bool) -> Result<Uri, String> {
    let uri = absolute(text)?;
    if !is_safe(&uri) && !allow_insecure {
        return Err(
            "must be https, as who changes the keys on their way can be anyone; http is taken for loopback \
            addresses, or with allow_insecure_jwks = true"
                .to_owned(),
        );
    }
    Ok(uri)
}

/// Reads `trace.otlp_endpoint`. What is sent there holds no secret, so plain HTTP is taken.
pub(super) fn otlp_endpoint(text: &str) -> Result<Uri, String> {
    if text.contains('?') {
        return Err("must have no query; remove what follows the `?`".to_owned());
    }
    let uri = absolute(text)?;
    if uri.path().trim_end_matches('/').ends_with("/v1/traces") {
        return Err("must be what stands before `/v1/traces`, which is added".to_owned());
    }
    Ok(uri)
}

fn absolute(text: &str) -> Result<Uri, String> {
    let wanted = || "wants an absolute https URL such as \"https://host.example/path\"".to_owned();
    // The parser drops a fragment without a word.
    if text.contains('#') {
        return Err("must have no fragment; remove what follows the `#`".to_owned());
    }
    let uri: Uri = text.parse().map_err(|_| wanted())?;
    let authority = uri.authority().ok_or_else(wanted)?.as_str();
    if authority.contains('@') {
        return Err("must name no user; a secret is never a value here".to_owned());
    }
    let host = uri.host().unwrap_or_default();
    let port = authority.strip_prefix(host).unwrap_or(":");
    let port_is_good = port.is_empty() || uri.port_u16().is_some_and(|port| port > 0);
    if !matches!(uri.scheme_str(), Some("https" | "http")) || host.is_empty() || !port_is_good {
        return Err(wanted());
    }
    Ok(uri)
}

/// Whether nobody on the way can read or change what is sent.
fn is_safe(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https") || is_loopback(uri.host().unwrap_or_default())
}

fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_https_or_loopback_and_plain() {
        for (text, problem) in [
            ("https://api.cloudflare.com/client/v4", None),
            ("https://host.example", None),
            ("https://host.example:8443/a", None),
            ("http://127.0.0.1:9/client/v4", None),
            ("http://[::1]:9/client/v4", None),
            ("http://localhost/x", None),
            ("http://host.example/x", Some("must be https")),
            ("http://127.0.0.1.host.example/x", Some("must be https")),
            ("http://localhost.example/x", Some("must be https")),
            ("https://user@host.example/x", Some("no user")),
            ("http://127.0.0.1@host.example/x", Some("no user")),
            ("https://host.example/x?y=1", Some("query")),
            ("https://host.example/x#y", Some("fragment")),
            ("https://host.example/x/", Some("slash")),
            ("https://host.example/", Some("slash")),
            ("https://host.example/a/../b", Some("plain path")),
            ("https://host.example/a//b", Some("plain path")),
            ("https://host.example/%61", Some("plain path")),
            ("https://host.example:0/x", Some("absolute https URL")),
            ("https://host.example:99999/x", Some("absolute https URL")),
            ("https://host.example:/x", Some("absolute https URL")),
            ("ftp://host.example/x", Some("absolute https URL")),
            ("host.example", Some("absolute https URL")),
            ("/x", Some("absolute https URL")),
            ("https://", Some("absolute https URL")),
        ] {
            match (base_url(text), problem) {
                (Ok(_), None) => {}
                (Err(what), Some(word)) => assert!(what.contains(word), "{text}: {what}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_collector_may_be_anywhere_and_its_path_is_added() {
        assert!(otlp_endpoint("http://127.0.0.1:4318").is_ok());
        assert!(otlp_endpoint("https://collector.example/otlp/").is_ok());
        assert!(otlp_endpoint("https://collector.example/v1/traces").unwrap_err().contains("is added"));
        assert!(otlp_endpoint("https://key@collector.example").unwrap_err().contains("no user"));
        assert!(otlp_endpoint("https://collector.example/?key=1").unwrap_err().contains("query"));
        assert!(otlp_endpoint("collector:4318").is_err());
    }

    #[test]
    fn key_urls_over_plain_http_need_a_word() {
        assert!(jwks_url("https://idp.example/keys?p=1", false).is_ok());
        assert!(jwks_url("http://127.0.0.1:1/keys", false).is_ok());
        assert!(jwks_url("http://idp.example/keys", false).unwrap_err().contains("allow_insecure_jwks"));
        assert!(jwks_url("http://idp.example/keys", true).is_ok());
        assert!(jwks_url("ftp://idp.example/keys", true).is_err());
    }
}
