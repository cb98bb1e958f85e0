//! `tunnelwarden token revoke`: a token, or all tokens of a subject, are not taken any more.
//!
//! Where the record is on a PostgreSQL server, all replicas hear of it from there; where it is in a file, the revocation file
//! gets a line, or loses it. Not here: what a revocation does, and what a line is (`identify::revoked`).

#[cfg(test)]
mod tests;

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use crate::atomic_file;
use crate::cli::forgotten::Forgotten;
use crate::cli::{Env, Exit, Stop};
use crate::config::{self, Config};
use crate::identify::{Revocations, revoking_line, without_line};
use crate::share::Shared;

use super::{at, looks_like_a_token, visible};

/// What to revoke.
#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("what").args(["ids", "subjects"]).required(true).multiple(true)))]
pub struct Args {
    /// The configuration of the proxy.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The claim `jti` of a token; may be repeated.
    #[arg(long = "jti", value_name = "ID")]
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
    /// Whatever else is given, which may be a token.
    #[arg(hide = true, num_args = 0.., value_parser = Forgotten::parse)]
    other: Vec<Forgotten>,
}

/// Bytes of a line that the server takes.
const LINE_MAX: usize = 2000;

/// Revokes it, or takes that back.
///
/// # Errors
/// What can't be revoked, and why.
pub(super) async fn run(args: &Args, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    let config = config::load(&args.config, &env.vars).map_err(Stop::usage)?;
    let lines = lines(args, &config)?;
    let (done, nothing) = if args.take_back {
        ("no longer revoked", "nothing is taken back")
    } else {
        ("revoked", "nothing is revoked")
    };
    let shared = Shared::open(&config.audit.database).map_err(Stop::failed)?;
    match (&shared, &config.revocation.file) {
        (Some(shared), file) => {
            for line in &lines {
                shared.revoke(line, !args.take_back).await.map_err(|error| {
                    Stop::failed(format_args!(
                        "the database that replicas share does not take `{line}`: {error}"
                    ))
                })?;
                writeln!(out, "{done} at all replicas: {line}")?;
            }
            match file {
                Some(file) if args.take_back => still_in(file, &lines),
                Some(_) | None => Ok(Exit::Good),
            }
        }
        (None, Some(file)) => {
            let changed = change(file, &lines, args.take_back, nothing)?;
            for line in &lines {
                // Of what is taken back, all was there.
                let done = if args.take_back || changed.contains(line) { done } else { "already revoked" };
                writeln!(out, "{done} in `{}`: {line}", file.display())?;
            }
            Ok(Exit::Good)
        }
        (None, None) => Err(Stop::usage(format_args!(
            "{nothing}: `{}` names no list of revocations; write `file = \"revoked.txt\"` below `[revocation]` there, \
             which a running proxy takes up by itself, then call again",
            args.config.display()
        ))),
    }
}

/// A line for each token and subject, each once.
fn lines(args: &Args, config: &Config) -> Result<Vec<String>, Stop> {
    let unheld = |what: &str, name: &str| {
        let name = visible(name);
        Stop::usage(format_args!(
            "`{name}` is no {what} of a token that is taken, so no line of the list can hold it; give it as the claim has \
             it: 1 to 256 bytes, all of them seen, with single blanks and only between others"
        ))
    };
    if !args.other.is_empty() {
        return Err(Stop::usage(
            "an argument is none of this command's, and is not repeated here since it may be a token; give what to revoke by \
             --jti or --subject",
        ));
    }
    if args.ids.iter().chain(&args.subjects).any(|name| looks_like_a_token(name)) {
        return Err(Stop::usage(
            "this looks like a whole token, which others may have seen here: give its `jti`, as `token inspect` shows it",
        ));
    }
    let mut lines = Vec::new();
    for id in &args.ids {
        lines.push(revoking_line(None, id).ok_or_else(|| unheld("id", id))?);
    }
    if !args.subjects.is_empty() {
        let issuer = issuer(args, config)?;
        for subject in &args.subjects {
            let line = revoking_line(Some(issuer), subject).filter(|line| line.len() <= LINE_MAX);
            lines.push(line.ok_or_else(|| unheld("subject", subject))?);
        }
    }
    let mut each = Vec::with_capacity(lines.len());
    for line in lines {
        if !each.contains(&line) {
            each.push(line);
        }
    }
    Ok(each)
}

