//! What every text must be that is to count as an entry, whoever wrote it.
//!
//! Not here: what the other members mean (`entry`), whether the log has this text (`seal`).

use super::Kind;
use crate::json::{self, Json};

/// Levels of nesting in an entry: a body's own, and a few around it.
const DEPTH: usize = 2 * json::MAX_DEPTH;

/// Members that every entry has.
const MEMBERS: [&str; 4] = ["kind", "id", "request_id", "time"];

/// Why a text is no entry. None of these quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A text on which JSON readers may disagree, or none of JSON at all.
    #[error("it is not strict JSON: {0}")]
    Json(json::Error),
    /// A member that every entry has is not there, or is no text.
    #[error("it has no `{0}`")]
    Missing(&'static str),
    /// Not one of [`Kind::ALL`].
    #[error("its `kind` is none that is written")]
    Kind,
    /// An id in another form.
    #[error("its `{0}` is no UUID")]
    Id(&'static str),
    /// A time in another form.
    #[error("its `time` is no time")]
    Time,
}

/// Reads an entry's text.
///
/// # Errors
/// It is not strict JSON.
pub fn read(text: &[u8]) -> Result<Json, json::Error> {
    json::read(text, DEPTH)
}

/// Reads an entry's text, which must have the form of one.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &[u8]) -> Result<Json, FormError> {
    read_members(text).map(|(entry, _)| entry)
}

fn read_members(text: &[u8]) -> Result<(Json, Kind), FormError> {
    let entry = read(text).map_err(FormError::Json)?;
    let member = |name| entry.get(name).and_then(Json::as_str).ok_or(FormError::Missing(name));
    let kind = check_members(member("kind")?, member("id")?, member("request_id")?, member("time")?)?;
    Ok((entry, kind))
}

/// Of which kind a text is that has the form of an entry. What skimming can't tell, the strict reader does.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(text: &[u8]) -> Result<Kind, FormError> {
    match json::skim(text, DEPTH, &MEMBERS) {
        Some([Some(kind), Some(id), Some(request_id), Some(time)]) => {
            check_members(kind, id, request_id, time)
        }
        _ => read_members(text).map(|(_, kind)| kind),
    }
}

fn check_members(kind: &str, id: &str, request_id: &str, time: &str) -> Result<Kind, FormError> {
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or(FormError::Kind)?;
    for (name, text) in [("id", id), ("request_id", request_id)] {
        text.parse::<uuid::Uuid>().map_err(|_| FormError::Id(name))?;
    }
    time.parse::<jiff::Timestamp>().map(|_| kind).map_err(|_| FormError::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(check(text.as_bytes()).err(), wrong, "{text}");
            assert_eq!(parse(text.as_bytes()).err(), wrong, "{text}");
        }
        let twice = whole.replacen('{', r#"{"kind":"refusal","#, 1);
        assert!(matches!(check(twice.as_bytes()), Err(FormError::Json(_))));
        assert!(matches!(parse(twice.as_bytes()), Err(FormError::Json(_))));
    }
}
