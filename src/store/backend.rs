//! What the writer needs of a database: to commit a batch, to read back what is there, and to try a write.
//!
//! Not here: `SQLite` (`store::sqlite`), PostgreSQL (`store::postgres`), the double that fails at every step (`store::double`, tests only).

use std::sync::Arc;

use super::{StoreError, error::Damage};
use crate::seal::{self, Chain, Checkpoint, Hash, Signer, Tile, Tree, Verifier};

/// A database under the writer.
pub(crate) trait Backend: Send + 'static {
    /// Opens the database anew and reads what the next append builds on.
    fn load(&mut self) -> impl Future<Output = Result<Stored, StoreError>> + Send;

    /// Stores a batch: all of it, durably, and only on top of `batch.before`; or nothing.
    fn commit(&mut self, batch: &Batch) -> impl Future<Output = Result<(), CommitError>> + Send;

    /// Writes something durably that proves nothing.
    fn probe(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Says that the log is still written where nothing was for a while. Where nobody else can take it there is nothing to say.
    fn keep(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// The hashes of a full tile.
    fn tile(
        &mut self,
        level: u32,
        n: u64,
    ) -> impl Future<Output = Result<Option<Vec<Hash>>, StoreError>> + Send;

    /// Lets go of the database.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// Why a commit failed, and what is known of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitError {
    /// Nothing of it is stored.
    Nothing(StoreError),
    /// All of it may be stored, or nothing.
    Unknown(StoreError),
}

/// An entry and its hash.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) leaf: Hash,
    pub(crate) entry: Arc<str>,
}

/// The head as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The signed note.
    pub(crate) note: String,
    /// The leaf hashes of the unfinished tile, one after the other.
    pub(crate) edge: Vec<u8>,
}

/// What one transaction stores.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// The `seq` of the first entry.
    pub(crate) first: u64,
    pub(crate) rows: Vec<Row>,
    pub(crate) tiles: Vec<Tile>,
    /// Number, size and note.
    pub(crate) checkpoint: Option<(u64, u64, String)>,
    pub(crate) head: Head,
    /// The note of the head that this one replaces; `None` for the first.
    pub(crate) before: Option<String>,
}

/// What is stored at the end of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) head: Option<Head>,
    /// How many entries there are, by the last one's `seq`.
    pub(crate) size: u64,
    /// How many checkpoints there are, and how many entries the last one covers.
    pub(crate) checkpoints: (u64, u64),
    /// The entries of the unfinished tile of level 0.
    pub(crate) tail: Vec<Row>,
    /// The public key that the last rotation names: the log is signed by it from there on.
    pub(crate) rotated_to: Option<String>,
    /// The public keys that signed the log before, oldest first.
    pub(crate) rotated_from: Vec<String>,
    /// Those that the record's other logs name as replaced: with one of them this log is not gone on with.
    pub(crate) replaced: Vec<String>,
    /// From level 1 up: the roots of the tiles below that make up this level's unfinished tile.
    pub(crate) roots: Vec<Vec<Hash>>,
}

/// The end of the log in memory: what the next entry is added to.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) chain: Chain,
    /// How many entries the last stored checkpoint covers.
    pub(crate) checkpointed: u64,
    /// The head's note; `None` before the first.
    pub(crate) note: Option<String>,
}

impl Stored {
    /// The keys that signed the log before.
    pub(crate) fn keys_before(&self) -> Vec<Verifier> {
        self.rotated_from.iter().filter_map(|key| Verifier::new(key).ok()).collect()
    }
}

impl State {
    /// Checks what is stored against its signature and takes it as the end of the log.
    pub(crate) fn of(stored: Stored, verifier: &Verifier) -> Result<Self, Damage> {
        let is_replaced =
            |key: &String| Verifier::new(key).is_ok_and(|replaced| replaced.is_same_key(verifier));
        if stored.rotated_to.is_some_and(|key| key != verifier.public_key())
            || stored.replaced.iter().any(is_replaced)
        {
            return Err(Damage::Rotated);
        }
        let Some(head) = stored.head else {
            let empty = Self { tree: Tree::new(), chain: Chain::new(), checkpointed: 0, note: None };
            return if stored.size == 0 { Ok(empty) } else { Err(Damage::NoHead) };
        };
        let signed = Checkpoint::open(head.note.as_bytes(), verifier).map_err(|_| Damage::Signature)?;
        let chain = signed.chain.ok_or(Damage::Signature)?;
        if signed.size != stored.size {
            return Err(Damage::Size { head: signed.size, stored: stored.size });
        }
        if chain.count != stored.checkpoints.0 {
            return Err(Damage::Checkpoints { head: chain.count, stored: stored.checkpoints.0 });
        }
        let first = stored.size - stored.size % 256;
        for (seq, row) in (first..).zip(&stored.tail) {
            if seal::leaf_hash(row.entry.as_bytes()) != row.leaf {
                return Err(Damage::Entry(seq));
            }
        }
        let tail: Vec<Hash> = stored.tail.iter().map(|row| row.leaf).collect();
        if seal::hashes_to_bytes(&tail) != head.edge {
            return Err(Damage::Root);
        }
        let partial = std::iter::once(tail).chain(stored.roots).collect();
        let tree = Tree::from_partial(stored.size, partial).map_err(|_| Damage::Root)?;
        if tree.root() != signed.root {
            return Err(Damage::Root);
        }
        Ok(Self { tree, chain, checkpointed: stored.checkpoints.1, note: Some(head.note) })
    }

    /// The batch that adds `entries`, and the state after it.
    pub(crate) fn next(
        &self,
        entries: impl IntoIterator<Item = Arc<str>>,
        checkpoint: bool,
        signer: &Signer,
    ) -> Result<(Batch, Self), StoreError> {
        let mut tree = self.tree.clone();
        let (mut rows, mut tiles) = (Vec::new(), Vec::new());
        for entry in entries {
            let leaf = seal::leaf_hash(entry.as_bytes());
            tiles.extend(tree.push(leaf));
            rows.push(Row { leaf, entry });
        }
        let (size, root) = (tree.size(), tree.root());
        let mut chain = self.chain;
        let (mut stored, mut checkpointed) = (None, self.checkpointed);
        if checkpoint {
            checkpointed = size;
            let note = sign(Checkpoint { size, root, chain: None }, signer)?;
            let number = chain.count;
            chain.push(note.as_bytes());
            stored = Some((number, size, note));
        }
        let note = sign(Checkpoint { size, root, chain: Some(chain) }, signer)?;
        let batch = Batch {
            first: self.tree.size(),
            rows,
            tiles,
            checkpoint: stored,
            head: Head { note: note.clone(), edge: seal::hashes_to_bytes(tree.tail()) },
            before: self.note.clone(),
        };
        Ok((batch, Self { tree, chain, checkpointed, note: Some(note) }))
    }
}

fn sign(checkpoint: Checkpoint, signer: &Signer) -> Result<String, StoreError> {
    // Ed25519 does not fail; if it did, an unsigned entry would be no record.
    checkpoint.sign(signer).map_err(|_| StoreError::Io)
}
