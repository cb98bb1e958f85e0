//! Where a record is: a file of `SQLite`, or a PostgreSQL server that several replicas share.
//!
//! Not here: how it is written (`store::sqlite`, `store::postgres`), the key in the configuration (`config`).

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::zeroize::Zeroizing;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file, written by one process.
    Sqlite(PathBuf),
    /// A server, with a log for each replica.
    Postgres(Server),
}

/// A PostgreSQL database and how to get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Without a password.
    url: String,
    password_file: Option<PathBuf>,
    replica: String,
}

/// Why an address of a database is not taken. It quotes nothing, since somebody may have put a password there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither of the two forms.
    #[error(
        "wants \"sqlite:\" and a path, such as \"sqlite:audit.db\", or \"postgres://user@host/database\""
    )]
    Form,
    /// A secret in a place that is shown.
    #[error(
        "holds a password; name its file by database_password_file, or give it as the variable PGPASSWORD"
    )]
    Password,
    /// Anyone on the way could be the database.
    #[error(
        "would not make sure that the server is the one it should be; use sslmode=verify-full, or set \
         allow_insecure_database = true where nobody else is on the way"
    )]
    Insecure,
    /// Not among those that are known.
    #[error(
        "has a parameter that is not known; known are host, port, sslmode, sslrootcert, sslcert and sslkey"
    )]
    Parameter,
    /// A name that can't stand in a log's origin.
    #[error("wants 1 to 63 letters, digits, dots, dashes or underscores, the first one a letter or digit")]
    Replica,
}

/// Parameters of an address that are taken.
const PARAMETERS: [&str; 6] = ["host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey"];

impl Database {
    /// Takes `sqlite:PATH`, relative to `base`, or `postgres://USER@HOST[:PORT]/DATABASE[?PARAMETERS]`.
    ///
    /// # Errors
    /// Neither of the two, or one that must not be used.
    pub fn parse(text: &str, base: &Path) -> Result<Self, AddressError> {
        match text.split_once(':') {
            Some(("postgres" | "postgresql", _)) => Server::parse(text).map(Self::Postgres),
            Some(("sqlite", path))
                if !path.is_empty() && !path.starts_with("//") && !path.contains(['?', ':', '#', '%']) =>
            {
                Ok(Self::Sqlite(base.join(path)))
            }
            _ => Err(AddressError::Form),
        }
    }

    /// The file, where it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl From<PathBuf> for Database {
    fn from(path: PathBuf) -> Self {
        Self::Sqlite(path)
    }
}

impl From<&PathBuf> for Database {
    fn from(path: &PathBuf) -> Self {
        Self::Sqlite(path.clone())
    }
}

impl From<&Path> for Database {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<&Self> for Database {
    fn from(database: &Self) -> Self {
        database.clone()
    }
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(server) => f.write_str(&server.url),
        }
    }
}

