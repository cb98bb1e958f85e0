//! Which database, which public key, which checkpoint: from flags, else from the configuration.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::unreadable;
use crate::cli::{Env, Stop, check_proves};
use crate::config::{self, Record};
use crate::inspect::plain;
use crate::seal::{Signer, Verifier};
use crate::store::{self, Reader, StoreError};

/// Where the database is.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Database {
    /// The configuration that names it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The record itself: an SQLite file, which may be a copy, or `postgres://...` (the password in PGPASSWORD).
    #[arg(long, value_name = "FILE|URL")]
    pub database: Option<String>,
    /// Take a server that does not prove who it is: anyone on the way can be it, and learns the password.
    #[arg(long, requires = "database")]
    pub allow_insecure_database: bool,
}

impl Database {
    /// Where it is.
    pub(super) fn place(&self, env: &Env) -> Result<store::Database, Stop> {
        match (&self.database, self.named(env)?) {
            (Some(given), _) => place("--database", given, self.allow_insecure_database),
            (None, Some(named)) => Ok(named.database),
            (None, None) => Err(Stop::usage("give --database or --config")),
        }
    }

    /// The database, open. A file that is named by mistake is told apart from one that is damaged.
    pub(super) async fn open(&self, env: &Env) -> Result<Reader, Stop> {
        let place = self.place(env)?;
        let opened = Reader::open(&place).await;
        opened.map_err(|error| match place.file().filter(|_| self.database.is_some()) {
            Some(file) if error.fault == StoreError::Corrupt && !is_sqlite(file) => Stop::usage(format_args!(
                "--database: `{}` is no SQLite database; give the record itself, or by --config the configuration that names it",
                plain(&file.display().to_string())
            )),
            Some(_) | None => unreadable(&error),
        })
    }

    /// The same for a verification: whatever stands in a record's place, that is not a matter of how it was asked.
    pub(super) async fn open_to_verify(&self, env: &Env) -> Result<Reader, Stop> {
        Reader::open(&self.place(env)?).await.map_err(|error| unreadable(&error))
    }

    /// What the configuration says, if there is one.
    pub(super) fn named(&self, env: &Env) -> Result<Option<Record>, Stop> {
        let record = |config| config::record(config, &env.vars).map_err(Stop::usage);
        self.config.as_deref().map(record).transpose()
    }
}

/// Whether a file begins as an `SQLite` database does (<https://sqlite.org/fileformat.html>, section 1.3).
pub(super) fn is_sqlite(file: &Path) -> bool {
    begins_with(file, b"SQLite format 3\0")
}

/// Whether a file can be read and begins with these bytes.
pub(super) fn begins_with<const N: usize>(file: &Path, known: &[u8; N]) -> bool {
    let mut begin = [0; N];
    std::fs::File::open(file).is_ok_and(|mut file| file.read_exact(&mut begin).is_ok()) && begin == *known
}

/// A file's path, or a database's address, that this option was given.
pub(super) fn place(option: &str, given: &str, allow_insecure: bool) -> Result<store::Database, Stop> {
    let is_address = ["postgres:", "postgresql:", "sqlite:"].iter().any(|begin| given.starts_with(begin));
    if !is_address {
        return Ok(PathBuf::from(given).into());
    }
    let parsed = store::Database::parse(given, Path::new(""));
    let database = parsed.map_err(|e| Stop::usage(format_args!("{option} {e}")))?;
    if let store::Database::Postgres(server) = &database {
        check_proves(option, server, allow_insecure)?;
    }
    Ok(database)
}

/// The keys that sign the record: one and more, as they are given, else that of the configured signing key.
pub(super) fn signed_by(
    given: &[String],
    database: &Database,
    env: &Env,
) -> Result<(Verifier, Vec<Verifier>), Stop> {
    match (given, database.named(env)?) {
        ([first, more @ ..], _) => {
            Ok((public_key(first)?, more.iter().map(|key| public_key(key)).collect::<Result<_, _>>()?))
        }
        ([], Some(named)) => Ok((public_half(&named.signing_key_file)?, Vec::new())),
        ([], None) => Err(Stop::usage("give --public-key or --config")),
    }
}

/// A public key given as its text or as the file that holds it.
fn public_key(given: &str) -> Result<Verifier, Stop> {
    if given.contains('+') && !Path::new(given).exists() {
        return Verifier::new(given).map_err(Stop::usage);
    }
    let text = std::fs::read_to_string(given)
        .map_err(|e| Stop::usage(format_args!("can't read the public key `{given}`: {e}")))?;
    Verifier::new(&text).map_err(|e| Stop::usage(format_args!("`{given}`: {e}")))
}

/// The public key that belongs to a signing key's file.
fn public_half(signing_key_file: &Path) -> Result<Verifier, Stop> {
    let shown = signing_key_file.display();
    let text =
        std::fs::read_to_string(signing_key_file).map(crate::secret::SecretString::from).map_err(|e| {
            Stop::usage(format_args!("can't read the signing key `{shown}`: {e}; give --public-key instead"))
        })?;
    let signer = Signer::new(crate::secret::ExposeSecret::expose_secret(&text));
    signer.and_then(|signer| signer.verifier()).map_err(|e| Stop::usage(format_args!("`{shown}`: {e}")))
}
