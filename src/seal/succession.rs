//! The keys that signed one log, one after the other.
//!
//! A rotation is an entry that names both keys: it is the last that the old key signs, and a stored checkpoint of the
//! old key over exactly the entries up to it vouches for the new one. Behind it nothing that the old key signs counts,
//! so whoever steals it later can't go on with the log. Not here: where the rotations are read from
//! (`inspect::keys`), how one is made (`store::rotate`).

use super::{Checkpoint, NoteError, Verifier};

/// That one key followed another.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// How many entries there are up to the one that says so.
    pub size: u64,
    /// The key that signs up to there.
    pub old: Verifier,
    /// The key that signs from there on.
    pub new: Verifier,
}

/// Why rotations don't make a succession.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuccessionError {
    /// Another key than the one that was in use.
    #[error("it replaces a key that was not in use")]
    Gap,
    /// A key for another log.
    #[error("it names a key of another log")]
    Origin,
    /// Before the last one.
    #[error("it is out of order")]
    Order,
    /// A key that was in use before.
    #[error("it brings back a key that was out of use")]
    Again,
}

/// Which key signs how much of a log.
#[derive(Clone, Debug)]
pub struct Succession {
    before: Vec<Rotation>,
    newest: Verifier,
}

impl Succession {
    /// Of a log that one key signed from its begin to now.
    #[must_use]
    pub const fn of(key: Verifier) -> Self {
        Self { before: Vec::new(), newest: key }
    }

    /// Takes in the next rotation.
    ///
    /// # Errors
    /// It does not follow.
    pub fn push(&mut self, rotation: Rotation) -> Result<(), SuccessionError> {
        if rotation.old != self.newest {
            return Err(SuccessionError::Gap);
        }
        if rotation.new.origin() != rotation.old.origin() {
            return Err(SuccessionError::Origin);
        }
        if self.before.last().is_some_and(|last| last.size >= rotation.size) {
            return Err(SuccessionError::Order);
        }
        if self.keys().any(|key| *key == rotation.new) {
            return Err(SuccessionError::Again);
        }
        self.newest = rotation.new.clone();
        self.before.push(rotation);
        Ok(())
    }

    /// The key in use now.
    #[must_use]
    pub const fn newest(&self) -> &Verifier {
        &self.newest
    }

    /// All keys, oldest first.
    pub fn keys(&self) -> impl Iterator<Item = &Verifier> {
        self.spans().map(|(key, _)| key)
    }

    /// All keys, oldest first, each with the size up to which it signs; the newest has none.
    pub fn spans(&self) -> impl Iterator<Item = (&Verifier, Option<u64>)> {
        let ended = self.before.iter().map(|rotation| (&rotation.old, Some(rotation.size)));
        ended.chain([(&self.newest, None)])
    }

    /// The sizes at which a key ended: a checkpoint of the old key over exactly so many entries must be stored.
    pub fn ends(&self) -> impl Iterator<Item = u64> {
        self.before.iter().map(|rotation| rotation.size)
    }

    /// Checks a stored note over so many entries: signed by the key that was in use, alone. With that key.
    ///
    /// # Errors
    /// Anything else.
    pub fn open_stored(&self, note: &[u8], size: u64) -> Result<(Checkpoint, &Verifier), NoteError> {
        let of_its_time = self.before.iter().find(|rotation| size <= rotation.size);
        let key = of_its_time.map_or(&self.newest, |rotation| &rotation.old);
        Checkpoint::open(note, key).map(|checkpoint| (checkpoint, key))
    }

    /// Checks the head: the newest key's, or where a rotation was begun and not finished, the old key's over exactly
    /// the entries up to it. With that key.
    ///
    /// # Errors
    /// Anything else.
    pub fn open_head(&self, note: &[u8]) -> Result<(Checkpoint, &Verifier), NoteError> {
        let newest = Checkpoint::open(note, &self.newest);
        let (Err(NoteError::Signature), Some(last)) = (newest, self.before.last()) else {
            return newest.map(|checkpoint| (checkpoint, &self.newest));
        };
        let old = Checkpoint::open(note, &last.old)?;
        if old.size == last.size { Ok((old, &last.old)) } else { Err(NoteError::OutOfUse(old.size)) }
    }

    /// Checks a note that was kept elsewhere: others may have signed it too, and of the log's keys one that was in use
    /// at its size. Where a key ended, that is both.
    ///
    /// # Errors
    /// Anything else.
    pub fn open_kept(&self, note: &[u8]) -> Result<(Checkpoint, &Verifier), NoteError> {
        let (mut begin, mut result) = (0, Err(NoteError::Signature));
        for (key, end) in self.spans() {
            let end = end.unwrap_or(u64::MAX);
            match Checkpoint::open_cosigned(note, key) {
                Ok(checkpoint) if (begin..=end).contains(&checkpoint.size) => return Ok((checkpoint, key)),
                Ok(checkpoint) => result = Err(NoteError::OutOfUse(checkpoint.size)),
                Err(NoteError::Signature) => {}
                Err(other) => return Err(other),
            }
            begin = end;
        }
        result
    }
}
