use super::*;
use crate::json::{MAX_DEPTH, read};
use crate::secret::ExposeSecret;

fn parse(text: &str) -> Json {
    read(text.as_bytes(), MAX_DEPTH).unwrap()
}

fn redactor() -> Redactor {
    Redactor::new(Fingerprinter::new(b"a key of the tests"))
}

/// `redacted` with `<psk:TEXT>` and `<md5:TEXT>` filled in.
fn filled(want: &str) -> String {
    let redactor = redactor();
    let mut want = want.to_owned();
    for secret in ["kkkkkkkk", "llllllll"] {
        want = want
            .replace(&format!("<psk:{secret}>"), &redactor.secret("psk", secret))
            .replace(&format!("<md5:{secret}>"), &redactor.secret("md5_key", secret));
    }
    want
}

#[track_caller]
fn answer(operation: Operation, answer: &str, want: &str) {
    assert_eq!(redactor().answer(operation, &parse(answer)).to_string(), filled(want));
}

#[track_caller]
fn asked(operation: Operation, body: &str, want: &str) {
    let tunnel = operation.names_tunnel().then(|| TunnelId::parse("0f").unwrap());
    let asked = Asked::read(operation, tunnel, Some(parse(body))).unwrap();
    assert_eq!(redactor().asked(&asked).unwrap().to_string(), filled(want));
}

