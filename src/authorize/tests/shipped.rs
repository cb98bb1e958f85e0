//! The shipped policy: role x operation x `validate_only` x (plain, with a key in the body, weakening).

use super::*;

const SHIPPED: &str = include_str!("../../../config/policy.cedar");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Plain,
    WithPsk,
    Weakening,
}

/// The columns: an operation in a variant that it has.
const COLUMNS: [(Operation, Asked); 14] = [
    (Operation::List, Asked::Plain),
    (Operation::Get, Asked::Plain),
    (Operation::Create, Asked::Plain),
    (Operation::Create, Asked::WithPsk),
    (Operation::Create, Asked::Weakening),
    (Operation::Update, Asked::Plain),
    (Operation::Update, Asked::WithPsk),
    (Operation::Update, Asked::Weakening),
    (Operation::BulkUpdate, Asked::Plain),
    (Operation::BulkUpdate, Asked::WithPsk),
    (Operation::BulkUpdate, Asked::Weakening),
    (Operation::Delete, Asked::Plain),
    (Operation::GeneratePsk, Asked::Plain),
    (Operation::SetPsks, Asked::WithPsk),
];

/// One letter a column: `.` is permitted; refused are `-` by no policy, and by name `d` deletes-need-admin,
/// `k` keys-need-admin, `c` changes-need-operator, `w` weakening-needs-admin.
const TABLE: [(&[&str], &str); 9] = [
    //                          list get | create   | update   | bulk     | del gen set
    (&[], "--cccccccccdkk"),
    (&["stranger"], "--cccccccccdkk"),
    (&["security"], "--cccccccccdkk"),
    (&["viewer"], "..cccccccccdkk"),
    (&["operator"], "...kw.kw.kwdkk"),
    (&["viewer", "operator"], "...kw.kw.kwdkk"),
    (&["security", "viewer"], "..cccccccccdkk"),
    (&["admin"], ".............."),
    (&["operator", "admin"], ".............."),
];

fn letter(ruling: Ruling) -> char {
    match ruling {
        Ruling::Permit(permit) => {
            assert!(!permit.policies().is_empty(), "a permit names its policies");
            '.'
        }
        Ruling::NeedsState => '?',
        Ruling::Deny(Refusal::Forbidden(forbidden)) => {
            assert!(forbidden.advice.is_some(), "a refusal has advice: {forbidden:?}");
            match forbidden.policies.first().map(String::as_str) {
                None => '-',
                Some("deletes-need-admin") => 'd',
                Some("keys-need-admin") => 'k',
                Some("changes-need-operator") => 'c',
                Some("weakening-needs-admin") => 'w',
                Some(_) => '!',
            }
        }
        Ruling::Deny(_) => '!',
    }
}

#[test]
fn the_shipped_policy_is_this_table() {
    let authorizer = authorizer(SHIPPED);
    for validate_only in [false, true] {
        for (roles, expected) in TABLE {
            let caller = caller(roles);
            let found: String = COLUMNS
                .iter()
                .map(|(operation, asked)| {
                    let weakened: &[&str] =
                        if *asked == Asked::Weakening { &["replay_protection"] } else { &[] };
                    let change = change(&["replay_protection", "name"], weakened);
                    let on_tunnel = !matches!(operation, Operation::List | Operation::Create);
                    let element = Element {
                        tunnel: tunnel().filter(|_| on_tunnel),
                        sets_psk: *asked == Asked::WithPsk,
                        change: Some(&change),
                        ..Element::default()
                    };
                    let elements = [element];
                    let mut question = question(&caller, *operation, &elements);
                    question.validate_only = validate_only;
                    letter(authorizer.decide(&question))
                })
                .collect();
            assert_eq!(found, expected, "roles {roles:?}, validate_only {validate_only}");
        }
    }
}

#[test]
fn only_security_reads_the_audit() {
    let authorizer = authorizer(SHIPPED);
    for (roles, may) in [
        (&[][..], false),
        (&["viewer"], false),
        (&["operator"], false),
        (&["admin"], false),
        (&["security"], true),
        (&["admin", "security"], true),
    ] {
        for depth in Depth::ALL {
            let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let ruling = authorizer.decide_audit(&caller(roles), depth, source, Timestamp::UNIX_EPOCH);
            if may {
                assert_eq!(permitted(ruling), ["security-reads-audit"]);
            } else {
                let forbidden = forbidden(ruling);
                assert_eq!(forbidden.action, depth.action());
                assert_eq!(forbidden.advice.as_deref(), Some("ask for the role `security`"));
            }
        }
    }
}

