//! Holds a value against the field table: known names only, each with a value of its kind, of bounded length.
//!
//! `null` means that a field is left out, and it is left out here, before anybody reads the body: what is
//! authorized, recorded and sent upstream then can't differ by what each makes of a `null`.

use crate::json::{Json, Object, escape_token};
use crate::tunnel::fields::{Field, Kind, row};

use super::{BodyFault, bad};

/// Bytes of a key that are taken. Cloudflare makes keys of 32; the guard of the record costs some 50 bytes of
/// memory for each byte of each key in a body.
const MAX_SECRET: usize = 512;

/// Bytes of a text that are taken: names, addresses and ids are a tenth of that. Each byte is written to the
/// record several times, and a control character each time as six.
const MAX_TEXT: usize = 512;

/// Bytes of a description that are taken.
const MAX_DESCRIPTION: usize = 4 << 10;

/// Items of a list within a tunnel that are taken.
const MAX_ITEMS: usize = 256;

/// The members of `value` but for those left out, if it is an object in which `table` knows every member.
pub(super) fn members(value: Json, table: &'static [Field], pointer: &str) -> Result<Object, BodyFault> {
    let Json::Object(members) = value else { return bad(pointer, "an object is needed here") };
    check_members(members, table, pointer)
}

fn check_members(members: Object, table: &'static [Field], pointer: &str) -> Result<Object, BodyFault> {
    let mut kept = Object::new();
    for (name, value) in members {
        let here = || format!("{pointer}/{}", escape_token(&name));
        let Some(field) = row(table, &name) else {
            return bad(here(), "an unknown field; this proxy passes on only fields that it knows");
        };
        if value != Json::Null {
            let value = check_value(value, field, &field.kind, &here)?;
            kept.set(name, value);
        } else if field.required {
            return bad(here(), "this field can't be `null`");
        }
    }
    Ok(kept)
}

fn check_value(
    value: Json,
    field: &'static Field,
    kind: &'static Kind,
    here: &dyn Fn() -> String,
) -> Result<Json, BodyFault> {
    match (kind, value) {
        (Kind::Secret(_), Json::String(secret)) if secret.len() > MAX_SECRET => {
            bad(here(), "a key of more than 512 bytes is not taken")
        }
        (_, Json::String(text)) if text.len() > MAX_DESCRIPTION => {
            bad(here(), "a text of more than 4096 bytes is not taken")
        }
        (_, Json::String(text)) if text.len() > MAX_TEXT && field.name != "description" => {
            bad(here(), "a text of more than 512 bytes is not taken here")
        }
        (Kind::List(_), Json::Array(items)) if items.len() > MAX_ITEMS => {
            bad(here(), "a list of more than 256 items is not taken here")
        }
        (
            Kind::Text | Kind::Prose | Kind::Pointer | Kind::Secret(_) | Kind::TextOr(_),
            value @ Json::String(_),
        )
        | (Kind::Flag, value @ Json::Bool(_)) => Ok(value),
        (Kind::Integer, Json::Number(number)) if number.as_i64().is_some() => Ok(Json::Number(number)),
        (Kind::Group(table) | Kind::TextOr(table), Json::Object(inner)) => {
            check_members(inner, table, &here()).map(Json::Object)
        }
        (Kind::List(kind), Json::Array(items)) => {
            let item = |(i, item)| check_value(item, field, kind, &|| format!("{}/{i}", here()));
            items.into_iter().enumerate().map(item).collect::<Result<_, _>>().map(Json::Array)
        }
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
