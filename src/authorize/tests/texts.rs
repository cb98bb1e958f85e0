//! Policy texts: what is refused and where, and that the crate and its schema name the same things.

use cedar_policy::{Schema, SchemaFragment};

use super::super::ask::CONTEXT;
use super::super::entities::{FLAGS, TEXTS, user_id};
use super::super::policy::Action;
use super::*;

const SCHEMA: &str = include_str!("../schema.cedarschema");

#[track_caller]
fn check(text: &str, line: usize, id: Option<&str>, what: &str) {
    let problems = Authorizer::new(text).expect_err("the text is wrong");
    let found =
        problems.iter().any(|p| p.line == Some(line) && p.id.as_deref() == id && p.what.contains(what));
    assert!(found, "no `{what}` on line {line} in {problems:#?}");
}

#[test]
fn a_wrong_text_is_refused_by_line_and_id() {
    check("permit (principal, action, resource);", 1, None, "no `@id`");
    check("\n\n@id(\"a\")\npermit (principal, action resource);", 4, None, "unexpected token");
    check(
        "@id(\"a\")\npermit (principal, action, resource);\n@id(\"a\")\npermit (principal, action, resource);",
        3,
        Some("a"),
        "taken by the policy on line 1",
    );
    check("@id(\"a b\")\npermit (principal, action, resource);", 1, Some("a b"), "letters, digits");
    check("@id(\"a\")@advise(\"b\")\npermit (principal, action, resource);", 1, Some("a"), "`@advise`");
    check("@id(\"a\")@advice(\"\")\npermit (principal, action, resource);", 1, Some("a"), "printable");
    check("@id(\"t\")\npermit (principal == ?principal, action, resource);", 1, Some("t"), "templates");
    let rule = |when: &str| format!("@id(\"a\")\npermit (principal, action, resource)\nwhen {{ {when} }};");
    check(&rule("context.weakend.isEmpty()"), 3, Some("a"), "weakend");
    check(&rule("context.source == \"10.0.0.1\""), 3, Some("a"), "");
    check(&rule("resource.name == \"a\""), 3, Some("a"), "put `resource is Tunnel &&` before it");
    check(&rule("principal in Group::\"x\""), 3, Some("a"), "Group");
    check("@id(\"a\")\npermit (principal, action == Action::\"mint\", resource);", 2, Some("a"), "mint");
}

#[test]
fn a_policy_that_can_never_apply_is_refused() {
    check(
        "@id(\"a\")\nforbid (principal, action == Action::\"list\", resource is Tunnel);",
        1,
        Some("a"),
        "",
    );
}

#[test]
fn a_problem_cannot_steer_the_terminal() {
    let problems =
        Authorizer::new("@id(\"a\\u{1b}[2J\")\npermit (principal, action, resource);").unwrap_err();
    assert!(problems.iter().all(|problem| !problem.to_string().contains('\u{1b}')), "{problems:?}");
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "permit (principal, action, resource);\n@id(\"b\")\npermit (principal, action, resource)\n\
                when { context.nothing };\npermit (principal, action, resource);";
    let lines: Vec<_> = Authorizer::new(text).unwrap_err().iter().map(|p| p.line).collect();
    assert_eq!(lines, [Some(1), Some(4), Some(5)]);
}

