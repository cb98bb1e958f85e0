//! A question, as it comes in a query, and as the record tells of it.
//!
//! Not here: what answers it (`store`), the flags of the terminal (`cli::audit`).

use aws_lc_rs::digest;
use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use utoipa::IntoParams;

use super::leases::Digest;
use super::{MOST, Reading};
use crate::entry::Kind;
use crate::inspect::{parse_time, pointer};
use crate::json::{Json, Object};
use crate::operation::Operation;
use crate::store::Filter;
use crate::tunnel::fields;

/// Characters of a text that is looked for: no subject, team or tunnel is longer.
pub const MAX_TEXT: usize = 512;

/// Which entries or rows are wanted. What is left out does not matter; what is given combines.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// Not before: a date (UTC), RFC 3339, or how long ago (`30m`, `2h`, `7d`).
    pub since: Option<String>,
    /// Before: a date (UTC), RFC 3339, or how long ago.
    pub until: Option<String>,
    /// Whose calls: exactly this subject.
    pub subject: Option<String>,
    /// Calls by members of this team.
    pub team: Option<String>,
    /// Calls about this tunnel, by its id, or by a name that it has or had.
    pub tunnel: Option<String>,
    /// Calls of this operation: `list`, `create`, `bulk_update`, `get`, `update`, `delete`, `generate_psk`, `set_psks`.
    pub operation: Option<String>,
    /// Entries of this kind, such as `outcome` or `refusal`. For entries only.
    pub kind: Option<String>,
    /// Changes of this field: an RFC 6901 pointer, such as `/customer_endpoint`, with or without the slash. For changes only.
    pub field: Option<String>,
    /// What to count by: `operation`, `subject`, `team` or `refusal`. For statistics only.
    pub by: Option<String>,
    /// The place (`seq`) before which a page begins: `next` of the page before.
    pub before: Option<u64>,
    /// The place (`seq`) after which to begin, oldest first. For entries only.
    pub after: Option<u64>,
    /// How many, 1 to 500.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub limit: Option<u32>,
}

impl Asked {
    /// The filter that it makes. Forms send what was left empty, so an empty text asks for nothing.
    ///
    /// # Errors
    /// Which parameter can't be taken, and why.
    pub fn filter(&self, now: Timestamp) -> Result<Filter, (&'static str, String)> {
        let time = |name, text: &Option<String>| {
            given(text)
                .map(|text| parse_time(text, now, &TimeZone::UTC).map_err(|what| (name, what)))
                .transpose()
        };
        let text = |name, text: &Option<String>| match given(text) {
            Some(long) if long.chars().count() > MAX_TEXT => {
                Err((name, format!("has more than {MAX_TEXT} characters, which nothing has; shorten it")))
            }
            text => Ok(text.map(str::to_owned)),
        };
        let one = |name, what: Option<&str>, known: bool| match what {
            Some(_) if !known => {
                Err((name, "is none that there is; see the description of the API".to_owned()))
            }
            Some(_) | None => Ok(()),
        };
        let operation = given(&self.operation).and_then(Operation::from_name);
        one("operation", given(&self.operation), operation.is_some())?;
        let kind = given(&self.kind).and_then(|name| Kind::ALL.into_iter().find(|kind| kind.name() == name));
        one("kind", given(&self.kind), kind.is_some())?;
        text("field", &self.field)?;
        if self.limit.is_some_and(|limit| limit == 0 || limit as usize > MOST) {
            return Err(("limit", format!("must be 1 to {MOST}")));
        }
        let (since, until) = (time("since", &self.since)?, time("until", &self.until)?);
        if since.is_some_and(|since| until.is_some_and(|until| until <= since)) {
            return Err(("until", "is not after `since`, so nothing could fit".to_owned()));
        }
        Ok(Filter {
            since,
            until,
            subject: text("subject", &self.subject)?,
            team: text("team", &self.team)?,
            tunnel: text("tunnel", &self.tunnel)?,
            operation,
            kind,
            before: self.before,
            after: self.after,
            limit: Some(self.limit()),
            ..Filter::default()
        })
    }

