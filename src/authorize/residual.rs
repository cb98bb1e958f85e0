//! What is left of a policy when the unknown is left open: can it still come true?
//!
//! Cedar keeps `<unknown> && false` as it stands, because the unknown half may fail to evaluate. For a permit the
//! difference does not matter, so this looks once more, and a caller is not kept waiting for a state that can't
//! change the answer, in whatever order the policy's conditions are written. Works on Cedar's JSON form of a
//! policy. Not here: what follows from it (`ask`).

use cedar_policy::Policy;
use serde_json::Value;

/// Whether this residual can't become true, whatever the unknowns are: it is false then, or fails.
pub(super) fn never_applies(residual: &Policy) -> bool {
    conditions(residual).is_some_and(|bodies| bodies.iter().any(never_true))
}

/// Whether this residual, besides, can't fail. A `forbid` that fails must refuse, so only such a one is let go.
pub(super) fn never_applies_nor_fails(residual: &Policy) -> bool {
    conditions(residual).is_some_and(|bodies| bodies.iter().any(never_true) && bodies.iter().all(cannot_fail))
}

/// The bodies of a residual's `when` clauses; `None` where it has a form that this does not know.
fn conditions(residual: &Policy) -> Option<Vec<Value>> {
    let json = residual.to_json().ok()?;
    let conditions = json.get("conditions")?.as_array()?;
    let body = |condition: &Value| match condition.get("kind")?.as_str()? {
        "when" => condition.get("body").cloned(),
        _ => None,
    };
    conditions.iter().map(body).collect()
}

/// An operator and what it is applied to.
fn operator(expression: &Value) -> Option<(&str, &Value)> {
    let object = expression.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().map(|(name, operands)| (name.as_str(), operands))
}

fn part(operands: &Value, name: &str, test: fn(&Value) -> bool) -> bool {
    operands.get(name).is_some_and(test)
}

fn never_true(expression: &Value) -> bool {
    match operator(expression) {
        Some(("Value", value)) => value == &Value::Bool(false),
        Some(("&&", both)) => part(both, "left", never_true) || part(both, "right", never_true),
        Some(("||", both)) => part(both, "left", never_true) && part(both, "right", never_true),
        Some(("!", one)) => part(one, "arg", never_false),
        Some(("if-then-else", three)) => part(three, "then", never_true) && part(three, "else", never_true),
        _ => false,
    }
}

fn never_false(expression: &Value) -> bool {
    match operator(expression) {
        Some(("Value", value)) => value == &Value::Bool(true),
        Some(("&&", both)) => part(both, "left", never_false) && part(both, "right", never_false),
        Some(("||", both)) => part(both, "left", never_false) || part(both, "right", never_false),
        Some(("!", one)) => part(one, "arg", never_true),
        Some(("if-then-else", three)) => part(three, "then", never_false) && part(three, "else", never_false),
        _ => false,
    }
}

/// Operators that have a value for all operands of the types that strict validation lets through. Not among them:
/// arithmetic (it can overflow), extension functions, and `.` (its entity may be missing).
const TOTAL: [&str; 17] = [
    "&&",
    "||",
    "!",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "in",
    "is",
    "like",
    "contains",
    "containsAll",
    "containsAny",
    "isEmpty",
    "if-then-else",
];

fn cannot_fail(expression: &Value) -> bool {
    match operator(expression) {
        Some(("Value" | "Var" | "unknown", _)) => true,
        Some(("Set", items)) => items.as_array().is_some_and(|items| items.iter().all(cannot_fail)),
        Some((name, operands)) if TOTAL.contains(&name) => operands.as_object().is_some_and(|operands| {
            operands.iter().all(|(name, operand)| {
                matches!(name.as_str(), "pattern" | "entity_type") || cannot_fail(operand)
            })
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn both(operator: &str, left: &Value, right: &Value) -> Value {
        json!({ operator: { "left": left, "right": right } })
    }

    fn choice(then: &Value, other: &Value) -> Value {
        json!({ "if-then-else": { "if": { "Var": "context" }, "then": then, "else": other } })
    }

    /// By Kleene's tables: what is not known may be either.
    #[test]
    fn an_expression_is_never_true_or_never_false_by_its_parts() {
        let (yes, no, open) =
            (json!({ "Value": true }), json!({ "Value": false }), json!({ "unknown": "x" }));
        let told = |expression: &Value| (never_true(expression), never_false(expression));
        for (one, is) in [(&yes, (false, true)), (&no, (true, false)), (&open, (false, false))] {
            assert_eq!(told(one), is);
            assert_eq!(told(&json!({ "!": { "arg": one } })), (is.1, is.0));
            for (other, with) in [(&yes, (false, true)), (&no, (true, false)), (&open, (false, false))] {
                assert_eq!(
                    told(&both("&&", one, other)),
                    (is.0 || with.0, is.1 && with.1),
                    "{one} && {other}"
                );
                assert_eq!(
                    told(&both("||", one, other)),
                    (is.0 && with.0, is.1 || with.1),
                    "{one} || {other}"
                );
                assert_eq!(told(&choice(one, other)), (is.0 && with.0, is.1 && with.1), "{one} else {other}");
                assert_eq!(told(&both("==", one, other)), (false, false));
            }
        }
        assert_eq!(told(&json!({ "&&": {}, "||": {} })), (false, false), "no expression");
    }

    #[test]
    fn an_expression_cannot_fail_if_no_part_of_it_can() {
        let (fine, fails) = (json!({ "unknown": "x" }), json!({ "+": { "left": 1, "right": 1 } }));
        let set = |items: [&Value; 2]| json!({ "Set": items });
        let like = json!({ "like": { "left": { "Var": "resource" }, "pattern": ["Wildcard"] } });
        for good in [&fine, &set([&fine, &fine]), &both("&&", &fine, &fine), &like, &choice(&fine, &fine)] {
            assert!(cannot_fail(good), "{good}");
        }
        for bad in [&fails, &set([&fine, &fails]), &both("&&", &fine, &fails), &choice(&fails, &fine)] {
            assert!(!cannot_fail(bad), "{bad}");
        }
        assert!(!cannot_fail(&json!({ "Set": fine })));
    }
}
