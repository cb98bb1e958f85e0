//! Which database, which public key, which checkpoint: from flags, else from the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cli::Env;
use crate::config::Config;
use crate::seal::{Signer, Verifier};

/// Where the database is.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Database {
    /// The configuration that names it.
    #[arg(long, value_name = "FILE", required_unless_present = "database")]
    pub config: Option<PathBuf>,
    /// The SQLite file itself, which may be a copy.
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
}

/// What a configuration says of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The database.
    pub database: PathBuf,
    /// The signing key, which holds the public key as well.
    pub signing_key_file: PathBuf,
    /// The checkpoint file.
    pub checkpoint_file: Option<PathBuf>,
}

impl Named {
    /// From a whole configuration.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        let audit = &config.audit;
        Self {
            database: audit.database.clone(),
            signing_key_file: audit.signing_key_file.clone(),
            checkpoint_file: audit.checkpoint_file.clone(),
        }
    }
}

impl Database {
    /// The database's path.
    pub(super) fn path(&self, env: &Env) -> Result<PathBuf, String> {
        match &self.database {
            Some(database) => Ok(database.clone()),
            None => Ok(self.named(env)?.unwrap_or_default().database),
        }
    }

    /// What the configuration says, if there is one.
    pub(super) fn named(&self, env: &Env) -> Result<Option<Named>, String> {
        self.config.as_ref().map(|config| named(config, &env.vars)).transpose()
    }
}

/// Reads `[audit]` alone: who reads the record need not have what else a configuration asks for.
fn named(config: &Path, vars: &BTreeMap<String, String>) -> Result<Named, String> {
    let failed = |what: &dyn std::fmt::Display| format!("can't read `{}`: {what}", config.display());
    let text = std::fs::read_to_string(config).map_err(|e| failed(&e))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| failed(&e.message()))?;
    let value = |key: &str| {
        let over = vars.get(&format!("TUNNELWARDEN__AUDIT__{}", key.to_uppercase())).cloned();
        over.or_else(|| Some(table.get("audit")?.get(key)?.as_str()?.to_owned()))
    };
    let needed =
        |key: &str| value(key).ok_or_else(|| format!("`{}` has no `audit.{key}`; add it", config.display()));
    let directory = config.parent().unwrap_or_else(|| Path::new(""));
    let database = needed("database")?;
    Ok(Named {
        database: directory.join(database.strip_prefix("sqlite:").unwrap_or(&database)),
        signing_key_file: directory.join(needed("signing_key_file")?),
        checkpoint_file: value("checkpoint_file").map(|file| directory.join(file)),
    })
}

/// A public key given as its text or as the file that holds it.
pub(super) fn public_key(given: &str) -> Result<Verifier, String> {
    if given.contains('+') && !Path::new(given).exists() {
        return Verifier::new(given).map_err(|e| e.to_string());
    }
    let text =
        std::fs::read_to_string(given).map_err(|e| format!("can't read the public key `{given}`: {e}"))?;
    Verifier::new(&text).map_err(|e| format!("`{given}`: {e}"))
}

/// The public key that belongs to a signing key's file.
pub(super) fn public_half(signing_key_file: &Path) -> Result<Verifier, String> {
    let shown = signing_key_file.display();
    let text = std::fs::read_to_string(signing_key_file)
        .map(crate::secret::SecretString::from)
        .map_err(|e| format!("can't read the signing key `{shown}`: {e}; give --public-key instead"))?;
    let signer = Signer::new(crate::secret::ExposeSecret::expose_secret(&text));
    signer.and_then(|signer| signer.verifier()).map_err(|e| format!("`{shown}`: {e}"))
}
