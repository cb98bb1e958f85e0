//! What to say of a name that nobody knows: the nearest known one, or where a secret belongs.
//!
//! Not here: when a name is unknown (`table`).

use super::problem::quoted;

/// Keys under which people write a secret itself, beside every `x` of which `x_file` is known.
const SECRETS: [&str; 16] = [
    "api_key",
    "api_token",
    "apikey",
    "bearer",
    "cloudflare_api_token",
    "fingerprint_key",
    "hmac_key",
    "key",
    "passphrase",
    "password",
    "private_key",
    "psk",
    "secret",
    "secret_key",
    "signing_key",
    "token",
];

/// What is wrong with an unknown key, and the remedy. Its value is never looked at.
pub(super) fn unknown(key: &str, known: &[String]) -> String {
    if SECRETS.contains(&key.to_ascii_lowercase().as_str()) {
        let file = format!("{}_file", key.to_ascii_lowercase());
        let own = known.iter().find(|name| **name == file);
        let other = known.iter().find(|name| *name == "token_file");
        return match own.or(other) {
            Some(name) => format!(
                "a secret is never a value here; put it into a file and name that with {}",
                quoted(name)
            ),
            None => "a secret is never a value here; remove it".to_owned(),
        };
    }
    match nearest(key, known.iter().map(String::as_str)) {
        Some(name) => format!("unknown key; did you mean {}?", quoted(name)),
        None if known.is_empty() => "unknown key; remove it".to_owned(),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// The known name that was most likely meant: at most a third of its letters are typed otherwise, or all but one
/// word is the same.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // The distance costs the product of both lengths.
    let name = name.get(..64.min(name.len())).unwrap_or_default().to_ascii_lowercase().replace('-', "_");
    let distance = |known: &&str| strsim::damerau_levenshtein(&name, &known.to_ascii_lowercase());
    let near = |(far, known): &(usize, &str)| {
        let allowed = (known.len().max(name.len()) / 3).max(1);
        *far <= allowed || (name.len() >= 4 && known.starts_with(&format!("{name}_")))
    };
    known
        .map(|known| (distance(&known), known))
        .filter(near)
        .min_by_key(|(far, _)| *far)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_when_it_is_near() {
        let known = ["address", "header_timeout", "body_timeout", "max_body_bytes", "token_file"];
        for (typed, wanted) in [
            ("adress", Some("address")),
            ("Address", Some("address")),
            ("header-timeout", Some("header_timeout")),
            ("boddy_timeout", Some("body_timeout")),
            ("max_body_byte", Some("max_body_bytes")),
            ("tokenfile", Some("token_file")),
            ("header", Some("header_timeout")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known.into_iter()), wanted, "{typed}");
        }
    }

    #[test]
    fn a_secrets_remedy_is_a_file() {
        let known = ["token_file", "signing_key_file"].map(str::to_owned);
        for (key, file) in
            [("token", "token_file"), ("signing_key", "signing_key_file"), ("api_key", "token_file")]
        {
            let what = unknown(key, &known);
            assert!(what.contains("never a value") && what.ends_with(&format!("`{file}`")), "{what}");
        }
        assert_eq!(unknown("password", &[]), "a secret is never a value here; remove it");
    }
}
