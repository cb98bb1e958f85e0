use super::*;
use crate::json::{MAX_DEPTH, read};

fn parse(text: &str) -> Json {
    read(text.as_bytes(), MAX_DEPTH).unwrap()
}

const ID: &str = "0f";

fn asked(operation: Operation, body: Option<&str>) -> Result<Asked, BodyFault> {
    let tunnel = operation.names_tunnel().then(|| TunnelId::parse(ID).unwrap());
    Asked::read(operation, tunnel, body.map(parse))
}

/// The body is taken, these are its elements, and it goes upstream as it came.
#[track_caller]
fn takes(operation: Operation, body: &str, elements: &[(Option<&str>, &str)]) -> Asked {
    let asked = asked(operation, Some(body)).unwrap_or_else(|fault| panic!("{body}: {fault:?}"));
    let found: Vec<_> = asked.elements().iter().map(|e| (e.tunnel, e.pointer.as_str())).collect();
    let wanted: Vec<_> =
        elements.iter().map(|(id, at)| (id.map(|id| TunnelId::parse(id).unwrap()), *at)).collect();
    assert_eq!(found, wanted, "{body}");
    assert_eq!(asked.upstream_body().as_deref(), Some(body));
    asked
}

#[track_caller]
fn refuses(operation: Operation, body: &str, pointer: &str) {
    match asked(operation, Some(body)) {
        Err(BodyFault::Bad { pointer: at, .. }) => assert_eq!(at, pointer, "{body}"),
        Err(BodyFault::Unexpected) => panic!("{body}: unexpected"),
        Ok(_) => panic!("{body}: taken"),
    }
}

