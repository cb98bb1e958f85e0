//! `tunnelwarden token revoke`: a token, or all tokens of a subject, are not taken any more.
//!
//! Where the record is on a PostgreSQL server, all replicas hear of it from there; where it is in a file, the revocation file
//! gets a line. Not here: what a revocation does (`identify::revoked`).

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::{Env, Exit, Stop};
use crate::config;
use crate::identify::is_plain;
use crate::share::Shared;

use super::{at, visible};

/// What to revoke.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration of the proxy.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The claim `jti` of a token; may be repeated.
    #[arg(long = "jti", value_name = "ID", required_unless_present = "subjects")]
    ids: Vec<String>,
    /// The claim `sub`: all tokens of this subject; may be repeated.
    #[arg(long = "subject", value_name = "SUBJECT")]
    subjects: Vec<String>,
    /// Whose subject it is; needed where the configuration has several issuers.
    #[arg(long, requires = "subjects")]
    issuer: Option<String>,
    /// Take the revocation back.
    #[arg(long)]
    take_back: bool,
}

/// Bytes of a line that the server takes.
const LINE_MAX: usize = 2000;

/// Revokes it.
///
/// # Errors
/// What can't be revoked, and why.
pub(super) async fn run(args: &Args, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    let config = config::load(&args.config, &env.vars).map_err(Stop::usage)?;
    let mut lines: Vec<String> = args.ids.iter().map(|id| format!("jti {id}")).collect();
    if !args.subjects.is_empty() {
        let names: Vec<&str> = config.issuers.iter().map(|issuer| issuer.issuer.as_str()).collect();
        let issuer = match (&args.issuer, names.as_slice()) {
            (Some(issuer), names) if names.contains(&issuer.as_str()) => issuer,
            (None, [issuer]) => *issuer,
            (Some(_) | None, _) => {
                let names = names.join(", ");
                return Err(Stop::usage(format_args!(
                    "give --issuer, one of those that are configured: {names}"
                )));
            }
        };
        lines.extend(args.subjects.iter().map(|subject| format!("sub {issuer} {subject}")));
    }
    for line in &lines {
        if !is_plain(line) || line.len() > LINE_MAX {
            return Err(Stop::usage(format_args!(
                "`{}` can't be revoked: it is no id or subject",
                visible(line)
            )));
        }
    }
    let shared = Shared::open(&config.audit.database).map_err(Stop::failed)?;
    let place = match (&shared, &config.revocation.file) {
        (Some(shared), _) => {
            for line in &lines {
                shared.revoke(line, !args.take_back).await.map_err(|error| {
                    Stop::failed(format_args!(
                        "the database that replicas share does not take `{line}`: {error}"
                    ))
                })?;
            }
            "at all replicas".to_owned()
        }
        (None, Some(file)) if args.take_back => {
            return Err(Stop::usage(format_args!("take the line out of `{}` by hand", file.display())));
        }
        (None, Some(file)) => {
            append(file, &lines).map_err(|e| at(file, "can't be written", &e))?;
            format!("in `{}`", file.display())
        }
        (None, None) => return Err(Stop::usage("the configuration names no [revocation] file")),
    };
    let done = if args.take_back { "no longer revoked" } else { "revoked" };
    for line in &lines {
        writeln!(out, "{done} {place}: {line}")?;
    }
    Ok(Exit::Good)
}

/// Adds the lines in one write, which who reads meanwhile sees all of or none, and keeps what is there.
fn append(file: &Path, lines: &[String]) -> std::io::Result<()> {
    let present = match std::fs::read(file) {
        Ok(present) => present,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    let mut text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    if present.last().is_some_and(|last| *last != b'\n') {
        text.insert(0, '\n');
    }
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;

    use super::*;
    use crate::clock::ManualClock;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    async fn ask(config: &Path, line: &[&str]) -> (String, Exit) {
        let clock = ManualClock::at(jiff::Timestamp::UNIX_EPOCH);
        let env = Env { vars: BTreeMap::new(), clock, terminal: Default::default() };
        let config = ["revoke", "--config", config.to_str().unwrap()];
        let args = Line::try_parse_from([&config[..], line].concat()).unwrap().args;
        let mut out = Vec::new();
        let exit = run(&args, &env, &mut out).await.unwrap_or_else(|stop| stop.exit);
        (String::from_utf8(out).unwrap(), exit)
    }

    fn configuration(folder: &Path, database: &str) -> PathBuf {
        let path = folder.join("tw.toml");
        let text = format!(
            r#"upstream.token_file = "token"
policy.file = "policy.cedar"
revocation.file = "revoked"
[audit]
database = "{database}"
signing_key_file = "signing.key"
fingerprint_key_file = "fingerprint.key"
[[issuer]]
issuer = "https://idp.example"
audience = "us"
jwks_file = "jwks.json"
algorithms = ["ES256"]
max_lifetime = "2h"
"#
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    #[tokio::test]
    async fn beside_a_file_the_revocation_file_gets_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), "sqlite:audit.db");
        let file = folder.path().join("revoked");
        let said = |exit| move |(_, found): (String, Exit)| assert_eq!(found, exit);
        said(Exit::Good)(ask(&config, &["--jti", "7"]).await);
        std::fs::write(&file, "# by hand\njti 1").unwrap();
        said(Exit::Good)(ask(&config, &["--subject", "bob the builder", "--jti", "8"]).await);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# by hand\njti 1\njti 8\nsub https://idp.example bob the builder\n");
        for line in [&["--jti", "7\njti 9"][..], &["--jti", ""], &["--jti", "7", "--take-back"]] {
            said(Exit::Usage)(ask(&config, line).await);
        }
        said(Exit::Usage)(ask(&config, &["--subject", "a", "--issuer", "https://other.example"]).await);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }

    #[tokio::test]
    async fn beside_a_server_it_is_revoked_for_all_replicas() {
        let Some(database) = crate::store::record::postgres("a").await else { return };
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), &database.to_string());
        let shared = Shared::open(&database).unwrap().unwrap();
        let (said, exit) = ask(&config, &["--jti", "7", "--subject", "bob"]).await;
        assert_eq!(
            (said.as_str(), exit),
            (
                "revoked at all replicas: jti 7\nrevoked at all replicas: sub https://idp.example bob\n",
                Exit::Good
            )
        );
        assert_eq!(ask(&config, &["--jti", "7", "--take-back"]).await.1, Exit::Good);
        let known = shared.revocations(0).await.unwrap();
        let known: Vec<_> = known.iter().map(|one| (one.line.as_str(), one.in_force)).collect();
        assert_eq!(known, [("sub https://idp.example bob", true), ("jti 7", false)]);
        assert!(!folder.path().join("revoked").exists());
    }
}