#[test]
fn the_rules_and_roles_that_a_text_names_are_told() {
    let authorizer = authorizer(
        "@id(\"b\")\npermit (principal in Role::\"viewer\", action, resource);\n\
         @id(\"a\")\nforbid (principal, action, resource) when { principal in Role::\"guest\" };",
    );
    assert_eq!(authorizer.policy_ids().collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(authorizer.roles().iter().collect::<Vec<_>>(), ["guest", "viewer"]);
}

#[test]
fn the_digest_is_of_the_text() {
    let text = "@id(\"a\")\npermit (principal, action, resource);";
    let other = format!("{text}\n");
    assert_eq!(authorizer(text).digest().len(), 64);
    assert_ne!(authorizer(text).digest(), authorizer(&other).digest());
    // sha256 of no bytes at all (FIPS 180-4 test vectors).
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(authorizer("").digest(), empty);
}

#[test]
fn without_a_policy_nothing_is_permitted() {
    let authorizer = authorizer("");
    let caller = caller(&["admin"]);
    for operation in Operation::ALL {
        let on_tunnel = !matches!(operation, Operation::List | Operation::Create);
        let elements = [Element { tunnel: tunnel().filter(|_| on_tunnel), ..Element::default() }];
        let forbidden = forbidden(authorizer.decide(&question(&caller, operation, &elements)));
        assert!(forbidden.policies.is_empty());
    }
    let forbid = "@id(\"f\")\nforbid (principal, action, resource);";
    let permit = "@id(\"p\")\npermit (principal, action, resource);";
    for (text, nothing) in
        [("", true), (forbid, true), (permit, false), (&format!("{forbid}\n{permit}"), false)]
    {
        assert_eq!(super::authorizer(text).permits_nothing(), nothing, "{text}");
    }
}

/// What is put before Cedar must be what policies were validated against.
#[test]
fn the_schema_and_the_code_name_the_same_things() {
    let (fragment, _) = SchemaFragment::from_cedarschema_str(SCHEMA).unwrap();
    let json = fragment.to_json_value().unwrap();
    let names = |pointer: &str| {
        let members = json.pointer(pointer).unwrap().as_object().unwrap();
        members.keys().cloned().collect::<Vec<_>>()
    };
    let sorted = |all: Vec<&str>| {
        let mut all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        all.sort();
        all
    };
    assert_eq!(names("//commonTypes/Call/attributes"), sorted(CONTEXT.to_vec()));
    let attributes: Vec<&str> = TEXTS.into_iter().chain(FLAGS).collect();
    assert_eq!(names("//entityTypes/Tunnel/shape/attributes"), sorted(attributes));
    let mut actions: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    actions.extend(["api", "read", "write", "secret", "read_audit", "read_audit_bodies"]);
    assert_eq!(names("//actions"), sorted(actions));
    let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    assert_eq!(warnings.count(), 0);
    let groups = schema.action_entities().unwrap();
    for operation in Operation::ALL {
        let uid = |name: &str| format!("Action::\"{name}\"").parse().unwrap();
        assert!(groups.is_ancestor_of(&uid(operation.class().name()), &uid(operation.name())));
        assert!(groups.is_ancestor_of(&uid("api"), &uid(operation.name())));
    }
}

#[test]
fn each_operation_stands_at_its_own_place() {
    for (place, operation) in Operation::ALL.into_iter().enumerate() {
        assert_eq!(Action::Call(operation).index(), place);
    }
    assert_eq!(
        Depth::ALL.map(|depth| Action::ReadAudit(depth).index()),
        [Action::COUNT - 2, Action::COUNT - 1]
    );
}

#[test]
fn two_issuers_users_are_never_the_same_user() {
    let ids = [("a", "b|c"), ("a|b", "c"), ("a%7Cb", "c"), ("a%", "7Cb|c"), ("", "a|b|c")];
    for (n, one) in ids.iter().enumerate() {
        for other in &ids[n + 1..] {
            assert_ne!(user_id(one.0, one.1), user_id(other.0, other.1));
        }
    }
    assert_eq!(user_id("https://idp.example", "alice"), "https://idp.example|alice");
}

#[test]
fn a_policy_can_tell_users_and_issuers_apart() {
    let rules = [
        "permit (principal == User::\"https://idp.example|alice\", action == Action::\"list\", resource);",
        "permit (principal in Role::\"admin\", action == Action::\"create\", resource)\n\
         when { principal.issuer == \"https://idp.example\" };",
    ];
    let authorizer = policies(&rules);
    let ours = caller(&["admin"]);
    let theirs = Caller { issuer: "https://other.example".into(), ..ours.clone() };
    let none = Change::default();
    let elements = [Element { change: Some(&none), ..Element::default() }];
    for operation in [Operation::List, Operation::Create] {
        permitted(authorizer.decide(&question(&ours, operation, &elements)));
        forbidden(authorizer.decide(&question(&theirs, operation, &elements)));
    }
}

#[test]
fn callers_are_kept_apart_and_bounded() {
    let authorizer = policies(&["permit (principal in Role::\"admin\", action, resource);"]);
    let elements = [Element::default()];
    for n in 0..5000 {
        let roles: &[&str] = if n % 2 == 0 { &["admin"] } else { &["viewer"] };
        let caller = Caller { subject: format!("user-{}", n / 2), ..caller(roles) };
        let ruling = authorizer.decide(&question(&caller, Operation::List, &elements));
        assert_eq!(matches!(ruling, Ruling::Permit(_)), n % 2 == 0, "{n}");
    }
    assert!(authorizer.callers.len() <= 2 * 1024);
}
