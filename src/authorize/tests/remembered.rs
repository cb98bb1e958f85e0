//! A permit that is remembered is given again for the same question and for no other.

use super::*;

fn get<'a>(caller: &'a Caller, elements: &'a [Element<'a>]) -> Question<'a> {
    question(caller, Operation::Get, elements)
}

#[test]
fn a_remembered_permit_is_the_same_permit() {
    let authorizer =
        policies(&["permit (principal in Role::\"viewer\", action == Action::\"get\", resource);"]);
    let (viewer, elements) = (caller(&["viewer"]), [Element { tunnel: tunnel(), ..Element::default() }]);
    for _ in 0..2 {
        assert_eq!(permitted(authorizer.decide(&get(&viewer, &elements))), ["rule-0"]);
    }
    forbidden(authorizer.decide(&get(&caller(&["guest"]), &elements)));
}

#[test]
fn another_question_is_asked_anew() {
    let here = format!("permit (principal, action == Action::\"get\", resource in Account::\"{HERE}\");");
    let checks = "permit (principal, action == Action::\"delete\", resource) when { context.validate_only };";
    let authorizer = policies(&[&here, checks]);
    let (viewer, elements) = (caller(&["viewer"]), [Element { tunnel: tunnel(), ..Element::default() }]);
    let asked = get(&viewer, &elements);
    permitted(authorizer.decide(&asked));
    let elsewhere = AccountId::parse("a1").unwrap();
    forbidden(authorizer.decide(&Question { account: elsewhere, ..asked }));
    forbidden(authorizer.decide(&Question { operation: Operation::GeneratePsk, ..asked }));
    let check = Question { operation: Operation::Delete, validate_only: true, ..asked };
    permitted(authorizer.decide(&check));
    forbidden(authorizer.decide(&Question { validate_only: false, ..check }));
}

#[test]
fn another_tunnel_is_asked_about_anew() {
    let one = "permit (principal, action == Action::\"get\", resource == Tunnel::\"c4a7362d577a6c3019a474fd6f485821\");";
    let authorizer = policies(&[one]);
    let viewer = caller(&["viewer"]);
    permitted(authorizer.decide(&get(&viewer, &[Element { tunnel: tunnel(), ..Element::default() }])));
    let other = [Element { tunnel: TunnelId::parse("a1"), ..Element::default() }];
    forbidden(authorizer.decide(&get(&viewer, &other)));
}

#[test]
fn what_depends_on_source_time_or_state_is_not_remembered() {
    let rules = [
        "permit (principal, action == Action::\"get\", resource) when { context.source.isInRange(ip(\"10.0.0.0/8\")) };",
        "permit (principal, action == Action::\"list\", resource) when { context.time < datetime(\"2026-01-01\") };",
        "permit (principal, action == Action::\"delete\", resource) when { resource.name like \"lab-*\" };",
    ];
    let authorizer = policies(&rules);
    let (viewer, elements) = (caller(&["viewer"]), [Element { tunnel: tunnel(), ..Element::default() }]);
    let inside = get(&viewer, &elements);
    permitted(authorizer.decide(&inside));
    forbidden(authorizer.decide(&Question { source: IpAddr::V4(Ipv4Addr::LOCALHOST), ..inside }));

    let all = [Element::default()];
    let early = question(&viewer, Operation::List, &all);
    permitted(authorizer.decide(&early));
    forbidden(authorizer.decide(&Question { time: "2026-06-01T00:00:00Z".parse().unwrap(), ..early }));

    for (name, good) in [("lab-1", true), ("office", false)] {
        let state = state(&format!(r#"{{"name":"{name}"}}"#));
        let known = [Element { tunnel: tunnel(), state: Some(&state), ..Element::default() }];
        let ruling = authorizer.decide(&question(&viewer, Operation::Delete, &known));
        assert_eq!(matches!(ruling, Ruling::Permit(_)), good, "{name}");
    }
    open(&authorizer.decide(&question(&viewer, Operation::Delete, &elements)));
}

#[test]
fn what_is_remembered_is_bounded_and_only_what_may_be() {
    let rules = [
        "permit (principal, action == Action::\"get\", resource);",
        "permit (principal, action == Action::\"delete\", resource) when { context.source.isInRange(ip(\"10.0.0.0/8\")) };",
    ];
    let authorizer = policies(&rules);
    let viewer = caller(&["viewer"]);
    let ask = |operation, n: u128| {
        let elements = [Element { tunnel: TunnelId::parse(&format!("{n:032x}")), ..Element::default() }];
        permitted(authorizer.decide(&question(&viewer, operation, &elements)));
        authorizer.callers.get(&viewer, &authorizer.types).remembered()
    };
    assert_eq!((ask(Operation::Get, 1), ask(Operation::Get, 2), ask(Operation::Get, 2)), (1, 2, 2));
    assert_eq!(ask(Operation::Delete, 1), 2, "what depends on the source is not remembered");
    for n in 3..=128 {
        assert_eq!(ask(Operation::Get, n) as u128, n);
    }
    assert_eq!(ask(Operation::Get, 129), 1);
}
