//! Which texts of an entry are our own and must stand, and which are free text of others.
//!
//! Not here: what is looked for in the rest (`guard`).

use crate::audit::redact::record_pointer;
use crate::json::Object;
use crate::tunnel::fields::is_name;

/// Members of an entry that the guard leaves as they are, by their path (`[]` for each item): ours, or a verified token's, or checked to be an id.
pub const PROTECTED: &[&str] = &[
    "kind",
    "id",
    "time",
    "request_id",
    "subject",
    "teams",
    "roles",
    "issuer",
    "jti",
    "key_id",
    "refused_token.subject",
    "refused_token.issuer",
    "refused_token.jti",
    "refused_token.key_id",
    "client_address",
    "client_certificate",
    "retry_count",
    "operation",
    "account",
    "validate_only",
    "tunnels[].id",
    "decision",
    "policies",
    "policy_digest",
    "policy_digest_before",
    "changed",
    "weakened",
    "request.size",
    "request.digest",
    "request_key",
    "token_used",
    "intent_id",
    "sent",
    "status",
    "refusal.name",
    "refusal.code",
    "refusal.fault",
    "refusal.first",
    "upstream.status",
    "upstream.error_codes",
    "response.size",
    "response.digest",
    "before_after_diff[].tunnel",
    "request_response_diff[].tunnel",
    "expected[].tunnel",
    "expected[].before",
    "expected[].after",
    "expected[].replaces_key",
    "expected[].key_before",
    "results[].tunnel",
    "results[].applied",
    "client_gone",
    "recorded_late",
    "left_out",
    "ambiguous",
    "duration_us",
    "stages_us",
    "resolution",
    "version",
    "config_digest",
    "fingerprint_key_id",
    "config_digest_before",
    "parts",
    "problems",
    "ended_before",
    "heartbeat_s",
];

/// Names that our own entries have besides the field table's. Only where a whole name equals one of them does
/// it stand.
const OUR_NAMES: &[&str] = &[
    "user_agent",
    "tunnels",
    "method",
    "path",
    "refused_token",
    "request",
    "state_before",
    "expected",
    "refusal",
    "upstream",
    "response",
    "request_response_diff",
    "before_after_diff",
    "results",
    "evidence",
    "size",
    "digest",
    "body",
    "content_type",
    "cf_ray",
    "error_codes",
    "applied",
    "reason",
    "first",
    "fault",
    "tunnel",
    "patch",
    "value",
    "old",
    "unknown",
    "length",
];

/// Members whose text others wrote, or that is cut to a length: an echo in it may be a part of a secret only.
const FREE_TEXT: &[&str] = &[
    "message",
    "reason",
    "documentation_url",
    "pointer",
    "evidence",
    "user_agent",
    "method",
    "path",
    "cf_ray",
    "content_type",
    "unapplied_psks",
];

/// Whether a member's name is our own word.
pub(super) fn is_our_word(name: &str) -> bool {
    let is_path = name.contains(['.', '[']);
    OUR_NAMES.contains(&name) || (!is_path && PROTECTED.contains(&name)) || is_name(name)
}

/// Where a value stands in the entry.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Names from the entry down to the value, `[]` for an item; deeper ones than these are not told apart.
    steps: [&'a str; 4],
    depth: usize,
    /// The nearest name, and the one above it.
    name: &'a str,
    above: &'a str,
    /// The name of the field whose value it is: the nearest name but in a patch.
    field: &'a str,
}

impl<'a> Place<'a> {
    /// The entry itself.
    pub(super) const ENTRY: Place<'static> =
        Place { steps: [""; 4], depth: 0, name: "", above: "", field: "" };

    fn step(self, name: &'a str) -> Self {
        let mut steps = self.steps;
        if let Some(step) = steps.get_mut(self.depth) {
            *step = name;
        }
        Place { steps, depth: self.depth + 1, ..self }
    }

