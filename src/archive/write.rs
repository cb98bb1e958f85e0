//! Writes an archive, which is finished only if it is proven.
//!
//! The same entries make the same bytes: there is no time in it. Not here: reading (`archive::read`).

use std::borrow::Cow;
use std::io::Write;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use super::measured::Measured;
use super::{ArchiveError, GZIP, Header, MAX_ENTRY, Place, Proven, StubError, stub};
use crate::seal::{Edge, leaf_hash};

/// How hard to compress, from 1 to 9: what gzip does unless told otherwise. The fixed beginning names none but 1 and 9.
const LEVEL: u32 = 6;

/// Writes an archive line by line. Dropped before [`Writer::finish`], it leaves a gzip without an end, which nobody takes.
#[must_use = "only what is finished is an archive"]
pub struct Writer<W: Write> {
    packed: GzEncoder<Measured<W>>,
    header: Header,
    entries: Edge,
    stubs: Edge,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// [`ArchiveError::Write`]
    pub fn new(out: W, header: Header) -> Result<Self, ArchiveError> {
        let [.., system] = GZIP;
        let gzip = GzBuilder::new().mtime(0).operating_system(system);
        let packed = gzip.write(Measured::new(out), Compression::new(LEVEL));
        let entries = header.left().clone();
        let line = header.to_line();
        let mut writer = Self { packed, header, entries, stubs: Edge::default() };
        writer.line(&line, Place::Header)?;
        Ok(writer)
    }

    /// Takes the next entry; what is to stay of it in the record.
    ///
    /// # Errors
    /// It is no entry, or there are as many as belong in. Nothing was written then, but for [`ArchiveError::Write`],
    /// after which nothing more is taken.
    pub fn push<'e>(&mut self, entry: &'e str) -> Result<Cow<'e, str>, ArchiveError> {
        let seq = self.entries.size();
        if seq >= self.header.to() {
            return Err(ArchiveError::More { last: self.header.last() });
        }
        if entry.len() > MAX_ENTRY {
            return Err(ArchiveError::Long(Place::Entry(seq)));
        }
        if entry.contains('\n') {
            return Err(ArchiveError::LineFeed(seq));
        }
        let stub = stub(entry).map_err(|source: StubError| ArchiveError::Entry { seq, source })?;
        self.line(entry, Place::Entry(seq))?;
        self.entries.push(leaf_hash(entry.as_bytes()));
        self.stubs.push(leaf_hash(stub.as_bytes()));
        Ok(stub)
    }

    /// Ends the file. `out` is flushed; bringing it to the disk is up to whoever has it.
    ///
    /// # Errors
    /// Entries are missing, or they don't make the root that the checkpoint signs; or it can't be written. The file has
    /// no end then.
    pub fn finish(mut self) -> Result<Proven, ArchiveError> {
        self.header.prove(&self.entries)?;
        let ended = self.packed.try_finish().and_then(|()| self.packed.get_mut().flush());
        ended.map_err(|source| ArchiveError::Write { at: Place::End, source })?;
        let file = self.packed.get_ref();
        let (sha256, bytes) = (file.sha256(), file.size());
        Ok(Proven { header: self.header.clone(), stubs: self.stubs.root(), sha256, bytes })
    }

    fn line(&mut self, text: &str, at: Place) -> Result<(), ArchiveError> {
        let written = self.packed.write_all(text.as_bytes()).and_then(|()| self.packed.write_all(b"\n"));
        written.map_err(|source| {
            // Part of the line may be written: what came behind it would be no line.
            self.packed.get_mut().close();
            ArchiveError::Write { at, source }
        })
    }
}

impl<W: Write> Drop for Writer<W> {
    fn drop(&mut self) {
        self.packed.get_mut().close();
    }
}
