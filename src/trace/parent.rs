//! `traceparent`, by W3C Trace Context level 1, section 3.2.
//!
//! Not here: what is made of it (`trace::Context`).

use std::fmt;

use http::{HeaderMap, HeaderName};

use super::{SpanId, TraceId};

/// The header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What the other side's `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: TraceId,
    /// The other side's span.
    pub span: SpanId,
    /// Whether the other side tells of its spans.
    pub is_sampled: bool,
}

impl Parent {
    /// The one good `traceparent` that there is. None, several, or one that is not good: all the same, none.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() { None } else { Self::parse(value.as_bytes()) }
    }

    /// `version "-" trace-id "-" parent-id "-" trace-flags`, in lower-case hex. A version that we don't know may go on
    /// behind another `-`, with what we don't read.
    fn parse(value: &[u8]) -> Option<Self> {
        const LENGTH: usize = 55;
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let mut fields = known.split(|byte| *byte == b'-');
        let version = number(fields.next()?, 2)?;
        let trace = number(fields.next()?, 32)?;
        let span = number(fields.next()?, 16)?;
        let flags = number(fields.next()?, 2)?;
        let ends = rest.is_empty() || version != 0 && rest.starts_with(b"-");
        // Version 255 is forbidden, ids of zeros are none.
        if fields.next().is_some() || !ends || version == 0xff || trace == 0 || span == 0 {
            return None;
        }
        let span = u64::try_from(span).ok()?;
        Some(Self {
            trace: TraceId(trace.to_be_bytes()),
            span: SpanId(span.to_be_bytes()),
            is_sampled: flags & 1 == 1,
        })
    }
}

/// So many lower-case hex digits.
fn number(digits: &[u8], length: usize) -> Option<u128> {
    let lower = digits.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    let text = std::str::from_utf8(digits).ok().filter(|_| lower && digits.len() == length)?;
    u128::from_str_radix(text, 16).ok()
}

impl fmt::Display for Parent {
    /// As it is sent: version 0, and no flag but `sampled`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = u64::from_be_bytes(self.span.0);
        write!(f, "00-{}-{span:016x}-{:02x}", self.trace, u8::from(self.is_sampled))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_the_standard_allows_is_read() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for (value, sampled) in [
            (format!("00-{trace}-{span}-01"), Some(true)),
            (format!("00-{trace}-{span}-00"), Some(false)),
            (format!("00-{trace}-{span}-03"), Some(true)),
            (format!("cc-{trace}-{span}-01"), Some(true)),
            (format!("cc-{trace}-{span}-01-what-will-be"), Some(true)),
            (format!("cc-{trace}-{span}-01what"), None),
            (format!("00-{trace}-{span}-01-more"), None),
            (format!("00-{trace}-{span}-01-"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{span}-01", trace.to_uppercase()), None),
            (format!("00-{trace}-{span}-0"), None),
            (format!("00-{trace}-{span}"), None),
            (format!("00-{trace}-{span}-+1"), None),
            (format!("0-0{trace}-{span}-01"), None),
            (format!("00-{trace}{span}--01"), None),
            (format!(" 00-{trace}-{span}-01"), None),
            (String::new(), None),
        ] {
            let read = Parent::parse(value.as_bytes());
            assert_eq!(read.map(|parent| parent.is_sampled), sampled, "{value}");
            let Some(read) = read else { continue };
            assert_eq!(read.to_string(), format!("00-{trace}-{span}-0{}", u8::from(read.is_sampled)));
        }
    }

    #[test]
    fn two_are_none() {
        let good = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut headers = HeaderMap::new();
        assert_eq!(Parent::read(&headers), None);
        headers.append(TRACEPARENT, good.clone());
        assert!(Parent::read(&headers).is_some());
        headers.append(TRACEPARENT, good);
        assert_eq!(Parent::read(&headers), None);
    }
}
