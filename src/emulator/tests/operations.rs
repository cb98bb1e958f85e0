//! Each operation, and the rules of its fields.

use super::*;
use crate::json::Object;

fn without(mut value: Json, names: &[&str]) -> Json {
    for name in names {
        value.as_object_mut().unwrap().remove(name);
    }
    value
}

#[tokio::test]
async fn a_tunnel_is_created_read_updated_and_deleted() {
    let rig = rig().await;
    let made = rig.good(Method::POST, BASE, &body("one").to_string()).await;
    let id = made.get("id").and_then(Json::as_str).unwrap();
    assert_eq!(id.len(), 32);
    let path = format!("{BASE}/{id}");
    let expected = json(
        r#"{"name":"one","cloudflare_endpoint":"203.0.113.1","customer_endpoint":"198.51.100.7",
            "interface_address":"10.0.0.0/31","allow_null_cipher":false,"replay_protection":true,
            "automatic_return_routing":false,
            "health_check":{"enabled":true,"rate":"mid","type":"reply","direction":"unidirectional",
                            "target":"198.51.100.7"},
            "psk_metadata":{"last_generated_on":null},
            "created_on":"2026-09-21T14:13:20.000000Z","modified_on":"2026-09-21T14:13:20.000000Z"}"#,
    );
    assert_eq!(without(made.clone(), &["id"]), expected);
    let got = rig.good(Method::GET, &path, "").await;
    assert_eq!(got.get("ipsec_tunnel"), Some(&made));
    let listed = rig.good(Method::GET, BASE, "").await;
    assert_eq!(listed.pointer("/ipsec_tunnels/0"), Some(&made));

    rig.clock.advance(Duration::from_secs(60));
    let sent = r#"{"name":"two","cloudflare_endpoint":"203.0.113.1","interface_address":"10.0.0.2/31"}"#;
    let updated = rig.good(Method::PUT, &path, sent).await;
    assert_eq!(updated.get("modified"), Some(&Json::Bool(true)));
    let tunnel = updated.get("modified_ipsec_tunnel").unwrap();
    // A full replace: what was left out is gone or back at its default.
    assert_eq!(tunnel.get("replay_protection"), Some(&Json::Bool(false)));
    assert_eq!(tunnel.get("customer_endpoint"), None);
    assert_eq!(tunnel.get("created_on"), made.get("created_on"));
    assert_ne!(tunnel.get("modified_on"), made.get("modified_on"));

    let deleted = rig.good(Method::DELETE, &path, "").await;
    assert_eq!(deleted.get("deleted"), Some(&Json::Bool(true)));
    assert_eq!(deleted.get("deleted_ipsec_tunnel"), Some(tunnel));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_eq!(rig.ask(method, &path, sent).await.refusal(), (404, 1032, String::new()));
    }
    let counts = [(Operation::Create, 1), (Operation::Update, 1), (Operation::Delete, 1)];
    assert_eq!(rig.emulator.effects(), BTreeMap::from(counts));
}

#[tokio::test]
async fn accounts_do_not_see_each_other() {
    let rig = rig().await;
    let id = rig.create("one").await;
    let other = format!("/client/v4/accounts/b0b/magic/ipsec_tunnels/{id}");
    assert_eq!(rig.ask(Method::GET, &other, "").await.status, 404);
}

#[tokio::test]
async fn the_legacy_wrapper_wraps_both_sides_and_is_all_or_nothing() {
    let rig = rig().await;
    let wrapped = |items: Vec<Json>| Json::from(Object::from_iter([("ipsec_tunnels", items)])).to_string();
    let made = rig.good(Method::POST, BASE, &wrapped(vec![body("one"), body("two")])).await;
    assert_eq!(made.pointer("/ipsec_tunnels/1/name"), Some(&Json::from("two")));
    let refused = rig.ask(Method::POST, BASE, &wrapped(vec![body("three"), body("one")])).await;
    assert_eq!(refused.refusal(), (400, 1001, "/ipsec_tunnels/1/name".to_owned()));
    assert_eq!(rig.emulator.tunnels(account()).len(), 2);
}

