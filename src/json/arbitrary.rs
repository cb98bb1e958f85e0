//! Random values, for property tests.

use proptest::prelude::*;

use super::{Json, Object};

/// Texts with what readers and pointers trip over: quotes, slashes, tildes, escapes, all sorts of characters.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,3}",
        "[\"\\\\/~%&+ \\n\\t\u{0}\u{7f}]{0,4}",
        "\\PC{0,6}",
        Just("\u{1f600}\u{2028}".to_owned())
    ]
}

fn leaf() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (0..4u8).prop_map(Json::from),
        text().prop_map(Json::from),
    ]
}

/// Values of up to about forty nodes; small names and numbers, so that two of them have much in common.
pub(crate) fn json() -> impl Strategy<Value = Json> {
    leaf().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::vec((text(), inner), 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect::<Object>())),
        ]
    })
}
