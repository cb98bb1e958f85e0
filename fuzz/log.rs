//! The log of which the corpus of proofs and archives is made.

/// Its public key. `seeds` prints another one when it makes the corpus anew.
pub const PUBLIC_KEY: &str = "tunnelwarden/corpus+fa341d44+AZCeKQfhKsUMY6Ifv6YGpu1lDiMxGDiU4V1CAGgsDIHD";

/// How many entries it has.
pub const ENTRIES: u64 = 16;

/// The entry at a place.
pub fn entry(n: u64) -> String {
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n));
    let front = format!(
        r#"{{"kind":"intent","id":"{id}","time":"2026-01-01T00:00:00.{n:06}Z","request_id":"{id}","subject":"s{n}""#
    );
    if n.is_multiple_of(3) {
        return format!("{front}}}");
    }
    format!(r#"{front},"request":{{"size":{n},"body":{{"name":"body {n}","n":1.50}}}},"changed":["name"]}}"#)
}
