//! Reads what the upstream says of its own limits: `Ratelimit`, `Ratelimit-Policy`, `Retry-After`.
//!
//! The first two are lists of RFC 9651 with an integer or two as parameters. A member that can't be read is
//! skipped alone, where the RFC would drop the whole field: half a warning is better than none.
//!
//! Not here: what follows from it (`limit::budget`).

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::Timestamp;

/// Bytes of a field, and members of a list, that are looked at. The upstream sends two or three members of
/// about 25 bytes.
const MAX_BYTES: usize = 1024;
const MAX_MEMBERS: usize = 8;

/// Bytes of a member's name that are taken.
const MAX_NAME: usize = 64;

/// A member of a list: `"name";r=50;t=30`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The string or token.
    pub(super) name: String,
    params: Vec<(String, u32)>,
}

impl Member {
    /// A parameter that is a non-negative integer. Of two with one name the last counts (RFC 9651 section
    /// 4.2.3.2).
    pub(super) fn param(&self, name: &str) -> Option<u32> {
        self.params.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// The members of all fields of that name that can be read.
pub(super) fn members(headers: &HeaderMap, field: &str) -> Vec<Member> {
    let texts = headers.get_all(field).iter().filter_map(|value| value.to_str().ok());
    texts
        .filter(|text| text.len() <= MAX_BYTES)
        .flat_map(|text| split(text, ','))
        .filter_map(member)
        .take(MAX_MEMBERS)
        .collect()
}

/// Cuts a text at a separator, but not within quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '"' if !was_escaped => quoted = !quoted,
            '\\' if quoted && !was_escaped => escaped = true,
            _ => {}
        }
        c == separator && !quoted
    })
    .collect()
}

fn member(text: &str) -> Option<Member> {
    let mut parts = split(text, ';').into_iter().map(|part| part.trim_matches([' ', '\t']));
    let name = bare_name(parts.next()?)?;
    let params = parts
        .filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            let digits = !value.is_empty() && value.len() <= 15 && value.bytes().all(|b| b.is_ascii_digit());
            // More than fits is as good as unlimited.
            digits.then(|| (name.to_owned(), value.parse().unwrap_or(u32::MAX)))
        })
        .collect();
    Some(Member { name, params })
}

/// A string or a token of RFC 9651.
fn bare_name(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > MAX_NAME {
        return None;
    }
    if let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Some(inner.replace("\\\"", "\"").replace("\\\\", "\\"));
    }
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b);
    text.bytes().all(token).then(|| text.to_owned())
}

/// `Retry-After` as a time from now: seconds, or a date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected<'a> = (&'a str, Option<u32>, Option<u32>);

    #[track_caller]
    fn check(text: &str, want: &[Expected<'_>]) {
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit", text.parse().unwrap());
        let got = members(&headers, "ratelimit");
        let got: Vec<Expected<'_>> =
            got.iter().map(|m| (m.name.as_str(), m.param("r"), m.param("t"))).collect();
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn lists_are_read_and_garbage_is_skipped_alone() {
        check("\"default\";r=50;t=30", &[("default", Some(50), Some(30))]);
        check("\"a\";r=1;t=2, \"b\";r=3 ; t=4", &[("a", Some(1), Some(2)), ("b", Some(3), Some(4))]);
        check("burst;r=1", &[("burst", Some(1), None)]);
        check("\"a,b;c\";r=1", &[("a,b;c", Some(1), None)]);
        check("\"a\\\"b\";r=1", &[("a\"b", Some(1), None)]);
        check("\"a\";r=1;r=2", &[("a", Some(2), None)]);
        check("\"a\";r=99999999999;t=1", &[("a", Some(u32::MAX), Some(1))]);
        check("\"a\";r=-1;t=1.5", &[("a", None, None)]);
        check("\"a\";r;t=", &[("a", None, None)]);
        check("limit=100, remaining=50, reset=30", &[]);
        check("\"open;r=1, \"b\";r=2", &[]);
        check(", , @, \"ok\";r=7", &[("ok", Some(7), None)]);
        check("", &[]);
    }

    #[test]
    fn work_is_bounded() {
        let many = vec!["\"a\";r=1"; 20].join(",");
        check(&many, &[("a", Some(1), None); MAX_MEMBERS]);
        check(&"a,".repeat(MAX_BYTES), &[]);
        check(&format!("{};r=1", "n".repeat(MAX_NAME + 1)), &[]);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        let check = |text: &str, want: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers, now), want.map(Duration::from_secs), "{text}");
        };
        check("120", Some(120));
        check("0", Some(0));
        check("99999999999999999999999", Some(u64::MAX));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(37));
        check("Sun, 06 Nov 1994 08:40:00 GMT", Some(0));
        check("soon", None);
        check("-5", None);
        check("", None);
    }
}