#[tokio::test]
async fn a_bulk_update_takes_three_forms() {
    let rig = rig().await;
    let (one, two) = (rig.create("one").await, rig.create("two").await);
    let element = |id: &str, name: &str| {
        let mut element = body(name);
        element.as_object_mut().unwrap().set("id", id);
        element
    };
    let wrap = |items: Vec<Json>| Json::from(Object::from_iter([("ipsec_tunnels", items)]));
    let names = |result: &Json| -> Vec<String> {
        let tunnels = result.get("modified_ipsec_tunnels").and_then(Json::as_array).unwrap();
        tunnels.iter().map(|t| t.get("name").and_then(Json::as_str).unwrap().to_owned()).collect()
    };
    // Names may be swapped within one call.
    let swapped = wrap(vec![element(&one, "two"), element(&two, "one")]);
    assert_eq!(names(&rig.good(Method::PUT, BASE, &swapped.to_string()).await), ["two", "one"]);
    let array = Json::Array(vec![element(&one, "three")]);
    assert_eq!(names(&rig.good(Method::PUT, BASE, &array.to_string()).await), ["three"]);
    assert_eq!(names(&rig.good(Method::PUT, BASE, &element(&two, "four").to_string()).await), ["four"]);
    assert_eq!(rig.emulator.effect_list().first().unwrap().operation, Operation::Create);
    assert_eq!(rig.emulator.effects().get(&Operation::BulkUpdate), Some(&3));

    let refused = |sent: Json, want: (u16, i64, &str)| {
        let rig = &rig;
        let want = (want.0, want.1, want.2.to_owned());
        async move { assert_eq!(rig.ask(Method::PUT, BASE, &sent.to_string()).await.refusal(), want, "{sent}") }
    };
    refused(Json::Array(vec![element(&one, "five"), element("dead", "six")]), (404, 1032, "")).await;
    refused(wrap(vec![element(&one, "a"), element(&one, "b")]), (400, 1001, "/ipsec_tunnels/1/id")).await;
    refused(Json::Array(vec![body("x")]), (400, 1001, "/0/id")).await;
    refused(body("x"), (400, 1001, "/id")).await;
    refused(Json::Array(vec![]), (400, 1001, "")).await;
    refused(Json::Array(vec![element(&one, "four")]), (400, 1001, "/0/name")).await;
    // All or nothing: the first element of a refused call is as it was.
    assert_eq!(rig.emulator.tunnels(account())[0].get("name"), Some(&Json::from("three")));
}

