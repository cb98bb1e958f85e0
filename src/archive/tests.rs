//! Tests of archives: what is written is read, and nothing else is.

use std::io::{Read as _, Write as _};

use super::*;
use crate::seal::{Checkpoint, Signer, Tree, Verifier, generate_key, leaf_hash, perfect_root, subtrees};
use crate::secret::ExposeSecret as _;

mod hostile;
mod stubs;
mod whole;

/// Entries of a test's log.
const ENTRIES: u64 = 16;

/// The archived ones: neither end is a power of two.
const FROM: u64 = 5;
const TO: u64 = 12;

/// The four members of an entry, without the closing brace.
fn front(n: u64) -> String {
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n));
    format!(
        r#"{{"kind":"intent","id":"{id}","time":"2026-01-01T00:00:00.{n:06}Z","request_id":"{id}","subject":"s{n}""#
    )
}

fn entry(n: u64) -> String {
    let front = front(n);
    // Every third has nothing that goes.
    if n.is_multiple_of(3) {
        return format!("{front}}}");
    }
    format!(
        r#"{front},"request":{{"size":{n},"body":{{"name":"body {n} é\u007f","n":1.50}}}},"changed":["name"]}}"#
    )
}

/// A log with a key of its own.
struct Log {
    signer: Signer,
    entries: Vec<String>,
}

impl Log {
    fn new(entries: impl Iterator<Item = String>) -> Self {
        let signer = Signer::new(generate_key("tunnelwarden/test").unwrap().0.expose_secret()).unwrap();
        Self { signer, entries: entries.collect() }
    }

    fn usual() -> Self {
        Self::new((0..ENTRIES).map(entry))
    }

    fn keys(&self) -> Vec<Verifier> {
        vec![self.signer.verifier().unwrap()]
    }

    fn between(&self, from: u64, to: u64) -> &[String] {
        &self.entries[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()]
    }

    fn note(&self, to: u64) -> String {
        let mut tree = Tree::new();
        self.between(0, to).iter().for_each(|entry| drop(tree.push(leaf_hash(entry.as_bytes()))));
        Checkpoint { size: to, root: tree.root(), chain: None }.sign(&self.signer).unwrap()
    }

    fn roots(&self, from: u64) -> Vec<Hash> {
        let leaves: Vec<Hash> =
            self.between(0, from).iter().map(|entry| leaf_hash(entry.as_bytes())).collect();
        let root = |(level, n): (u32, u64)| {
            let width = 1usize << level;
            perfect_root(&leaves[usize::try_from(n).unwrap() * width..][..width])
        };
        subtrees(from).into_iter().map(root).collect()
    }

    fn header(&self, from: u64, to: u64) -> Header {
        Header::new(from, self.roots(from), &self.note(to), &self.keys()).unwrap()
    }

    fn archive(&self, from: u64, to: u64) -> (Vec<u8>, Proven) {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, self.header(from, to)).unwrap();
        for entry in self.between(from, to) {
            assert_eq!(writer.push(entry).unwrap(), stub(entry).unwrap());
        }
        let proven = writer.finish().unwrap();
        (file, proven)
    }
}

/// Compresses as the writer does, whatever it is.
fn pack(text: &[u8]) -> Vec<u8> {
    let gzip = flate2::GzBuilder::new().operating_system(0xff);
    let mut packed = gzip.write(Vec::new(), flate2::Compression::new(6));
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

fn unpack(file: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut text)?;
    Ok(text)
}

/// All entries of a file, and what is proven.
fn take(file: &[u8], keys: &[Verifier]) -> Result<(Vec<(u64, String)>, Proven), ArchiveError> {
    let mut reader = Reader::open(file, keys)?;
    let mut entries = Vec::new();
    while let Some((seq, text)) = reader.next_entry()? {
        entries.push((seq, text.to_owned()));
    }
    Ok((entries, reader.finish()?))
}
