//! Tokens that are known by their looks alone: nobody has to tell that they are secret.
//!
//! A client may put a token where none belongs (into its user agent, a tunnel's description) without sending it
//! in its own place, too. Source: RFC 7515 section 3.1 (a JWT begins with the Base64 of `{"`); Cloudflare's API
//! tokens, which begin with `cfut_`, `cfat_` and `cfk_`. Not here: secrets whose value is known (`guard`).

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Bytes that a token has at least: shorter ones are words. Cloudflare's have 40 and a prefix; a JWT's header
/// alone has 20 (`{"alg":"none"}`).
pub(super) const SHORTEST: usize = 20;

/// How they begin.
static FRONTS: LazyLock<[Finder<'static>; 4]> =
    LazyLock::new(|| ["eyJ", "cfut_", "cfat_", "cfk_"].map(Finder::new));

/// Where tokens stand in these bytes. One that was cut short is found as well.
pub(super) fn tokens(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let fronts = FRONTS.iter().flat_map(|front| front.find_iter(bytes));
    fronts
        .map(|start| {
            let belongs = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            let rest = bytes.get(start..).unwrap_or_default();
            start..start + rest.iter().take_while(belongs).count()
        })
        .filter(|range| range.len() >= SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, found: &[&str]) {
        let found_here: Vec<&str> = tokens(text.as_bytes()).map(|range| &text[range]).collect();
        assert_eq!(found_here, found, "{text}");
    }

    #[test]
    fn tokens_are_known_by_their_looks() {
        let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ";
        check(&format!("tool/1 (token={jwt})"), &[jwt, "eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"]);
        check("x eyJhbGciOiJFUzI1NiJ9", &["eyJhbGciOiJFUzI1NiJ9"]);
        check(
            "cfut_0123456789abcdefghijklmnopqrstuvwxyz0123",
            &["cfut_0123456789abcdefghijklmnopqrstuvwxyz0123"],
        );
    }

    #[test]
    fn words_are_no_tokens() {
        for text in
            ["eyJ", "terraform-provider-cloudflare/4.40.0", "cfk_", "cfut_short", "heyJoe is a song by Jimi"]
        {
            check(text, &[]);
        }
    }
}
