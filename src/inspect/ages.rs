//! How old each tunnel's pre-shared key is, as far as the record can tell.
//!
//! Two things tell: calls of ours that replaced a key, and `psk_metadata.last_generated_on` in a state that was read
//! before a change. Where the second is clearly later than the first, somebody changed the key without us. Not here:
//! what is done about it (`cli::audit`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::read_entry;
use super::secret::{DELETION, KEY_CHANGE, each, keys};
use crate::json::{Json, Object};
use crate::operation::Operation;
use crate::store::{ReadError, Reader};

/// By how much the upstream's clock and ours may differ for one change to be the same.
const SAME: SignedDuration = SignedDuration::from_mins(5);

/// A call of ours that replaced a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// When.
    pub time: Timestamp,
    /// By whom.
    pub subject: Option<String>,
    /// By which request.
    pub request_id: String,
}

/// What is known of a tunnel's key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyAge {
    /// The tunnel's newest name that is known.
    pub name: Option<String>,
    /// The call of ours that last replaced it.
    pub ours: Option<Ours>,
    /// When calls of ours tried to, however that ended.
    tried: BTreeSet<Timestamp>,
    /// When the upstream last said that it was replaced.
    pub told: Option<Timestamp>,
}

impl KeyAge {
    /// When it was replaced last, by anybody.
    #[must_use]
    pub fn changed(&self) -> Option<Timestamp> {
        self.told.max(self.ours.as_ref().map(|ours| ours.time))
    }

    /// Whether somebody replaced it without us since we did, or though we never did. A call of ours whose end nobody
    /// knows may have been it.
    #[must_use]
    pub fn bypassed(&self) -> bool {
        let Some(told) = self.told else { return false };
        let later = self.ours.as_ref().is_none_or(|ours| told.duration_since(ours.time) > SAME);
        later && !self.tried.iter().any(|tried| told.duration_since(*tried).abs() <= SAME)
    }

    /// What is known, as JSON.
    #[must_use]
    pub fn to_json(&self, tunnel: &str) -> Json {
        let mut object = Object::new();
        object.set("tunnel", tunnel);
        object.set("name", self.name.clone());
        object.set("changed", self.changed().map(|time| time.to_string()));
        object.set("by", self.ours.as_ref().and_then(|ours| ours.subject.clone()));
        object.set("request_id", self.ours.as_ref().map(|ours| ours.request_id.clone()));
        object.set("upstream_says", self.told.map(|time| time.to_string()));
        object.set("bypassed", self.bypassed());
        object.into()
    }
}

/// The ages of all keys as of some entry, which go on with the record.
#[derive(Clone, Debug, Default)]
pub struct KeyAges {
    ages: BTreeMap<String, KeyAge>,
    gone: BTreeSet<String>,
    /// The place up to which the record was read.
    read: Option<u64>,
}

/// How an entry that tells of keys is written: states that were read, what is about to be replaced, what was, deletions.
const TELLING: [&str; 4] = ["\"state_before\":[{", "\"replaces_key\":true", KEY_CHANGE, DELETION];

impl KeyAges {
    /// Reads what the record has since.
    ///
    /// # Errors
    /// The record can't be read.
    pub async fn follow(&mut self, reader: &Reader) -> Result<(), ReadError> {
        let end = reader.last().await?;
        let mut found = Vec::new();
        each(reader, &TELLING, self.read, &mut |_| {}, |_, entry| self.take(&entry, &mut found)).await?;
        for (id, mut ours, late) in found {
            if late {
                ours.time = begun(reader, &ours.request_id).await?.unwrap_or(ours.time);
            }
            let age = self.ages.entry(id).or_default();
            if age.ours.as_ref().is_none_or(|known| known.time <= ours.time) {
                age.ours = Some(ours);
            }
        }
        // What came while it was read is read again, which changes nothing.
        self.read = self.read.max(end);
        Ok(())
    }

    /// The tunnels that the record knows and that no call deleted, by their ids.
    pub fn left(&self) -> impl Iterator<Item = (&str, &KeyAge)> {
        let left = self.ages.iter().filter(|(id, _)| !self.gone.contains(*id));
        left.map(|(id, age)| (id.as_str(), age))
    }