/// Whose subjects are meant.
fn issuer<'a>(args: &'a Args, config: &'a Config) -> Result<&'a str, Stop> {
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
    if issuer.contains(char::is_whitespace) {
        return Err(Stop::usage(format_args!(
            "no line of the list can hold the issuer `{}`, as there is a blank in it; revoke its tokens by --jti",
            visible(issuer)
        )));
    }
    Ok(issuer)
}

/// Beside what is revoked at all replicas, the file counts for its own.
fn still_in(file: &Path, lines: &[String]) -> Result<Exit, Stop> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Exit::Good),
        Err(e) => return Err(at(file, "can't be read, and may still revoke the same; look into it", &e)),
    };
    match lines.iter().find(|line| without_line(&text, line).is_some()) {
        None => Ok(Exit::Good),
        Some(line) => Err(Stop::failed(format_args!(
            "`{}` still says `{line}`, which counts for the replicas that have this file; take the line out of it",
            file.display()
        ))),
    }
}

/// Adds the lines to the file, or takes them out, if the proxy will read all of it; which lines were not there. Who reads it
/// meanwhile sees all of the change or nothing of it.
fn change(file: &Path, lines: &[String], take_back: bool, nothing: &str) -> Result<Vec<String>, Stop> {
    // Where the name is a link's, the file that it leads to.
    let target = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unread = |e| at(&target, &format!("can't be read, so {nothing}"), &e);
    let by_hand = format!("can't be replaced, so {nothing}; change it by hand");
    let unwritten = |e| at(&target, &by_hand, &e);
    // Of two who change the same text, one would undo what the other did.
    let turn = File::open(folder).map_err(unread)?;
    turn.lock().map_err(unwritten)?;
    let (mut text, present) = match std::fs::metadata(&target) {
        Ok(present) => (std::fs::read(&target).map_err(unread)?, Some(present)),
        Err(e) if e.kind() == ErrorKind::NotFound => (Vec::new(), None),
        Err(e) => return Err(unread(e)),
    };
    let before = text.len();
    let mut added = Vec::new();
    for line in lines {
        match (without_line(&text, line), take_back) {
            (Some(left), true) => text = left,
            (Some(_), false) => {}
            (None, true) => {
                return Err(Stop::failed(format_args!(
                    "{nothing}: no line of `{}` is `{line}`; look it up there",
                    target.display()
                )));
            }
            (None, false) => {
                if text.last().is_some_and(|last| *last != b'\n') {
                    text.push(b'\n');
                }
                text.extend([line.as_bytes(), b"\n"].concat());
                added.push(line.clone());
            }
        }
    }
    // Of a list that is not good as a whole a start makes nothing, and a running proxy takes nobody off.
    if let Some(why) = Revocations::fault(&text) {
        return Err(Stop::failed(format_args!(
            "{nothing}: the proxy would not read all of `{}`: {why}; correct it there, then call again",
            target.display()
        )));
    }
    if text.len() == before {
        return Ok(added);
    }
    let next = atomic_file::beside(&target, ".next");
    replace(&next, &target, &text, present.as_ref()).map_err(|error| {
        let _ = std::fs::remove_file(&next);
        unwritten(error)
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(unwritten)?;
    Ok(added)
}

/// Puts a text in the place of a file, under the same owner and mode.
fn replace(next: &Path, target: &Path, text: &[u8], present: Option<&Metadata>) -> std::io::Result<()> {
    let mut file = atomic_file::make(next, 0o666)?;
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
