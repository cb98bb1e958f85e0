//! Checkpoints: the size and root of the tree, signed.
//!
//! The format is C2SP tlog-checkpoint within C2SP signed-note. A note is taken only if it is written exactly as
//! this file writes it, so that no byte of a stored note can change unseen. Not here: the keys (`seal::key`).

use signed_note::{Note, Signature, VerifierList};
use tlog_tiles::Hash;

use super::{Chain, Signer, Verifier};

/// What a signed note says of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checkpoint {
    /// How many entries it covers.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// For the head: the checkpoints stored so far.
    pub chain: Option<Chain>,
}

/// Why a note is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a signed note with a checkpoint in it.
    #[error("not a signed checkpoint")]
    Malformed,
    /// No signature of this key, or one that does not verify.
    #[error("not signed by this key")]
    Signature,
    /// Signed, but for another log.
    #[error("a checkpoint of another log")]
    Origin,
    /// Signed by a key that signed the log at another time.
    #[error("signed by a key that was not in use at {0} entries")]
    OutOfUse(u64),
    /// The key refused to sign.
    #[error("the signing key gave no signature")]
    Signing,
}

impl Checkpoint {
    /// Signs it: the note's text.
    ///
    /// # Errors
    /// Only if the key can't sign.
    pub fn sign(&self, signer: &Signer) -> Result<String, NoteError> {
        let extension = self.chain.map_or_else(String::new, Chain::to_line);
        let text = tlog_tiles::Checkpoint::new(signer.origin(), self.size, self.root, &extension)
            .map_err(|_| NoteError::Malformed)?;
        let mut note = Note::new(&text.to_bytes(), &[]).map_err(|_| NoteError::Malformed)?;
        note.add_sigs(&[signer.inner()]).map_err(|_| NoteError::Signing)?;
        String::from_utf8(note.to_bytes()).map_err(|_| NoteError::Malformed)
    }

    /// Checks a note that this product stored: our signature and nothing else.
    ///
    /// # Errors
    /// Anything that is not exactly a note signed by this key.
    pub fn open(note: &[u8], verifier: &Verifier) -> Result<Self, NoteError> {
        Self::read(note, verifier, true)
    }

    /// Checks a note that was kept elsewhere: others, such as witnesses, may have signed it too.
    ///
    /// # Errors
    /// No valid signature of this key, or no checkpoint of its log.
    pub fn open_cosigned(note: &[u8], verifier: &Verifier) -> Result<Self, NoteError> {
        Self::read(note, verifier, false)
    }

    fn read(bytes: &[u8], verifier: &Verifier, alone: bool) -> Result<Self, NoteError> {
        let note = Note::from_bytes(bytes).map_err(|_| NoteError::Malformed)?;
        // The reader of notes is lenient in places; what it would write itself is the one form that is taken.
        if note.to_bytes() != bytes {
            return Err(NoteError::Malformed);
        }
        let known = VerifierList::new(vec![Box::new(verifier.inner())]);
        let (_, others) = note.verify(&known).map_err(|_| NoteError::Signature)?;
        // A note holds one blank line before its signatures and one line for each: ours alone is one.
        let signatures =
            bytes.split(|b| *b == b'\n').filter(|line| line.starts_with("— ".as_bytes())).count();
        if alone && (!others.is_empty() || signatures != 1) {
            return Err(NoteError::Malformed);
        }
        let text = tlog_tiles::Checkpoint::from_bytes(note.text()).map_err(|_| NoteError::Malformed)?;
        if text.to_bytes() != note.text() {
            return Err(NoteError::Malformed);
        }
        if text.origin() != verifier.origin() {
            return Err(NoteError::Origin);
        }
        let chain = match text.extension() {
            "" => None,
            line => Some(Chain::from_line(line).ok_or(NoteError::Malformed)?),
        };
        Ok(Self { size: text.size(), root: *text.hash(), chain })
    }
}

/// The keys that a note says it is signed by, whether it is or not, as name and id; `None` of what is no signed note.
#[must_use]
pub fn named_signers(note: &[u8]) -> Option<Vec<(String, String)>> {
    Note::from_bytes(note).ok()?;
    let lines = note.split(|b| *b == b'\n').filter(|line| line.starts_with("— ".as_bytes()));
    let named = lines.map(|line| Signature::from_bytes(line).ok());
    named.map(|one| one.map(|one| (one.name().to_owned(), format!("{:08x}", one.id())))).collect()
}

/// Tries one key after the other, and answers with the one that signed.
///
/// # Errors
/// None did; any other reason than that says more, and is told.
pub fn by_any_key<T>(
    keys: &[Verifier],
    open: impl Fn(&Verifier) -> Result<T, NoteError>,
) -> Result<(T, &Verifier), NoteError> {
    let mut why = NoteError::Signature;
    for key in keys {
        match open(key) {
            Ok(opened) => return Ok((opened, key)),
            Err(NoteError::Signature) => {}
            Err(other) => why = other,
        }
    }
    Err(why)
}