    /// Refuses parameters that mean nothing here: whoever gives them believes in them.
    ///
    /// # Errors
    /// Which one, and where it belongs.
    pub fn only(&self, taken: &[&str]) -> Result<(), (&'static str, String)> {
        let given = [
            ("kind", given(&self.kind).is_some(), "entries"),
            ("after", self.after.is_some(), "entries"),
            ("field", given(&self.field).is_some(), "changes"),
            ("by", given(&self.by).is_some(), "statistics"),
        ];
        match given.into_iter().find(|(name, given, _)| *given && !taken.contains(name)) {
            Some((name, _, place)) => Err((name, format!("is for {place} only; remove it"))),
            None => Ok(()),
        }
    }

    /// The field, in the spelling that the record has.
    pub(super) fn pointer(&self) -> Option<String> {
        given(&self.field).map(pointer)
    }

    /// How many are wanted.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.unwrap_or(50)
    }
}

/// What was given, unless it is empty.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// A text, or only how long it is.
fn told_text(text: &str, known: bool) -> String {
    if known { text.to_owned() } else { format!("unknown text of {} characters", text.chars().count()) }
}

/// Whether a text has nothing but what times are written with.
fn is_time(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.TZzt+smhdw ".contains(&byte))
}

/// Whether a text is a pointer to a field that the API has.
fn is_field(text: &str) -> bool {
    let mut names = text.split('/');
    names.next() == Some("") && names.all(fields::is_name)
}

/// What can be counted by.
const BY: [&str; 4] = ["operation", "subject", "team", "refusal"];

/// Which texts of a question stand in the record already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub(super) subject: bool,
    pub(super) tunnel: bool,
    pub(super) team: bool,
}

/// A question as it is recorded. Pages of one answer are one question.
#[derive(Clone, Debug)]
pub(super) struct Question {
    told: Object,
    /// As it was asked, which is not recorded: it tells questions apart whose unknown texts are of one length.
    asked: Object,
}

impl Question {
    /// About one thing, named by an id or a name, which is told if the record knows it.
    pub(super) fn of(what: &str, id: &str, known: bool) -> Self {
        let mut told = Object::from_iter([("what", Json::from(what))]);
        let mut asked = told.clone();
        if !id.is_empty() {
            told.set("id", told_text(id, known));
            asked.set("id", id);
        }
        Self { told, asked }
    }

