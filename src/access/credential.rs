//! Where a reader's token stands: a bearer, the header of an access proxy, or the cookie of the sign-in page.
//!
//! The first of these that is there counts, and no other is tried: whoever sends a bad one is told so. Not here: whether
//! the token is good (`identify`).

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::refusal::{Refusal, TokenFault};

/// The cookie that holds the token of somebody who signed in.
pub const COOKIE: &str = "tunnelwarden-token";

/// By which way somebody comes to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A program: no cookie is taken.
    Api,
    /// A person with a browser.
    Console,
}

impl Door {
    /// The name in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Console => "console",
        }
    }
}

/// The token, as one `Authorization` header and nothing else.
pub(super) fn find(
    door: Door,
    headers: &HeaderMap,
    token_header: Option<&HeaderName>,
) -> Result<HeaderMap, Refusal> {
    let mut found = HeaderMap::new();
    if headers.contains_key(AUTHORIZATION) {
        headers.get_all(AUTHORIZATION).iter().for_each(|value| {
            let mut value = value.clone();
            value.set_sensitive(true);
            found.append(AUTHORIZATION, value);
        });
        return Ok(found);
    }
    if let Some(name) = token_header.filter(|name| headers.contains_key(*name)) {
        let mut values = headers.get_all(name).iter();
        let one = values.next().and_then(|value| value.to_str().ok()).map(str::to_owned);
        if values.next().is_some() {
            return Err(Refusal::TokenAmbiguous);
        }
        if is_foreign(door, headers) {
            return Err(Refusal::BadHeader {
                name: "sec-fetch-site",
                what: "another site must not ask with your token",
            });
        }
        return bearer(one.as_deref());
    }
    if door == Door::Console
        && let Some(token) = cookie_of(headers)?
    {
        return bearer(Some(&token));
    }
    Err(Refusal::TokenMissing { legacy_headers: false })
}

/// Whether a page of another site made a browser send this (W3C Fetch Metadata): an access proxy adds its header to that, too.
/// A link to a page of the console is none of it.
fn is_foreign(door: Door, headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|header| header == value);
    let link = door == Door::Console && is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document");
    headers.contains_key("sec-fetch-site")
        && !is("sec-fetch-site", "same-origin")
        && !is("sec-fetch-site", "none")
        && !link
}

fn bearer(token: Option<&str>) -> Result<HeaderMap, Refusal> {
    let value = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
    let mut value = value.ok_or(Refusal::TokenInvalid(TokenFault::Malformed))?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

/// The token in the cookie, where there is one (RFC 6265 section 5.4).
///
/// # Errors
/// [`Refusal::TokenAmbiguous`]: there are two, of which somebody else may have set one.
pub fn cookie_of(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let values = headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut tokens = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, token)| token.to_owned());
    let token = tokens.next().filter(|token| !token.is_empty());
    if tokens.next().is_some() { Err(Refusal::TokenAmbiguous) } else { Ok(token) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(door: Door, sent: &[(&'static str, &'static str)], expected: Result<&str, &str>) {
        let headers =
            sent.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        let found = find(door, &map, Some(&HeaderName::from_static("x-access")));
        let found = found.map(|found| found.get(AUTHORIZATION).unwrap().to_str().unwrap().to_owned());
        assert_eq!(found.as_deref().map_err(Refusal::name), expected, "{sent:?}");
    }

    #[test]
    fn the_first_token_counts_and_a_cookie_only_in_the_console() {
        let [bearer, header] = [("authorization", "Bearer a"), ("x-access", "b")];
        let cookie = ("cookie", "x=1; tunnelwarden-token=c; y=2");
        check(Door::Api, &[cookie, header, bearer], Ok("Bearer a"));
        check(Door::Api, &[cookie, header], Ok("Bearer b"));
        check(Door::Api, &[cookie], Err("token_missing"));
        check(Door::Console, &[cookie, header], Ok("Bearer b"));
        check(Door::Console, &[cookie], Ok("Bearer c"));
        check(Door::Console, &[], Err("token_missing"));
        check(Door::Console, &[("cookie", "tunnelwarden-token=")], Err("token_missing"));
        check(Door::Console, &[cookie, ("cookie", "tunnelwarden-token=d")], Err("token_ambiguous"));
        check(Door::Console, &[header, ("x-access", "d")], Err("token_ambiguous"));
        check(Door::Console, &[("cookie", "Tunnelwarden-Token=c")], Err("token_missing"));
        let foreign = ("sec-fetch-site", "cross-site");
        let link = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        check(Door::Api, &[header, foreign], Err("bad_header"));
        check(Door::Api, &[header, foreign, link[0], link[1]], Err("bad_header"));
        check(Door::Console, &[header, foreign], Err("bad_header"));
        check(Door::Console, &[header, foreign, link[0], link[1]], Ok("Bearer b"));
        check(Door::Api, &[header, ("sec-fetch-site", "same-origin")], Ok("Bearer b"));
        check(Door::Api, &[bearer, foreign], Ok("Bearer a"));
    }
}
