//! What every text must be that is to count as an entry, whoever wrote it.
//!
//! Not here: what the other members mean (`entry`), whether the log has this text (`seal`).

use std::borrow::Cow;

use super::Kind;
use crate::json::{self, Json};

/// Levels of nesting in an entry: a body's own, and a few around it.
pub const DEPTH: usize = 2 * json::MAX_DEPTH;

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
    let entry = read(text).map_err(FormError::Json)?;
    let member = |name| entry.get(name).and_then(Json::as_str).ok_or(FormError::Missing(name));
    check_members(member("kind")?, member("id")?, member("request_id")?, member("time")?)?;
    Ok(entry)
}

/// An entry's text in the form in which entries are written.
///
/// # Errors
/// It is not strict JSON.
pub fn written(entry: &[u8]) -> Result<Cow<'_, str>, json::Error> {
    json::written(entry, DEPTH)
}

/// Checks the members that every entry has; of which kind it is.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_members(kind: &str, id: &str, request_id: &str, time: &str) -> Result<Kind, FormError> {
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or(FormError::Kind)?;
    for (name, text) in [("id", id), ("request_id", request_id)] {
        text.parse::<uuid::Uuid>().map_err(|_| FormError::Id(name))?;
    }
    time.parse::<jiff::Timestamp>().map(|_| kind).map_err(|_| FormError::Time)
}