    /// With a filter. Of a text that the record does not have, only the length is told: somebody may have pasted a secret.
    pub(super) fn new(what: &str, asked: &Asked, known: Known) -> Self {
        let mut filter = Object::new();
        let mut whole = Object::new();
        let mut set = |name: &'static str, text: &Option<String>, known: bool| {
            if let Some(text) = given(text) {
                filter.set(name, told_text(text, known));
                whole.set(name, text);
            }
        };
        // Of the first four each was parsed; of times a note in brackets may follow, which is no time.
        set("since", &asked.since, asked.since.as_deref().is_some_and(is_time));
        set("until", &asked.until, asked.until.as_deref().is_some_and(is_time));
        set("operation", &asked.operation, true);
        set("kind", &asked.kind, true);
        set("subject", &asked.subject, known.subject);
        set("team", &asked.team, known.team);
        set("tunnel", &asked.tunnel, known.tunnel);
        let field = asked.pointer();
        set("field", &field, field.as_deref().is_some_and(is_field));
        set("by", &asked.by, asked.by.as_deref().is_some_and(|by| BY.contains(&by)));
        let mut told = Object::from_iter([("what", Json::from(what))]);
        let mut members = told.clone();
        if !filter.is_empty() {
            told.set("filter", filter);
            members.set("filter", whole);
        }
        Self { told, asked: members }
    }

    /// What the entry says of it.
    pub(super) fn members(&self) -> Object {
        self.told.clone()
    }

    /// Equal for the same question of the same token, as deep, by the same way, under the same policy.
    pub(super) fn digest(&self, reading: &Reading) -> Digest {
        let caller = &reading.caller;
        let mut whole = Object::new();
        whole.set("question", self.asked.clone());
        whole.set("issuer", caller.issuer.as_str());
        whole.set("subject", caller.subject.as_str());
        whole.set("jti", caller.jti.clone());
        whole.set("expires", caller.expires.to_string());
        whole.set("door", reading.door.name());
        whole.set("address", reading.address.to_string());
        whole.set("depth", reading.depth.action());
        whole.set("policy", reading.rules.policy.digest());
        let digest = digest::digest(&digest::SHA256, Json::Object(whole).to_string().as_bytes());
        digest.as_ref().try_into().unwrap_or([0; 32])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-10T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_cant_be_asked_is_named() {
        let some = |text: &str| Some(text.to_owned());
        for (asked, parameter) in [
            (Asked { since: some("yesterday"), ..Asked::default() }, "since"),
            (Asked { until: some("' OR 1=1 --"), ..Asked::default() }, "until"),
            (Asked { since: some("1h"), until: some("2h"), ..Asked::default() }, "until"),
            (Asked { operation: some("drop"), ..Asked::default() }, "operation"),
            (Asked { kind: some("Intent"), ..Asked::default() }, "kind"),
            (Asked { subject: Some("x".repeat(513)), ..Asked::default() }, "subject"),
            (Asked { limit: Some(0), ..Asked::default() }, "limit"),
            (Asked { limit: Some(501), ..Asked::default() }, "limit"),
        ] {
            assert_eq!(asked.filter(now()).unwrap_err().0, parameter, "{asked:?}");
        }
        let empty = Asked { since: some(" "), subject: some(""), ..Asked::default() };
        assert_eq!(empty.filter(now()).unwrap(), Filter { limit: Some(50), ..Filter::default() });
    }

    #[test]
    fn a_text_that_the_record_does_not_have_is_not_recorded() {
        let asked = Asked {
            subject: Some("hunter2-is-my-key".to_owned()),
            tunnel: Some("berlin".to_owned()),
            ..Asked::default()
        };
        let known = Known { tunnel: true, ..Known::default() };
        let told = Json::Object(Question::new("calls", &asked, known).members()).to_string();
        assert_eq!(
            told,
            r#"{"what":"calls","filter":{"subject":"unknown text of 17 characters","tunnel":"berlin"}}"#
        );
        let odd = |text: &str| Some(text.to_owned());
        let asked = Asked {
            since: odd("2026-01-01T00:00:00Z[u-ca=hunter2]"),
            until: odd("2h"),
            field: odd("/hunter2"),
            by: odd("hunter2"),
            ..Asked::default()
        };
        let told = Json::Object(Question::new("calls", &asked, Known::default()).members()).to_string();
        assert!(!told.contains("hunter2") && told.contains(r#""until":"2h""#), "{told}");
        for spelling in ["/customer_endpoint", "customer_endpoint", " customer_endpoint "] {
            let known = Asked { field: odd(spelling), by: odd("team"), ..Asked::default() };
            assert_eq!(known.pointer().as_deref(), Some("/customer_endpoint"));
            let told = Json::Object(Question::new("calls", &known, Known::default()).members()).to_string();
            assert_eq!(told, r#"{"what":"calls","filter":{"field":"/customer_endpoint","by":"team"}}"#);
        }
        assert_eq!(Asked { field: odd(" "), ..Asked::default() }.pointer(), None);
        let id = "deadbeefdeadbeefdeadbeefdeadbeef";
        let told = |known| Json::Object(Question::of("call", id, known).members()).to_string();
        assert!(told(true).contains(id) && !told(false).contains(id));
    }
}
