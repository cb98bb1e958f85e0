//! Whether a secret was ever handled: in which calls, on which tunnels, and what became of it there.
//!
//! The record has keyed fingerprints in place of secrets, so this needs the key of fingerprints and the secret, and
//! nobody who has the record alone can ask. Not here: where the secret is read from (`cli::audit`).

use std::collections::BTreeMap;

use super::read_entry;
use crate::json::{Json, Object};
use crate::secret::{ExposeSecret as _, Fingerprinter, SecretString};
use crate::store::{ReadError, Reader, Row};

/// Entries that are held at once.
const PAGE: u32 = 64;

/// How a key that a tunnel got stands in the record: the text of a change's path, as it is written.
pub(super) const KEY_CHANGE: &str = r#""path":"/psk""#;

/// An entry that has the secret's fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Its place in the log.
    pub seq: u64,
    /// As what it was known: `psk`, `md5_key` or the like.
    pub what: String,
    /// The entry.
    pub entry: Json,
}

/// A tunnel that got the secret as its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The place of the entry by which it got it, the newest if there are several.
    pub seq: u64,
    /// That entry.
    pub got: Json,
    /// The newest entry by which it got another one, or was deleted, after that.
    pub lost: Option<Json>,
}

/// What the record knows of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Where it was handled, oldest first.
    pub handled: Vec<Handled>,
    /// The tunnels that got it, by their ids.
    pub holders: BTreeMap<String, Holder>,
    /// Whether some fingerprints were made with another key, by which nothing can be told.
    pub other_keys: bool,
}

/// Looks for a secret in the whole record.
///
/// # Errors
/// The record can't be read.
pub async fn find_secret(
    reader: &Reader,
    fingerprinter: &Fingerprinter,
    secret: &SecretString,
) -> Result<Known, ReadError> {
    let print =
        format!(":{}:{}", fingerprinter.key_id(), fingerprinter.of(secret.expose_secret().as_bytes()));
    let mut known = Known::default();
    each(reader, &print, None, |row, entry| {
        let what = row.entry.split(&print).next().and_then(|before| before.rsplit(':').next());
        let what = what.unwrap_or_default().to_owned();
        for (tunnel, key) in keys(&entry) {
            if key.as_deref().is_some_and(|key| key.ends_with(&print)) {
                known.holders.insert(tunnel, Holder { seq: row.seq, got: entry.clone(), lost: None });
            }
        }
        known.handled.push(Handled { seq: row.seq, what, entry });
    })
    .await?;
    if let Some(first) = known.handled.first().map(|handled| handled.seq) {
        for words in [KEY_CHANGE, r#""operation":"delete""#] {
            each(reader, words, Some(first), |row, entry| {
                let lost = keys(&entry)
                    .into_iter()
                    .filter(|(_, key)| !key.as_deref().is_some_and(|key| key.ends_with(&print)));
                for (tunnel, _) in lost {
                    if let Some(holder) = known.holders.get_mut(&tunnel)
                        && holder.seq < row.seq
                    {
                        holder.lost = Some(entry.clone());
                    }
                }
            })
            .await?;
        }
    }
    let ours = format!("redacted:psk:{}:", fingerprinter.key_id());
    known.other_keys = reader.has("redacted:psk:", &ours).await?;
    Ok(known)
}

/// Calls `then` with each entry that holds these words.
pub(super) async fn each(
    reader: &Reader,
    words: &str,
    after: Option<u64>,
    mut then: impl FnMut(&Row, Json),
) -> Result<(), ReadError> {
    let mut after = after;
    loop {
        let rows = reader.containing(words, after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.seq);
        for row in &rows {
            // One that can't be read is told of by `audit verify`.
            if let Ok(entry) = read_entry(row.entry.as_bytes()) {
                then(row, entry);
            }
        }
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
    /// What is known, as JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let said = |entry: &Json| {
            let names = ["id", "request_id", "time", "kind", "subject", "operation", "status"];
            let known = names.into_iter().filter_map(|name| Some((name, entry.get(name)?.clone())));
            known.collect::<Object>()
        };
        let call = |handled: &Handled| {
            let mut call = said(&handled.entry);
            call.set("seq", handled.seq);
            call.set("as", handled.what.as_str());
            Json::Object(call)
        };
        let tunnel = |(id, holder): (&String, &Holder)| {
            let mut tunnel = Object::new();
            tunnel.set("tunnel", id.as_str());
            tunnel.set("got", said(&holder.got));
            tunnel.set("lost", holder.lost.as_ref().map(said));
            Json::Object(tunnel)
        };
        let mut object = Object::new();
        object.set("handled", !self.handled.is_empty());
        object.set("entries", Json::Array(self.handled.iter().map(call).collect()));
        object.set("tunnels", Json::Array(self.holders.iter().map(tunnel).collect()));
        object.set("other_keys", self.other_keys);
        object.into()
    }
}