    pub(super) fn member<'b>(self, name: &'b str) -> Place<'b>
    where
        'a: 'b,
    {
        let stepped: Place<'b> = self.step(name);
        Place { name, above: self.name, field: name, ..stepped }
    }

    /// The member of a patch's operation that holds a value of `field`.
    pub(super) fn of_field<'b>(self, name: &'b str, field: &'b str) -> Place<'b>
    where
        'a: 'b,
    {
        Place { field, ..self.member(name) }
    }

    pub(super) fn item(self) -> Self {
        self.step("[]")
    }

    /// Whether it is a member of [`PROTECTED`]; what lies below one was not looked at.
    pub(super) fn is_protected(self) -> bool {
        let Some(steps) = self.steps.get(..self.depth) else { return false };
        PROTECTED.iter().any(|path| is_path(path, steps))
    }

    pub(super) fn is_free_text(self) -> bool {
        FREE_TEXT.contains(&self.name) || FREE_TEXT.contains(&self.above)
    }

    /// What of a text stands, and what is to be searched; `None` where all of it stands because it is made of
    /// our own words.
    pub(super) fn searched(self, text: &str) -> Option<(&str, &str)> {
        let ours = match self.name {
            "op" => matches!(text, "add" | "remove" | "replace"),
            "unknown" => matches!(text, "boolean" | "number" | "string" | "array" | "object"),
            // A pointer into a body or, at an item of a diff, into a state.
            "pointer" | "path" => self.depth > 1 && record_pointer(text) == text,
            "cf_ray" => is_cf_ray(text),
            "content_type" => text == "application/json",
            _ => false,
        };
        if ours { None } else { Some(text.split_at(marker(self.field, text))) }
    }
}

/// Whether it is what Cloudflare calls an exchange by, and nothing beside: 16 hex digits, a dash and an airport. All
/// but a few answers have one, and looking for encoded secrets in it costs as much as the rest of an entry.
fn is_cf_ray(text: &str) -> bool {
    text.split_once('-').is_some_and(|(id, airport)| {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        id.len() == 16
            && id.bytes().all(hex)
            && airport.len() == 3
            && airport.bytes().all(|b| b.is_ascii_uppercase())
    })
}

/// Whether `path`, in the form of [`PROTECTED`], is made of these steps.
fn is_path(path: &str, steps: &[&str]) -> bool {
    let rest = steps.iter().enumerate().try_fold(path, |rest, (i, step)| {
        let rest = if i == 0 || *step == "[]" { rest } else { rest.strip_prefix('.')? };
        rest.strip_prefix(step)
    });
    rest == Some("")
}

/// The field that an operation of a patch is about: the last name in its `path`; none for other objects. No
/// outside object has these members, since redaction lets only the field table's names through.
pub(super) fn patched(members: &Object) -> Option<String> {
    let path = members.get("path")?.as_str()?;
    members.get("op")?;
    path.rsplit_once('/').map(|(_, field)| field.to_owned())
}

/// How much of a text is the fixed front of the marker of a fingerprint; none of it where `field` is no secret.
/// Only that front stands: a client may have sent the rest as a secret itself.
fn marker(field: &str, text: &str) -> usize {
    if !matches!(field, "psk" | "md5_key") {
        return 0;
    }
    let rest = text.strip_prefix("redacted:").and_then(|rest| rest.strip_prefix(field)?.strip_prefix(':'));
    let well_formed = rest.and_then(|rest| rest.split_once(':')).is_some_and(|(key, print)| {
        let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        key.len() == 8 && print.len() == 32 && hex(key) && hex(print)
    });
    if well_formed { text.len() - rest.map_or(0, str::len) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_marker_the_front_stands_and_of_what_only_looks_like_one_nothing() {
        let (key, print) = ("00112233", "0123456789abcdef0123456789abcdef");
        let front = |key: &str, print: &str| marker("psk", &format!("redacted:psk:{key}:{print}"));
        assert_eq!(front(key, print), "redacted:psk:".len());
        let other = "0123456789abcdef0123456789abcdeg";
        let shorter = "0123456789abcdef0123456789abcde";
        for (key, print) in [
            (key, other),
            (key, shorter),
            (key, "0123456789abcdef0123456789abcdef0"),
            ("0011223g", print),
            ("0011223A", print),
            ("0011223", print),
            ("001122334", print),
        ] {
            assert_eq!(front(key, print), 0, "{key}:{print}");
        }
        assert_eq!(marker("md5_key", &format!("redacted:psk:{key}:{print}")), 0, "of another field");
        assert_eq!(marker("name", &format!("redacted:name:{key}:{print}")), 0, "of none that is secret");
    }
}
