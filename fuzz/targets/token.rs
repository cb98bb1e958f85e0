//! Tokens: only the one text that was signed verifies, whatever else is sent.
//!
//! The input is a token; or, where it begins with `~`, changes to the good token: three bytes each, place (two) and byte.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tunnelwarden::config::Algorithm;
use tunnelwarden::identify::{self, dev::DevKey};

struct Good {
    jwks: Vec<u8>,
    tokens: Vec<String>,
}

fn good() -> &'static Good {
    static GOOD: OnceLock<Good> = OnceLock::new();
    GOOD.get_or_init(|| {
        let mut tokens = Vec::new();
        let mut keys = Vec::new();
        for (algorithm, name) in [(Algorithm::Es256, "ES256"), (Algorithm::EdDsa, "EdDSA")] {
            let key = DevKey::generate(algorithm).expect("a key").with_id(name);
            let header = format!(r#"{{"alg":"{name}","typ":"JWT","kid":"{name}"}}"#);
            tokens.push(key.sign_texts(&header, r#"{"iss":"i","sub":"s"}"#).expect("a token"));
            keys.push(key.jwk());
        }
        let keys: Vec<_> = keys.into_iter().map(tunnelwarden::json::Json::Object).collect();
        let jwks = tunnelwarden::json::Json::Object(tunnelwarden::json::Object::from_iter([("keys", keys)]));
        Good { jwks: jwks.to_text().into_bytes(), tokens }
    })
}

fn check(token: &str) {
    let good = good();
    let _ = identify::show(token);
    let verified = identify::verify_signature(token, &good.jwks);
    let is_good = good.tokens.iter().any(|good| good == token);
    assert_eq!(verified.is_ok(), is_good, "{verified:?}");
}

fuzz_target!(|bytes: &[u8]| {
    let Some((b'~', changes)) = bytes.split_first() else {
        if let Ok(token) = std::str::from_utf8(bytes) {
            check(token);
        }
        return;
    };
    for token in &good().tokens {
        let mut changed = token.clone().into_bytes();
        for change in changes.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % changed.len();
            changed[at] = change[2];
        }
        if let Ok(changed) = String::from_utf8(changed) {
            check(&changed);
        }
    }
});
