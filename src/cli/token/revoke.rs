//! `tunnelwarden token revoke`: a token, or all tokens of a subject, are not taken any more.
//!
//! Where the record is on a PostgreSQL server, all replicas hear of it from there; where it is in a file, the revocation file
//! gets a line. Not here: what a revocation does (`identify::revoked`).

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization as _;

use crate::cli::{Env, Exit, Stop};
use crate::config;
use crate::identify::{Revocations, is_plain};
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
    let mut lines: Vec<String> = args.ids.iter().map(|id| format!("jti {}", id.nfc())).collect();
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
        lines.extend(args.subjects.iter().map(|subject| format!("sub {issuer} {}", subject.nfc())));
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
            add(file, &lines)?;
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

/// Adds the lines to the file, if the proxy will read all of it. Who reads it meanwhile sees all of them or none.
fn add(file: &Path, lines: &[String]) -> Result<(), Stop> {
    // Where the name is a link's, the file that it leads to.
    let target = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unread = |e| at(&target, "can't be read, so nothing is revoked", &e);
    let unwritten = |e| at(&target, "can't be replaced, so nothing is revoked; add the lines by hand", &e);
    // Of two who add to the same text, one would take out what the other added.
    let turn = File::open(folder).map_err(unread)?;
    turn.lock().map_err(unwritten)?;
    let (mut text, present) = match std::fs::metadata(&target) {
        Ok(present) => (std::fs::read(&target).map_err(unread)?, Some(present)),
        Err(e) if e.kind() == ErrorKind::NotFound => (Vec::new(), None),
        Err(e) => return Err(unread(e)),
    };
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text.extend(lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()));
    if let Some(why) = Revocations::fault(&text) {
        return Err(Stop::failed(format_args!(
            "nothing is revoked: the proxy would not read all of `{}`: {why}; correct it there, then call again",
            target.display()
        )));
    }
    let mut next = target.clone().into_os_string();
    next.push(".next");
    let next = PathBuf::from(next);
    replace(&next, &target, &text, present.as_ref()).map_err(|error| {
        let _ = std::fs::remove_file(&next);
        unwritten(error)
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(unwritten)
}

/// Puts a text in the place of a file, under the same owner and mode.
fn replace(next: &Path, target: &Path, text: &[u8], present: Option<&Metadata>) -> std::io::Result<()> {
    // What an earlier one left that was killed; nobody else writes it now.
    match std::fs::remove_file(next) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let mut file = File::create_new(next)?;
    if let Some(present) = present {
        // The proxy must be able to read what it could read.
        if file.metadata()?.uid() != present.uid() || file.metadata()?.gid() != present.gid() {
            fchown(&file, Some(present.uid()), Some(present.gid()))?;
        }
        file.set_permissions(present.permissions())?;
    }
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(next, target)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

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
        match run(&args, &env, &mut out).await {
            Ok(exit) => (String::from_utf8(out).unwrap(), exit),
            Err(stop) => (stop.what, stop.exit),
        }
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
        said(Exit::Good)(ask(&config, &["--subject", "Zoe\u{308} the builder", "--jti", "8"]).await);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# by hand\njti 1\njti 8\nsub https://idp.example Zo\u{eb} the builder\n");
        for line in [&["--jti", "7\njti 9"][..], &["--jti", ""], &["--jti", "7", "--take-back"]] {
            said(Exit::Usage)(ask(&config, line).await);
        }
        said(Exit::Usage)(ask(&config, &["--subject", "a", "--issuer", "https://other.example"]).await);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }

    #[tokio::test]
    async fn what_the_proxy_would_not_read_is_not_said_to_be_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), "sqlite:audit.db");
        let file = folder.path().join("revoked");
        let full = format!("jti 1\n{}", "#".repeat(4 << 20));
        for (text, place) in [
            ("jti 1\nwhat\n", "line 2 "),
            (full.as_str(), "more than 4194304 bytes"),
            ("jti 1\njti", "line 2 "),
        ] {
            std::fs::write(&file, text).unwrap();
            let (said, exit) = ask(&config, &["--jti", "7"]).await;
            assert_eq!((exit, said.starts_with("nothing is revoked: ")), (Exit::Failed, true), "{said}");
            assert!(said.contains(place) && said.contains("; correct it there"), "{said}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "it is as it was");
        }
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.count(), 2, "nothing is left beside it");
    }

    #[tokio::test]
    async fn many_who_revoke_at_once_keep_each_others_lines_and_the_files_mode() {
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), "sqlite:audit.db");
        let file = folder.path().join("elsewhere");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("elsewhere", folder.path().join("revoked")).unwrap();
        std::fs::write(folder.path().join("elsewhere.next"), "half a li").unwrap();
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let config = config.clone();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(ask(&config, &["--jti", &n.to_string()])).1
                })
            })
            .collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Exit::Good));
        let text = std::fs::read_to_string(&file).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable_by_key(|line| line[4..].parse::<u32>().unwrap());
        assert_eq!(lines, (0..20).map(|n| format!("jti {n}")).collect::<Vec<_>>());
        let kept = std::fs::symlink_metadata(&file).unwrap();
        assert!(kept.is_file() && kept.permissions().mode() & 0o777 == 0o640);
        assert!(folder.path().join("revoked").is_symlink());
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
