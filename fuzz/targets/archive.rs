//! Archives: only the entries that the log has are proven, and a small file does not become a large one.
//!
//! The input is an archive; or, where it does not begin as gzip does, the text that is packed into one.
#![no_main]

use std::io::Write as _;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tunnelwarden::archive::Reader;
use tunnelwarden::seal::Verifier;

#[path = "../log.rs"]
mod log;

fn keys() -> &'static [Verifier] {
    static KEYS: OnceLock<Vec<Verifier>> = OnceLock::new();
    KEYS.get_or_init(|| vec![Verifier::new(log::PUBLIC_KEY).expect("a public key")])
}

fn check(file: &[u8]) {
    let Ok(mut reader) = Reader::open(file, keys()) else { return };
    let mut read = Vec::new();
    loop {
        match reader.next_entry() {
            Ok(Some((seq, text))) => read.push((seq, text.to_owned())),
            Ok(None) => break,
            Err(_) => return,
        }
    }
    if reader.finish().is_ok() {
        for (seq, text) in read {
            assert!(seq < log::ENTRIES);
            assert_eq!(text, log::entry(seq), "an entry that the log has not");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    if bytes.first() != Some(&0x1f) {
        let mut packed =
            flate2::GzBuilder::new().operating_system(0xff).write(Vec::new(), flate2::Compression::new(6));
        packed.write_all(bytes).expect("memory takes it");
        check(&packed.finish().expect("memory takes it"));
    }
});
