//! What stays of an entry: no body, every fingerprint, and all else as it was.

use proptest::prelude::*;
use sqlx::{ConnectOptions as _, Row as _};

use super::*;
use crate::entry;
use crate::json::arbitrary::json;
use crate::json::{Json, Object};

const KEY: &str = "redacted:psk:00112233:00112233445566778899aabbccddeeff";
const NEXT: &str = "redacted:psk:00112233:ffeeddccbbaa99887766554433221100";
const MD5: &str = "redacted:md5_key:00112233:0123456789abcdef0123456789abcdef";

/// An entry with these members behind the four.
fn with(members: &str) -> String {
    format!("{},{members}}}", front(1))
}

#[track_caller]
fn check(members: &str, left: &str) {
    let stub = stub(&with(members)).unwrap().into_owned();
    assert_eq!(stub, with(left));
    assert_eq!(super::stub(&stub).unwrap(), stub, "a stub is its own stub");
}

#[test]
fn bodies_and_states_go_and_all_else_stays_in_its_place() {
    check(
        r#""request":{"size":9,"digest":"d","body":{"a":1}},"status":200,"response":{"size":1.50,"body":"x","content_type":"t"},"sent":"yes""#,
        r#""request":{"size":9,"digest":"d"},"status":200,"response":{"size":1.50,"content_type":"t"},"sent":"yes","archived":{"parts":["request.body","response.body"]}"#,
    );
    check(
        r#""state_before":[{"a":1}],"expected":[{"tunnel":"t"}],"request_response_diff":[],"before_after_diff":[{"tunnel":"t","patch":[{"op":"add","path":"/a","value":"\u007f\n"}]}]"#,
        r#""expected":[{"tunnel":"t"}],"before_after_diff":[{"tunnel":"t","patch":[{"op":"add","path":"/a","value":"\u007f\n"}]}],"archived":{"parts":["state_before","request_response_diff"]}"#,
    );
    check(r#""response":{"body":null}"#, r#""response":{},"archived":{"parts":["response.body"]}"#);
}

#[test]
fn an_entry_without_a_body_stays_byte_for_byte() {
    for members in [
        r#""status":200"#,
        r#""request":{"size":9},"response":{}"#,
        r#""request":"body""#,
        r#""results":[{"body":{"state_before":1}}],"body":1"#,
        // In a spelling that is not ours.
        " \"status\" : 2e2 , \"a\":\"\\u0061\" ",
    ] {
        assert!(
            matches!(stub(&with(members)).unwrap(), std::borrow::Cow::Borrowed(text) if text == with(members))
        );
    }
}

#[test]
fn what_tells_of_keys_stays_in_its_place() {
    let id = "c4a7362d577a6c3019a474fd6f485821";
    let asked = |more: &str| {
        format!(
            r#""request":{{"body":{{{more}"psks":[{{"id":"{id}","psk":"{NEXT}"}},{{"psk":"{KEY}"}}],"bgp":{{"md5_key":"{MD5}"}}}}}}"#
        )
    };
    let made = r#""name":"berlin","psk_metadata":{"last_generated_on":"2026-01-01T00:00:00Z"}"#;
    check(
        &format!(
            r#"{},"state_before":[{{"id":"{id}","mtu":1400,{made}}},{{"mtu":1}}]"#,
            asked(r#""a":"b","#)
        ),
        &format!(
            r#"{},"state_before":[{{"id":"{id}",{made}}}],"archived":{{"parts":["request.body","state_before"]}}"#,
            asked("")
        ),
    );
    // A body in which nothing else stands stays whole.
    let whole = with(&asked(""));
    assert!(matches!(stub(&whole).unwrap(), std::borrow::Cow::Borrowed(_)));
    for text in [
        "redacted:guard",
        "redacted:md5_key:00112233:0123456789abcdef0123456789abcde",
        "redacted:md5_key:00112233:0123456789abcdef0123456789abcdeF",
        "redacted:md5_key:0011223:0123456789abcdef0123456789abcdef",
        "redacted::00112233:0123456789abcdef0123456789abcdef",
        "redacted:A SECRET:00112233:0123456789abcdef0123456789abcdef",
        "(redacted):md5_key:00112233:0123456789abcdef0123456789abcdef",
        "redacted:md5_key:00112233:0123456789abcdef0123456789abcdef:",
    ] {
        for name in ["psk", "id", "last_generated_on"] {
            check(
                &format!(r#""state_before":[{{"{name}":"{text}"}}]"#),
                r#""archived":{"parts":["state_before"]}"#,
            );
        }
    }
}

#[tokio::test]
async fn the_view_of_keys_finds_in_a_stub_what_it_found_in_the_entry() {
    let entry = with(&format!(
        r#""request":{{"body":{{"psks":[{{"psk":"{NEXT}"}}],"a":"{KEY}"}}}},"roles":["{MD5}"],"state_before":[{{"old":"{KEY}"}},{{"value":["redacted:psk:0:0"]}}]"#
    ));
    let mut database = sqlx::sqlite::SqliteConnectOptions::new().in_memory(true).connect().await.unwrap();
    let mut found = Vec::new();
    for text in [entry.as_str(), &stub(&entry).unwrap()] {
        // As the view `psk_events` asks.
        let query = sqlx::query(
            "SELECT DISTINCT place.atom FROM json_tree(?) AS place WHERE place.type = 'text'
                AND place.atom GLOB 'redacted:psk:*' AND place.key IN ('psk', 'value', 'old') ORDER BY 1",
        );
        let rows = query.bind(text).fetch_all(&mut database).await.unwrap();
        found.push(rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>());
    }
    assert_eq!(found, [[KEY, NEXT], [KEY, NEXT]]);
}

#[test]
fn what_is_no_entry_has_no_stub() {
    for text in ["", "[]", "{}", &entry(1).replace("intent", "novel"), &front(1), &(entry(1) + "x")] {
        assert!(matches!(stub(text), Err(StubError::Form(_))), "{text}");
    }
    let twice = with(r#""request":{"body":1,"body":2}"#);
    assert!(matches!(stub(&twice), Err(StubError::Form(_))));
}

#[test]
fn a_member_archived_that_is_not_as_it_is_written_is_refused() {
    for members in [
        r#""archived":1"#,
        r#""archived":{}"#,
        r#""archived":{"parts":[]}"#,
        r#""archived":{"parts":["novel"]}"#,
        r#""archived":{"parts":["state_before","request.body"]}"#,
        r#""archived":{"parts":["request.body","request.body"]}"#,
        r#""archived":{"parts":["request.body"],"novel":1}"#,
        r#""request":{"body":1},"archived":{"parts":["request.body"]}"#,
    ] {
        assert_eq!(stub(&with(members)), Err(StubError::Archived), "{members}");
    }
    assert!(stub(&with(r#""archived":{"parts":["request.body"]}"#)).is_ok());
}

/// Long enough that no random text has it.
const MARK: &str = "A TEXT OF A BODY";

/// A value with [`MARK`] in texts and names, among whatever.
fn marked() -> impl Strategy<Value = Json> {
    (json(), json(), 0..4u8).prop_map(|(one, other, form)| {
        let text = || Json::from(MARK);
        let object = Object::from_iter([
            ("psk", text()),
            (MARK, one.clone()),
            ("in", Json::Array(vec![text(), other])),
        ]);
        match form {
            0 => text(),
            1 => Json::Array(vec![one, Json::Object(object), Json::from(format!("redacted:{MARK}:{MARK}"))]),
            _ => Json::Object(object),
        }
    })
}

proptest! {
    #[test]
    fn nothing_of_a_body_stays(
        request in proptest::option::of(marked()),
        response in proptest::option::of(marked()),
        state in proptest::option::of(marked()),
        diff in proptest::option::of(marked()),
        kept in json(),
    ) {
        let mut whole = entry::parse(format!("{}}}", front(1)).as_bytes()).unwrap();
        let members = whole.as_object_mut().unwrap();
        let part = |body: &Option<Json>| {
            let body = body.iter().map(|body| ("body", body.clone()));
            Object::from_iter([("size", Json::from(1))].into_iter().chain(body))
        };
        state.iter().for_each(|state| members.set("state_before", state.clone()));
        members.set("request", part(&request));
        members.set("results", kept.clone());
        diff.iter().for_each(|diff| members.set("request_response_diff", diff.clone()));
        members.set("response", part(&response));
        let text = whole.to_text();
        let stub = stub(&text).unwrap();
        prop_assert!(!stub.contains(MARK), "{}", stub);
        prop_assert_eq!(super::super::stub(&stub).unwrap(), stub.as_ref());
        let mut left = entry::parse(stub.as_bytes()).unwrap();
        prop_assert_eq!(left.get("results"), Some(&kept));
        let archived = left.as_object_mut().unwrap().remove("archived");
        let parts = [&request, &response, &state, &diff].into_iter().flatten().count();
        prop_assert_eq!(archived.is_some(), parts > 0);
        let said = archived.and_then(|archived| archived.get("parts").and_then(Json::as_array).map(<[_]>::len));
        prop_assert_eq!(said.unwrap_or(0), parts);
        let names: Vec<&str> = left.as_object().unwrap().iter().map(|(name, _)| name).collect();
        prop_assert_eq!(names, ["kind", "id", "time", "request_id", "subject", "request", "results", "response"]);
    }
}