/// Which calls wait for the tunnel's state: only those whose answer depends on it.
#[test]
fn only_what_can_weaken_waits_for_the_state() {
    let authorizer = authorizer(SHIPPED);
    for (roles, expected) in [
        (&[][..], "-ccdk"),
        (&["viewer"], ".ccdk"),
        (&["operator"], ".??dk"),
        (&["admin"], "....."),
        (&["operator", "admin"], "....."),
    ] {
        let caller = caller(roles);
        let operations = [
            Operation::Get,
            Operation::Update,
            Operation::BulkUpdate,
            Operation::Delete,
            Operation::GeneratePsk,
        ];
        let elements = [Element { tunnel: tunnel(), ..Element::default() }];
        let found: String = operations
            .into_iter()
            .map(|operation| letter(authorizer.decide(&question(&caller, operation, &elements))))
            .collect();
        assert_eq!(found, expected, "roles {roles:?}");
    }
}

#[test]
fn a_key_in_a_body_is_refused_to_operators_before_any_state_is_read() {
    let authorizer = authorizer(SHIPPED);
    let caller = caller(&["operator"]);
    let elements = [Element { tunnel: tunnel(), sets_psk: true, ..Element::default() }];
    let forbidden = forbidden(authorizer.decide(&question(&caller, Operation::Update, &elements)));
    assert_eq!(forbidden.action, "set_psks");
    assert_eq!(forbidden.policies, ["keys-need-admin"]);
    assert!(forbidden.advice.unwrap().contains("leave `psk` out"));
}

#[test]
fn one_refused_element_refuses_the_bulk_and_is_pointed_to() {
    let authorizer = authorizer(SHIPPED);
    let caller = caller(&["operator"]);
    let (fine, weak) = (change(&["name"], &[]), change(&["name"], &["replay_protection"]));
    let state = Object::new();
    let element = |change, pointer| Element {
        tunnel: tunnel(),
        change: Some(change),
        state: Some(&state),
        pointer: Some(pointer),
        sets_psk: false,
    };
    let all = [element(&fine, "/0"), element(&weak, "/1"), element(&fine, "/2")];
    let forbidden = forbidden(authorizer.decide(&question(&caller, Operation::BulkUpdate, &all)));
    assert_eq!(forbidden.pointer.as_deref(), Some("/1"));
    assert_eq!(forbidden.policies, ["weakening-needs-admin"]);
    let good = [element(&fine, "/0"), element(&fine, "/2")];
    assert_eq!(
        permitted(authorizer.decide(&question(&caller, Operation::BulkUpdate, &good))),
        ["operators-change"]
    );
    // The second is refused at once although the first can't be answered yet.
    let unknown = Element { change: None, state: None, ..all[0] };
    let mixed = [unknown, all[1]];
    super::forbidden(authorizer.decide(&question(&caller, Operation::BulkUpdate, &mixed)));
}

/// The commented examples in the policy's head, and what an admin of another account may not do here.
#[test]
fn rules_can_be_bound_to_an_account_and_a_team() {
    let bound = SHIPPED
        .replace(
            "permit (principal in Role::\"admin\", action in Action::\"api\", resource);",
            "permit (principal in Role::\"admin\", action in Action::\"api\", resource in Account::\"a\");",
        )
        .replace(
            "permit (principal in Role::\"viewer\", action in Action::\"read\", resource);",
            "permit (principal in Role::\"viewer\", action in Action::\"read\", resource)\n\
             when { principal in Team::\"network\" };",
        );
    assert_ne!(bound.len(), SHIPPED.len());
    let authorizer = authorizer(&bound);
    let both = caller(&["admin", "operator"]);
    let weak = change(&["replay_protection"], &["replay_protection"]);
    let elements = [Element { tunnel: tunnel(), change: Some(&weak), ..Element::default() }];
    let mut asked = question(&both, Operation::Update, &elements);
    forbidden(authorizer.decide(&asked));
    asked.account = AccountId::parse("a").unwrap();
    permitted(authorizer.decide(&asked));

    let mut viewer = caller(&["viewer"]);
    let elements = [Element::default()];
    permitted(authorizer.decide(&question(&viewer, Operation::List, &elements)));
    viewer.teams = vec!["web".into()];
    forbidden(authorizer.decide(&question(&viewer, Operation::List, &elements)));
}
