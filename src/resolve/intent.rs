//! An intent as it is read back from the record.

use jiff::Timestamp;
use uuid::Uuid;

use crate::json::{Json, Object};
use crate::operation::{AccountId, Operation};

use super::judge::Expected;

/// What a lost call was about to do.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub id: Uuid,
    pub request_id: Uuid,
    pub time: Timestamp,
    pub operation: Operation,
    pub account: AccountId,
    pub validate_only: bool,
    pub request_key: Option<String>,
    pub expected: Vec<Expected>,
    /// The members that its resolution repeats: the call, its caller and `request_id`.
    pub call: Object,
}

/// Members of an intent that its resolution repeats.
const REPEATED: [&str; 17] = [
    "request_id",
    "subject",
    "teams",
    "roles",
    "issuer",
    "jti",
    "key_id",
    "client_address",
    "client_certificate",
    "user_agent",
    "operation",
    "account",
    "validate_only",
    "tunnels",
    "decision",
    "policies",
    "policy_digest",
];

impl Intent {
    /// Reads an entry; `None` if it is no whole intent.
    pub(super) fn read(entry: &Json) -> Option<Self> {
        let text = |name: &str| entry.get(name).and_then(Json::as_str);
        let call = entry.as_object()?.iter().filter(|(name, _)| REPEATED.contains(name));
        Some(Self {
            id: text("id")?.parse().ok()?,
            request_id: text("request_id")?.parse().ok()?,
            time: text("time")?.parse().ok()?,
            operation: Operation::from_name(text("operation")?)?,
            account: AccountId::parse(text("account")?)?,
            validate_only: entry.get("validate_only").and_then(Json::as_bool)?,
            request_key: text("request_key").map(str::to_owned),
            expected: entry.get("expected")?.as_array()?.iter().map(expected).collect(),
            call: call.map(|(name, value)| (name.to_owned(), value.clone())).collect(),
        })
    }
}

fn expected(item: &Json) -> Expected {
    let text = |name: &str| item.get(name).and_then(Json::as_str).map(str::to_owned);
    Expected {
        tunnel: text("tunnel"),
        name: text("name"),
        before: text("before"),
        after: text("after"),
        replaces_key: item.get("replaces_key").and_then(Json::as_bool).unwrap_or(false),
        key_before: text("key_before"),
    }
}
