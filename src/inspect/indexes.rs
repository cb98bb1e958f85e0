//! What the indexes of the entries ought to hold, from the entries' texts as they are walked over, and whether they do.
//!
//! An index that lost an entry, has one too many or one in another's place hides that from whoever looks by it, though the
//! log is whole. What is written here of the columns is meant for entries as they are usually written; of any other
//! nothing is said, then the database's own check tells. Not here: how an index is read (`store::index`).

use std::borrow::Cow;

use crate::json::Text;
use crate::store::{Column, INDEXES, Snapshot, Sum, Sums};

/// Members of an entry that columns are made of.
pub(super) const MEMBERS: [&str; 10] = [
    "kind",
    "id",
    "request_id",
    "time",
    "subject",
    "tunnels",
    "refusal",
    "intent_id",
    "request_key",
    "ambiguous",
];

/// What these members are.
pub(super) type Members<'a> = [Option<Text<'a>>; MEMBERS.len()];

/// What the indexes ought to hold.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    sums: Sums,
    expected: [Sum; INDEXES.len()],
    /// Whether there was an entry of which the columns can't be told here.
    is_unsure: bool,
    text: String,
}

/// Whether the indexes hold what they ought to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Agree {
    /// All do.
    Yes,
    /// This one does not.
    No(&'static str),
    /// It can't be told here.
    Unsure,
}

impl Indexes {
    /// Notes an entry.
    pub(super) fn add(&mut self, seq: u64, members: &Members<'_>) {
        if self.try_add(seq, members).is_none() {
            self.is_unsure = true;
        }
    }

    fn try_add(&mut self, seq: u64, members: &Members<'_>) -> Option<()> {
        let [kind, id, request_id, time, subject, tunnels, refusal, intent_id, request_key, ambiguous] =
            *members;
        let [kind, id, request_id, time] = [kind, id, request_id, time].map(string);
        let (kind, id, request_id, time) = (kind??, id??, request_id??, time??);
        let (subject, intent_id) = (string(subject)?, string(intent_id)?);
        let tunnels = tunnels.map_or(Some(Vec::new()), Text::items)?;
        let (tunnel, tunnel_name) = match tunnels.first() {
            Some(first) => {
                let first = first.members()?;
                (string(first.get("id"))?, string(first.get("name"))?)
            }
            None => (None, None),
        };
        let refusal = match refusal {
            Some(refusal) => string(refusal.members()?.get("name"))?,
            None => None,
        };
        let request_key = if kind == "intent" { string(request_key)? } else { None };
        let ambiguous = match ambiguous.map(Text::as_str) {
            Some("true") => intent_id.is_some(),
            Some("false") | None => false,
            Some(_) => return None,
        };
        let count = [Column::Number(u64::try_from(tunnels.len()).ok()?)];
        let (by_subject, by_intent, by_time) =
            ([column(&subject)], [column(&intent_id)], [Column::Text(&time)]);
        let by_kind = [Column::Text(&kind)];
        let by_name = [column(&tunnel_name), column(&tunnel)];
        let keys: [Option<&[Column<'_>]>; INDEXES.len()] = [
            Some(&[Column::Text(&id)]),
            Some(&[Column::Text(&request_id)]),
            Some(&by_time),
            subject.is_some().then_some(&by_subject),
            tunnel.is_some().then_some(by_name.get(1..)?),
            tunnel_name.is_some().then_some(&by_name),
            refusal.is_some().then_some(&by_subject),
            (tunnels.len() > 1).then_some(&count),
            intent_id.is_some().then_some(&by_intent),
            (kind != "outcome").then_some(&by_kind),
            ambiguous.then_some(&by_intent),
            request_key.is_some().then_some(&by_time),
        ];
        for (sum, key) in self.expected.iter_mut().zip(keys) {
            if let Some(key) = key {
                self.sums.add(sum, key, seq, &mut self.text);
            }
        }
        Some(())
    }

    /// Looks whether the indexes hold what was noted.
    ///
    /// # Errors
    /// One of them can't be read.
    pub(super) async fn agree(&self, snapshot: &mut Snapshot) -> Result<Agree, sqlx::Error> {
        if self.is_unsure {
            return Ok(Agree::Unsure);
        }
        for (index, expected) in INDEXES.iter().zip(self.expected) {
            if snapshot.index(index, &self.sums).await? != Some(expected) {
                return Ok(Agree::No(index.name));
            }
        }
        Ok(Agree::Yes)
    }
}

/// What a member says that is a string or not there; nothing of any other, nor of a text that the database might give
/// another way.
fn string(member: Option<Text<'_>>) -> Option<Option<Cow<'_, str>>> {
    match member {
        None => Some(None),
        Some(member) if member.as_str() == "null" => Some(None),
        Some(member) => member.string().filter(|text| !text.contains(['\0', '\u{fffd}'])).map(Some),
    }
}

fn column<'a>(value: &'a Option<Cow<'_, str>>) -> Column<'a> {
    value.as_deref().map_or(Column::Null, Column::Text)
}
