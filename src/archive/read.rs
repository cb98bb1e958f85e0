//! Reads an archive as though an attacker had written it.
//!
//! The bytes, the gzip and the lines are each taken only as the writer makes them: one fixed beginning, one member,
//! nothing behind it, each line with its line feed and no longer than such a line can be. No count in the file makes
//! anything be set aside. Deflate has more than one spelling of a text: which of them a file has, only the file's SHA-256
//! tells, so whoever knows what it should be compares it. Not here: writing (`archive::write`).

use std::io::{BufRead as _, BufReader, Chain, ErrorKind, Read};

use flate2::bufread::GzDecoder;

use super::measured::Measured;
use super::{ArchiveError, GZIP, Header, MAX_ENTRY, MAX_HEADER, Place, Proven, stub};
use crate::seal::{Edge, Verifier, leaf_hash};

/// The file behind its fixed beginning, which was compared already.
type Packed<R> = Chain<&'static [u8], BufReader<Measured<R>>>;

/// Reads an archive line by line.
///
/// What an entry says is proven only once [`Reader::finish`] returned: until then keep it and do nothing by it.
#[must_use = "nothing is proven before the end is read"]
pub struct Reader<R: Read> {
    text: BufReader<GzDecoder<Packed<R>>>,
    line: Vec<u8>,
    header: Header,
    entries: Edge,
    stubs: Edge,
}

impl<R: Read> Reader<R> {
    /// Reads the header, whose checkpoint one of `keys` must have signed.
    ///
    /// # Errors
    /// It is no archive, or none of a log with one of these keys.
    pub fn open(input: R, keys: &[Verifier]) -> Result<Self, ArchiveError> {
        let mut packed = BufReader::new(Measured::new(input));
        let mut begin = [0; GZIP.len()];
        packed.read_exact(&mut begin).map_err(|source| {
            let too_short = source.kind() == ErrorKind::UnexpectedEof;
            if too_short { ArchiveError::Foreign } else { ArchiveError::Read { at: Place::Header, source } }
        })?;
        if begin != GZIP {
            return Err(ArchiveError::Foreign);
        }
        let mut text = BufReader::new(GzDecoder::new(GZIP.as_slice().chain(packed)));
        let mut line = Vec::new();
        read_line(&mut text, &mut line, MAX_HEADER, Place::Header)?;
        let header = Header::read(&line, keys)?;
        let entries = header.left().clone();
        Ok(Self { text, line, header, entries, stubs: Edge::default() })
    }

    /// What the first line says; its checkpoint is signed.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry's `seq` and text, which has the form of an entry; `None` behind the last.
    ///
    /// # Errors
    /// The file can't be read, or is no archive. Such a file proves nothing, whatever is read of it after that.
    pub fn next_entry(&mut self) -> Result<Option<(u64, &str)>, ArchiveError> {
        let seq = self.entries.size();
        if seq >= self.header.to() {
            return Ok(None);
        }
        read_line(&mut self.text, &mut self.line, MAX_ENTRY, Place::Entry(seq))?;
        let no_entry = |source| ArchiveError::Entry { seq, source };
        let text = std::str::from_utf8(&self.line).map_err(|_| no_entry(super::StubError::Utf8))?;
        let stub = stub(text).map_err(no_entry)?;
        self.stubs.push(leaf_hash(stub.as_bytes()));
        self.entries.push(leaf_hash(text.as_bytes()));
        Ok(Some((seq, text)))
    }

    /// Reads what is left, to the end of the file.
    ///
    /// # Errors
    /// The file can't be read, is no archive, or its entries are not those that the checkpoint signs.
    pub fn finish(mut self) -> Result<Proven, ArchiveError> {
        while self.next_entry()?.is_some() {}
        self.header.prove(&self.entries)?;
        let unread = |source| ArchiveError::Read { at: Place::End, source };
        // Behind the text the check sum is looked at.
        if goes_on(&mut self.text).map_err(unread)? {
            return Err(ArchiveError::More { last: self.header.last() });
        }
        let (_, mut packed) = self.text.into_inner().into_inner().into_inner();
        if goes_on(&mut packed).map_err(unread)? {
            return Err(ArchiveError::Trailing);
        }
        let file = packed.into_inner();
        let (sha256, bytes) = (file.sha256(), file.size());
        Ok(Proven { header: self.header, stubs: self.stubs.root(), sha256, bytes })
    }
}

/// Reads a line of at most `most` bytes without its line feed.
fn read_line(
    text: &mut impl std::io::BufRead,
    line: &mut Vec<u8>,
    most: usize,
    at: Place,
) -> Result<(), ArchiveError> {
    line.clear();
    let with_feed = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let read = text.take(with_feed).read_until(b'\n', line);
    read.map_err(|source| ArchiveError::Read { at, source })?;
    match line.pop() {
        Some(b'\n') => Ok(()),
        Some(_) if line.len() >= most => Err(ArchiveError::Long(at)),
        Some(_) | None => Err(ArchiveError::Short(at)),
    }
}

/// Whether a reader is not at its end.
fn goes_on(input: &mut impl Read) -> std::io::Result<bool> {
    Ok(input.take(1).read_to_end(&mut Vec::new())? > 0)
}
