//! One entry with all that proves it, in a file of its own: C2SP tlog-proof, version 1.
//!
//! The entry's text stands in the line `extra`, so that nothing but this file and the public key is needed. Only
//! what this writes is taken, so that one proof has one spelling. Not here: where the parts come from
//! (`inspect::prove`).

use data_encoding::BASE64;

use super::{
    Checkpoint, Hash, NoteError, Proof, ProofError, Verifier, by_any_key, check_inclusion, hash_from,
    leaf_hash,
};

/// The first line: <https://c2sp.org/tlog-proof>.
const VERSION: &str = "c2sp.org/tlog-proof@v1";

/// An entry, its place, and why it is there.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryProof {
    /// The entry's text, byte for byte.
    pub entry: String,
    /// Its place in the log, from 0.
    pub index: u64,
    /// The hashes beside its way up to the root, lowest first (RFC 6962 section 2.1.1).
    pub proof: Proof,
    /// The signed note of a checkpoint that covers it.
    pub checkpoint: String,
}

/// Why a file proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProofError {
    /// Not written as this product writes it.
    #[error("it is no proof of an entry in the form c2sp.org/tlog-proof@v1")]
    Malformed,
    /// The checkpoint is not the log's.
    #[error("its checkpoint is {0}")]
    Checkpoint(#[from] NoteError),
    /// The entry is not under the checkpoint's root.
    #[error("the entry is not the one that stands at this place of the log")]
    Entry(#[from] ProofError),
}

impl EntryProof {
    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let entry = BASE64.encode(self.entry.as_bytes());
        let mut text = format!("{VERSION}\nextra {entry}\nindex {}\n", self.index);
        for hash in &self.proof {
            text.push_str(&BASE64.encode(&hash.0));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`EntryProofError::Malformed`]
    pub fn read(text: &str) -> Result<Self, EntryProofError> {
        Self::parse(text).filter(|read| read.to_text() == text).ok_or(EntryProofError::Malformed)
    }

    fn parse(text: &str) -> Option<Self> {
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.lines();
        if lines.next()? != VERSION {
            return None;
        }
        let entry = BASE64.decode(lines.next()?.strip_prefix("extra ")?.as_bytes()).ok()?;
        let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
        let hash = |line: &str| hash_from(&BASE64.decode(line.as_bytes()).ok()?);
        let proof = lines.map(hash).collect::<Option<Vec<Hash>>>()?;
        Some(Self { entry: String::from_utf8(entry).ok()?, index, proof, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that the log of this key has this entry at this place; what the checkpoint says.
    ///
    /// # Errors
    /// It does not, or it is not proven.
    pub fn verify(&self, verifier: &Verifier) -> Result<Checkpoint, EntryProofError> {
        self.verify_by_any(std::slice::from_ref(verifier)).map(|(checkpoint, _)| checkpoint)
    }

    /// The same for a log that several keys signed; with the one that signed the checkpoint.
    ///
    /// # Errors
    /// As above.
    pub fn verify_by_any<'a>(
        &self,
        keys: &'a [Verifier],
    ) -> Result<(Checkpoint, &'a Verifier), EntryProofError> {
        let note = self.checkpoint.as_bytes();
        let (checkpoint, key) = by_any_key(keys, |key| Checkpoint::open_cosigned(note, key))?;
        let leaf = leaf_hash(self.entry.as_bytes());
        check_inclusion(&self.proof, checkpoint.size, checkpoint.root, self.index, leaf)?;
        Ok((checkpoint, key))
    }
}
