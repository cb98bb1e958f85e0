//! The bytes of a file as they go by: how many, and their hash.
//!
//! Not here: what they mean (`archive::write`, `archive::read`).

use std::io::{Error, Read, Result, Write};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

/// A reader or a writer whose bytes are counted and hashed.
pub(super) struct Measured<T> {
    inner: T,
    hash: Context,
    bytes: u64,
    closed: bool,
}

impl<T> Measured<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, hash: Context::new(&SHA256), bytes: 0, closed: false }
    }

    /// Lets nothing more be written: what compresses writes an end even where it is only dropped.
    pub(super) const fn close(&mut self) {
        self.closed = true;
    }

    /// SHA-256 of what went by, in lower-case hex.
    pub(super) fn sha256(&self) -> String {
        HEXLOWER.encode(self.hash.clone().finish().as_ref())
    }

    /// How many bytes went by.
    pub(super) const fn size(&self) -> u64 {
        self.bytes
    }

    fn took(&mut self, bytes: Option<&[u8]>) {
        let bytes = bytes.unwrap_or_default();
        self.hash.update(bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(0);
    }
}

impl<T: Read> Read for Measured<T> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let read = self.inner.read(into)?;
        self.took(into.get(..read));
        Ok(read)
    }
}

impl<T: Write> Write for Measured<T> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.closed {
            return Err(Error::other("nothing is written behind what went wrong"));
        }
        let written = self.inner.write(bytes)?;
        self.took(bytes.get(..written));
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()
    }
}