#[tokio::test]
async fn a_generated_psk_is_random_and_kept_until_the_next() {
    let rig = rig().await;
    let tunnel = rig.create("one").await;
    let path = format!("{BASE}/{tunnel}/psk_generate");
    let mut seen = Vec::new();
    for sent in ["{}", ""] {
        rig.clock.advance(Duration::from_secs(1));
        let result = rig.good(Method::POST, &path, sent).await;
        let psk = result.get("psk").and_then(Json::as_str).unwrap().to_owned();
        assert_eq!(psk.len(), 32);
        assert_eq!(result.get("ipsec_tunnel_id"), Some(&Json::from(tunnel.as_str())));
        assert!(result.get("ipsec_id").is_some());
        assert_eq!(rig.emulator.psk(account(), id(&tunnel)).unwrap().expose_secret(), psk);
        let shown = rig.good(Method::GET, &format!("{BASE}/{tunnel}"), "").await;
        let shown = shown.get("ipsec_tunnel").unwrap();
        assert_eq!(shown.get("psk_metadata"), result.get("psk_metadata"));
        assert!(!shown.to_string().contains(&psk));
        seen.push(psk);
    }
    assert_ne!(seen[0], seen[1]);
    assert_eq!(rig.ask(Method::POST, &path, r#"{"a":1}"#).await.refusal().0, 400);
    assert_eq!(rig.ask(Method::POST, &format!("{BASE}/dead/psk_generate"), "{}").await.refusal().1, 1032);
}

#[tokio::test]
async fn psks_are_set_one_by_one_and_echoed() {
    let rig = rig().await;
    let tunnel = rig.create("one").await;
    let sent = format!(r#"{{"psks":[{{"id":"{tunnel}","psk":"first"}},{{"id":"dead","psk":"second"}}]}}"#);
    let result = rig.good(Method::POST, &format!("{BASE}/psk"), &sent).await;
    let pointer = format!("/successfully_applied_psks/{tunnel}/psk");
    assert_eq!(result.pointer(&pointer), Some(&Json::from("first")));
    assert_eq!(result.pointer("/unapplied_psks/dead"), Some(&Json::from("IPsec tunnel not found")));
    assert_eq!(rig.emulator.effect_list()[1].tunnels, [(tunnel, "one".to_owned())]);
    for (sent, pointer) in [
        ("{}", "/psks"),
        (r#"{"psks":[]}"#, "/psks"),
        (r#"{"psks":[{"id":"dead"}]}"#, "/psks/0/psk"),
        (r#"{"psks":[{"id":"dead","psk":"a"},{"id":"dead","psk":"b"}]}"#, "/psks/1/id"),
    ] {
        let refused = rig.ask(Method::POST, &format!("{BASE}/psk"), sent).await;
        assert_eq!(refused.refusal(), (400, 1001, pointer.to_owned()), "{sent}");
    }
}

#[tokio::test]
async fn an_update_keeps_the_psk_that_it_leaves_out() {
    let rig = rig().await;
    let mut sent = body("one");
    sent.as_object_mut().unwrap().set("psk", "kept");
    let made = rig.good(Method::POST, BASE, &sent.to_string()).await;
    let tunnel = made.get("id").and_then(Json::as_str).unwrap().to_owned();
    assert!(made.get("psk").is_none() && made.get("psk_metadata").is_some());
    rig.good(Method::PUT, &format!("{BASE}/{tunnel}"), &body("one").to_string()).await;
    let psk = || rig.emulator.psk(account(), id(&tunnel)).unwrap().expose_secret().to_owned();
    assert_eq!(psk(), "kept");
    sent.as_object_mut().unwrap().set("psk", "new");
    rig.good(Method::PUT, &format!("{BASE}/{tunnel}"), &sent.to_string()).await;
    assert_eq!(psk(), "new");
}

#[tokio::test]
async fn validate_only_answers_as_if_and_keeps_nothing() {
    let rig = rig().await;
    let tunnel = rig.create("one").await;
    rig.emulator.reset();
    let before = rig.emulator.tunnels(account());
    let mut element = body("bulk");
    element.as_object_mut().unwrap().set("id", tunnel.as_str());
    let psks = format!(r#"{{"psks":[{{"id":"{tunnel}","psk":"x"}}]}}"#);
    for (method, path, sent) in [
        (Method::POST, String::new(), body("two").to_string()),
        (Method::PUT, String::new(), element.to_string()),
        (Method::PUT, format!("/{tunnel}"), body("three").to_string()),
        (Method::DELETE, format!("/{tunnel}"), String::new()),
        (Method::POST, format!("/{tunnel}/psk_generate"), "{}".to_owned()),
        (Method::POST, "/psk".to_owned(), psks),
    ] {
        rig.good(method.clone(), &format!("{BASE}{path}?validate_only=true"), &sent).await;
    }
    assert_eq!(rig.emulator.tunnels(account()), before);
    assert!(rig.emulator.effects().is_empty());
    assert!(rig.emulator.calls().iter().all(|call| !call.acted));
    let refused = rig.ask(Method::POST, &format!("{BASE}?validate_only=true"), "{}").await;
    assert_eq!(refused.refusal(), (400, 1001, "/name".to_owned()));
    let odd = rig.ask(Method::DELETE, &format!("{BASE}/{tunnel}?validate_only=yes"), "").await;
    assert_eq!(odd.status, 400);
}

#[tokio::test]
async fn the_health_check_target_has_the_form_that_the_header_asks_for() {
    let rig = rig().await;
    let with = |target: &str| {
        let mut sent = body("one");
        sent.as_object_mut().unwrap().set("health_check", json(&format!(r#"{{"target":{target}}}"#)));
        sent.to_string()
    };
    let (text, object) = (r#""198.51.100.9""#, r#"{"saved":"198.51.100.9","effective":"ignored"}"#);
    for (header, sent, status) in [
        ("false", text, 200),
        ("false", object, 400),
        ("true", object, 200),
        ("true", text, 400),
        ("true", r#"{"saved":"nonsense"}"#, 400),
        ("maybe", text, 400),
    ] {
        let path = format!("{BASE}?validate_only=true");
        let headers = [("x-magic-new-hc-target", header)];
        let answered = rig.ask_with(Method::POST, &path, &with(sent), &headers).await.unwrap();
        assert_eq!(answered.status, status, "{header} {sent}");
    }
    rig.good(Method::POST, BASE, &with(text)).await;
    let headers = [("x-magic-new-hc-target", "true")];
    let listed = rig.ask_with(Method::GET, BASE, "", &headers).await.unwrap();
    let target = listed.at("/result/ipsec_tunnels/0/health_check/target");
    assert_eq!(target, json(r#"{"effective":"198.51.100.9","saved":"198.51.100.9"}"#));
}

#[tokio::test]
async fn bgp_has_a_status_that_changes_by_itself() {
    let rig = rig().await;
    let mut sent = body("one");
    let bgp = r#"{"customer_asn":65001,"extra_prefixes":["192.0.2.0/24"],"md5_key":"not so secret"}"#;
    sent.as_object_mut().unwrap().set("bgp", json(bgp));
    let made = rig.good(Method::POST, BASE, &sent.to_string()).await;
    assert_eq!(made.pointer("/bgp/md5_key"), Some(&Json::from("not so secret")));
    rig.clock.advance(Duration::from_secs(1));
    let listed = rig.good(Method::GET, BASE, "").await;
    let tunnel = listed.pointer("/ipsec_tunnels/0").unwrap();
    assert_ne!(tunnel.get("bgp_status"), made.get("bgp_status"));
    assert_eq!(tunnel.get("modified_on"), made.get("modified_on"));
}

#[tokio::test]
async fn a_field_that_does_not_fit_is_named() {
    let rig = rig().await;
    rig.create("taken").await;
    for (member, value, pointer) in [
        ("name", "null", "/name"),
        ("name", "7", "/name"),
        ("name", r#""""#, "/name"),
        ("name", r#""taken""#, "/name"),
        ("cloudflare_endpoint", r#""203.0.113.256""#, "/cloudflare_endpoint"),
        ("customer_endpoint", r#""host.example""#, "/customer_endpoint"),
        ("interface_address", r#""10.0.0.0/30""#, "/interface_address"),
        ("interface_address", r#""192.0.2.0/31""#, "/interface_address"),
        ("interface_address6", r#""2001:db8::/126""#, "/interface_address6"),
        ("replay_protection", r#""yes""#, "/replay_protection"),
        ("allow_null_cipher", "0", "/allow_null_cipher"),
        ("description", "[]", "/description"),
        ("psk", r#""""#, "/psk"),
        ("psk", "12", "/psk"),
        ("health_check", "[]", "/health_check"),
        ("health_check", r#"{"rate":"fast"}"#, "/health_check/rate"),
        ("health_check", r#"{"type":"none"}"#, "/health_check/type"),
        ("health_check", r#"{"direction":"up"}"#, "/health_check/direction"),
        ("health_check", r#"{"enabled":"true"}"#, "/health_check/enabled"),
        ("bgp", "{}", "/bgp/customer_asn"),
        ("bgp", r#"{"customer_asn":-1}"#, "/bgp/customer_asn"),
        ("bgp", r#"{"customer_asn":1.5}"#, "/bgp/customer_asn"),
        ("bgp", r#"{"customer_asn":1,"md5_key":"a?b"}"#, "/bgp/md5_key"),
        ("bgp", r#"{"customer_asn":1,"md5_key":""}"#, "/bgp/md5_key"),
        ("bgp", r#"{"customer_asn":1,"extra_prefixes":["10.0.0.0/33"]}"#, "/bgp/extra_prefixes/0"),
        (
            "custom_remote_identities",
            r#"{"fqdn_id":"a.b0b.custom.ipsec.cloudflare.com"}"#,
            "/custom_remote_identities/fqdn_id",
        ),
    ] {
        let mut sent = body("fresh");
        sent.as_object_mut().unwrap().set(member, json(value));
        let refused = rig.ask(Method::POST, BASE, &sent.to_string()).await;
        assert_eq!(refused.refusal(), (400, 1001, pointer.to_owned()), "{member} {value}");
    }
    let all = rig.ask(Method::POST, BASE, "{}").await;
    assert_eq!(all.at("/errors").as_array().unwrap().len(), 3);
    let wrong = rig.ask(Method::POST, BASE, "[]").await;
    assert_eq!(wrong.refusal(), (400, 1001, String::new()));
}

#[tokio::test]
async fn one_identity_at_one_endpoint_belongs_to_one_tunnel() {
    let rig = rig().await;
    let with = |name: &str| {
        let fqdn = format!(r#"{{"fqdn_id":"site-1.{ACCOUNT}.custom.ipsec.cloudflare.com"}}"#);
        let mut sent = body(name);
        sent.as_object_mut().unwrap().set("custom_remote_identities", json(&fqdn));
        sent
    };
    rig.good(Method::POST, BASE, &with("one").to_string()).await;
    let refused = rig.ask(Method::POST, BASE, &with("two").to_string()).await;
    assert_eq!(refused.refusal(), (400, 1001, "/custom_remote_identities/fqdn_id".to_owned()));
    let mut elsewhere = with("two");
    elsewhere.as_object_mut().unwrap().set("cloudflare_endpoint", "203.0.113.2");
    rig.good(Method::POST, BASE, &elsewhere.to_string()).await;
}

#[tokio::test]
async fn invalid_json_is_quoted_back() {
    let rig = rig().await;
    let refused = rig.ask(Method::POST, BASE, r#"{"psk":"visible","psk":"twice"}"#).await;
    assert_eq!(refused.refusal(), (400, 1022, String::new()));
    assert!(refused.at("/errors/0/message").as_str().unwrap().contains("visible"));
}
