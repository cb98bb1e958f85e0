//! The strict JSON reader: what it takes, another reader takes alike; what it writes is its one form; and the reader that
//! only looks for some members never takes more than it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tunnelwarden::json::{self, Json};

const DEPTH: usize = json::MAX_DEPTH;

/// Whether both readers took the same, apart from how exact a number is.
fn is_same(ours: &Json, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Json::Null, Value::Null) | (Json::Number(_), Value::Number(_)) => true,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::String(a), Value::String(b)) => a == b,
        (Json::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Json::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_same(a, b)))
        }
        _ => false,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let read = json::read(bytes, DEPTH);
    let skimmed = json::skim(bytes, DEPTH, &["kind", "id", "time"]);
    let Ok(value) = read else {
        assert!(skimmed.is_none(), "skimmed what can't be read");
        assert!(json::written(bytes, DEPTH).is_err());
        return;
    };
    match serde_json::from_slice::<Value>(bytes) {
        Ok(theirs) => assert!(is_same(&value, &theirs), "{value} against {theirs}"),
        // A number that no double can hold.
        Err(error) => assert!(error.to_string().contains("out of range"), "{error}"),
    }
    let text = value.to_text();
    assert_eq!(json::read(text.as_bytes(), DEPTH).as_ref(), Ok(&value));
    assert_eq!(json::written(bytes, DEPTH).as_deref(), Ok(text.as_str()));
    if let Some(found) = skimmed {
        assert_eq!(text.as_bytes(), bytes, "skimmed what is not in the written form");
        for (name, found) in ["kind", "id", "time"].into_iter().zip(found) {
            let member = value.get(name);
            assert_eq!(found.is_some(), member.is_some());
            if let (Some(found), Some(Json::String(text))) = (found, member) {
                assert_eq!(found.string().as_deref(), Some(text.as_str()));
            }
        }
    }
    let other = Json::Object(json::Object::from_iter([("a", value.clone())]));
    let _ = json::diff::diff(&value, &other);
});
