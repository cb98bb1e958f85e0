//! What a comparison found, as it is recorded and shown.
//!
//! A finding has a key that is the same in each run, so that one that is known already is not new again. Not here: how it
//! is found (`judge`).

use jiff::Timestamp;
use uuid::Uuid;

use crate::clock::rfc3339;
use crate::json::{Json, Object};
use crate::operation::{AccountId, TunnelId};

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The upstream's logs tell of a change that did not come through this proxy.
    Bypass,
    /// A tunnel has another key, and no call and no row says who gave it.
    Key,
    /// A call of ours came about, and the upstream's logs have no row for it.
    Unknown,
}

impl What {
    /// The name in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Key => "key",
            Self::Unknown => "unknown",
        }
    }
}

/// A tunnel, and what the upstream calls it now, made fit for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub id: TunnelId,
    /// Its name, where it is known.
    pub name: Option<String>,
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub what: What,
    /// The same in each run.
    pub key: String,
    /// In which account.
    pub account: AccountId,
    /// When it happened, as the upstream says; of a call of ours, when that was.
    pub time: Option<Timestamp>,
    /// Of which tunnels.
    pub tunnels: Vec<Named>,
    /// The call of ours that the upstream does not know.
    pub request_id: Option<Uuid>,
    /// What else is told: operation, actor, `cf-ray`, subject.
    pub told: Object,
    /// Since when the record has it; `None` where it is new.
    pub known_since: Option<String>,
}

impl Finding {
    /// As it is recorded.
    #[must_use]
    pub fn to_json(&self) -> Object {
        let mut object = Object::new();
        object.set("what", self.what.name());
        object.set("key", self.key.as_str());
        object.set("account", self.account.as_str());
        if let Some(time) = self.time {
            object.set("time", rfc3339(time));
        }
        object.set("tunnels", Json::Array(self.tunnels.iter().map(Named::to_json).collect()));
        if let Some(id) = self.request_id {
            object.set("request_id", id.to_string());
        }
        object.append(self.told.clone());
        object
    }
}

impl Named {
    /// As it stands in an entry.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut object = Object::new();
        object.set("id", self.id.as_str());
        if let Some(name) = &self.name {
            object.set("name", name.as_str());
        }
        object.into()
    }
}

/// The key of a call that the upstream does not know.
pub(super) fn call_key(account: AccountId, call: Uuid) -> String {
    format!("{account}:call:{call}")
}
