use super::*;
use crate::json::{MAX_DEPTH, read};

fn parse(text: &str) -> Json {
    read(text.as_bytes(), MAX_DEPTH).unwrap()
}

fn object(text: &str) -> Object {
    parse(text).as_object().unwrap().clone()
}

#[track_caller]
fn finds(operation: Operation, result: &str, ids: &[&str]) {
    let answer = parse(&format!("{{\"success\":true,\"result\":{result}}}"));
    let found: Vec<_> = tunnels_in(operation, &answer).into_iter().filter_map(tunnel_id).collect();
    assert_eq!(found, ids.iter().filter_map(|id| TunnelId::parse(id)).collect::<Vec<_>>(), "{result}");
}

#[test]
fn tunnels_are_found_where_each_operation_puts_them() {
    finds(Operation::List, r#"{"ipsec_tunnels":[{"id":"a"},{"id":"b"},null]}"#, &["a", "b"]);
    finds(Operation::Create, r#"{"id":"a","name":"x"}"#, &["a"]);
    finds(Operation::Create, r#"{"ipsec_tunnels":[{"id":"a"}]}"#, &["a"]);
    finds(Operation::BulkUpdate, r#"{"modified":true,"modified_ipsec_tunnels":[{"id":"a"}]}"#, &["a"]);
    finds(Operation::Get, r#"{"ipsec_tunnel":{"id":"a"}}"#, &["a"]);
    finds(Operation::Update, r#"{"modified_ipsec_tunnel":{"id":"a"}}"#, &["a"]);
    finds(Operation::Delete, r#"{"deleted":true,"deleted_ipsec_tunnel":{"id":"a"}}"#, &["a"]);
    finds(Operation::GeneratePsk, r#"{"ipsec_tunnel_id":"a"}"#, &[]);
    finds(Operation::Get, "null", &[]);
    finds(Operation::Get, "[]", &[]);
}

/// Names and ids of those asked for, `-` where there is none, and the ids of what answers each of them.
#[track_caller]
fn pairs(asked: &[(&str, &str)], answer: &str, ids: &[&str]) {
    let answer = parse(answer);
    let tunnels: Vec<&Object> = answer.as_array().unwrap().iter().filter_map(Json::as_object).collect();
    let asked: Vec<_> = asked
        .iter()
        .map(|(id, name)| (TunnelId::parse(id), Some(*name).filter(|name| *name != "-")))
        .collect();
    let found = answered(&asked, &tunnels);
    let found: Vec<&str> = found.iter().map(|one| one.map_or("-", |t| text(t, "id").unwrap())).collect();
    assert_eq!(found, ids);
}

#[test]
fn each_tunnel_that_was_asked_for_is_found_in_the_answer() {
    let new = [("-", "x"), ("-", "y")];
    pairs(&new, r#"[{"id":"1","name":"x"},{"id":"2","name":"y"}]"#, &["1", "2"]);
    pairs(&new, r#"[{"id":"2","name":"y"},{"id":"1","name":"x"}]"#, &["1", "2"]);
    // One that has another name is known by its place, unless it is another's or some are missing.
    pairs(&new, r#"[{"id":"1","name":"X"},{"id":"2","name":"y"}]"#, &["1", "2"]);
    pairs(&new, r#"[{"id":"1"},{"id":"2"}]"#, &["1", "2"]);
    pairs(&new, r#"[{"id":"2","name":"y"},{"id":"3","name":"z"}]"#, &["-", "2"]);
    pairs(&new, r#"[{"id":"2","name":"y"}]"#, &["-", "2"]);
    pairs(&[("-", "-")], r#"[{"id":"1","name":"x"}]"#, &["1"]);
    pairs(&[("2", "-"), ("3", "-")], r#"[{"id":"1"},{"id":"2"}]"#, &["2", "-"]);
}

#[test]
fn a_state_of_another_tunnel_is_none() {
    let answer = parse(r#"{"result":{"ipsec_tunnel":{"id":"a"}}}"#);
    assert!(state_of(Operation::Get, &answer, TunnelId::parse("a").unwrap()).is_some());
    assert!(state_of(Operation::Get, &answer, TunnelId::parse("b").unwrap()).is_none());
    let nameless = parse(r#"{"result":{"ipsec_tunnel":{"name":"x"}}}"#);
    assert!(state_of(Operation::Get, &nameless, TunnelId::parse("a").unwrap()).is_none());
}

#[track_caller]
fn equal(a: &str, b: &str) {
    assert_eq!(etag_text(&object(a)), etag_text(&object(b)));
}

#[track_caller]
fn different(a: &str, b: &str) {
    assert_ne!(etag_text(&object(a)), etag_text(&object(b)));
}

#[test]
fn volatile_fields_order_and_ways_to_say_nothing_make_no_difference() {
    equal(r#"{"name":"a","id":"1"}"#, r#"{"id":"1","name":"a"}"#);
    equal(r#"{"name":"a"}"#, r#"{"name":"a","modified_on":"t","bgp_status":{"state":"BGP_UP"}}"#);
    equal(
        "{}",
        r#"{"description":"","replay_protection":false,"automatic_return_routing":null,"allow_null_cipher":false,
            "health_check":{"enabled":true,"rate":"mid","type":"reply","direction":"unidirectional","target":""},
            "bgp":{"extra_prefixes":[]},"custom_remote_identities":{"fqdn_id":null},"x_new":null}"#,
    );
    equal(r#"{"x_new":{"a":1,"b":2}}"#, r#"{"x_new":{"b":2,"a":1}}"#);
}

#[test]
fn both_forms_of_the_target_are_one() {
    let text = r#"{"health_check":{"target":"203.0.113.1"}}"#;
    equal(text, r#"{"health_check":{"target":{"effective":"203.0.113.1","saved":""}}}"#);
    equal(text, r#"{"health_check":{"target":{"effective":"203.0.113.1","saved":"203.0.113.1"}}}"#);
    different(text, r#"{"health_check":{"target":{"effective":"203.0.113.2","saved":""}}}"#);
}

#[test]
fn a_change_of_anything_else_is_a_difference() {
    different(r#"{"bgp":{"md5_key":"k"}}"#, r#"{"bgp":{"md5_key":"l"}}"#);
    different(
        r#"{"psk_metadata":{"last_generated_on":"t"}}"#,
        r#"{"psk_metadata":{"last_generated_on":"u"}}"#,
    );
    different(r#"{"health_check":{"enabled":false}}"#, "{}");
    different(r#"{"x_new":1}"#, r#"{"x_new":2}"#);
    different(r#"{"name":"a"}"#, r#"{"description":"a"}"#);
}

#[track_caller]
fn puts(before: &str, asked: &str, after: &str) {
    let found = after_put(&object(before), &object(asked));
    assert_eq!(Json::Object(found).to_string(), after);
}

#[test]
fn a_put_replaces_what_can_be_asked_for_and_keeps_the_rest() {
    puts(
        r#"{"id":"1","name":"a","description":"d","allow_null_cipher":true,"created_on":"t","x_new":1}"#,
        r#"{"name":"b","created_on":"forged","id":"1"}"#,
        r#"{"id":"1","name":"b","allow_null_cipher":true,"created_on":"t","x_new":1}"#,
    );
    puts(
        r#"{"bgp":{"customer_asn":1,"md5_key":"k","x_new":1},"health_check":{"rate":"low"}}"#,
        r#"{"bgp":{"customer_asn":2},"health_check":null}"#,
        r#"{"bgp":{"customer_asn":2,"x_new":1}}"#,
    );
    puts("{}", r#"{"psk":"k","name":"a","id":"1","modified_on":"t"}"#, r#"{"name":"a","psk":"k"}"#);
}

#[test]
fn only_a_saved_target_is_replaced() {
    let worked_out = r#"{"health_check":{"target":{"effective":"203.0.113.1","saved":""}}}"#;
    let saved = r#"{"health_check":{"target":{"effective":"203.0.113.1","saved":"203.0.113.1"}}}"#;
    let unsaved = r#"{"health_check":{"target":{"effective":"203.0.113.9","saved":""}}}"#;
    puts(worked_out, unsaved, worked_out);
    for left_out in ["{}", r#"{"health_check":null}"#] {
        puts(worked_out, left_out, worked_out);
        puts(saved, left_out, "{}");
    }
    puts(saved, unsaved, r#"{"health_check":{}}"#);
    puts(saved, worked_out, r#"{"health_check":{}}"#);
    puts(worked_out, saved, r#"{"health_check":{"target":"203.0.113.1"}}"#);
    puts(
        saved,
        r#"{"health_check":{"target":"203.0.113.2"}}"#,
        r#"{"health_check":{"target":"203.0.113.2"}}"#,
    );
}

#[test]
fn the_settings_of_a_put_are_foretold_whole() {
    #[track_caller]
    fn check(before: &str, asked: &str, after: &str) {
        let foretold = settings_text(&after_put(&object(before), &object(asked)));
        assert_eq!(foretold, settings_text(&object(after)));
    }
    let target = |effective: &str, saved: &str| {
        format!(r#""health_check":{{"target":{{"effective":"{effective}","saved":"{saved}"}}}}"#)
    };
    let before = format!(
        r#"{{"id":"1","customer_endpoint":"e1",{},"psk_metadata":{{"last_generated_on":"t1"}}}}"#,
        target("e1", "")
    );
    // The effective target follows the endpoint, and a new key shows in its metadata alone.
    let after = format!(r#"{{"id":"1","customer_endpoint":"e2",{},"modified_on":"t2"}}"#, target("e2", ""));
    check(&before, r#"{"customer_endpoint":"e2","psk":"x"}"#, &after);
    let saved = format!(r#"{{"id":"1",{}}}"#, target("s", "s"));
    check(&before, r#"{"health_check":{"target":"s"}}"#, &saved);
    check(&saved, r#"{"health_check":{}}"#, r#"{"id":"1"}"#);
    let settings = |text: &str| settings_text(&object(text));
    assert_ne!(settings(&before), settings(&after));
    assert_ne!(settings(&saved), settings(r#"{"id":"1"}"#));
}

#[test]
fn the_age_of_a_tunnel_is_a_time_or_nothing() {
    let state = object(r#"{"created_on":"2024-01-02T03:04:05Z","modified_on":"hunter2-hunter2"}"#);
    assert_eq!(time_of(&state, "created_on"), Some("2024-01-02T03:04:05Z"));
    assert_eq!(time_of(&state, "modified_on"), None);
    assert_eq!(time_of(&state, "name"), None);
}

#[test]
fn only_an_explicit_null_says_that_there_was_never_a_key() {
    let never = |text: &str| never_had_key(&object(text));
    assert!(never(r#"{"psk_metadata":{"last_generated_on":null}}"#));
    for other in [
        "{}",
        r#"{"psk_metadata":null}"#,
        r#"{"psk_metadata":{}}"#,
        r#"{"psk_metadata":{"last_generated_on":""}}"#,
        r#"{"psk_metadata":{"last_generated_on":"2 January 2024"}}"#,
        r#"{"psk_metadata":{"last_generated_on":"2024-01-02T03:04:05Z"}}"#,
    ] {
        assert!(!never(other), "{other}");
    }
}

#[test]
fn only_a_time_says_when_a_key_was_made() {
    let generated = |text: &str| {
        let state = parse(&format!(r#"{{"psk_metadata":{{"last_generated_on":"{text}"}}}}"#));
        key_generated_on(state.as_object().unwrap()).map(str::to_owned)
    };
    for time in ["2024-01-02T03:04:05Z", "2024-01-02T03:04:05.678901+00:00"] {
        assert_eq!(generated(time).as_deref(), Some(time));
    }
    for other in [
        "",
        "hunter2-hunter2",
        "2024-01-02",
        "2024-01-02T03:04:05",
        "2024-13-02T03:04:05Z",
        "2024-01-02T03:04:05Z hunter2",
        "2024-01-02T03:04:05Z[hunter2]",
        "2024-01-02T03:04:05Z[u-ca=hunter2]",
    ] {
        assert_eq!(generated(other), None, "{other}");
    }
}
