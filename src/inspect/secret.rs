//! Whether a secret was ever handled as a key: in which calls, on which tunnels, and what became of it there.
//!
//! The record has keyed fingerprints in place of secrets, so this needs the key of fingerprints and the secret, and
//! nobody who has the record alone can ask. Not here: where the secret is read from (`cli::audit`), where it stands in a text
//! that is no key (`inspect::readable`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Readables, read_entry};
use crate::json::{Json, Object};
use crate::secret::{ExposeSecret as _, Fingerprinter, SecretString};
use crate::store::{ReadError, Reader, Row};

/// Entries that are held at once.
const PAGE: u32 = 64;

/// Entries that are looked through at once: a tenth of a second, so that who waits sees it go on.
const STRETCH: u64 = 20_000;

/// How a key that a tunnel got stands in the record: the text of a change's path, as it is written.
pub(super) const KEY_CHANGE: &str = r#""path":"/psk""#;

/// How an entry that tells of a deletion is written.
pub(super) const DELETION: &str = r#""operation":"delete""#;

/// What is told of an entry: who, when, what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told(Object);

impl Told {
    pub(super) fn of(entry: &Json) -> Self {
        let names = ["id", "request_id", "time", "kind", "subject", "operation", "status"];
        Self(names.into_iter().filter_map(|name| Some((name, entry.get(name)?.clone()))).collect())
    }

    /// With each word changed by what takes a secret out.
    pub(super) fn without(mut self, masked: &dyn Fn(&str) -> String) -> Self {
        for (_, value) in self.0.iter_mut() {
            if let Json::String(text) = value {
                *text = masked(text);
            }
        }
        self
    }

    pub(super) fn to_object(&self) -> Object {
        self.0.clone()
    }

    /// One of its words, `-` where it has none.
    #[must_use]
    pub fn word(&self, name: &str) -> &str {
        self.0.get(name).and_then(Json::as_str).unwrap_or("-")
    }
}

/// An entry that has the secret's fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Its place in the log.
    pub seq: u64,
    /// As what it was known: `psk`, `md5_key` or the like.
    pub what: String,
    /// The entry.
    pub told: Told,
}

/// A tunnel that got the secret as its key, or may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What it is called, where that is known.
    pub name: Option<String>,
    /// The place of the intent by which it got it: calls on one tunnel have their turns in this order.
    order: u64,
    /// Whether the record says that it got it; else nobody knows how that call ended.
    pub sure: bool,
    /// The newest entry that tells of it.
    pub got: Told,
    /// The newest entry by which it got another one, or was deleted, after that.
    pub lost: Option<Told>,
}

/// What the record knows of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Where it was handled, oldest first.
    pub handled: Vec<Handled>,
    /// The tunnels that got it or may have, by their ids, or by their name where they had none yet.
    pub holders: BTreeMap<String, Holder>,
    /// Whether some fingerprints were made with another key, by which nothing can be told.
    pub other_keys: bool,
    /// Where it stands as a text that was not known to be a key.
    pub readable: Readables,
}

/// Looks for a secret in the whole record, a few times over. `seen` is told how many entries were looked at.
///
/// # Errors
/// The record can't be read.
pub async fn find_secret(
    reader: &Reader,
    fingerprinter: &Fingerprinter,
    secret: &SecretString,
    seen: &mut (dyn FnMut(u64) + Send),
) -> Result<Known, ReadError> {
    let print =
        format!(":{}:{}", fingerprinter.key_id(), fingerprinter.of(secret.expose_secret().as_bytes()));
    let mut known = Known::default();
    let mut calls = BTreeSet::new();
    each(reader, &[&print], None, seen, |row, entry| {
        let what = row.entry.split(&print).next().and_then(|before| before.rsplit(':').next());
        let what = what.unwrap_or_default().to_owned();
        known.handled.push(Handled { seq: row.seq, what, told: Told::of(&entry) });
        calls.extend(entry.get("request_id").and_then(Json::as_str).map(str::to_owned));
    })
    .await?;
    for call in calls {
        let rows = reader.get(&call).await?;
        for (id, holder) in holders(&rows, &print) {
            match known.holders.get_mut(&id) {
                Some(other) if other.order > holder.order => {}
                _ => drop(known.holders.insert(id, holder)),
            }
        }
    }
    let first = known.handled.first().map(|handled| handled.seq);
    let some = !known.holders.is_empty();
    for words in [KEY_CHANGE, DELETION].into_iter().filter(|_| some) {
        let mut lost = Vec::new();
        each(reader, &[words], first, seen, |row, entry| {
            let other = |key: &Option<String>| !key.as_deref().is_some_and(|key| key.ends_with(&print));
            let by = entry.get("intent_id").and_then(Json::as_str).map(str::to_owned);
            for (tunnel, _) in keys(&entry).into_iter().filter(|(_, key)| other(key)) {
                if known.holders.contains_key(&tunnel) {
                    lost.push((tunnel, row.seq, by.clone(), Told::of(&entry)));
                }
            }
        })
        .await?;
        for (tunnel, seq, by, told) in lost {
            let order = match by {
                Some(intent) => place(reader, &intent).await?.unwrap_or(seq),
                None => seq,
            };
            if let Some(holder) = known.holders.get_mut(&tunnel).filter(|holder| holder.order < order) {
                holder.lost = Some(told);
            }
        }
    }
    for what in ["psk", "md5_key"] {
        let ours = format!("redacted:{what}:{}:", fingerprinter.key_id());
        known.other_keys |= reader.has(&format!("redacted:{what}:"), &ours).await?;
    }
    Ok(known)
}

