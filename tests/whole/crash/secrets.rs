//! No secret is left in what the program wrote, wherever it was killed: the database, its log, what it printed.
//!
//! Not here: every secret in every spelling (`canary`).

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use aho_corasick::AhoCorasick;

use crate::harness::World;

/// The digits of a caller's own key, which are what makes it one: `key-` and these.
const DIGITS: usize = 20;

/// What must be nowhere, and how far it was looked for.
#[derive(Default)]
pub(crate) struct Hunt {
    /// Of this round.
    new: Vec<String>,
    /// Keys of all rounds.
    keys: Vec<String>,
    printed: u64,
}

impl Hunt {
    /// Takes note of tokens and keys.
    pub(crate) fn learn(&mut self, secrets: impl IntoIterator<Item = String>) {
        self.new.extend(secrets);
    }

    /// Looks through the log of the database and what was printed since; `entries` are those since.
    #[track_caller]
    pub(crate) fn check(&mut self, world: &World, label: &str, entries: &[crate::harness::Stored]) {
        let finder = AhoCorasick::new(&self.new).unwrap();
        for entry in entries {
            none_in(&finder, &format!("{label}: an entry"), entry.raw.as_bytes());
        }
        let wal = read_from(&world.dir.path().join("audit.db-wal"), 0);
        none_in(&finder, &format!("{label}: the database's log"), &wal);
        let printed = read_from(&world.dir.path().join("stderr"), self.printed);
        none_in(&finder, &format!("{label}: standard error"), &printed);
        self.printed += printed.len() as u64;
        self.keys.extend(self.new.drain(..).filter(|secret| !secret.starts_with("eyJ")));
    }

    /// Looks through the whole database for every key.
    #[track_caller]
    pub(crate) fn check_whole(&self, world: &World) {
        assert!(!self.keys.is_empty(), "some keys were made");
        let finder = AhoCorasick::new(&self.keys).unwrap();
        none_in(&finder, "the database", &read_from(world.database(), 0));
    }
}

fn read_from(path: &Path, at: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
    }
    bytes
}

#[track_caller]
fn none_in(finder: &AhoCorasick, place: &str, bytes: &[u8]) {
    assert!(finder.find(bytes).is_none(), "{place} holds a secret");
    let key = bytes.windows(4 + DIGITS).find(|text| {
        text[0] == b'k' && text.starts_with(b"key-") && text[4..].iter().all(u8::is_ascii_digit)
    });
    assert!(key.is_none(), "{place} holds a caller's key");
}

#[test]
fn a_secret_is_found_where_one_is() {
    let finder = AhoCorasick::new(["some-generated-key"]).unwrap();
    none_in(&finder, "here", b"no key-000 of any kind");
    for text in ["so some-generated-key stands", "so key-00000000000000000042 stands"] {
        assert!(std::panic::catch_unwind(|| none_in(&finder, "here", text.as_bytes())).is_err(), "{text}");
    }
}
