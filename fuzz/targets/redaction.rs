//! Redaction: no encoding of a secret is left in an entry, wherever it stood in what was asked, answered or read.
//!
//! The input is a byte that says how the secret is encoded, the secret, a line feed, and a JSON text in which `$` stands for
//! the encoded secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tunnelwarden::audit::guard::{FORGED, Guard, MASK, is_our_word};
use tunnelwarden::audit::redact::Redactor;
use tunnelwarden::json::{self, Json, Object};
use tunnelwarden::operation::{Operation, TunnelId};
use tunnelwarden::secret::Fingerprinter;
use tunnelwarden::tunnel::body::Asked;

#[path = "../../src/audit/guard/encodings.rs"]
mod encodings;

/// From how many characters on a secret is looked for inside of other text.
const LONG: usize = 8;

/// Bytes that a document may not have in common with the secret, by itself.
const IN_COMMON: usize = 4;

/// Bytes of secrets that a document is given. Each text is looked at in many places, and in many readings of each: a few
/// documents that are all secrets would take up the whole time.
const PLANTED_MAX: usize = 2 << 10;

/// Puts `needle` where `$` stands, and says whether it stands anywhere, and nowhere behind the start of an escape, which would
/// take its first character in.
fn plant(value: &mut Json, needle: &str) -> Option<bool> {
    let put = |text: &str| {
        let opens = |before: &str| before.chars().rev().take(9).any(|c| "\\%&#".contains(c));
        let clear = text.match_indices('$').all(|(at, _)| !opens(&text[..at]));
        clear.then(|| text.replace('$', needle))
    };
    let mut planted = false;
    match value {
        Json::String(text) => {
            planted |= text.contains('$');
            *text = put(text)?;
        }
        Json::Array(items) => {
            for item in items {
                planted |= plant(item, needle)?;
            }
        }
        Json::Object(members) => {
            let mut new = Object::new();
            for (name, member) in members.iter() {
                planted |= name.contains('$');
                let mut member = member.clone();
                planted |= plant(&mut member, needle)?;
                new.set(put(name)?, member);
            }
            *members = new;
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
    Some(planted)
}

fn contains(text: &str, part: &[u8]) -> bool {
    text.as_bytes().windows(part.len()).any(|bytes| bytes == part)
}

fn texts(value: &Json, out: &mut Vec<String>) {
    match value {
        Json::String(text) => out.push(text.clone()),
        Json::Number(number) => out.push(number.as_str().to_owned()),
        Json::Array(items) => items.iter().for_each(|item| texts(item, out)),
        Json::Object(members) => members.iter().for_each(|(name, value)| {
            out.push(name.to_owned());
            texts(value, out);
        }),
        Json::Null | Json::Bool(_) => {}
    }
}

/// All that the record may get to see of a value, redacted.
fn seen(value: &Json, guard: &Guard<'_>) -> Json {
    let redactor = Redactor::new(Fingerprinter::new(&[7; 32]));
    let tunnel = TunnelId::parse("00000000000000000000000000000001");
    let mut bodies = Vec::new();
    for operation in Operation::ALL {
        let in_path = tunnel.filter(|_| matches!(operation, Operation::Update | Operation::GeneratePsk));
        if let Ok(asked) = Asked::read(operation, in_path, Some(value.clone())) {
            bodies.extend(redactor.asked(&asked));
        }
        bodies.push(redactor.answer(operation, value));
    }
    if let Json::Object(state) = value {
        bodies.push(redactor.state(state));
    }
    let within = |body| Json::Object(Object::from_iter([("body", body)]));
    let mut entry = Json::Object(Object::from_iter([
        ("request", within(Json::Array(bodies))),
        ("response", within(value.clone())),
    ]));
    guard.mask(&mut entry);
    entry
}

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let Ok(rest) = std::str::from_utf8(rest) else { return };
    let Some((secret, document)) = rest.split_once('\n') else { return };
    let printable = secret.chars().all(|c| !c.is_control() && c != '$');
    if !(LONG..=64).contains(&secret.chars().count()) || !printable {
        return;
    }
    // The mask, and what stands beside it, could come to such a secret.
    if (0..=MASK.len() - 3).any(|at| secret.contains(&MASK[at..at + 3])) {
        return;
    }
    let Ok(document) = json::read(document.as_bytes(), json::MAX_DEPTH - 4) else { return };
    let needle = encodings::encoded(secret, usize::from(*how) % encodings::COUNT);
    if needle.len() * rest.matches('$').count() > PLANTED_MAX {
        return;
    }
    // As a member's name it stays, lest somebody blanks our own members out of the record.
    if is_our_word(secret) || is_our_word(&needle) {
        return;
    }
    let guard = Guard::new([secret]);
    let mut value = document.clone();
    if plant(&mut value, &needle) != Some(true) {
        return;
    }
    // What is there without the secret is nothing of it: words of ours, or what the document says anyway.
    let mut without = document;
    plant(&mut without, "");
    let mut known = Vec::new();
    texts(&without, &mut known);
    // Beside what is left of an encoding's ends, what the document has in common with the secret would look like more of it.
    let in_common = |text: &String| secret.as_bytes().windows(IN_COMMON).any(|part| contains(text, part));
    if known.iter().any(in_common) {
        return;
    }
    texts(&seen(&without, &Guard::new([])), &mut known);
    let is_new = |part: &str| !known.iter().any(|text| text.contains(part));
    let mut left = Vec::new();
    texts(&seen(&value, &guard), &mut left);
    for part in [&*needle, secret, encodings::core(&needle)] {
        if part.len() >= LONG && is_new(part) {
            for text in &left {
                // What was masked parts what stands before it from what stands behind it.
                let mut pieces = text.split(MASK).flat_map(|piece| piece.split(FORGED));
                assert!(!pieces.any(|piece| piece.contains(part)), "{secret} as {needle} is left: {text}");
            }
        }
    }
});