    /// What tunnels were called last, of those that are gone too.
    #[must_use]
    pub fn names(&self) -> BTreeMap<String, String> {
        self.ages.iter().filter_map(|(id, age)| Some((id.clone(), age.name.clone()?))).collect()
    }

    /// One of them.
    #[must_use]
    pub fn of(&self, tunnel: &str) -> Option<&KeyAge> {
        self.ages.get(tunnel).filter(|_| !self.gone.contains(tunnel))
    }

    /// Takes what one entry tells; changes of keys go to `found`, since a late one's time is to be looked up.
    fn take(&mut self, entry: &Json, found: &mut Vec<(String, Ours, bool)>) {
        for state in entry.get("state_before").and_then(Json::as_array).unwrap_or_default() {
            let text = |pointer: &str| state.pointer(pointer).and_then(Json::as_str);
            let Some(id) = text("/id") else { continue };
            let age = self.ages.entry(id.to_owned()).or_default();
            age.name = text("/name").map(str::to_owned).or(age.name.take());
            let told = text("/psk_metadata/last_generated_on").and_then(|time| time.parse().ok());
            age.told = told.max(age.told);
        }
        for tunnel in entry.get("tunnels").and_then(Json::as_array).unwrap_or_default() {
            let text = |name: &str| tunnel.get(name).and_then(Json::as_str).map(str::to_owned);
            // A call that was refused may have told any name.
            if let Some((id, name)) =
                text("id").zip(text("name")).filter(|_| entry.get("intent_id").is_some())
            {
                self.ages.entry(id).or_default().name = Some(name);
            }
        }
        let Some(time) = time_of(entry) else { return };
        for item in entry.get("expected").and_then(Json::as_array).unwrap_or_default() {
            let id = item.get("tunnel").and_then(Json::as_str);
            let replaces = item.get("replaces_key") == Some(&Json::Bool(true));
            if let Some(id) = id.filter(|_| replaces) {
                self.ages.entry(id.to_owned()).or_default().tried.insert(time);
            }
        }
        let text = |name: &str| entry.get(name).and_then(Json::as_str).map(str::to_owned);
        let Some(request_id) = text("request_id") else { return };
        let ours = Ours { time, subject: text("subject"), request_id };
        let late = text("kind").as_deref() == Some("resolved") || entry.get("recorded_late").is_some();
        for (id, key) in keys(entry) {
            if key.is_none() && text("operation").as_deref() == Some(Operation::Delete.name()) {
                self.gone.insert(id.clone());
            }
            found.push((id, ours.clone(), late));
        }
    }
}

fn time_of(entry: &Json) -> Option<Timestamp> {
    entry.get("time")?.as_str()?.parse().ok()
}

/// When a call was about to be sent: what is told of it later has a time of its own.
async fn begun(reader: &Reader, request_id: &str) -> Result<Option<Timestamp>, ReadError> {
    let rows = reader.get(request_id).await?;
    Ok(rows.first().and_then(|row| time_of(&read_entry(row.entry.as_bytes()).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ours: Option<&str>, tried: &[&str], told: Option<&str>, bypassed: bool) {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let ours = ours.map(|text| Ours { time: time(text), subject: None, request_id: String::new() });
        let tried = tried.iter().map(|text| time(text)).collect();
        let age = KeyAge { name: None, ours, tried, told: told.map(time) };
        assert_eq!(age.bypassed(), bypassed, "{age:?}");
    }

    #[test]
    fn a_key_is_said_to_be_replaced_past_us_only_where_no_call_of_ours_may_have_been_it() {
        let [early, same, late] = ["2026-01-01T10:00:00Z", "2026-01-01T10:04:00Z", "2026-01-01T11:00:00Z"];
        check(Some(early), &[early], None, false);
        check(Some(early), &[early], Some(same), false);
        check(Some(early), &[early], Some(late), true);
        check(Some(late), &[late], Some(early), false);
        check(None, &[], Some(late), true);
        check(None, &[], None, false);
        // One whose end nobody knows.
        check(Some(early), &[early, late], Some(late), false);
        check(None, &[late], Some(late), false);
    }
}