#[test]
fn a_request_keeps_its_shape_and_loses_its_secrets() {
    asked(
        Operation::Create,
        r#"{"ipsec_tunnels":[{"name":"a","psk":"kkkkkkkk","bgp":{"customer_asn":1,"md5_key":"llllllll"}}]}"#,
        r#"{"ipsec_tunnels":[{"name":"a","psk":"<psk:kkkkkkkk>","bgp":{"customer_asn":1,"md5_key":"<md5:llllllll>"}}]}"#,
    );
    asked(Operation::Update, r#"{"psk":"kkkkkkkk"}"#, r#"{"psk":"<psk:kkkkkkkk>"}"#);
    asked(Operation::BulkUpdate, r#"[{"id":"a","psk":null}]"#, r#"[{"id":"a"}]"#);
    asked(
        Operation::SetPsks,
        r#"{"psks":[{"id":"a","psk":"kkkkkkkk"}]}"#,
        r#"{"psks":[{"id":"a","psk":"<psk:kkkkkkkk>"}]}"#,
    );
    asked(Operation::GeneratePsk, "{}", "{}");
}

#[test]
fn an_answer_loses_its_secrets() {
    answer(
        Operation::GeneratePsk,
        r#"{"success":true,"errors":[],"messages":[],"result":{"ipsec_tunnel_id":"a","psk":"kkkkkkkk","psk_metadata":{"last_generated_on":"t"}}}"#,
        r#"{"success":true,"errors":[],"messages":[],"result":{"ipsec_tunnel_id":"a","psk":"<psk:kkkkkkkk>","psk_metadata":{"last_generated_on":"t"}}}"#,
    );
    answer(
        Operation::SetPsks,
        r#"{"result":{"successfully_applied_psks":{"a":{"ipsec_id":"1_a","psk":"kkkkkkkk"},"kkkk-kkkk":{"psk":"llllllll"}},"unapplied_psks":{"b":"no such tunnel"}}}"#,
        r#"{"result":{"successfully_applied_psks":{"a":{"ipsec_id":"1_a","psk":"<psk:kkkkkkkk>"},"?1":{"psk":"<psk:llllllll>"}},"unapplied_psks":{"b":"no such tunnel"}}}"#,
    );
    answer(
        Operation::List,
        r#"{"result":{"ipsec_tunnels":[{"id":"a","bgp":{"md5_key":"llllllll"}}]}}"#,
        r#"{"result":{"ipsec_tunnels":[{"id":"a","bgp":{"md5_key":"<md5:llllllll>"}}]}}"#,
    );
    answer(Operation::Create, r#"{"result":{"id":"a","name":"x"}}"#, r#"{"result":{"id":"a","name":"x"}}"#);
    answer(
        Operation::Create,
        r#"{"result":{"ipsec_tunnels":[{"name":"x"}]}}"#,
        r#"{"result":{"ipsec_tunnels":[{"name":"x"}]}}"#,
    );
}

#[test]
fn the_unknown_is_stored_as_type_and_length_without_its_name() {
    answer(
        Operation::Get,
        r#"{"kkkkkkkk":1,"result":{"ipsec_tunnel":{"llllllll":"kkkkkkkk","x":[1,2],"name":["kkkkkkkk"],"y":true}},"z":{}}"#,
        r#"{"?1":{"unknown":"number","length":1},"result":{"ipsec_tunnel":{"?1":{"unknown":"string","length":8},"?2":{"unknown":"array","length":2},"name":{"unknown":"array","length":1},"?3":{"unknown":"boolean"}}},"?2":{"unknown":"object","length":0}}"#,
    );
    answer(Operation::Get, "\"kkkkkkkk\"", r#"{"unknown":"string","length":8}"#);
    answer(Operation::Get, r#"{"result":"kkkkkkkk"}"#, r#"{"result":{"unknown":"string","length":8}}"#);
    answer(Operation::Get, r#"{"result":null}"#, r#"{"result":null}"#);
    answer(
        Operation::Get,
        r#"{"result":{"psk":12345678,"modified":1.5}}"#,
        r#"{"result":{"psk":{"unknown":"number","length":8},"modified":{"unknown":"number","length":3}}}"#,
    );
}

#[test]
fn errors_keep_their_words_and_lose_names_in_pointers() {
    answer(
        Operation::Create,
        r#"{"success":false,"errors":[{"code":1022,"message":"bad","source":{"pointer":"/kkkkkkkk/psk"},"x":"kkkkkkkk"}],"result":null}"#,
        r#"{"success":false,"errors":[{"code":1022,"message":"bad","source":{"pointer":"/?/psk"},"?1":{"unknown":"string","length":8}}],"result":null}"#,
    );
}

#[test]
fn pointers_keep_known_names_and_small_indexes() {
    for (pointer, kept) in [
        ("", ""),
        ("/psks/12/psk", "/psks/12/psk"),
        ("/health_check/target/saved", "/health_check/target/saved"),
        ("/psks/12345678", "/psks/?"),
        ("/hunter2", "/?"),
        ("/a~1b/name", "/?/name"),
        ("/", "/?"),
        ("psk", "?"),
        ("hunter2/psk", "?"),
    ] {
        assert_eq!(record_pointer(pointer), kept, "{pointer}");
    }
}

#[test]
fn secrets_are_collected_in_known_and_unknown_places() {
    let value = parse(
        r#"{"psk":"a","x":[{"PSK":"b"}],"bgp":{"md5_key":"c","other":"-"},"result":{"psk":{"deep":["d",5,null]}},"s":{"0f":{"psk":"e"}}}"#,
    );
    let found = collect_secrets(&value);
    let found: Vec<_> = found.iter().map(|secret| secret.expose_secret()).collect();
    assert_eq!(found, ["a", "b", "c", "d", "5", "e"]);
}

#[test]
fn a_secret_becomes_its_keyed_fingerprint() {
    let of = |what, secret| redactor().secret(what, secret);
    assert_eq!(of("psk", "kkkkkkkk"), Fingerprinter::new(b"a key of the tests").redacted("psk", "kkkkkkkk"));
    assert!(of("psk", "kkkkkkkk").contains("psk") && !of("psk", "kkkkkkkk").contains("kkkkkkkk"));
    assert_ne!(of("psk", "kkkkkkkk"), of("psk", "llllllll"));
    assert_ne!(of("psk", "kkkkkkkk"), of("md5_key", "kkkkkkkk"));
}

#[test]
fn a_number_that_is_no_integer_is_not_kept_where_one_is_expected() {
    answer(
        Operation::Get,
        r#"{"result":{"ipsec_tunnel":{"bgp":{"customer_asn":64512,"x":1}}}}"#,
        r#"{"result":{"ipsec_tunnel":{"bgp":{"customer_asn":64512,"?1":{"unknown":"number","length":1}}}}}"#,
    );
    answer(
        Operation::Get,
        r#"{"result":{"ipsec_tunnel":{"bgp":{"customer_asn":6.4512e4}}}}"#,
        r#"{"result":{"ipsec_tunnel":{"bgp":{"customer_asn":{"unknown":"number","length":8}}}}}"#,
    );
}

#[test]
fn what_lies_below_the_name_of_a_secret_is_collected_and_nothing_else() {
    let collected = |text| {
        let found = collect_secrets(&parse(text));
        found.iter().map(|secret| secret.expose_secret().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(collected(r#"{"a":"x","n":12,"psk":"s","b":[{"MD5_Key":7},"y",3]}"#), ["s", "7"]);
    assert_eq!(collected(r#"{"psk":{"in":["deep",1,null,true]},"k":"z"}"#), ["deep", "1"]);
}
