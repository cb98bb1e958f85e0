//! What a token of our own issuer may say: header and claims, signed with a key that is trusted, and judged by another reader
//! of JSON as well.
//!
//! The input is the header, a line feed, and the claims.
#![no_main]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tunnelwarden::clock::ManualClock;
use tunnelwarden::config::{self, Algorithm};
use tunnelwarden::identify::{Identifier, dev::DevKey};

const NOW: i64 = 1_790_000_000;

const CONFIG: &str = r#"
[listen]
address = "127.0.0.1:0"
[upstream]
token_file = "token"
[[issuer]]
issuer = "https://idp.example"
audience = "tunnelwarden"
jwks_file = "jwks.json"
algorithms = ["ES256"]
[policy]
file = "policy.cedar"
[audit]
database = "sqlite:audit.db"
signing_key_file = "signing.key"
fingerprint_key_file = "fingerprint.key"
"#;

struct Proxy {
    key: DevKey,
    runtime: tokio::runtime::Runtime,
    identifier: Identifier,
}

fn proxy() -> &'static Proxy {
    static PROXY: OnceLock<Proxy> = OnceLock::new();
    PROXY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let key = DevKey::generate(Algorithm::Es256).expect("a key").with_id("k");
        std::fs::write(folder.join("jwks.json"), key.jwks().to_text()).expect("a file");
        std::fs::write(folder.join("tunnelwarden.toml"), CONFIG).expect("a file");
        let config = config::load(&folder.join("tunnelwarden.toml"), &BTreeMap::new());
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let clock = ManualClock::at(Timestamp::from_second(NOW).expect("a time"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let identifier = runtime.block_on(Identifier::start(&config.issuers, &config.revocation, clock));
        let identifier = identifier.expect("an identifier");
        let _ = std::fs::remove_dir_all(&folder);
        Proxy { key, runtime, identifier }
    })
}

/// What another reader makes of it: nothing where a number is larger than it can hold. That is JSON all the same (RFC 8259,
/// section 6), and we judge by no such number.
fn elsewhere(text: &str) -> Option<Value> {
    match serde_json::from_str(text) {
        Err(error) if error.to_string().starts_with("number out of range") => None,
        read => Some(read.expect("what another reader takes, too")),
    }
}

/// What must be so of whoever gets in, as another reader has it.
fn check(header: &Value, claims: &Value, subject: &str) {
    assert_eq!(header.get("alg"), Some(&Value::from("ES256")));
    for name in ["crit", "jwk", "jku", "x5u", "x5c", "b64", "enc", "zip"] {
        assert!(header.get(name).is_none(), "{name}");
    }
    assert_eq!(claims.get("iss"), Some(&Value::from("https://idp.example")));
    let audience = claims.get("aud").expect("an audience");
    let ours = Value::from("tunnelwarden");
    assert!(*audience == ours || audience.as_array().is_some_and(|several| several.contains(&ours)));
    let expires = claims.get("exp").and_then(Value::as_i64).expect("a whole number");
    assert!(expires > NOW - 3600, "{expires}");
    assert!(claims.get("cnf").is_none(), "it came without a certificate");
    assert_eq!(claims.get("sub").and_then(Value::as_str), Some(subject));
    assert!(!subject.is_empty() && !subject.chars().any(char::is_control));
}

fuzz_target!(|text: &str| {
    let Some((header, claims)) = text.split_once('\n') else { return };
    let Proxy { key, runtime, identifier } = proxy();
    let Ok(token) = key.sign_texts(header, claims) else { return };
    let Ok(bearer) = HeaderValue::from_str(&format!("Bearer {token}")) else { return };
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, bearer)]);
    if let Ok(known) = runtime.block_on(identifier.examine(&headers, None)) {
        let (Some(header), Some(claims)) = (elsewhere(header), elsewhere(claims)) else { return };
        check(&header, &claims, &known.caller().subject);
    }
});
