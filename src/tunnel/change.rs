//! What a write would change, and which of it weakens: from two states.
//!
//! Not here: how the state after is worked out (`tunnel::state::after_put`), who may do it (`authorize`).

use crate::json::{Json, Object};
use crate::operation::Operation;

use super::Change;
use super::body::Asked;
use super::fields::{Field, Kind, TUNNEL, Weakens, row};
use super::state::{after_put, normalized};

/// What stands in [`Change::changed`] for a field that the table does not know: its name is the upstream's or
/// a client's word, and the record takes neither.
pub const UNKNOWN_FIELD: &str = "?";

impl Change {
    /// Compares two states. Without a `before`, `after` is judged against the defaults: what differs from
    /// them is changed, and what is laxer than them weakened.
    ///
    /// A `psk` is never in a state that was read, so one that is asked for always counts as changed.
    #[must_use]
    pub fn of(before: Option<&Object>, after: &Object) -> Self {
        let before = before.map(normalized).unwrap_or_default();
        let mut change = Self::default();
        change.compare(&before, &normalized(after), TUNNEL, "");
        if after.get("psk").is_some_and(|psk| *psk != Json::Null) {
            change.changed.insert("psk".to_owned());
        }
        change
    }

    /// What each element of a call changes, where that can be told: a replacement is told by the states before,
    /// one an element, and by nothing else.
    #[must_use]
    pub fn of_each(asked: &Asked, before: Option<&[Object]>) -> Vec<Option<Self>> {
        let each = asked.elements().iter().enumerate().map(|(at, element)| match asked.operation() {
            Operation::Create => Some(Self::of(None, &after_put(&Object::new(), &element.fields))),
            Operation::Update | Operation::BulkUpdate => {
                let before = before?.get(at)?;
                Some(Self::of(Some(before), &after_put(before, &element.fields)))
            }
            Operation::GeneratePsk | Operation::SetPsks => Some(Self::of_key()),
            Operation::Delete | Operation::List | Operation::Get => Some(Self::default()),
        });
        each.collect()
    }

    fn compare(&mut self, before: &Object, after: &Object, table: &'static [Field], prefix: &str) {
        for field in table {
            let (old, new) = (before.get(field.name), after.get(field.name));
            if old == new {
                continue;
            }
            let name = format!("{prefix}{}", field.name);
            match (field.kind, old, new) {
                (Kind::Group(inner), None | Some(Json::Object(_)), None | Some(Json::Object(_))) => {
                    let none = Object::new();
                    let old = old.and_then(Json::as_object).unwrap_or(&none);
                    let new = new.and_then(Json::as_object).unwrap_or(&none);
                    self.compare(old, new, inner, &format!("{name}."));
                }
                (Kind::Group(inner), _, _) => {
                    // A group that is no object can't be judged by its parts, so each part is taken as lost.
                    self.changed.insert(name.clone());
                    let lost = inner.iter().filter(|part| part.weakens != Weakens::Never);
                    self.weakened.extend(lost.map(|part| format!("{name}.{}", part.name)));
                }
                _ => {
                    if weakens(field.weakens, new) {
                        self.weakened.insert(name.clone());
                    }
                    self.changed.insert(name);
                }
            }
        }
        let unknown = |object: &Object| -> Vec<(String, Json)> {
            let outside = object.iter().filter(|(name, _)| row(table, name).is_none());
            outside.map(|(name, value)| (name.to_owned(), value.clone())).collect()
        };
        if unknown(before) != unknown(after) {
            self.changed.insert(format!("{prefix}{UNKNOWN_FIELD}"));
        }
    }
}

