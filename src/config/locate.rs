//! Where things are, by a configuration that need not be good in the rest.
//!
//! Who reads the record or checks a policy need not have everything that serving takes, and asking a running
//! proxy how it is must not depend on what was typed into the file since. The keys that are asked for are read
//! by the code that reads them for `serve`, variables included. Not here: that code (`read`, `audit`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::table::{Reader, Section};
use super::{Problem, Problems, audit, issuer, overrides, read, tree};
use crate::store::Database;

/// Where the record and what proves it are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The database.
    pub database: Database,
    /// The signing key, which holds the public key as well.
    pub signing_key_file: PathBuf,
    /// The key of fingerprints.
    pub fingerprint_key_file: PathBuf,
    /// The checkpoint files.
    pub checkpoint_files: Vec<PathBuf>,
}

/// `[audit]`: the record's files.
///
/// # Errors
/// What is wrong with these keys.
pub fn record(path: &Path, env: &BTreeMap<String, String>) -> Result<Record, Problems> {
    let keys =
        ["audit.database", "audit.database_password_file", "audit.signing_key_file", "audit.checkpoint_file"];
    let audit = located(path, env, &keys, |root| root.section("audit", audit::read))?;
    Ok(Record {
        database: audit.database,
        signing_key_file: audit.signing_key_file,
        fingerprint_key_file: audit.fingerprint_key_file,
        checkpoint_files: audit.checkpoint_files,
    })
}

/// `policy.file`
///
/// # Errors
/// What is wrong with this key.
pub fn policy_file(path: &Path, env: &BTreeMap<String, String>) -> Result<PathBuf, Problems> {
    let policy = located(path, env, &["policy.file"], |root| root.section("policy", read::policy))?;
    Ok(policy.file)
}

/// `admin.address`
///
/// # Errors
/// What is wrong with this key.
pub fn admin_address(path: &Path, env: &BTreeMap<String, String>) -> Result<SocketAddr, Problems> {
    let admin = located(path, env, &["admin.address"], |root| root.section("admin", read::admin))?;
    Ok(admin.address)
}

/// Issuer and audience of each `[[issuer]]` that says both.
///
/// # Errors
/// What is wrong with the list of issuers as a whole.
pub fn issuers(path: &Path, env: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, Problems> {
    let all = located(path, env, &["issuer"], issuer::read_all)?;
    let named = all.into_iter().map(|issuer| (issuer.issuer, issuer.audience));
    Ok(named.filter(|(issuer, audience)| !issuer.is_empty() && !audience.is_empty()).collect())
}

/// Reads a part of the configuration, and judges these keys (and the tables that they are in) alone.
fn located<T>(
    path: &Path,
    env: &BTreeMap<String, String>,
    keys: &[&str],
    take: impl FnOnce(&mut Section<'_>) -> T,
) -> Result<T, Problems> {
    let (text, base) = read::text(path)?;
    let mut tree = tree::file(&text).map_err(read::in_order)?;
    let mut problems = Vec::new();
    overrides::apply(&mut tree, env, &mut problems);
    let reader = Reader {
        base,
        problems: RefCell::new(problems),
        origins: RefCell::default(),
        resolved: RefCell::default(),
    };
    let found = take(&mut Section::root(&reader, tree));
    let asked = |problem: &Problem| {
        keys.iter().any(|key| {
            let below = key.strip_prefix(problem.key.as_str());
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let problems: Vec<Problem> = reader.problems.into_inner().into_iter().filter(asked).collect();
    if problems.is_empty() { Ok(found) } else { Err(read::in_order(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Good in what is asked for and bad in all else.
    const LAME: &str = "policy.file = \"p.cedar\"\nadmin.address = \"127.0.0.1:1\"\nnonsense = 1\n\
        [audit]\ndatabase = \"sqlite:a.db\"\nsigning_key_file = \"s.key\"\nappend_timeout = \"never\"\nodd = 1\n";

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tunnelwarden.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_configuration_that_is_bad_in_the_rest_still_tells_where_things_are() {
        let (folder, path) = file(LAME);
        let none = vars(&[]);
        let found = record(&path, &none).unwrap();
        assert_eq!(found.database, folder.path().join("a.db").into());
        assert_eq!(found.signing_key_file, folder.path().join("s.key"));
        assert!(found.checkpoint_files.is_empty());
        assert_eq!(policy_file(&path, &none).unwrap(), folder.path().join("p.cedar"));
        assert_eq!(admin_address(&path, &none).unwrap().port(), 1);
        assert!(super::super::load(&path, &none).is_err());
    }

    #[test]
    fn variables_override_as_they_do_for_serve() {
        let (folder, path) = file(LAME);
        let set = vars(&[
            ("TUNNELWARDEN__AUDIT__DATABASE", "sqlite:b.db"),
            ("tunnelwarden__audit__checkpoint_file", "c.txt"),
            ("TUNNELWARDEN__POLICY__FILE", "/etc/q.cedar"),
            ("TUNNELWARDEN__LISTEN__ODD", "1"),
        ]);
        let found = record(&path, &set).unwrap();
        assert_eq!(found.database, folder.path().join("b.db").into());
        assert_eq!(found.checkpoint_files, [folder.path().join("c.txt")]);
        assert_eq!(policy_file(&path, &set).unwrap(), Path::new("/etc/q.cedar"));
    }

    #[test]
    fn what_is_wrong_with_the_keys_themselves_is_said() {
        #[track_caller]
        fn check(text: &str, wrong: &[&str]) {
            let (_folder, path) = file(text);
            let none = vars(&[]);
            let mut found = Vec::new();
            found.extend(record(&path, &none).err().into_iter().flat_map(|wrong| wrong.0));
            found.extend(policy_file(&path, &none).err().into_iter().flat_map(|wrong| wrong.0));
            assert_eq!(found.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), wrong, "{found:?}");
        }
        check("", &["audit.database", "audit.signing_key_file", "policy.file"]);
        check(
            &LAME.replace("sqlite:a.db", "postgres://u:hunter2@h/d").replace("p.cedar", ""),
            &["audit.database", "policy.file"],
        );
        check("[", &["", ""]);
    }
}
