//! The form that every entry has. Not here: whether it is the entry that was recorded (`inspect::scan`).

use std::borrow::Cow;

use super::indexes::{MEMBERS, Members};
use super::{ENTRY_DEPTH, read_entry};
use crate::entry::Kind;
use crate::json::{self, Text};

/// Checks whether a text has the form of an entry, and passes members of one that has on. What skimming can't tell, the
/// strict reader does.
pub(super) fn check_form(text: &[u8], then: &mut dyn FnMut(&Members<'_>)) -> Result<(), String> {
    if let Some(members) = json::skim(text, ENTRY_DEPTH, &MEMBERS) {
        return check_members(&members, then);
    }
    let entry = read_entry(text).map_err(|e| format!("it is not strict JSON: {e}"))?.to_text();
    let entry = Text::of(&entry).members().unwrap_or_default();
    check_members(&MEMBERS.map(|name| entry.get(name)), then)
}

fn check_members(members: &Members<'_>, then: &mut dyn FnMut(&Members<'_>)) -> Result<(), String> {
    let [kind, id, request_id, time, ..] = *members;
    let kind = string("kind", kind)?;
    let ids = [("id", string("id", id)?), ("request_id", string("request_id", request_id)?)];
    let time = string("time", time)?;
    if !Kind::ALL.iter().any(|known| known.name() == kind) {
        return Err("its `kind` is none that is written".to_owned());
    }
    for (name, text) in ids {
        text.parse::<uuid::Uuid>().map_err(|_| format!("its `{name}` is no UUID"))?;
    }
    time.parse::<jiff::Timestamp>().map_err(|_| "its `time` is no time".to_owned())?;
    then(members);
    Ok(())
}

fn string<'a>(name: &str, member: Option<Text<'a>>) -> Result<Cow<'a, str>, String> {
    member.and_then(Text::string).ok_or_else(|| format!("it has no `{name}`"))
}
