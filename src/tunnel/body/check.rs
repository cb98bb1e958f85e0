//! Holds a value against the field table: known names only, each with a value of its kind.

use crate::json::{Json, Object, escape_token};
use crate::tunnel::fields::{Field, Kind, row};

use super::{BodyFault, bad};

/// Bytes of a key that are taken. Cloudflare makes keys of 32; the guard of the record costs some 50 bytes of
/// memory for each byte of each key in a body.
const MAX_SECRET: usize = 512;

/// The members of `value`, if it is an object in which `table` knows every member.
pub(super) fn members(value: Json, table: &'static [Field], pointer: &str) -> Result<Object, BodyFault> {
    let Json::Object(members) = value else { return bad(pointer, "an object is needed here") };
    check_members(&members, table, pointer)?;
    Ok(members)
}

fn check_members(members: &Object, table: &'static [Field], pointer: &str) -> Result<(), BodyFault> {
    for (name, value) in members.iter() {
        let here = || format!("{pointer}/{}", escape_token(name));
        let Some(field) = row(table, name) else {
            return bad(here(), "an unknown field; this proxy passes on only fields that it knows");
        };
        if *value != Json::Null {
            check_value(value, &field.kind, &here)?;
        } else if field.required {
            return bad(here(), "this field can't be `null`");
        }
    }
    Ok(())
}

fn check_value(value: &Json, kind: &'static Kind, here: &dyn Fn() -> String) -> Result<(), BodyFault> {
    match (kind, value) {
        (Kind::Secret(_), Json::String(secret)) if secret.len() > MAX_SECRET => {
            bad(here(), "a key of more than 512 bytes is not taken")
        }
        (Kind::Text | Kind::Prose | Kind::Pointer | Kind::Secret(_) | Kind::TextOr(_), Json::String(_))
        | (Kind::Flag, Json::Bool(_)) => Ok(()),
        (Kind::Integer, Json::Number(number)) if number.as_i64().is_some() => Ok(()),
        (Kind::Group(table) | Kind::TextOr(table), Json::Object(inner)) => {
            check_members(inner, table, &here())
        }
        (Kind::List(kind), Json::Array(items)) => items
            .iter()
            .enumerate()
            .try_for_each(|(i, item)| check_value(item, kind, &|| format!("{}/{i}", here()))),
        (Kind::Text | Kind::Prose | Kind::Pointer | Kind::Secret(_), _) => {
            bad(here(), "a string is needed here")
        }
        (Kind::Flag, _) => bad(here(), "`true` or `false` is needed here"),
        (Kind::Integer, _) => bad(here(), "an integer is needed here"),
        (Kind::Group(_), _) => bad(here(), "an object is needed here"),
        (Kind::TextOr(_), _) => bad(here(), "a string or an object is needed here"),
        (Kind::List(_), _) => bad(here(), "an array is needed here"),
        (Kind::ById(_), _) => bad(here(), "this field is not taken in a request"),
    }
}
