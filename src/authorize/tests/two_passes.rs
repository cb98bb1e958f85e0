//! The two passes: what is answered before the state is read, and that it holds afterwards.

use proptest::prelude::*;

use super::*;

/// Asks about a call on one tunnel.
fn decide(
    authorizer: &Authorizer,
    caller: &Caller,
    operation: Operation,
    change: Option<&Change>,
    state: Option<&Object>,
) -> Ruling {
    let elements = [Element { tunnel: tunnel(), change, state, ..Element::default() }];
    authorizer.decide(&question(caller, operation, &elements))
}

const NAMED: &str = "permit (principal in Role::\"operator\", action == Action::\"delete\", resource)\n\
                     when { resource.name like \"lab-*\" };";

#[test]
fn a_policy_that_names_the_tunnels_name_reads_it_and_others_do_not() {
    let named = policies(&[NAMED, "permit (principal, action == Action::\"get\", resource);"]);
    let operator = caller(&["operator"]);
    open(&decide(&named, &operator, Operation::Delete, None, None));
    permitted(decide(&named, &operator, Operation::Get, None, None));
    // Whatever the tunnel is called, a viewer may not.
    forbidden(decide(&named, &caller(&["viewer"]), Operation::Delete, None, None));
    let lab = state(r#"{"name":"lab-1"}"#);
    assert_eq!(permitted(decide(&named, &operator, Operation::Delete, None, Some(&lab))), ["rule-0"]);
    let office = state(r#"{"name":"office"}"#);
    assert!(forbidden(decide(&named, &operator, Operation::Delete, None, Some(&office))).policies.is_empty());
}

/// Conditions in any order: what can't come true whatever the state is refused, or permitted, at once.
#[test]
fn the_order_of_conditions_does_not_matter() {
    let rules = [
        "permit (principal, action == Action::\"update\", resource)\n\
         when { resource.name like \"lab-*\" } when { principal in Role::\"operator\" };",
        "permit (principal, action == Action::\"update\", resource)\n\
         when { !(resource.replay_protection || !(principal in Role::\"operator\")) };",
        "permit (principal in Role::\"admin\", action, resource);",
        "forbid (principal, action in Action::\"write\", resource)\n\
         when { !context.weakened.isEmpty() } unless { principal in Role::\"admin\" };",
    ];
    let authorizer = policies(&rules);
    let update = |role: &str| decide(&authorizer, &caller(&[role]), Operation::Update, None, None);
    assert!(forbidden(update("viewer")).policies.is_empty());
    open(&update("operator"));
    assert_eq!(permitted(update("admin")), ["rule-2"]);
}

#[test]
fn source_and_time_are_known_on_the_first_pass() {
    let rules = [
        "permit (principal, action, resource);",
        "forbid (principal, action == Action::\"update\", resource)\n\
         when { context.changed.contains(\"name\") && !context.source.isInRange(ip(\"10.0.0.0/8\")) };",
        "forbid (principal, action == Action::\"update\", resource)\n\
         when { context.time > datetime(\"2030-01-01\") && context.weakened.contains(\"x\") };",
    ];
    let authorizer = policies(&rules);
    let caller = caller(&[]);
    let elements = [Element { tunnel: tunnel(), ..Element::default() }];
    let mut asked = question(&caller, Operation::Update, &elements);
    permitted(authorizer.decide(&asked));
    asked.source = "::ffff:10.1.2.3".parse().unwrap();
    permitted(authorizer.decide(&asked));
    asked.source = "192.0.2.1".parse().unwrap();
    open(&authorizer.decide(&asked));
    asked.source = "10.0.0.7".parse().unwrap();
    asked.time = "2030-01-01T00:00:00.001Z".parse().unwrap();
    open(&authorizer.decide(&asked));
    let harmless = change(&["name"], &[]);
    let elements = [Element { change: Some(&harmless), ..elements[0] }];
    permitted(authorizer.decide(&Question { elements: &elements, ..asked }));
}

/// Each by itself.
#[test]
fn source_alone_and_time_alone_are_known_on_the_first_pass() {
    let name = "context.changed.contains(\"name\")";
    let caller = caller(&[]);
    let elements = [Element { tunnel: tunnel(), ..Element::default() }];
    let asked = question(&caller, Operation::Update, &elements);
    let late = Question { time: "2031-01-01T00:00:00Z".parse().unwrap(), ..asked };
    let far = Question { source: "192.0.2.1".parse().unwrap(), ..asked };
    for (condition, other) in [
        ("!context.source.isInRange(ip(\"10.0.0.0/8\"))", far),
        ("context.time > datetime(\"2030-01-01\")", late),
    ] {
        let authorizer = policies(&[
            "permit (principal, action, resource);",
            &format!(
                "forbid (principal, action == Action::\"update\", resource) when {{ {name} && {condition} }};"
            ),
        ]);
        permitted(authorizer.decide(&asked));
        open(&authorizer.decide(&other));
    }
}

/// On or off as it says, off where it does not say, and no answer where it says neither.
#[test]
fn a_switch_of_a_tunnel_is_on_off_or_unreadable() {
    let authorizer = policies(&[
        "permit (principal, action == Action::\"delete\", resource) when { resource.replay_protection };",
    ]);
    let caller = caller(&[]);
    for (text, wanted) in [
        (r#"{"replay_protection":true}"#, Some(true)),
        (r#"{"replay_protection":false}"#, Some(false)),
        (r#"{"replay_protection":null}"#, Some(false)),
        ("{}", Some(false)),
        (r#"{"replay_protection":"true"}"#, None),
        (r#"{"replay_protection":1}"#, None),
        (r#"{"replay_protection":[]}"#, None),
    ] {
        let state = state(text);
        let found = match decide(&authorizer, &caller, Operation::Delete, None, Some(&state)) {
            Ruling::Permit(_) => Some(true),
            Ruling::Deny(Refusal::Forbidden(_)) => Some(false),
            Ruling::Deny(Refusal::StateUnreadable { .. }) => None,
            other @ (Ruling::Deny(_) | Ruling::NeedsState) => panic!("{text}: {other:?}"),
        };
        assert_eq!(found, wanted, "{text}");
    }
}

/// There is no tunnel yet, so nothing more will be known of it.
#[test]
fn a_creation_whose_change_is_not_known_is_not_open_for_ever() {
    let authorizer = policies(&[
        "permit (principal, action == Action::\"create\", resource) when { context.changed.contains(\"name\") };",
    ]);
    let caller = caller(&[]);
    let ruling = authorizer.decide(&question(&caller, Operation::Create, &[Element::default()]));
    assert!(matches!(ruling, Ruling::Deny(Refusal::StateUnreadable { .. })), "{ruling:?}");
}

#[test]
fn a_call_that_only_validates_can_be_told_apart() {
    let authorizer = policies(&[
        "permit (principal, action == Action::\"update\", resource) when { context.validate_only };",
    ]);
    let caller = caller(&[]);
    let elements = [Element { tunnel: tunnel(), ..Element::default() }];
    let mut asked = question(&caller, Operation::Update, &elements);
    forbidden(authorizer.decide(&asked));
    asked.validate_only = true;
    permitted(authorizer.decide(&asked));
}

const OVERFLOW: &str = "9223372036854775807 + 1 == 0";

#[test]
fn a_forbid_that_cannot_be_evaluated_forbids() {
    for condition in [OVERFLOW.to_owned(), format!("resource.name == \"a\" && {OVERFLOW}")] {
        let authorizer = policies(&[
            "permit (principal, action, resource);",
            &format!("forbid (principal, action == Action::\"delete\", resource)\nwhen {{ {condition} }};"),
        ]);
        let state = state(r#"{"name":"a"}"#);
        let forbidden = forbidden(decide(&authorizer, &caller(&[]), Operation::Delete, None, Some(&state)));
        assert_eq!(forbidden.policies, ["rule-1"]);
        assert!(forbidden.advice.unwrap().contains("can't be evaluated"));
    }
}

#[test]
fn a_permit_that_cannot_be_evaluated_permits_nothing() {
    let broken =
        format!("permit (principal, action == Action::\"delete\", resource)\nwhen {{ {OVERFLOW} }};");
    let authorizer = policies(&[&broken]);
    let refused = forbidden(decide(&authorizer, &caller(&[]), Operation::Delete, None, None));
    assert_eq!(refused.policies, ["rule-0"]);
    // Another that permits is not undone by it.
    let authorizer = policies(&[&broken, "permit (principal, action, resource);"]);
    let by = permitted(decide(&authorizer, &caller(&[]), Operation::Delete, None, None));
    assert_eq!(by, ["rule-1"]);
}

#[test]
fn a_forbid_that_may_fail_is_not_let_go_early() {
    let authorizer = policies(&[
        "permit (principal, action, resource);",
        &format!(
            "forbid (principal, action == Action::\"delete\", resource)\n\
             when {{ (resource.name == \"a\" && {OVERFLOW}) && principal in Role::\"nobody\" }};"
        ),
    ]);
    open(&decide(&authorizer, &caller(&[]), Operation::Delete, None, None));
}

#[test]
fn a_state_of_unexpected_types_refuses_only_where_it_is_asked_about() {
    let authorizer = policies(&[NAMED]);
    let operator = caller(&["operator"]);
    let odd = state(r#"{"name":7,"description":[1]}"#);
    assert!(matches!(
        decide(&authorizer, &operator, Operation::Delete, None, Some(&odd)),
        Ruling::Deny(Refusal::StateUnreadable { .. })
    ));
    let fine = state(r#"{"name":"lab-1","description":[1]}"#);
    permitted(decide(&authorizer, &operator, Operation::Delete, None, Some(&fine)));
    // A text that is not there is the empty text.
    let nameless = policies(&[
        "permit (principal, action == Action::\"delete\", resource) when { resource.name == \"\" };",
    ]);
    let empty = Object::new();
    permitted(decide(&nameless, &operator, Operation::Delete, None, Some(&empty)));
}

#[test]
fn a_call_without_its_tunnel_is_refused() {
    let authorizer = policies(&["permit (principal, action, resource);"]);
    let caller = caller(&[]);
    for operation in Operation::ALL {
        let on_tunnel = !matches!(operation, Operation::List | Operation::Create);
        let wrong = [Element { tunnel: tunnel().filter(|_| !on_tunnel), ..Element::default() }];
        let ruling = authorizer.decide(&question(&caller, operation, &wrong));
        assert!(matches!(ruling, Ruling::Deny(Refusal::Internal)), "{operation:?}");
        let ruling = authorizer.decide(&question(&caller, operation, &[]));
        assert!(matches!(ruling, Ruling::Deny(Refusal::Internal)), "{operation:?}");
    }
}

/// A condition over what is known and what is not.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "resource.name like \"lab-*\"",
        "resource.replay_protection",
        "resource.customer_endpoint == \"192.0.2.1\"",
        "context.weakened.isEmpty()",
        "context.changed.contains(\"name\")",
        "context.validate_only",
        "context.sets_psk",
        "principal in Role::\"operator\"",
        "principal in Team::\"network\"",
        "context.source.isInRange(ip(\"10.0.0.0/8\"))",
        "context.time < datetime(\"2000-01-01\")",
        "(if resource.allow_null_cipher then 9223372036854775807 + 1 == 0 else true)",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("(if {a} then {b} else !({b}))")),
        ]
    })
}

fn rules() -> impl Strategy<Value = Vec<String>> {
    let rule = (any::<bool>(), condition()).prop_map(|(permit, condition)| {
        let effect = if permit { "permit" } else { "forbid" };
        format!("{effect} (principal, action == Action::\"update\", resource) when {{ {condition} }};")
    });
    prop::collection::vec(rule, 1..5)
}

fn tunnel_state() -> impl Strategy<Value = Object> {
    let name = prop::sample::select(vec!["lab-1", "office", ""]);
    let endpoint = prop::sample::select(vec!["192.0.2.1", "192.0.2.2"]);
    (name, endpoint, any::<bool>(), any::<bool>()).prop_map(|(name, endpoint, replay, null)| {
        let mut state = Object::new();
        state.set("name", name);
        state.set("customer_endpoint", endpoint);
        state.set("replay_protection", replay);
        state.set("allow_null_cipher", null);
        state
    })
}

/// What turns out after the first pass.
#[derive(Clone, Debug)]
struct Truth {
    state: Object,
    renames: bool,
    weakens: bool,
}

fn truth() -> impl Strategy<Value = Truth> {
    (tunnel_state(), any::<bool>(), any::<bool>()).prop_map(|(state, renames, weakens)| Truth {
        state,
        renames,
        weakens,
    })
}

const fn name(ruling: &Ruling) -> &'static str {
    match ruling {
        Ruling::Permit(_) => "permit",
        Ruling::Deny(Refusal::Forbidden(_)) => "deny",
        Ruling::Deny(_) => "fault",
        Ruling::NeedsState => "open",
    }
}

proptest! {
    // Reading a policy is what takes the time, so each is tried with many states.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    /// The promise of the first pass, over policies, states, changes and callers.
    #[test]
    fn a_definite_first_answer_is_never_contradicted(
        rules in rules(),
        truths in prop::collection::vec(truth(), 16),
        operator in any::<bool>(),
        validate_only in any::<bool>(),
        sets_psk in any::<bool>(),
        inside in any::<bool>(),
        generous in any::<bool>(),
    ) {
        let mut rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        rules.push("permit (principal, action == Action::\"set_psks\", resource);");
        if generous {
            // Otherwise few policy sets permit anything for certain.
            rules.push("permit (principal, action == Action::\"update\", resource);");
        }
        let authorizer = policies(&rules);
        let caller = caller(if operator { &["operator"] } else { &[] });
        let elements = [Element { tunnel: tunnel(), sets_psk, ..Element::default() }];
        let mut first = question(&caller, Operation::Update, &elements);
        first.validate_only = validate_only;
        if !inside {
            first.source = "192.0.2.9".parse().unwrap();
        }
        let before = authorizer.decide(&first);
        for truth in truths {
            let change = change(
                if truth.renames { &["name"] } else { &[] },
                if truth.weakens { &["replay_protection"] } else { &[] },
            );
            let informed = [Element { change: Some(&change), state: Some(&truth.state), ..elements[0] }];
            let after = authorizer.decide(&Question { elements: &informed, ..first });
            prop_assert!(matches!(name(&after), "permit" | "deny"), "not definite: {:?}", after);
            prop_assert!(
                name(&before) == "open" || name(&before) == name(&after),
                "first {:?}, then {:?} for {:?}\n{:#?}", before, after, truth, rules
            );
            if let (Ruling::Permit(before), Ruling::Permit(after)) = (&before, &after) {
                prop_assert!(before.policies().iter().all(|id| after.policies().contains(id)));
            }
        }
    }
}
