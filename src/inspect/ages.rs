//! How old each tunnel's pre-shared key is, as far as the record can tell.
//!
//! Two things tell: calls of ours that replaced a key, and `psk_metadata.last_generated_on` in a state that was read
//! before a change. Where the second is clearly later than the first, somebody changed the key without us. Not here:
//! what is done about it (`cli::audit`).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::secret::{KEY_CHANGE, each, keys};
use crate::json::{Json, Object};
use crate::store::{ReadError, Reader};

/// By how much the upstream's clock and ours may differ for one change to be the same.
const SAME: SignedDuration = SignedDuration::from_mins(5);

/// What is known of a tunnel's key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyAge {
    /// The tunnel's newest name that is known.
    pub name: Option<String>,
    /// When a call of ours last replaced it, and that entry.
    pub ours: Option<(Timestamp, Json)>,
    /// When the upstream last said that it was replaced.
    pub told: Option<Timestamp>,
}

impl KeyAge {
    /// When it was replaced last, by anybody.
    #[must_use]
    pub fn changed(&self) -> Option<Timestamp> {
        self.told.max(self.ours.as_ref().map(|(time, _)| *time))
    }

    /// Whether somebody replaced it without us since we did, or though we never did.
    #[must_use]
    pub fn bypassed(&self) -> bool {
        let ours = self.ours.as_ref().map(|(time, _)| *time);
        match (self.told, ours) {
            (Some(told), Some(ours)) => told.duration_since(ours) > SAME,
            (told, None) => told.is_some(),
            (None, Some(_)) => false,
        }
    }

    /// What is known, as JSON.
    #[must_use]
    pub fn to_json(&self, tunnel: &str) -> Json {
        let text = |name: &str| self.ours.as_ref().and_then(|(_, entry)| entry.get(name).cloned());
        let mut object = Object::new();
        object.set("tunnel", tunnel);
        object.set("name", self.name.clone());
        object.set("changed", self.changed().map(|time| time.to_string()));
        object.set("by", text("subject"));
        object.set("request_id", text("request_id"));
        object.set("upstream_says", self.told.map(|time| time.to_string()));
        object.set("bypassed", self.bypassed());
        object.into()
    }
}

/// The tunnels that the record knows and that no call deleted, by their ids.
///
/// # Errors
/// The record can't be read.
pub async fn key_ages(reader: &Reader) -> Result<BTreeMap<String, KeyAge>, ReadError> {
    let mut ages: BTreeMap<String, KeyAge> = BTreeMap::new();
    // Names and what the upstream says: in the states that were read.
    each(reader, "\"state_before\":[{", None, |_, entry| {
        for state in entry.get("state_before").and_then(Json::as_array).unwrap_or_default() {
            let text = |pointer: &str| state.pointer(pointer).and_then(Json::as_str);
            let Some(id) = text("/id") else { continue };
            let age = ages.entry(id.to_owned()).or_default();
            age.name = text("/name").map(str::to_owned).or(age.name.take());
            let told = text("/psk_metadata/last_generated_on").and_then(|time| time.parse().ok());
            age.told = told.max(age.told);
        }
    })
    .await?;
    each(reader, KEY_CHANGE, None, |_, entry| {
        let time = entry.get("time").and_then(Json::as_str).and_then(|time| time.parse().ok());
        for (id, _) in keys(&entry) {
            let age = ages.entry(id).or_default();
            age.ours = time.map(|time| (time, entry.clone())).or(age.ours.take());
        }
    })
    .await?;
    let mut gone = Vec::new();
    each(reader, "\"operation\":\"delete\"", None, |_, entry| {
        gone.extend(keys(&entry).into_iter().filter(|(_, key)| key.is_none()).map(|(id, _)| id));
    })
    .await?;
    gone.iter().for_each(|id| drop(ages.remove(id)));
    Ok(ages)
}
