//! `If-Match` (RFC 9110 section 13.1.1): a write that is made only on the state that its author saw.
//!
//! Not here: where a tag comes from (`States::etag`).

use http::HeaderMap;
use http::header::IF_MATCH;

use crate::operation::Operation;
use crate::refusal::Refusal;

/// The states on which a write may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: any, as long as there is one.
    Any,
    /// One of these entity tags, quotes included.
    Tags(Vec<String>),
}

/// Tags that one header may hold. A client that saw more states than this of one tunnel is not a client.
const MAX_TAGS: usize = 8;

impl IfMatch {
    /// Reads the header, if there is one.
    ///
    /// # Errors
    /// [`Refusal::BadHeader`] where it is malformed, weak, or on an operation that it is not served on: a
    /// precondition that is ignored is worse than none.
    pub fn read(headers: &HeaderMap, operation: Operation) -> Result<Option<Self>, Refusal> {
        let bad = |what| Refusal::BadHeader { name: "if-match", what };
        let mut values = headers.get_all(IF_MATCH).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if !matches!(operation, Operation::Update | Operation::Delete | Operation::GeneratePsk) {
            return Err(bad("is served on update, delete and generate PSK of one tunnel only"));
        }
        if values.next().is_some() {
            return Err(bad("may come once only"));
        }
        let value = value.to_str().map_err(|_| bad("must hold the `ETag` that a read answered"))?.trim();
        if value == "*" {
            return Ok(Some(Self::Any));
        }
        let tags: Vec<String> = value.split(',').map(|tag| tag.trim().to_owned()).collect();
        if tags.len() > MAX_TAGS {
            return Err(bad("holds too many tags"));
        }
        if tags.iter().all(|tag| is_strong(tag)) {
            Ok(Some(Self::Tags(tags)))
        } else {
            Err(bad("must hold the `ETag` that a read answered, quotes included"))
        }
    }

    /// Whether a state with this tag may be written on.
    #[must_use]
    pub fn allows(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

/// A strong entity tag; ours hold hex digits only, so quotes and commas inside are not needed.
fn is_strong(tag: &str) -> bool {
    let inside = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.is_some_and(|inside| inside.bytes().all(|b| b.is_ascii_graphic() && b != b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, want: Option<IfMatch>) {
        let headers = HeaderMap::from_iter([(IF_MATCH, value.parse().unwrap())]);
        assert_eq!(IfMatch::read(&headers, Operation::Update).ok(), want.map(Some), "{value}");
    }

    #[test]
    fn strong_tags_and_the_star_are_understood_and_nothing_else() {
        check("*", Some(IfMatch::Any));
        check("\"0f\"", Some(IfMatch::Tags(vec!["\"0f\"".into()])));
        check("\"0f\", \"1e\"", Some(IfMatch::Tags(vec!["\"0f\"".into(), "\"1e\"".into()])));
        check("W/\"0f\"", None);
        check("0f", None);
        check("\"0f\",", None);
        check("", None);
    }

    #[test]
    fn a_precondition_is_never_ignored() {
        let headers = HeaderMap::from_iter([(IF_MATCH, "*".parse().unwrap())]);
        for operation in Operation::ALL {
            let served = matches!(operation, Operation::Update | Operation::Delete | Operation::GeneratePsk);
            assert_eq!(IfMatch::read(&headers, operation).is_ok(), served, "{operation:?}");
        }
    }
}
