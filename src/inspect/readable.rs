//! Where a secret stands readable: in a text that nobody knew to be a key, such as a description or a user agent.
//!
//! Each text of an entry is looked at as it says, and each name of a member; the secret in another encoding is not looked for.
//! The database is never asked for it, since a server may log what it is asked. Not here: where a secret was handled as a key
//! (`inspect::secret`), the files of archives (`cli::audit`).

use std::collections::BTreeMap;
use std::ops::Range;

use memchr::memmem;
use zeroize::Zeroizing;

use super::{Told, read_entry, written_entry};
use crate::archive;
use crate::json::{Json, Object, escape_token};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::store::{Filter, ReadError, Reader};

/// Bytes below which a secret counts only where it is a whole text, as where the record masks them: shorter ones stand in
/// words by chance.
const SHORT: usize = 6;

/// Entries that are told one by one, and places in one: somebody may ask for a word that stands in all of them.
const MOST: usize = 1000;
const PLACES: usize = 16;

/// What stands in what is told in place of the secret.
const MASK: &str = "[the secret]";

/// How the member begins by which it is known that parts of an entry are in an archive.
const ARCHIVED: &str = r#""archived":{"parts":"#;

/// An entry in which the secret can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable {
    /// In which members: RFC 6901 pointers.
    pub at: Vec<String>,
    /// The entry.
    pub told: Told,
}

/// Where a secret can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readables {
    /// Some of the entries, by their places in the log.
    pub entries: BTreeMap<u64, Readable>,
    /// How many more there are.
    pub more: u64,
    /// Entries of which parts are in an archive that was not looked into.
    pub archived: u64,
}

/// Looks for a secret in the texts of entries.
#[derive(Debug)]
pub struct Search<'a> {
    secret: &'a SecretString,
    /// How the secret stands in a text of JSON.
    written: SecretString,
    /// The entries that an archive had as they were.
    whole: Vec<Range<u64>>,
    found: Readables,
}

impl<'a> Search<'a> {
    /// For this secret.
    #[must_use]
    pub fn new(secret: &'a SecretString) -> Self {
        let quoted = Zeroizing::new(Json::from(secret.expose_secret()).to_text());
        let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
        Self { secret, written: SecretString::from(inner), whole: Vec::new(), found: Readables::default() }
    }

    /// Looks at an entry's text. One that can't be read is told of by `audit verify`.
    pub fn look(&mut self, seq: u64, text: &str) {
        let sought = self.written.expose_secret().as_bytes();
        let holds = |written: &str| memmem::find(written.as_bytes(), sought).is_some();
        if !written_entry(text.as_bytes()).is_ok_and(|written| holds(&written)) {
            return;
        }
        let Ok(entry) = read_entry(text.as_bytes()) else { return };
        let mut at = Vec::new();
        self.places(&entry, "", &mut at);
        if at.is_empty() {
            return;
        }
        if self.found.entries.len() >= MOST {
            self.found.more += 1;
            return;
        }
        at.truncate(PLACES);
        let told = Told::of(&entry).without(&|text| self.masked(text));
        self.found.entries.insert(seq, Readable { at, told });
    }

    /// Says that an archive had these entries, and that all of them were looked at.
    pub fn looked_at(&mut self, entries: Range<u64>) {
        self.whole.push(entries);
    }

    /// Looks at all entries of the record. `seen` is told how many.
    ///
    /// # Errors
    /// The record can't be read.
    pub async fn record(
        &mut self,
        reader: &Reader,
        seen: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), ReadError> {
        // What comes meanwhile is not waited for.
        let Some(last) = reader.last().await? else { return Ok(()) };
        let mut filter = Filter::default();
        while filter.after.is_none_or(|after| after < last) {
            let rows = reader.page(&filter).await?;
            for row in &rows {
                // Whole ones are looked at here whatever an archive has: it may be of another record under the same key.
                if row.entry.contains(ARCHIVED) && archive::is_stub(&row.entry) {
                    let is_given = self.whole.iter().any(|whole| whole.contains(&row.seq));
                    self.found.archived += u64::from(!is_given);
                    // An archive says more of it than what is left.
                    if self.found.entries.contains_key(&row.seq) {
                        continue;
                    }
                }
                self.look(row.seq, &row.entry);
            }
            let Some(end) = rows.last() else { break };
            filter.after = Some(end.seq);
            seen(rows.len() as u64);
        }
        Ok(())
    }

    /// What was found.
    #[must_use]
    pub fn found(self) -> Readables {
        self.found
    }

    /// Whether a text holds the secret.
    fn is_in(&self, text: &str) -> bool {
        let secret = self.secret.expose_secret();
        text == secret || secret.len() >= SHORT && text.contains(secret)
    }

    /// A text without the secret.
    #[must_use]
    pub fn masked(&self, text: &str) -> String {
        if self.is_in(text) { text.replace(self.secret.expose_secret(), MASK) } else { text.to_owned() }
    }

    /// The places in a value where it stands, of which only a few more than enough are looked for.
    fn places(&self, value: &Json, here: &str, at: &mut Vec<String>) {
        if at.len() > PLACES {
            return;
        }
        match value {
            Json::String(text) if self.is_in(text) => at.push(here.to_owned()),
            Json::Array(items) => {
                items.iter().enumerate().for_each(|(n, item)| self.places(item, &format!("{here}/{n}"), at));
            }
            Json::Object(members) => {
                for (name, value) in members.iter() {
                    let there = format!("{here}/{}", escape_token(&self.masked(name)));
                    if self.is_in(name) {
                        at.push(there.clone());
                    }
                    self.places(value, &there, at);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
}

impl Readables {
    /// Adds it to what is told of a secret.
    pub(super) fn tell(&self, object: &mut Object) {
        let one = |(seq, readable): (&u64, &Readable)| {
            let mut one = readable.told.to_object();
            one.set("seq", *seq);
            one.set("at", readable.at.clone());
            Json::Object(one)
        };
        object.set("readable", Json::Array(self.entries.iter().map(one).collect()));
        object.set("readable_more", self.more);
        object.set("archived_not_looked_at", self.archived);
    }
}