impl Server {
    fn parse(url: &str) -> Result<Self, AddressError> {
        let (_, rest) = url.split_once("://").ok_or(AddressError::Form)?;
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = place.split('/').next().unwrap_or_default();
        if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            return Err(AddressError::Password);
        }
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split('=').next() {
                Some("password") => return Err(AddressError::Password),
                Some(name) if PARAMETERS.contains(&name) => {}
                Some(_) | None => return Err(AddressError::Parameter),
            }
        }
        PgConnectOptions::from_str(url).map_err(|_| AddressError::Form)?;
        Ok(Self { url: url.to_owned(), password_file: None, replica: String::new() })
    }

    /// With the file that the password is read from, each time that a connection is made.
    #[must_use]
    pub fn with_password_file(mut self, file: Option<PathBuf>) -> Self {
        self.password_file = file;
        self
    }

    /// For the replica of this name, whose log is written.
    ///
    /// # Errors
    /// [`AddressError::Replica`]
    pub fn for_replica(mut self, name: &str) -> Result<Self, AddressError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || name.len() > 63 || !name.chars().all(fits) {
            return Err(AddressError::Replica);
        }
        name.clone_into(&mut self.replica);
        Ok(self)
    }

    /// The replica whose log is written; empty for a reader.
    #[must_use]
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Connections to it, made when they are needed.
    ///
    /// # Errors
    /// The password's file can't be read.
    pub fn pool(&self, most: u32, patience: Duration) -> Result<PgPool, sqlx::Error> {
        let pool = PgPoolOptions::new().max_connections(most).acquire_timeout(patience);
        Ok(pool.connect_lazy_with(self.options()?))
    }

    /// What keeps the password from being read, if anything does.
    #[must_use]
    pub fn password_problem(&self) -> Option<String> {
        self.password().err()
    }

    fn password(&self) -> Result<Option<Zeroizing<String>>, String> {
        let Some(file) = &self.password_file else { return Ok(None) };
        let text = std::fs::read_to_string(file);
        text.map(|text| Some(Zeroizing::new(text)))
            .map_err(|e| format!("the password file `{}` can't be read: {e}", file.display()))
    }

    /// Whether it makes sure of whom it speaks to, or nobody else is on the way.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        let Ok(options) = PgConnectOptions::from_str(&self.url) else { return false };
        self.is_near(&options) || !self.says_mode() || matches!(options.get_ssl_mode(), PgSslMode::VerifyFull)
    }

    fn says_mode(&self) -> bool {
        self.url.contains("sslmode=")
    }

    /// Whether the server is on this machine.
    fn is_near(&self, options: &PgConnectOptions) -> bool {
        let host = options.get_host();
        let is_loopback = host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        options.get_socket().is_some() || host.starts_with('/') || host == "localhost" || is_loopback
    }

    /// What a connection needs.
    ///
    /// # Errors
    /// The password's file can't be read.
    pub(crate) fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let mut options = PgConnectOptions::from_str(&self.url)?;
        if !self.says_mode() && !self.is_near(&options) {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        if let Some(text) = self.password().map_err(|what| sqlx::Error::Configuration(what.into()))? {
            options = options.password(text.trim_end_matches(['\n', '\r']));
        }
        Ok(options.application_name("tunnelwarden").disable_statement_logging())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, why: AddressError) {
        assert_eq!(Database::parse(text, Path::new("/srv")), Err(why), "{text}");
    }

    #[test]
    fn an_address_that_holds_a_secret_or_is_none_is_refused() {
        refused("postgres://u:secret@db/d", AddressError::Password);
        refused("postgres://u@db/d?password=secret", AddressError::Password);
        refused("postgres://u@db/d?options=-csearch_path%3Dx", AddressError::Parameter);
        refused("postgres:db", AddressError::Form);
        refused("mysql://u@db/d", AddressError::Form);
        refused("sqlite://a.db", AddressError::Form);
        refused("sqlite:", AddressError::Form);
        assert_eq!(
            Database::parse("sqlite:a.db", Path::new("/srv")),
            Ok(Database::Sqlite("/srv/a.db".into()))
        );
    }

    #[test]
    fn a_server_elsewhere_must_prove_who_it_is() {
        let of = |text: &str| match Database::parse(text, Path::new("")).unwrap() {
            Database::Postgres(server) => server,
            Database::Sqlite(_) => panic!("{text}"),
        };
        for (text, secure) in [
            ("postgres://u@db.example/d", true),
            ("postgres://u@db.example/d?sslmode=verify-full", true),
            ("postgres://u@db.example/d?sslmode=require", false),
            ("postgres://u@db.example/d?sslmode=disable", false),
            ("postgres://u@127.0.0.1/d?sslmode=disable", true),
            ("postgres://u@localhost/d", true),
            ("postgres:///d?host=/run/postgresql", true),
        ] {
            assert_eq!(of(text).is_secure(), secure, "{text}");
        }
        let far = of("postgres://u@db.example/d").options().unwrap();
        assert!(matches!(far.get_ssl_mode(), PgSslMode::VerifyFull));
        assert_eq!(of("postgres://u@db/d").for_replica("a/b"), Err(AddressError::Replica));
        assert_eq!(of("postgres://u@db/d").for_replica("a-1").unwrap().replica(), "a-1");
    }
}
