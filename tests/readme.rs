//! What README says of refusals is what the code does. Its commands are run by `.ci/run`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::BTreeSet;
use std::time::Duration;

use strum::VariantNames as _;
use tunnelwarden::json;
use tunnelwarden::operation::Class;
use tunnelwarden::refusal::{Forbidden, Refusal, Retry, TokenFault};

const README: &str = include_str!("../README.md");

/// One of each.
fn refusals() -> Vec<Refusal> {
    let retry_after = Duration::from_secs(1);
    let mut all = vec![
        Refusal::MalformedRequest(""),
        Refusal::HeadersTooLarge,
        Refusal::AddressLimited { retry_after },
        Refusal::Overloaded { retry_after },
        Refusal::TargetSpelling(""),
        Refusal::UnknownRoute,
        Refusal::MethodNotAllowed { allow: "" },
        Refusal::BadQuery(""),
        Refusal::BadHeader { name: "", what: "" },
        Refusal::BodyTooLarge { limit: 0 },
        Refusal::BodyTimeout,
        Refusal::BodyIncomplete,
        Refusal::ContentType,
        Refusal::ContentEncoding,
        Refusal::BodyUnexpected,
        Refusal::BadJson(json::read(b"{", json::MAX_DEPTH).unwrap_err()),
        Refusal::BadBody { pointer: String::new(), what: "" },
        Refusal::TokenMissing { legacy_headers: false },
        Refusal::TokenMissing { legacy_headers: true },
        Refusal::TokenAmbiguous,
        Refusal::TokenRevoked,
        Refusal::KeysUnavailable { retry_after },
        Refusal::QuotaSpent { of: "", class: Class::Read, retry_after },
        Refusal::BudgetSpent { retry_after },
        Refusal::Forbidden(Box::new(Forbidden {
            action: "",
            policies: Vec::new(),
            advice: None,
            pointer: None,
        })),
        Refusal::Forbidden(Box::new(Forbidden {
            action: "",
            policies: vec![String::new()],
            advice: None,
            pointer: None,
        })),
        Refusal::StateUnreadable { why: "" },
        Refusal::TunnelUnknown,
        Refusal::PreconditionFailed,
        Refusal::TunnelBusy { retry_after },
        Refusal::Repeat { first: uuid::Uuid::nil() },
        Refusal::ClientGone,
        Refusal::AuditUnavailable { why: "" },
        Refusal::UpstreamToken(""),
        Refusal::UpstreamUnreachable,
        Refusal::UpstreamTimeout,
        Refusal::UpstreamDropped,
        Refusal::UpstreamAnswer(""),
        Refusal::Internal,
    ];
    let faults = [
        TokenFault::Scheme,
        TokenFault::TooLarge,
        TokenFault::Malformed,
        TokenFault::CriticalHeader,
        TokenFault::Algorithm,
        TokenFault::Issuer,
        TokenFault::UnknownKey,
        TokenFault::Signature,
        TokenFault::Expired,
        TokenFault::NotYetValid,
        TokenFault::Audience,
        TokenFault::Lifetime,
        TokenFault::Claim { pointer: String::new() },
        TokenFault::BindingKind,
        TokenFault::Binding,
        TokenFault::Unbound,
        TokenFault::Used { first: uuid::Uuid::nil() },
    ];
    all.extend(faults.map(Refusal::TokenInvalid));
    all
}

/// A row's first four cells, as they must stand in the table.
fn row(refusal: &Refusal) -> String {
    let terms = refusal.terms();
    let name = if let Refusal::TokenInvalid(fault) = refusal {
        format!("`{}`: `{}`", refusal.name(), <&str>::from(fault))
    } else {
        format!("`{}`", refusal.name())
    };
    let retry = match terms.retry {
        Retry::Useless => "no",
        Retry::After(_) => "yes, after `Retry-After`",
        Retry::MayRepeat => "unless it is one-shot",
    };
    format!("| {} | {} | {name} | {retry} |", terms.code, terms.status.as_u16())
}

#[test]
fn the_table_of_refusals_is_what_the_code_says() {
    let mut expected: Vec<String> = refusals().iter().map(row).collect();
    expected.sort();
    expected.dedup();
    let cells = |line: &str| line.split('|').take(5).collect::<Vec<_>>().join("|") + "|";
    let table: Vec<String> = README.lines().filter(|line| line.starts_with("| 99")).map(cells).collect();
    assert_eq!(table, expected, "should be:\n{}", expected.join("\n"));
}

#[test]
fn the_table_of_refusals_is_whole() {
    let all = refusals();
    let names: BTreeSet<&str> = all.iter().map(Refusal::name).collect();
    assert_eq!(names, Refusal::VARIANTS.iter().copied().collect());
    let faults = all.iter().filter_map(|refusal| {
        if let Refusal::TokenInvalid(fault) = refusal { Some(<&str>::from(fault)) } else { None }
    });
    assert_eq!(faults.collect::<BTreeSet<_>>(), TokenFault::VARIANTS.iter().copied().collect());
}

/// How a remedy begins. A verb that is missing here belongs here; a sentence that has none needs one.
const VERBS: [&str; 15] = [
    "ask", "check", "correct", "get", "give", "leave", "look", "read", "send", "spell", "split", "try",
    "unset", "use", "wait",
];

/// Whether a message is what is wrong, a semicolon, and what to do.
fn has_a_remedy(message: &str) -> bool {
    let clauses = message.split("; ").skip(1);
    clauses.flat_map(|clause| clause.split(' ').next()).any(|word| VERBS.contains(&word))
}

#[test]
fn every_message_says_what_to_do() {
    assert!(has_a_remedy("the cup is empty; get a new one"));
    assert!(!has_a_remedy("the cup is empty"));
    assert!(!has_a_remedy("the cup is empty; it was full"));
    let all = refusals().iter().map(Refusal::message).collect::<Vec<_>>();
    let without: Vec<_> = all.iter().filter(|message| !has_a_remedy(message)).collect();
    assert!(without.is_empty(), "these say what is wrong and not what to do: {without:#?}");
}
