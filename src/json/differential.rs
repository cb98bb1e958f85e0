//! The strict reader against another one: what it takes, `serde_json` takes, with the same meaning; what it
//! refuses and `serde_json` takes, is refused for one of the reasons that are meant.

use proptest::prelude::*;
use serde_json::Value;

use super::arbitrary::json;
use super::{ErrorKind, Json, MAX_DEPTH, read};

fn same(ours: &Json, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            (None, None) | (Some(0), None) => {
                // `serde_json` rounds to a neighbor of the nearest double, and reads `-0` as one.
                let (a, b) = (a.as_str().parse().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
                (a - b).abs() <= a.abs() * f64::EPSILON * 4.0
            }
            (Some(_), None) | (None, Some(_)) => false,
        },
        (Json::String(a), Value::String(b)) => a == b,
        (Json::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

fn compare(bytes: &[u8]) {
    let theirs = serde_json::from_slice::<Value>(bytes);
    let shown = String::from_utf8_lossy(bytes);
    match (read(bytes, MAX_DEPTH), theirs) {
        (Ok(ours), Ok(theirs)) => assert!(same(&ours, &theirs), "{shown}: {ours} against {theirs}"),
        // A number that no double can hold keeps its digits here and is an error there.
        (Ok(_), Err(error)) => assert!(error.to_string().contains("out of range"), "{shown}: {error}"),
        (Err(error), Ok(_)) => assert!(
            matches!(error.kind, ErrorKind::Duplicate | ErrorKind::Depth | ErrorKind::LongNumber),
            "{shown}: {error}"
        ),
        (Err(_), Err(_)) => {}
    }
}

/// One change of a text: at a place, bytes taken out and others put in.
pub(super) fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, Vec<u8>)>> {
    let bytes = prop_oneof![
        "[\\[\\]{}:,\"\\\\ntu0-9eE+. -]{0,3}".prop_map(String::into_bytes),
        prop::sample::select(vec![
            "\\ud800", "\\udc00", "\\u00e9", "1e5", "-0", "00", "\"a\":", "null", "\u{b}"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..2),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..3usize, bytes), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_here_is_read_alike_elsewhere(value in json(), edits in edits()) {
        let mut text = value.to_string().into_bytes();
        compare(&text);
        for (at, gone, new) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + gone).min(text.len());
            text.splice(at..end, new);
            compare(&text);
        }
    }

    #[test]
    fn what_is_written_is_read_back(value in json()) {
        prop_assert_eq!(read(value.to_string().as_bytes(), MAX_DEPTH), Ok(value));
    }
}
