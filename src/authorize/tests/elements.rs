//! What the policy is asked about a body: each element, with what it changes and what it was before.

use super::*;
use crate::tunnel::Asked;

fn asked(operation: Operation, tunnel: Option<TunnelId>, body: Option<&str>) -> Asked {
    let body = body.map(|text| json::read(text.as_bytes(), json::MAX_DEPTH).unwrap());
    Asked::read(operation, tunnel, body).unwrap()
}

#[test]
fn each_element_of_a_body_is_asked_about_with_its_own_change_and_state() {
    let (one, two) = ("c4a7362d577a6c3019a474fd6f485821", "023e105f4ecef8ad9ca31a8372d0c353");
    let body = format!(
        r#"{{"ipsec_tunnels":[{{"id":"{one}","name":"a","psk":"not a real one"}},{{"id":"{two}","name":"b"}}]}}"#
    );
    let bulk = asked(Operation::BulkUpdate, None, Some(&body));
    let changes = [Some(change(&["psk"], &[])), None];
    let before = [state(r#"{"name":"was a"}"#)];
    let elements = Element::of_each(&bulk, &changes, &before);
    let told: Vec<_> = elements
        .iter()
        .map(|element| (element.tunnel, element.sets_psk, element.change, element.state, element.pointer))
        .collect();
    let wanted = [
        (TunnelId::parse(one), true, changes[0].as_ref(), before.first(), Some("/ipsec_tunnels/0")),
        (TunnelId::parse(two), false, None, None, Some("/ipsec_tunnels/1")),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn a_list_is_one_element_without_a_tunnel_and_a_whole_body_has_no_pointer() {
    let list = asked(Operation::List, None, None);
    let elements = Element::of_each(&list, &[], &[]);
    assert!(matches!(elements.as_slice(), [Element { tunnel: None, sets_psk: false, .. }]));
    let update = asked(Operation::Update, tunnel(), Some(r#"{"name":"a"}"#));
    let elements = Element::of_each(&update, &[], &[]);
    assert!(matches!(elements.as_slice(), [Element { tunnel: Some(_), pointer: None, .. }]));
}

#[test]
fn one_element_that_is_refused_refuses_the_call_and_is_pointed_to() {
    let authorizer = policies(&[
        "permit (principal, action == Action::\"bulk_update\", resource) unless { context.changed.contains(\"name\") };",
    ]);
    let (harmless, name, caller) = (change(&["description"], &[]), change(&["name"], &[]), caller(&[]));
    let element = |change, pointer| Element {
        tunnel: tunnel(),
        change: Some(change),
        pointer: Some(pointer),
        ..Element::default()
    };
    let good = [element(&harmless, "/a/0"), element(&harmless, "/a/1")];
    permitted(authorizer.decide(&question(&caller, Operation::BulkUpdate, &good)));
    let bad = [element(&harmless, "/a/0"), element(&name, "/a/1")];
    let forbidden = forbidden(authorizer.decide(&question(&caller, Operation::BulkUpdate, &bad)));
    assert_eq!(forbidden.pointer.as_deref(), Some("/a/1"));
}

#[test]
fn a_key_in_a_body_is_one_that_is_set_and_a_call_that_sets_keys_sets_one_without() {
    let authorizer = policies(&[
        "permit (principal, action, resource);",
        "forbid (principal, action, resource) when { context.sets_psk };",
    ]);
    let (caller, none) = (caller(&[]), Change::default());
    let element =
        |sets_psk| [Element { tunnel: tunnel(), sets_psk, change: Some(&none), ..Element::default() }];
    for (operation, sets_psk, good) in [
        (Operation::Update, false, true),
        (Operation::Update, true, false),
        (Operation::BulkUpdate, false, true),
        (Operation::GeneratePsk, false, true),
        (Operation::SetPsks, false, false),
        (Operation::SetPsks, true, false),
    ] {
        let ruling = authorizer.decide(&question(&caller, operation, &element(sets_psk)));
        assert_eq!(matches!(ruling, Ruling::Permit(_)), good, "{operation:?} {sets_psk}");
    }
}