/// The place of the entry with this id.
///
/// # Errors
/// The record can't be read.
pub async fn place(reader: &Reader, id: &str) -> Result<Option<u64>, ReadError> {
    let rows = reader.get(id).await?;
    let is_it = |row: &&Row| {
        let entry = read_entry(row.entry.as_bytes()).ok();
        entry.is_some_and(|entry| entry.get("id").and_then(Json::as_str) == Some(id))
    };
    Ok(rows.iter().find(is_it).map(|row| row.seq))
}

/// The tunnels to which one call gave the key with this fingerprint, or may have given it.
fn holders(rows: &[Row], print: &str) -> BTreeMap<String, Holder> {
    let entries: Vec<(u64, Json)> =
        rows.iter().filter_map(|row| Some((row.seq, read_entry(row.entry.as_bytes()).ok()?))).collect();
    let mut found = BTreeMap::new();
    let is = |entry: &Json, kind: &str| entry.get("kind").and_then(Json::as_str) == Some(kind);
    let Some((order, intent)) = entries.iter().find(|(_, entry)| is(entry, "intent")) else { return found };
    let has_it = |key: Option<&str>| key.is_some_and(|key| key.ends_with(print));
    let mut add = |id: String, sure: bool, entry: &Json| {
        let name = name_of(&entries, &id);
        found.insert(id, Holder { name, order: *order, sure, got: Told::of(entry), lost: None });
    };
    let ends = || entries.iter().filter(|(_, entry)| entry.get("intent_id").is_some());
    // What was given for sure.
    for (_, entry) in ends() {
        keys(entry)
            .into_iter()
            .filter(|(_, key)| has_it(key.as_deref()))
            .for_each(|(id, _)| add(id, true, entry));
    }
    if intent.get("validate_only") == Some(&Json::Bool(true)) || !intent.to_text().contains(print) {
        return found;
    }
    // What was asked for, where no end says otherwise.
    let last = ends().next_back();
    let doubt = last.is_none_or(|(_, end)| may_have_happened(end));
    let results = last.and_then(|(_, end)| end.get("results")?.as_array()).unwrap_or_default();
    for item in intent.get("expected").and_then(Json::as_array).unwrap_or_default() {
        let text = |name: &str| item.get(name).and_then(Json::as_str);
        let replaces = item.get("replaces_key") == Some(&Json::Bool(true));
        let Some(id) = text("tunnel").or(text("name")).filter(|_| replaces) else { continue };
        let result = results.iter().find(|one| one.get("tunnel").and_then(Json::as_str) == Some(id));
        let applied = result.and_then(|one| one.get("applied")?.as_bool());
        if !found.contains_key(id) && has_it(asked(intent, id)) && applied.unwrap_or(doubt) {
            let entry = last.map_or(intent, |(_, end)| end);
            let name = name_of(&entries, id);
            let sure = applied == Some(true);
            let got = Told::of(entry);
            found.insert(id.to_owned(), Holder { name, order: *order, sure, got, lost: None });
        }
    }
    found
}

/// The key that an intent's body has for a tunnel: of one tunnel, of one among several, or of a list of keys.
fn asked<'a>(intent: &'a Json, id: &str) -> Option<&'a str> {
    let body = intent.pointer("/request/body")?;
    let many = body.as_array().or_else(|| body.get("psks")?.as_array());
    let of = |one: &&Json| one.get("id").and_then(Json::as_str) == Some(id);
    many.map_or(Some(body), |many| many.iter().find(of))?.get("psk")?.as_str()
}

