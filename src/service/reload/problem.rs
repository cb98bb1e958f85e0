//! What keeps a change from being in force, for the log and for readiness.
//!
//! Anybody may read readiness, so what is said there quotes neither a file nor a path; the log has the details. Not here:
//! what is wrong (`prepare`, `config`).

use std::path::{Path, PathBuf};

use super::files::{Files, State};
use crate::config;
use crate::service::check::keyed;

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

    /// In the log.
    pub(super) fn tell(&self, config: &Path, files: &Files) {
        let file = match self.of {
            Of::Configuration | Of::Fixed => config.to_owned(),
            Of::File => files.0.get(&self.key).map_or_else(PathBuf::new, |named| named.path.clone()),
        };
        tracing::warn!(
            reload.key = self.key,
            reload.file = %file.display(),
            reload.problem = self.why,
            "not reloaded, what was before stays in force: correct it; `tunnelwarden check` says all that is wrong"
        );
    }
}