#[test]
fn a_tunnel_is_created_plain_or_in_a_legacy_wrapper() {
    takes(Operation::Create, r#"{"name":"a","psk":"k"}"#, &[(None, "")]);
    takes(Operation::Create, r#"{"ipsec_tunnel":{"name":"a"}}"#, &[(None, "/ipsec_tunnel")]);
    takes(
        Operation::Create,
        r#"{"ipsec_tunnels":[{"name":"a"},{"name":"b"}]}"#,
        &[(None, "/ipsec_tunnels/0"), (None, "/ipsec_tunnels/1")],
    );
}

#[test]
fn order_digits_and_read_only_fields_go_upstream_as_they_came() {
    takes(
        Operation::Update,
        r#"{"replay_protection":true,"name":"\u007f\"","id":"0f","bgp":{"md5_key":"k","customer_asn":4200000000},"health_check":{"target":{"saved":"","effective":"203.0.113.1"},"rate":"low"},"bgp_status":{"cf_speaker_port":179,"state":"BGP_UP","tcp_established":true},"created_on":"t","psk_metadata":{"last_generated_on":"t"},"allow_null_cipher":false}"#,
        &[(Some(ID), "")],
    );
    takes(Operation::Update, r#"{"health_check":{"target":"203.0.113.1"}}"#, &[(Some(ID), "")]);
}

#[track_caller]
fn leaves_out(operation: Operation, body: &str, sent: &str) {
    let asked = asked(operation, Some(body)).unwrap_or_else(|fault| panic!("{body}: {fault:?}"));
    assert_eq!(asked.upstream_body().as_deref(), Some(sent), "{body}");
    assert!(asked.secrets().is_empty() && asked.elements().iter().all(|element| element.psk().is_none()));
    assert!(asked.elements().iter().all(|element| element.fields.iter().all(|(_, v)| *v != Json::Null)));
}

#[test]
fn a_null_is_a_field_left_out_and_never_sent() {
    leaves_out(Operation::Update, r#"{"psk":null,"name":"a"}"#, r#"{"name":"a"}"#);
    leaves_out(Operation::Update, r#"{"id":null,"bgp":null,"replay_protection":null}"#, "{}");
    leaves_out(
        Operation::Update,
        r#"{"bgp":{"customer_asn":1,"md5_key":null},"health_check":{"target":{"saved":null}}}"#,
        r#"{"bgp":{"customer_asn":1},"health_check":{"target":{}}}"#,
    );
    leaves_out(Operation::BulkUpdate, r#"[{"id":"a","psk":null}]"#, r#"[{"id":"a"}]"#);
    leaves_out(Operation::Create, r#"{"ipsec_tunnel":{"psk":null,"id":null}}"#, r#"{"ipsec_tunnel":{}}"#);
}

#[test]
fn texts_and_lists_in_a_tunnel_are_bounded() {
    let text = |length: usize| format!("\"{}\"", "x".repeat(length));
    let list = |length: usize| format!("[{}]", vec!["\"203.0.113.0/24\""; length].join(","));
    for (field, most, value) in [
        ("/description", 4096, &text as &dyn Fn(usize) -> String),
        ("/name", 512, &text),
        ("/customer_endpoint", 512, &text),
        ("/health_check/target", 512, &text),
        ("/health_check/target/saved", 512, &text),
        ("/custom_remote_identities/fqdn_id", 512, &text),
        ("/bgp_status/state", 512, &text),
        ("/bgp/md5_key", 512, &text),
        ("/bgp/extra_prefixes", 256, &list),
    ] {
        let body = |value: String| {
            field
                .rsplit('/')
                .filter(|name| !name.is_empty())
                .fold(value, |v, name| format!("{{\"{name}\":{v}}}"))
        };
        assert!(asked(Operation::Update, Some(&body(value(most)))).is_ok(), "{field}");
        refuses(Operation::Update, &body(value(most + 1)), field);
    }
    let item = format!("{{\"bgp\":{{\"extra_prefixes\":[\"\",{}]}}}}", text(513));
    refuses(Operation::Update, &item, "/bgp/extra_prefixes/1");
}

#[test]
fn bulk_bodies_name_each_tunnel_once() {
    takes(
        Operation::BulkUpdate,
        r#"{"ipsec_tunnels":[{"id":"a"},{"id":"b","name":"x"}]}"#,
        &[(Some("a"), "/ipsec_tunnels/0"), (Some("b"), "/ipsec_tunnels/1")],
    );
    takes(Operation::BulkUpdate, r#"[{"id":"a"}]"#, &[(Some("a"), "/0")]);
    takes(Operation::BulkUpdate, r#"{"name":"x","id":"a"}"#, &[(Some("a"), "")]);
    for (body, pointer) in [
        ("[]", ""),
        (r#"{"ipsec_tunnels":[]}"#, "/ipsec_tunnels"),
        (r#"{"ipsec_tunnels":{"id":"a"}}"#, "/ipsec_tunnels"),
        (r#"{"ipsec_tunnels":null}"#, "/ipsec_tunnels"),
        (r#"{"ipsec_tunnels":[{"id":"a"}],"id":"b"}"#, "/id"),
        (r#"{"ipsec_tunnel":{"id":"a"}}"#, "/ipsec_tunnel"),
        (r#"{"name":"x"}"#, "/id"),
        (r#"[{"id":"a"},{"name":"x"}]"#, "/1/id"),
        (r#"[{"id":"a"},{"id":"a"}]"#, "/1/id"),
        (r#"[{"id":"A"}]"#, "/0/id"),
        (r#"[{"id":""}]"#, "/0/id"),
        (r#"[{"id":null}]"#, "/0/id"),
        (r#"[{"id":1}]"#, "/0/id"),
        (r#"[["id"]]"#, "/0"),
        ("\"a\"", ""),
        ("null", ""),
    ] {
        refuses(Operation::BulkUpdate, body, pointer);
    }
}

#[test]
fn lists_are_bounded() {
    let list = |count: usize| {
        let items: Vec<String> = (0..count).map(|i| format!("{{\"id\":\"{i:x}\"}}")).collect();
        format!("[{}]", items.join(","))
    };
    assert!(asked(Operation::BulkUpdate, Some(&list(MAX_ELEMENTS))).is_ok());
    refuses(Operation::BulkUpdate, &list(MAX_ELEMENTS + 1), "");
}

#[test]
fn keys_are_set_by_id() {
    let asked = takes(
        Operation::SetPsks,
        r#"{"psks":[{"id":"a","psk":"k"},{"psk":"l","id":"b"}]}"#,
        &[(Some("a"), "/psks/0"), (Some("b"), "/psks/1")],
    );
    assert_eq!(asked.secrets(), [("psk", "k"), ("psk", "l")]);
    for (body, pointer) in [
        ("{}", ""),
        ("[]", ""),
        (r#"[{"id":"a","psk":"k"}]"#, ""),
        (r#"{"psks":[]}"#, "/psks"),
        (r#"{"psks":[{"id":"a"}]}"#, "/psks/0/psk"),
        (r#"{"psks":[{"id":"a","psk":""}]}"#, "/psks/0/psk"),
        (r#"{"psks":[{"id":"a","psk":null}]}"#, "/psks/0/psk"),
        (r#"{"psks":[{"id":"a","psk":1}]}"#, "/psks/0/psk"),
        (r#"{"psks":[{"psk":"k"}]}"#, "/psks/0/id"),
        (r#"{"psks":[{"id":"a","psk":"k","name":"x"}]}"#, "/psks/0/name"),
        (r#"{"psks":[{"id":"a","psk":"k"}],"ipsec_tunnels":[]}"#, "/ipsec_tunnels"),
    ] {
        refuses(Operation::SetPsks, body, pointer);
    }
}

#[test]
fn what_the_field_table_does_not_know_is_refused() {
    for (body, pointer) in [
        (r#"{"PSK":"k"}"#, "/PSK"),
        (r#"{"name":"a","a/b~":1}"#, "/a~1b~0"),
        (r#"{"bgp":{"key":"k"}}"#, "/bgp/key"),
        (r#"{"bgp":"k"}"#, "/bgp"),
        (r#"{"bgp":{"customer_asn":"65000"}}"#, "/bgp/customer_asn"),
        (r#"{"bgp":{"customer_asn":65000.0}}"#, "/bgp/customer_asn"),
        (r#"{"bgp":{"customer_asn":null}}"#, "/bgp/customer_asn"),
        (r#"{"bgp":{"extra_prefixes":["203.0.113.0/24",1]}}"#, "/bgp/extra_prefixes/1"),
        (r#"{"bgp":{"extra_prefixes":[null]}}"#, "/bgp/extra_prefixes/0"),
        (r#"{"replay_protection":"true"}"#, "/replay_protection"),
        (r#"{"replay_protection":1}"#, "/replay_protection"),
        (r#"{"name":null}"#, "/name"),
        (r#"{"psk":["k"]}"#, "/psk"),
        (r#"{"health_check":{"target":{"saved":1}}}"#, "/health_check/target/saved"),
        (r#"{"health_check":{"target":["203.0.113.1"]}}"#, "/health_check/target"),
        (r#"{"id":"0e"}"#, "/id"),
        (r#"{"id":"0F"}"#, "/id"),
        (r#"{"ipsec_tunnel":{"name":"a"}}"#, "/ipsec_tunnel"),
        ("[]", ""),
    ] {
        refuses(Operation::Update, body, pointer);
    }
    refuses(Operation::Update, &format!("{{\"psk\":\"{}\"}}", "k".repeat(513)), "/psk");
}

#[test]
fn nobody_chooses_the_id_of_a_new_tunnel() {
    refuses(Operation::Create, r#"{"id":"0f","name":"a"}"#, "/id");
    refuses(Operation::Create, r#"{"ipsec_tunnels":[{"name":"a"},{"id":"0f"}]}"#, "/ipsec_tunnels/1/id");
    refuses(Operation::Create, r#"{"ipsec_tunnel":{"name":"a"},"psk":"k"}"#, "/psk");
    refuses(Operation::Create, r#"[{"name":"a"}]"#, "");
}

#[test]
fn bodies_stand_where_they_belong_only() {
    for operation in [Operation::List, Operation::Get, Operation::Delete] {
        assert_eq!(asked(operation, Some("{}")), Err(BodyFault::Unexpected), "{operation:?}");
        assert_eq!(asked(operation, None).unwrap().upstream_body(), None, "{operation:?}");
    }
    for operation in [Operation::Create, Operation::Update, Operation::BulkUpdate, Operation::SetPsks] {
        assert!(matches!(asked(operation, None), Err(BodyFault::Bad { .. })), "{operation:?}");
    }
    for body in [None, Some("{}")] {
        let asked = asked(Operation::GeneratePsk, body).unwrap();
        assert_eq!(asked.upstream_body().as_deref(), Some("{}"));
        assert_eq!(asked.elements()[0].tunnel, TunnelId::parse(ID));
    }
    refuses(Operation::GeneratePsk, r#"{"psk":"k"}"#, "");
    refuses(Operation::GeneratePsk, "null", "");
    refuses(Operation::GeneratePsk, "[]", "");
    assert!(asked(Operation::List, None).unwrap().elements().is_empty());
}

#[test]
fn secrets_are_listed_and_never_shown() {
    let body = r#"{"ipsec_tunnels":[{"psk":"kkkk","bgp":{"md5_key":"llll"}},{"psk":""},{"psk":null}]}"#;
    let asked = asked(Operation::Create, Some(body)).unwrap();
    assert_eq!(asked.secrets(), [("psk", "kkkk"), ("md5_key", "llll"), ("psk", "")]);
    let shown = format!("{asked:?}");
    assert!(!shown.contains("kkkk") && !shown.contains("llll"), "{shown}");
    let fault = super::tests::asked(Operation::Create, Some(r#"{"kkkk":1}"#)).unwrap_err();
    assert!(!format!("{fault:?}").contains("kkkk"));
}
