//! `[[issuer]]`: whose tokens are taken.
//!
//! Not here: verifying them (`identify`).

use std::time::Duration;

use super::limits::list_of_texts;
use super::nearest::nearest;
use super::table::{Section, plain_text};
use super::tree::Node;
use super::{Algorithm, Claims, Issuer, KeySource, url};

/// Issuers at most: each is asked for its keys.
const MAX_ISSUERS: usize = 32;

/// Bytes of an issuer, an audience or a pointer: URLs in the wild have fewer than 200.
const MAX_NAME: usize = 512;

const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("EdDSA", Algorithm::EdDsa),
    ("RS256", Algorithm::Rs256),
    ("PS256", Algorithm::Ps256),
];

pub(super) fn read_all(root: &mut Section<'_>) -> Vec<Issuer> {
    let mut seen: Vec<String> = Vec::new();
    let issuers = root.list("issuer", |section| {
        let issuer = read(section);
        if !issuer.issuer.is_empty() && seen.contains(&issuer.issuer) {
            section.problem("issuer", "is the name of an issuer above; each has its own");
        }
        seen.push(issuer.issuer.clone());
        issuer
    });
    if issuers.is_empty() || issuers.len() > MAX_ISSUERS {
        let what = format!("wants from 1 to {MAX_ISSUERS} tables; write [[issuer]] above each");
        root.problem("issuer", &what);
    }
    issuers
}

/// How long a token may live that is remembered until it ends once it was used.
const ONE_USE_LIFETIME: Duration = Duration::from_hours(24);

fn read(section: &mut Section<'_>) -> Issuer {
    let issuer = Issuer {
        issuer: name(section, "issuer", "write the tokens' claim iss, exactly"),
        audience: name(section, "audience", "write what the tokens' claim aud must name"),
        keys: keys(section),
        algorithms: algorithms(section),
        max_lifetime: section.duration(
            "max_lifetime",
            Duration::from_hours(12),
            Duration::from_mins(1)..=Duration::from_hours(30 * 24),
        ),
        leeway: section.duration("leeway", Duration::from_secs(30), Duration::ZERO..=Duration::from_mins(5)),
        max_token_bytes: section.size("max_token_bytes", 8 << 10, 256..=64 << 10),
        bound_tokens_only: section.flag("bound_tokens_only", false),
        one_use_for_secrets: section.flag("one_use_for_secrets", false),
        claims: section.section("claims", |inner| Claims {
            subject: pointer(inner, "subject", "/sub"),
            teams: pointer(inner, "teams", "/team"),
            roles: pointer(inner, "roles", "/role"),
        }),
    };
    if issuer.one_use_for_secrets && issuer.max_lifetime > ONE_USE_LIFETIME {
        let what = "wants a max_lifetime of 24h at most: used tokens are remembered so long";
        section.problem("one_use_for_secrets", what);
    }
    issuer
}

fn name(section: &mut Section<'_>, key: &str, what: &str) -> String {
    let text = section.required_text(key, what);
    if text.len() > MAX_NAME {
        section.problem(key, &format!("wants at most {MAX_NAME} bytes"));
    }
    text
}

fn keys(section: &mut Section<'_>) -> KeySource {
    let only_with_url = ["jwks_ca_file", "jwks_refresh", "jwks_min_interval", "allow_insecure_jwks"];
    let only_with_url = only_with_url.map(|key| (key, section.says(key)));
    let (says_file, says_url) = (section.says("jwks_file"), section.says("jwks_url"));
    let allow_insecure = section.flag("allow_insecure_jwks", false);
    let file = section.path("jwks_file");
    let url = section.parsed("jwks_url", |node| url::jwks_url(&plain_text(node)?, allow_insecure));
    let url = url;
    section.resolved("jwks_url", url.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string));
    let ca_file = section.path("jwks_ca_file");
    let day = Duration::from_hours(24);
    let refresh = section.duration("jwks_refresh", Duration::from_mins(5), Duration::from_secs(1)..=day);
    let min_interval = section.duration(
        "jwks_min_interval",
        Duration::from_secs(10),
        Duration::from_millis(100)..=Duration::from_hours(1),
    );
    match (says_file, says_url) {
        (true, true) => section.problem("jwks_url", "stands beside jwks_file; give exactly one of the two"),
        (false, false) => {
            section.problem("jwks_file", "is missing; give exactly one of jwks_file and jwks_url")
        }
        (true, false) => {
            for (key, _) in only_with_url.into_iter().filter(|(_, said)| *said) {
                section.problem(key, "only goes with jwks_url; remove it");
            }
        }
        (false, true) => {
            if min_interval > refresh {
                section.problem("jwks_min_interval", "must not be longer than jwks_refresh");
            }
        }
    }
    match url {
        Some(url) => KeySource::Url { url, ca_file, refresh, min_interval },
        None => KeySource::File(file.unwrap_or_default()),
    }
}

fn algorithms(section: &mut Section<'_>) -> Vec<Algorithm> {
    let given = section.says("algorithms");
    let list = list_of_texts(section, "algorithms", ALGORITHMS.len());
    if !given {
        section.problem("algorithms", "is missing; list what the issuer signs with, such as [\"ES256\"]");
    }
    let mut found = Vec::new();
    for name in list.iter().flatten() {
        match ALGORITHMS.into_iter().find(|(known, _)| known == name) {
            Some((_, algorithm)) => found.push(algorithm),
            None => section.problem("algorithms", &refusal(name)),
        }
    }
    if list.as_ref().is_some_and(Vec::is_empty) {
        section.problem("algorithms", "is empty; list what the issuer signs with, such as [\"ES256\"]");
    }
    section.resolved("algorithms", list.unwrap_or_default().join("\n"));
    found
}

/// Why an algorithm is not taken.
fn refusal(name: &str) -> String {
    let known = ALGORITHMS.map(|(known, _)| known);
    if let symmetric @ ("HS256" | "HS384" | "HS512") = name {
        return format!(
            "{symmetric} is symmetric: who can verify could make tokens too; use one of {}",
            known.join(", ")
        );
    }
    if name.eq_ignore_ascii_case("none") {
        return format!("none is no signature: anyone could make tokens; use one of {}", known.join(", "));
    }
    match nearest(name, known.into_iter()).filter(|near| near.eq_ignore_ascii_case(name)) {
        Some(near) => format!("has an unknown algorithm; did you mean {near}?"),
        None => format!("has an unknown algorithm; known are {}", known.join(", ")),
    }
}

/// An RFC 6901 pointer below the claims.
fn pointer(section: &mut Section<'_>, key: &str, default: &str) -> String {
    let parse = |node: &Node| {
        plain_text(node).ok().filter(|text| is_pointer(text)).ok_or_else(|| {
            format!(
                "wants a JSON pointer such as \"{default}\": a slash before each name, `~1` for a slash in a name, \
                 `~0` for a tilde, at most {MAX_NAME} bytes"
            )
        })
    };
    let text = section.parsed(key, parse).unwrap_or_else(|| default.to_owned());
    section.resolved(key, &text);
    text
}

fn is_pointer(text: &str) -> bool {
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.len() <= MAX_NAME && text.starts_with('/') && escaped
}
