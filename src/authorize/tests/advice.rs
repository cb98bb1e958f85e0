//! What a refusal advises where no policy permits: what is said to people like this caller, before what is said first.

use super::*;

const RULES: &str = r#"
    @id("silent") permit (principal in Role::"root", action == Action::"delete", resource);
    @id("first") @advice("for root")
    permit (principal in Role::"root", action == Action::"delete", resource) when { context.validate_only };
    @id("role") @advice("for roles")
    permit (principal in Role::"operator", action == Action::"delete", resource) when { context.validate_only };
    @id("team") @advice("for teams")
    permit (principal in Team::"voice", action == Action::"delete", resource) when { context.validate_only };
    @id("user") @advice("for bob")
    permit (principal == User::"https://idp.example|bob", action == Action::"delete", resource)
        when { context.validate_only };
    @id("other") @advice("for gets") permit (principal, action == Action::"get", resource) when { context.validate_only };
    @id("no") @advice("a forbid's") forbid (principal in Role::"never", action == Action::"delete", resource);
"#;

fn advised(caller: &Caller) -> Option<String> {
    let elements = [Element { tunnel: tunnel(), ..Element::default() }];
    let refused = forbidden(authorizer(RULES).decide(&question(caller, Operation::Delete, &elements)));
    assert!(refused.policies.is_empty());
    refused.advice
}

#[test]
fn the_advice_is_that_of_the_permit_that_is_meant_for_the_caller_or_else_the_first() {
    let of = |roles: &[&str], team: &str, subject: &str| Caller {
        teams: vec![team.to_owned()],
        subject: subject.to_owned(),
        ..caller(roles)
    };
    for (caller, advice) in [
        (of(&["operator"], "network", "alice"), "for roles"),
        (of(&["viewer"], "voice", "alice"), "for teams"),
        (of(&["viewer"], "network", "bob"), "for bob"),
        // Meant for nobody like that: the first that has advice.
        (of(&["viewer"], "network", "alice"), "for root"),
        // A name is not one of another kind.
        (of(&["voice"], "operator", "alice"), "for root"),
        (of(&["bob"], "bob", "carol"), "for root"),
        (of(&["viewer"], "operator", "bob"), "for bob"),
    ] {
        assert_eq!(advised(&caller).as_deref(), Some(advice), "{caller:?}");
    }
    let theirs = Caller { issuer: "https://other.example".into(), ..of(&[], "network", "bob") };
    assert_eq!(advised(&theirs).as_deref(), Some("for root"));
}

#[test]
fn a_permit_for_anybody_is_meant_for_everybody() {
    let rules = r#"
        @id("a") @advice("for operators")
        permit (principal in Role::"operator", action == Action::"delete", resource) when { context.validate_only };
        @id("b") @advice("for all") permit (principal, action == Action::"delete", resource) when { context.validate_only };
    "#;
    let elements = [Element { tunnel: tunnel(), ..Element::default() }];
    let viewer = caller(&["viewer"]);
    let refused = forbidden(authorizer(rules).decide(&question(&viewer, Operation::Delete, &elements)));
    assert_eq!(refused.advice.as_deref(), Some("for all"));
}
