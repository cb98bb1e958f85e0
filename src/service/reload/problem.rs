//! What keeps a change from being in force, for the log, for readiness and for the record.
//!
//! Anybody may read readiness, so what is said there quotes neither a file nor a path; the record stays, so it has key paths
//! and digests and no text of a file; the log has the details. Not here: what is wrong (`prepare`, `config`).

use std::path::{Path, PathBuf};

use super::files::{Files, State};
use super::parts::Part;
use crate::config::{self, Config};
use crate::json::{Json, Object};
use crate::secret::Fingerprinter;
use crate::service::check::keyed;

/// Problems of one refusal that are recorded, each that differs from the others: there are as many keys with files, and then some.
const MAX_RECORDED: usize = 64;

/// What a refused look found, and what stays in force.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) config: &'a Config,
    /// Of the configuration's own text.
    pub(super) text: &'a State,
    pub(super) found: &'a Files,
    pub(super) in_force: &'a Files,
    pub(super) fingerprinter: &'a Fingerprinter,
}

impl Seen<'_> {
    /// What is wrong, for the record.
    pub(super) fn problems(&self, wrong: &[Problem]) -> Json {
        let mut told: Vec<Json> = Vec::new();
        for problem in wrong.iter().map(|problem| Json::Object(problem.entry(self))) {
            if told.len() < MAX_RECORDED && !told.contains(&problem) {
                told.push(problem);
            }
        }
        Json::Array(told)
    }

    /// A file's SHA-256: as `sha256sum` has it, or keyed where the file may hold a secret that could be guessed.
    fn shown(&self, of: &str, key: &str, digest: &[u8]) -> String {
        let public = match Part::of(key).filter(|_| of == "file") {
            Some(Part::Policy | Part::Issuers | Part::Revocation) => true,
            Some(Part::Certificate) => key == "listen.certificate_file",
            Some(Part::UpstreamToken | Part::Limits | Part::Log) | None => false,
        };
        if public {
            format!("sha256:{}", data_encoding::HEXLOWER.encode(digest))
        } else {
            self.fingerprinter.digest(digest)
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The key path; empty for the configuration as a whole.
    pub(super) key: String,
    /// In the log.
    pub(super) why: String,
    of: Of,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Configuration,
    File,
    /// It can't be changed in a running process.
    Fixed,
}

impl Problem {
    /// With a file that a key names.
    pub(super) fn of(key: &str, why: String) -> Self {
        Self { key: key.to_owned(), why, of: Of::File }
    }

    /// The same, of a sentence that begins with the key.
    pub(super) fn keyed(told: &str) -> Self {
        let (key, why) = keyed(told.to_owned());
        Self { key, why, of: Of::File }
    }

    /// With the configuration itself.
    pub(super) fn of_config(problem: &config::Problem) -> Self {
        Self { key: problem.key.clone(), why: problem.to_string(), of: Of::Configuration }
    }

    /// With keys that need a restart.
    pub(super) fn fixed(keys: &[&str]) -> Self {
        let key = keys.join(", ");
        Self { why: format!("needs a restart: {key}"), key, of: Of::Fixed }
    }

    /// For readiness.
    pub(super) fn warning(&self, files: &Files) -> String {
        let Self { key, of, .. } = self;
        let named = files.0.get(key);
        let readable = named.is_none_or(|named| matches!(named.state, State::Bytes(_)));
        match of {
            Of::Fixed => format!("{}; nothing of the changed configuration is in force", self.why),
            Of::Configuration => {
                "the changed configuration file is not good and not in force; the log says why".to_owned()
            }
            Of::File if readable && key == "revocation.file" => {
                format!("{key}: the changed file is not good and not in force as a whole; the log says why")
            }
            Of::File if readable => {
                format!("{key}: the changed file is not good and not in force; the log says why")
            }
            Of::File => {
                format!("{key}: the file can't be read; what was before stays in force, and the log says why")
            }
        }
    }

    /// In the record, in our own words: nothing that stands in a file, be it the name of a key.
    pub(super) fn entry(&self, seen: &Seen<'_>) -> Object {
        let (of, state) = match self.of {
            Of::Configuration | Of::Fixed => ("configuration", Some(seen.text)),
            Of::File => ("file", seen.found.0.get(&self.key).map(|named| &named.state)),
        };
        let what = match (self.of, state) {
            (Of::Fixed, _) => "needs_restart",
            (Of::Configuration | Of::File, Some(State::Missing)) => "missing",
            (Of::Configuration | Of::File, Some(State::Unreadable(_))) => "unreadable",
            (Of::Configuration | Of::File, Some(State::Bytes(_)) | None) => "not_good",
        };
        let mut entry = Object::new();
        entry.set("of", of);
        entry.set("what", what);
        let is_ours = |key: &&str| self.of != Of::Configuration || seen.config.has(key);
        let keys: Vec<&str> = self.key.split(", ").filter(|key| !key.is_empty()).filter(is_ours).collect();
        if !keys.is_empty() {
            entry.set("keys", keys);
        }
        let in_force = seen.in_force.0.get(&self.key).filter(|_| self.of == Of::File);
        for (member, state) in [("found", state), ("in_force", in_force.map(|named| &named.state))] {
            if let Some(State::Bytes(digest)) = state {
                entry.set(member, seen.shown(of, &self.key, digest));
            }
        }
        entry
    }

    /// In the log.
    pub(super) fn tell(&self, config: &Path, files: &Files) {
        let file = match self.of {
            Of::Configuration | Of::Fixed => config.to_owned(),
            Of::File => files.0.get(&self.key).map_or_else(PathBuf::new, |named| named.path.clone()),
        };
        let file = file.display();
        match self.of {
            Of::Fixed => tracing::warn!(
                reload.key = self.key,
                reload.file = %file,
                reload.problem = self.why,
                "not reloaded, what was before stays in force: restart for it, or take the change back; until then nothing of the file is taken up"
            ),
            Of::Configuration | Of::File => tracing::warn!(
                reload.key = self.key,
                reload.file = %file,
                reload.problem = self.why,
                "not reloaded, what was before stays in force: correct it; `tunnelwarden check` says all that is wrong"
            ),
        }
    }
}
