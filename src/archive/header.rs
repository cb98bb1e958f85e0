//! The first line of an archive: which entries of which log, and what proves them.
//!
//! A header is made only from a note that one of the given keys signed, so whoever has one has a true checkpoint. Not
//! here: whether the entries make its root (`archive::write`, `archive::read`).

use data_encoding::BASE64;

use super::{ArchiveError, MAX_HEADER, Place};
use crate::json::{self, Json, Object};
use crate::seal::{Checkpoint, Edge, Hash, NoteError, Verifier, by_any_key, hash_from};

/// The name of the form. Another form has another name.
const FORM: &str = "tunnelwarden.archive/1";

/// Levels of nesting: the object, and the array in it.
const DEPTH: usize = 2;

/// Which entries an archive has, and the signed checkpoint that proves them.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    key: Verifier,
    left: Edge,
    roots: Vec<Hash>,
    note: String,
    checkpoint: Checkpoint,
}

impl Header {
    /// The header of an archive from entry `from` up to where the checkpoint in `note` ends, which one of `keys` signed.
    /// `roots` are those of the subtrees over the entries before `from`, as `seal::subtrees` has them.
    ///
    /// # Errors
    /// The note is none of these keys, there is no entry between, or it is another number of roots.
    pub fn new(from: u64, roots: Vec<Hash>, note: &str, keys: &[Verifier]) -> Result<Self, ArchiveError> {
        let (checkpoint, key) = by_any_key(keys, |key| Checkpoint::open(note.as_bytes(), key))?;
        if from >= checkpoint.size {
            return Err(ArchiveError::Empty { from, to: checkpoint.size });
        }
        let left = Edge::new(from, roots.clone()).map_err(|_| ArchiveError::Left { from })?;
        let header = Self { key: key.clone(), left, roots, note: note.to_owned(), checkpoint };
        if header.to_line().len() > MAX_HEADER {
            return Err(ArchiveError::Long(Place::Header));
        }
        Ok(header)
    }

    /// The log's origin: the name of the key.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.key.origin()
    }

    /// The key that signed the checkpoint.
    #[must_use]
    pub const fn key(&self) -> &Verifier {
        &self.key
    }

    /// The first entry.
    #[must_use]
    pub const fn from(&self) -> u64 {
        self.left.size()
    }

    /// The first entry that is not in it: how many the checkpoint covers.
    #[must_use]
    pub const fn to(&self) -> u64 {
        self.checkpoint.size
    }

    /// The checkpoint that proves the entries.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Its signed note.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The edge of the log before the first entry.
    pub(super) const fn left(&self) -> &Edge {
        &self.left
    }

    /// Whether a tree that goes on from [`Self::left`] is the one that the checkpoint signs.
    ///
    /// # Errors
    /// [`ArchiveError::Root`]; [`ArchiveError::Short`] where entries are missing.
    pub(super) fn prove(&self, entries: &Edge) -> Result<(), ArchiveError> {
        if entries.size() < self.to() {
            return Err(ArchiveError::Short(Place::Entry(entries.size())));
        }
        if entries.size() != self.to() || entries.root() != self.checkpoint.root {
            return Err(ArchiveError::Root { from: self.from(), last: self.last() });
        }
        Ok(())
    }

    /// The last entry.
    pub(super) const fn last(&self) -> u64 {
        self.to().saturating_sub(1)
    }

    /// The line, without its line feed.
    pub(super) fn to_line(&self) -> String {
        let roots: Vec<String> = self.roots.iter().map(|root| BASE64.encode(&root.0)).collect();
        let mut line = Object::new();
        line.set("archive", FORM);
        line.set("origin", self.origin());
        line.set("from", self.from());
        line.set("to", self.to());
        line.set("left", roots);
        line.set("checkpoint", self.note.as_str());
        Json::Object(line).to_text()
    }

    /// Reads a line without its line feed; only one that is written as [`Self::to_line`] writes it.
    pub(super) fn read(line: &[u8], keys: &[Verifier]) -> Result<Self, ArchiveError> {
        let said =
            json::read(line, DEPTH).ok().and_then(|line| Said::of(&line)).ok_or(ArchiveError::Header)?;
        let header = Self::new(said.from, said.roots, &said.note, keys)?;
        if said.to != header.to() {
            return Err(ArchiveError::Size { to: said.to, signed: header.to() });
        }
        if said.origin != header.origin() {
            return Err(NoteError::Origin.into());
        }
        if header.to_line().as_bytes() == line { Ok(header) } else { Err(ArchiveError::Header) }
    }
}

/// What a line says, whether it is true or not.
struct Said {
    origin: String,
    from: u64,
    to: u64,
    roots: Vec<Hash>,
    note: String,
}

impl Said {
    fn of(line: &Json) -> Option<Self> {
        let text = |name: &str| line.get(name).and_then(Json::as_str);
        let number = |name: &str| match line.get(name)? {
            Json::Number(number) => number.as_str().parse().ok(),
            Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => None,
        };
        let root = |text: &Json| hash_from(&BASE64.decode(text.as_str()?.as_bytes()).ok()?);
        Some(Self {
            origin: text("origin")?.to_owned(),
            from: number("from")?,
            to: number("to")?,
            roots: line.get("left")?.as_array()?.iter().map(root).collect::<Option<_>>()?,
            note: text("checkpoint")?.to_owned(),
        })
    }
}
