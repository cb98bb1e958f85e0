//! The chain over the stored checkpoints.
//!
//! A checkpoint proves the entries, but nothing would prove the checkpoints: one taken out of its table leaves no
//! trace in the tree. So the signed head says how many there are and carries one hash over all of them, as an
//! extension line of its note. Not here: the note itself (`seal::checkpoint`).

use tlog_tiles::{Hash, node_hash, record_hash};

/// How many checkpoints are stored, and one hash over all of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chain {
    /// How many.
    pub count: u64,
    /// `node(before, leaf(note))` for each note in order, from 32 zero bytes.
    pub digest: Hash,
}

/// The first word of the extension line.
const WORD: &str = "checkpoints";

impl Chain {
    /// Of no checkpoint.
    #[must_use]
    pub const fn new() -> Self {
        Self { count: 0, digest: Hash([0; tlog_tiles::HASH_SIZE]) }
    }

    /// Takes in the next checkpoint's note.
    pub fn push(&mut self, note: &[u8]) {
        self.digest = node_hash(self.digest, record_hash(note));
        self.count += 1;
    }

    /// The extension line, with its line feed.
    pub(super) fn to_line(self) -> String {
        format!("{WORD} {} {}\n", self.count, self.digest)
    }

    /// Reads the extension line; exactly as [`Chain::to_line`] writes it.
    pub(super) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix('\n')?.split(' ');
        if words.next() != Some(WORD) {
            return None;
        }
        let chain =
            Self { count: words.next()?.parse().ok()?, digest: Hash::parse_hash(words.next()?).ok()? };
        (chain.to_line() == line).then_some(chain)
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}
