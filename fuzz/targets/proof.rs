//! Proof files: one spelling, and only the entries that the log has are proven. `seeds` made the log, whose signing key nobody
//! has any more.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tunnelwarden::seal::{Checkpoint, EntryProof, Verifier};

#[path = "../log.rs"]
mod log;

fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(|| Verifier::new(log::PUBLIC_KEY).expect("a public key"))
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(checkpoint) = Checkpoint::open(bytes, verifier()) {
        assert!(checkpoint.size <= log::ENTRIES, "a checkpoint that was never signed");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(proof) = EntryProof::read(text) else { return };
    assert_eq!(proof.to_text(), text, "two spellings of one proof");
    if proof.verify(verifier()).is_ok() {
        assert_eq!(proof.entry, log::entry(proof.index), "an entry that the log has not");
    }
});
