//! What of a request's headers counts, read strictly; everything else has no effect and goes nowhere.
//!
//! Not here: the token (`identify`), the path (`operation`), `If-Match` (`state`).

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};

use super::{Body, Form, Target};
use crate::operation::{Class, Operation};
use crate::refusal::Refusal;
use crate::secret::SecretString;

/// Words that stand in the names of headers whose values are credentials: ours, Cloudflare's other ones
/// (`X-Auth-Key`, `CF-Access-Client-Secret`), and those of anybody in between. A word too many costs little:
/// no header but the user agent is stored, and only a call that repeats the value there or in its body is refused.
/// Each with what such headers are called in the refusal.
const CREDENTIALS: [(&str, &str); 8] = [
    ("secret", "*secret*"),
    ("key", "*key*"),
    ("token", "*token*"),
    ("cookie", "cookie"),
    ("assertion", "*assertion*"),
    ("credential", "*credential*"),
    ("password", "*password*"),
    ("auth", "*auth*"),
];

/// The header of the caller's own token.
const TOKEN: &str = "authorization";

const NEW_HC_TARGET: HeaderName = HeaderName::from_static("x-magic-new-hc-target");

/// A header whose value must never be stored.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The header by our own word for it: its name may be the client's choice, and the record takes none.
    pub header: &'static str,
    /// The value, without a scheme before it.
    pub secret: SecretString,
}

impl Credential {
    /// Whether it is what the caller is identified by.
    #[must_use]
    pub fn is_token(&self) -> bool {
        self.header == TOKEN
    }
}

/// What such a header is called, by our own word for it; nothing where it carries no credential.
fn credential(name: &HeaderName) -> Option<&'static str> {
    let word = |(word, _): &&(&str, &str)| name.as_str().contains(word);
    if *name == AUTHORIZATION {
        Some(TOKEN)
    } else {
        CREDENTIALS.iter().find(word).map(|(_, called)| *called)
    }
}

/// Marks the credentials, so that no `Debug` shows them, ours or a library's.
pub(super) fn mark(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if credential(name).is_some() {
            value.set_sensitive(true);
        }
    }
}

/// The values that must never be stored, whatever becomes of the call.
#[must_use]
pub fn credentials(headers: &HeaderMap) -> Vec<Credential> {
    let found = |(name, value): (&HeaderName, &http::HeaderValue)| {
        let header = credential(name)?;
        let text = std::str::from_utf8(value.as_bytes()).ok()?;
        let secret = match text.split_once(' ') {
            Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphabetic()) => rest.trim(),
            _ => text,
        };
        Some(Credential { header, secret: secret.into() })
    };
    headers.iter().filter_map(found).collect()
}

/// Refuses request targets in a form that an origin server need not serve (RFC 9112 section 3.2): a proxy that
/// takes them may read another authority than the one that was checked.
///
/// # Errors
/// [`Refusal::TargetSpelling`]
pub fn check(target: &Target) -> Result<(), Refusal> {
    match target.form {
        Form::Origin => Ok(()),
        Form::Absolute => Err(Refusal::TargetSpelling("a scheme and an authority (absolute-form)")),
        Form::Authority => Err(Refusal::TargetSpelling("an authority (authority-form)")),
        Form::Asterisk => Err(Refusal::TargetSpelling("an asterisk (asterisk-form)")),
    }
}

/// `x-magic-new-hc-target`: `true` or `false`; without effect on the PSK operations, which do not know it.
///
/// # Errors
/// [`Refusal::BadHeader`]
pub fn new_hc_target(headers: &HeaderMap, operation: Operation) -> Result<Option<bool>, Refusal> {
    let mut values = headers.get_all(NEW_HC_TARGET).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Refusal::BadHeader { name: "x-magic-new-hc-target", what: "may come once only" });
    }
    let flag = match value.map(http::HeaderValue::as_bytes) {
        None => None,
        Some(b"true") => Some(true),
        Some(b"false") => Some(false),
        Some(_) => {
            return Err(Refusal::BadHeader {
                name: "x-magic-new-hc-target",
                what: "must be `true` or `false`",
            });
        }
    };
    Ok(flag.filter(|_| operation.class() != Class::Secret))
}

/// The body, whole: not encoded, and declared as JSON if there is one.
///
/// # Errors
/// [`Refusal::ContentEncoding`], [`Refusal::ContentType`], and what [`Body::read`] says.
pub async fn body(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let encoded = |value: &http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().any(encoded) {
        return Err(Refusal::ContentEncoding);
    }
    if body.declared_empty() {
        return Ok(Bytes::new());
    }
    let raw = body.read().await?;
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        _ if raw.is_empty() => Ok(raw),
        (Some(one), None) if is_json(one) => Ok(raw),
        _ => Err(Refusal::ContentType),
    }
}

/// `application/json`, without parameters or with `charset=utf-8` (RFC 8259 section 11 defines none; clients
/// send it all the same).
fn is_json(value: &http::HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    named
        && parts.all(|part| {
            ["charset=utf-8", "charset=\"utf-8\""].iter().any(|known| part.eq_ignore_ascii_case(known))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_type(value: &str, json: bool) {
        assert_eq!(is_json(&value.parse().unwrap()), json, "{value}");
    }

    #[test]
    fn json_is_declared_in_its_own_name_only() {
        check_type("application/json", true);
        check_type("Application/JSON; charset=UTF-8", true);
        check_type("application/json;charset=utf-16", false);
        check_type("text/json", false);
        check_type("application/x-www-form-urlencoded", false);
        check_type("application/json, text/plain", false);
    }

    #[test]
    fn credentials_are_known_by_their_headers() {
        use secrecy::ExposeSecret as _;
        let mut headers = HeaderMap::new();
        headers.append("authorization", "Bearer aaa.bbb.ccc".parse().unwrap());
        headers.append("authorization", "Basic ddd".parse().unwrap());
        headers.append("x-auth-key", "eee".parse().unwrap());
        headers.append("cf-access-jwt-assertion", "fff".parse().unwrap());
        headers.append("accept", "application/json".parse().unwrap());
        let found = credentials(&headers);
        let found: Vec<_> = found.iter().map(|found| (found.header, found.secret.expose_secret())).collect();
        let want = [
            ("authorization", "aaa.bbb.ccc"),
            ("authorization", "ddd"),
            ("*key*", "eee"),
            ("*assertion*", "fff"),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn no_debug_shows_a_credential() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "x-auth-key", "cookie", "cf-access-jwt-assertion"] {
            headers.append(name, "Bearer hunter2".parse().unwrap());
        }
        headers.append("accept", "text/plain".parse().unwrap());
        mark(&mut headers);
        let shown = format!("{headers:?}");
        assert!(shown.contains("text/plain") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_health_check_form_is_true_or_false() {
        let read = |value: &str, operation| {
            new_hc_target(&HeaderMap::from_iter([(NEW_HC_TARGET, value.parse().unwrap())]), operation)
        };
        assert_eq!(read("true", Operation::Get), Ok(Some(true)));
        assert_eq!(read("false", Operation::Get), Ok(Some(false)));
        assert_eq!(read("true", Operation::GeneratePsk), Ok(None));
        assert!(read("1", Operation::Get).is_err());
        assert!(read("True", Operation::GeneratePsk).is_err());
    }
}