/// Whether a call may have come about, by the last entry that tells of its end: also where that tells of no change, as of an
/// answer that could not be read, or of a body that was left out.
fn may_have_happened(end: &Json) -> bool {
    let text = |pointer: &str| end.pointer(pointer).and_then(Json::as_str);
    match text("/resolution") {
        Some("not applied") => false,
        Some(_) => true,
        None => {
            let good =
                end.pointer("/upstream/status").and_then(Json::as_i64).is_none_or(|status| status < 300);
            text("/sent") != Some("no") && (good || end.get("ambiguous") == Some(&Json::Bool(true)))
        }
    }
}

/// What a tunnel is called, by the entries of a call.
fn name_of(entries: &[(u64, Json)], id: &str) -> Option<String> {
    let tunnels = entries.iter().filter_map(|(_, entry)| entry.get("tunnels")?.as_array()).flatten();
    let text = |tunnel: &Json, name: &str| tunnel.get(name).and_then(Json::as_str).map(str::to_owned);
    tunnels.filter(|tunnel| text(tunnel, "id").as_deref() == Some(id)).find_map(|tunnel| text(tunnel, "name"))
}

/// Calls `then` with each entry that holds any of these words, and `seen` with how many entries were looked at.
pub(super) async fn each(
    reader: &Reader,
    words: &[&str],
    after: Option<u64>,
    seen: &mut (dyn FnMut(u64) + Send),
    mut then: impl FnMut(&Row, Json),
) -> Result<(), ReadError> {
    let Some(end) = reader.last().await? else { return Ok(()) };
    let mut after = after;
    loop {
        let begun = after.map_or(0, |after| after + 1);
        if begun > end {
            return Ok(());
        }
        let up_to = end.min(begun + STRETCH - 1);
        let rows = reader.containing(words, after, up_to, PAGE).await?;
        let whole = rows.len() < PAGE as usize;
        let read_to = rows.last().filter(|_| !whole).map_or(up_to, |last| last.seq);
        for row in &rows {
            // One that can't be read is told of by `audit verify`.
            if let Ok(entry) = read_entry(row.entry.as_bytes()) {
                then(row, entry);
            }
        }
        seen(read_to + 1 - begun);
        after = Some(read_to);
    }
}

/// The tunnels whose key an entry says to be another one from now on, each with the fingerprint of that key, where
/// it is known; a tunnel that was deleted has none.
pub(super) fn keys(entry: &Json) -> Vec<(String, Option<String>)> {
    let changes = entry.get("before_after_diff").and_then(Json::as_array).unwrap_or_default();
    let mut found = Vec::new();
    for change in changes {
        let Some(tunnel) = change.get("tunnel").and_then(Json::as_str) else { continue };
        for operation in change.get("patch").and_then(Json::as_array).unwrap_or_default() {
            let text = |name: &str| operation.get(name).and_then(Json::as_str);
            match (text("op"), text("path")) {
                (_, Some("/psk")) => found.push((tunnel.to_owned(), text("value").map(str::to_owned))),
                (Some("remove"), Some("")) => found.push((tunnel.to_owned(), None)),
                _ => {}
            }
        }
    }
    found
}

impl Known {
    /// With each text changed by what takes a secret out: a subject or a tunnel's name may hold it.
    #[must_use]
    pub fn without(mut self, masked: &dyn Fn(&str) -> String) -> Self {
        for handled in &mut self.handled {
            handled.told = handled.told.clone().without(masked);
        }
        let holder = |(id, mut holder): (String, Holder)| {
            holder.name = holder.name.as_deref().map(masked);
            holder.got = holder.got.without(masked);
            holder.lost = holder.lost.map(|lost| lost.without(masked));
            (masked(&id), holder)
        };
        self.holders = self.holders.into_iter().map(holder).collect();
        self
    }

    /// What is known, as JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let call = |handled: &Handled| {
            let mut call = handled.told.0.clone();
            call.set("seq", handled.seq);
            call.set("as", handled.what.as_str());
            Json::Object(call)
        };
        let tunnel = |(id, holder): (&String, &Holder)| {
            let mut tunnel = Object::new();
            tunnel.set("tunnel", id.as_str());
            tunnel.set("name", holder.name.clone());
            tunnel.set("sure", holder.sure);
            tunnel.set("got", holder.got.0.clone());
            tunnel.set("lost", holder.lost.as_ref().map(|told| told.0.clone()));
            Json::Object(tunnel)
        };
        let mut object = Object::new();
        object.set("handled", !self.handled.is_empty());
        object.set("entries", Json::Array(self.handled.iter().map(call).collect()));
        object.set("tunnels", Json::Array(self.holders.iter().map(tunnel).collect()));
        object.set("other_keys", self.other_keys);
        self.readable.tell(&mut object);
        object.into()
    }
}
