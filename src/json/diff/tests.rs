use proptest::prelude::*;

use super::diff;
use crate::json::arbitrary::json;
use crate::json::{Json, MAX_DEPTH, read};

fn parse(text: &str) -> Json {
    read(text.as_bytes(), MAX_DEPTH).unwrap()
}

#[track_caller]
fn check(before: &str, after: &str, patch: &str) {
    assert_eq!(diff(&parse(before), &parse(after)).to_string(), patch);
    assert_applies(&parse(before), &parse(after));
}

/// Applies the patch with another implementation of RFC 6902, and checks each `old` on the way.
#[track_caller]
fn assert_applies(before: &Json, after: &Json) {
    let patch = diff(before, after);
    let mut value: serde_json::Value = serde_json::from_str(&before.to_string()).unwrap();
    for operation in patch.as_array().unwrap() {
        let text = Json::Array(vec![operation.clone()]).to_string();
        if let Some(old) = operation.get("old") {
            let path = operation.get("path").and_then(Json::as_str).unwrap();
            let there = value.pointer(path).map(ToString::to_string);
            let old: serde_json::Value = serde_json::from_str(&old.to_string()).unwrap();
            assert_eq!(there, Some(old.to_string()), "`old` at {path}");
        } else {
            assert_eq!(operation.get("op").and_then(Json::as_str), Some("add"));
        }
        let patch: json_patch::Patch = serde_json::from_str(&text).unwrap();
        json_patch::patch(&mut value, &patch).unwrap();
    }
    let after: serde_json::Value = serde_json::from_str(&after.to_string()).unwrap();
    assert_eq!(value, after, "{patch}");
}

#[test]
fn a_difference_names_the_member_and_keeps_the_old_value() {
    check("{\"a\":1}", "{\"a\":1}", "[]");
    check(
        r#"{"a":1,"b":{"c":2}}"#,
        r#"{"a":1,"b":{"c":3}}"#,
        r#"[{"op":"replace","path":"/b/c","value":3,"old":2}]"#,
    );
    check(
        r#"{"a/b~":1}"#,
        r#"{"x":null}"#,
        r#"[{"op":"remove","path":"/a~1b~0","old":1},{"op":"add","path":"/x","value":null}]"#,
    );
    check("1", "[]", r#"[{"op":"replace","path":"","value":[],"old":1}]"#);
}

#[test]
fn one_item_put_in_or_taken_out_of_an_array_is_one_operation() {
    check("[1,2,4]", "[1,2,3,4]", r#"[{"op":"add","path":"/2","value":3}]"#);
    check(
        "[1,2,3,4]",
        "[1,4]",
        r#"[{"op":"remove","path":"/2","old":3},{"op":"remove","path":"/1","old":2}]"#,
    );
    check("[1,1]", "[1]", r#"[{"op":"remove","path":"/1","old":1}]"#);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applied_to_the_first_value_it_gives_the_second(before in json(), after in json()) {
        assert_applies(&before, &after);
    }

    #[test]
    fn it_applies_to_arrays_with_much_in_common(
        before in prop::collection::vec(0..3u8, 0..8),
        after in prop::collection::vec(0..3u8, 0..8),
    ) {
        assert_applies(&Json::from(before), &Json::from(after));
    }

    #[test]
    fn equal_values_differ_in_nothing(value in json()) {
        prop_assert_eq!(diff(&value, &value), Json::Array(Vec::new()));
    }
}
