//! Old entries in a file of their own, and what stays of them in the record.
//!
//! An archive is gzip over lines: a [`Header`], then the text of each entry from `from` to before `to`, byte for byte.
//! It proves itself: the header has the roots of the perfect subtrees over all entries before `from`, and the signed
//! checkpoint over `to` entries, whose root must follow from these and the lines. In the record a [`stub`] stays in
//! place of each entry, together with the leaf hash of its whole text.
//!
//! A file is read as though an attacker had written it: only what [`Writer`] writes is taken, and what is held at once
//! is one line and its value. All here is pure: bytes in, bytes out. Not here: where entries, roots and checkpoints
//! come from and how stubs get into the record (`store`).

mod header;
mod measured;
mod read;
mod stub;
#[cfg(test)]
mod tests;
mod write;

use std::fmt::{Display, Formatter};

pub use header::Header;
pub use read::Reader;
pub use stub::{Stays, StubError, is_stub, stays, stub};
pub use write::Writer;

use crate::seal::{Hash, NoteError};

/// Bytes of an entry's text that are taken: what the store takes.
pub const MAX_ENTRY: usize = 16 << 20;

/// Bytes of a header that are taken. At most 63 roots of 47 bytes each, and a note of 4096 characters, as the schema has
/// it, that holds the origin: both with six bytes for each character, the longest escape, are 52 113, and the names.
const MAX_HEADER: usize = 64 << 10;

/// How each file begins: RFC 1952 with no name, no time, no flags, and no system. Fixed, so that no byte of it can be
/// changed unseen.
static GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An archive that was written or read to its end, and whose entries make the root that its checkpoint signs.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// Which entries of which log, and the checkpoint.
    pub header: Header,
    /// Root of the RFC 6962 tree over the stubs of its entries, in their order.
    pub stubs: Hash,
    /// SHA-256 of the file's bytes, in lower-case hex.
    pub sha256: String,
    /// How many bytes the file has.
    pub bytes: u64,
}

/// A place in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first line.
    Header,
    /// The line with the entry of this `seq`.
    Entry(u64),
    /// Behind the last entry.
    End,
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header => f.write_str("its first line"),
            Self::Entry(seq) => write!(f, "entry {seq}"),
            Self::End => f.write_str("its end"),
        }
    }
}

/// Why an archive is not written, or not taken. None of these quotes it; where there is a source, it says why.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The bytes can't be had, or are no gzip: cut off, damaged, or with a wrong check sum.
    #[error("the archive can't be read at {at}")]
    Read {
        /// Where.
        at: Place,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes can't be written.
    #[error("the archive can't be written at {at}")]
    Write {
        /// Where.
        at: Place,
        /// Why.
        source: std::io::Error,
    },
    /// It does not begin as every archive does.
    #[error("this is no archive: it does not begin as one that `audit archive` wrote")]
    Foreign,
    /// A line that has more bytes than any such line can have.
    #[error("the archive has a line that is too long at {0}")]
    Long(Place),
    /// The text ends where a line should, or where it should have ended.
    #[error("the archive ends too early, at {0}")]
    Short(Place),
    /// The first line is not written as such a line is.
    #[error("the archive's first line is none that `audit archive` wrote")]
    Header,
    /// The checkpoint is not the log's, or no key of it was given.
    #[error("the archive's checkpoint is not taken (after a change of key, give the public key of its time)")]
    Checkpoint(#[from] NoteError),
    /// The checkpoint is over another number of entries than the archive's end.
    #[error("the archive says that it ends before entry {to}, its checkpoint is over {signed} entries")]
    Size {
        /// What the header says.
        to: u64,
        /// What the checkpoint covers.
        signed: u64,
    },
    /// No entry is in it.
    #[error("an archive from {from} to {to} has no entry")]
    Empty {
        /// The first entry.
        from: u64,
        /// The first one behind it.
        to: u64,
    },
    /// The roots don't fit the place where it begins.
    #[error("a log of {from} entries has another number of subtrees than the archive has roots")]
    Left {
        /// The first entry.
        from: u64,
    },
    /// A text that is no entry, or one that has no stub.
    #[error("the archive's entry {seq} is not taken")]
    Entry {
        /// Its place in the log.
        seq: u64,
        /// What is wrong with it.
        source: StubError,
    },
    /// An entry's text with a line feed in it, which would be two lines.
    #[error("entry {0} has a line feed in its text")]
    LineFeed(u64),
    /// Lines behind the last entry.
    #[error("the archive goes on behind entry {last}, its last")]
    More {
        /// The last entry.
        last: u64,
    },
    /// Bytes behind the compressed text.
    #[error("the archive's file goes on behind its end")]
    Trailing,
    /// An entry was changed, or the roots, or the entries are another log's.
    #[error(
        "entries {from} to {last} don't make the root that the archive's checkpoint signs: some were changed"
    )]
    Root {
        /// The first entry.
        from: u64,
        /// The last entry.
        last: u64,
    },
}