/// Whether a field that changed to `new` protects less. Defaults are left out of normalized states, so a value
/// that is there is another than the default; a flag of a type that is not known counts against the caller.
fn weakens(rule: Weakens, new: Option<&Json>) -> bool {
    match rule {
        Weakens::Never => false,
        Weakens::WhenSet => new.is_some(),
        Weakens::WhenUnset => new.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::after_put;
    use super::*;
    use crate::json::{MAX_DEPTH, read};

    fn object(text: &str) -> Object {
        read(text.as_bytes(), MAX_DEPTH).unwrap().as_object().unwrap().clone()
    }

    /// What a full replace of `before` by `asked` changes and weakens.
    #[track_caller]
    fn check(before: &str, asked: &str, changed: &[&str], weakened: &[&str]) {
        let before = object(before);
        let change = Change::of(Some(&before), &after_put(&before, &object(asked)));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(change, Change { changed: names(changed), weakened: names(weakened) });
    }

    #[test]
    fn a_state_sent_back_changes_nothing() {
        let state = r#"{"id":"0f","name":"a","replay_protection":true,"allow_null_cipher":true,"x_new":1,
            "bgp":{"customer_asn":1,"md5_key":"k-k"},"bgp_status":{"state":"BGP_UP"},"modified_on":"t"}"#;
        check(state, state, &[], &[]);
    }

    #[test]
    fn weakening_by_omission_is_seen() {
        let before = r#"{"name":"a","replay_protection":true,"customer_endpoint":"203.0.113.1",
            "bgp":{"customer_asn":1,"md5_key":"k-k","import_filter_id":"f"}}"#;
        check(
            before,
            r#"{"name":"a"}"#,
            &[
                "bgp.customer_asn",
                "bgp.import_filter_id",
                "bgp.md5_key",
                "customer_endpoint",
                "replay_protection",
            ],
            &["bgp.import_filter_id", "bgp.md5_key", "customer_endpoint", "replay_protection"],
        );
    }

    #[test]
    fn weakening_by_null_empty_or_default_is_the_same() {
        let before = r#"{"replay_protection":true,"bgp":{"md5_key":"k-k"}}"#;
        for asked in [
            r#"{"replay_protection":null,"bgp":null}"#,
            r#"{"replay_protection":false,"bgp":{}}"#,
            r#"{"bgp":{"md5_key":""}}"#,
            r#"{"bgp":{"md5_key":null}}"#,
        ] {
            check(
                before,
                asked,
                &["bgp.md5_key", "replay_protection"],
                &["bgp.md5_key", "replay_protection"],
            );
        }
    }

    #[test]
    fn a_null_cipher_weakens_when_it_is_turned_on_and_stays_when_left_out() {
        check("{}", r#"{"allow_null_cipher":true}"#, &["allow_null_cipher"], &["allow_null_cipher"]);
        check(r#"{"allow_null_cipher":true}"#, "{}", &[], &[]);
        check(r#"{"allow_null_cipher":true}"#, r#"{"allow_null_cipher":false}"#, &["allow_null_cipher"], &[]);
    }

    #[test]
    fn turning_a_protection_on_or_replacing_a_key_weakens_nothing() {
        check("{}", r#"{"replay_protection":true}"#, &["replay_protection"], &[]);
        check(r#"{"bgp":{"md5_key":"a"}}"#, r#"{"bgp":{"md5_key":"b"}}"#, &["bgp.md5_key"], &[]);
    }

    #[test]
    fn a_psk_is_a_change_and_a_psk_left_out_is_none() {
        check(r#"{"name":"a"}"#, r#"{"name":"a","psk":"k-k"}"#, &["psk"], &[]);
        check(r#"{"name":"a"}"#, r#"{"name":"a","psk":""}"#, &["psk"], &[]);
        check(r#"{"name":"a"}"#, r#"{"name":"a","psk":null}"#, &[], &[]);
    }

    #[test]
    fn a_new_tunnel_is_judged_against_the_defaults() {
        let asked = object(
            r#"{"name":"a","replay_protection":false,"health_check":{"enabled":true,"rate":"low"},"allow_null_cipher":true}"#,
        );
        let change = Change::of(None, &after_put(&Object::new(), &asked));
        assert_eq!(
            change.changed.iter().map(String::as_str).collect::<Vec<_>>(),
            ["allow_null_cipher", "health_check.rate", "name"]
        );
        assert_eq!(change.weakened.iter().map(String::as_str).collect::<Vec<_>>(), ["allow_null_cipher"]);
    }

    #[test]
    fn an_unknown_field_is_a_change_without_a_name() {
        let change = Change::of(Some(&object(r#"{"x":1}"#)), &object(r#"{"x":2}"#));
        assert_eq!(change.changed.iter().map(String::as_str).collect::<Vec<_>>(), [UNKNOWN_FIELD]);
    }
}
