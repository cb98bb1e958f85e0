//! The form that every entry has, as it is walked over. Not here: whether it is the entry that was recorded
//! (`inspect::scan`), the form itself (`entry`).

use std::borrow::Cow;

use super::indexes::{MEMBERS, Members};
use super::read_entry;
use crate::entry::{self, FormError, Kind};
use crate::json::{self, Text};

/// Of which kind a text is that has the form of an entry; its members are passed on. What skimming can't tell, the strict
/// reader does.
pub(super) fn check_form(text: &[u8], then: &mut dyn FnMut(&Members<'_>)) -> Result<Kind, FormError> {
    if let Some(members) = json::skim(text, entry::DEPTH, &MEMBERS) {
        return check_members(&members, then);
    }
    let entry = read_entry(text).map_err(FormError::Json)?.to_text();
    let entry = Text::of(&entry).members().unwrap_or_default();
    check_members(&MEMBERS.map(|name| entry.get(name)), then)
}

fn check_members(members: &Members<'_>, then: &mut dyn FnMut(&Members<'_>)) -> Result<Kind, FormError> {
    let [kind, id, request_id, time, ..] = *members;
    let (kind, id) = (string("kind", kind)?, string("id", id)?);
    let (request_id, time) = (string("request_id", request_id)?, string("time", time)?);
    let kind = entry::check_members(&kind, &id, &request_id, &time)?;
    then(members);
    Ok(kind)
}

fn string<'a>(name: &'static str, member: Option<Text<'a>>) -> Result<Cow<'a, str>, FormError> {
    member.and_then(Text::string).ok_or(FormError::Missing(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::parse;

    const ID: &str = "01900000-0000-7000-8000-000000000000";

    #[test]
    fn skimming_and_reading_have_one_answer() {
        let whole =
            format!(r#"{{"kind":"refusal","id":"{ID}","time":"2026-01-01T00:00:00Z","request_id":"{ID}"}}"#);
        let changes: [(&str, &str, Option<FormError>); 8] = [
            ("", "", None),
            // An escape, which skimming leaves to the reader.
            ("refusal", "r\\u0065fusal", None),
            (r#""kind""#, r#""kinds""#, Some(FormError::Missing("kind"))),
            (r#""refusal""#, "7", Some(FormError::Missing("kind"))),
            ("refusal", "novel", Some(FormError::Kind)),
            (r#""id":"0"#, r#""id":"x"#, Some(FormError::Id("id"))),
            (r#""request_id":"0"#, r#""request_id":"x"#, Some(FormError::Id("request_id"))),
            ("2026-01", "2026-13", Some(FormError::Time)),
        ];
        for (from, to, wrong) in changes {
            let text = if from.is_empty() { whole.clone() } else { whole.replacen(from, to, 1) };
            assert_eq!(check_form(text.as_bytes(), &mut |_| {}).err(), wrong, "{text}");
            assert_eq!(parse(text.as_bytes()).err(), wrong, "{text}");
        }
        let twice = whole.replacen('{', r#"{"kind":"refusal","#, 1);
        assert!(matches!(check_form(twice.as_bytes(), &mut |_| {}), Err(FormError::Json(_))));
        assert!(matches!(parse(twice.as_bytes()), Err(FormError::Json(_))));
    }
}
