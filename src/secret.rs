//! Secrets, and the keyed fingerprint that the record keeps in their place.
//!
//! A secret is a [`SecretString`] (no `Display`, a `Debug` that shows nothing, wiped when dropped).
//! Not here: which fields are secret (`tunnel`), and finding secrets in text (`audit::guard`).

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;
pub use secrecy::{ExposeSecret, SecretString};

/// Makes fingerprints: HMAC-SHA-256 (RFC 2104) cut to 128 bits, keyed so that a short secret can't be found by
/// trying all; equal secrets have equal fingerprints under one key.
#[derive(Clone)]
pub struct Fingerprinter {
    key: hmac::Key,
    key_id: String,
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fingerprinter").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Bytes of HMAC output that a fingerprint keeps: 128 bits, so a chance match among 2^40 secrets has
/// probability 2^-49.
const KEPT: usize = 16;

/// Bytes of a block of SHA-256, less one: as much as its state can hold of a message.
const BLOCK: usize = 63;

impl Fingerprinter {
    /// A fingerprinter with the given key, 32 bytes by convention.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        // In two parts: put together they would be another copy of the key.
        let mut id = Context::new(&SHA256);
        id.update(b"tunnelwarden key id\0");
        id.update(key);
        let key_id = hex(id.finish().as_ref().get(..4).unwrap_or_default());
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), key_id }
    }

    /// Names the key (8 hex digits) without telling anything of it.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The fingerprint alone, 32 hex digits.
    #[must_use]
    pub fn of(&self, secret: &[u8]) -> String {
        let tag = self.sign(secret);
        // The function's state holds the message's last block, and stays on the stack until something else comes to stand there:
        // the same with another message.
        std::hint::black_box(self.sign(&[0; BLOCK]));
        hex(tag.as_ref().get(..KEPT).unwrap_or_default())
    }

    /// One place on the stack for each call, from the same caller.
    #[inline(never)]
    fn sign(&self, message: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, message)
    }

    /// What stands in the record in place of a secret: `redacted:<what>:<key id>:<fingerprint>`, where
    /// `what` is `psk`, `md5_key` or the like.
    #[must_use]
    pub fn redacted(&self, what: &str, secret: &str) -> String {
        format!("redacted:{what}:{}:{}", self.key_id, self.of(secret.as_bytes()))
    }

    /// A keyed digest of a body: `hmac-sha256:<key id>:<fingerprint>`. Keyed, because a plain digest of a body
    /// that is known but for a short secret gives the secret away.
    #[must_use]
    pub fn digest(&self, body: &[u8]) -> String {
        format!("hmac-sha256:{}:{}", self.key_id, self.of(body))
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_rfc_4231_hmac_cut_to_128_bits() {
        // RFC 4231, test case 2.
        let printer = Fingerprinter::new(b"Jefe");
        assert_eq!(printer.of(b"what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c7");
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let printer = Fingerprinter::new(b"jefe-key-0123456");
        assert!(!printer.key_id().contains("jefe"), "{}", printer.key_id());
        assert_eq!(format!("{printer:?}"), format!("Fingerprinter {{ key_id: {:?}, .. }}", printer.key_id()));
    }
}
