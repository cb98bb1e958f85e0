//! `audit verify`: proves the record, or names the first entry that is not what was recorded.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::source::{begins_with, is_sqlite, signed_by};
use super::{Database, unreadable};
use crate::archive;
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{self, Bad, Evidence, Kept, Report, VerifyError, plain};
use crate::json::{Json, Object};
use crate::seal::{EntryProof, EntryProofError, Verifier};
use crate::service::why;
use crate::store::{self, LogId};

/// Bytes of a checkpoint that are read: with many cosignatures it has a few KiB.
const MAX_CHECKPOINT: u64 = 64 << 10;

/// Bytes of a proof that are read: the largest entry, in Base64, and a few hashes.
const MAX_PROOF: u64 = 32 << 20;

/// How gzip begins (RFC 1952 section 2.3.1), and so an archive; a proof is text.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// To its beginning, and what stands there goes.
const CLEAR_LINE: &str = "\r\u{1b}[K";

/// Verifies the record.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Verify {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// A proof of one entry, as `audit prove` writes it, or an archive, to be checked in place of a record.
    #[arg(value_name = "PROOF|ARCHIVE", conflicts_with_all = ["database", "checkpoint"])]
    pub proof: Option<PathBuf>,
    /// The public key, or the file that holds it, once for each; without it, the configured signing key's. After a change of
    /// key give the new one: then nothing counts that the old one signed later.
    #[arg(long, value_name = "FILE|KEY")]
    pub public_key: Vec<String>,
    /// A checkpoint that was kept elsewhere, once for each; without it, the configured checkpoint files.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
    /// A checkpoint up to which the record was verified before: what it covers is not read again.
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    pub from: Option<PathBuf>,
    /// Leave out the database's own check and its indexes, which take most of the time.
    #[arg(long, conflicts_with = "proof")]
    pub entries_only: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn run(
    verify: &Verify,
    env: &Env,
    out: &mut (dyn Write + Send),
    errors: &mut (dyn Write + Send),
) -> Result<Exit, Stop> {
    if let Some(file) = &verify.proof {
        if is_sqlite(file) {
            let shown = plain(&file.display().to_string());
            return Err(Stop::usage(format_args!(
                "`{shown}` is a database, and neither a proof nor an archive; name a record by --database {shown}"
            )));
        }
        let (key, others) = signed_by(&verify.public_key, &verify.database, env)?;
        let keys = [vec![key], others].concat();
        return if begins_with(file, &GZIP) {
            archive(file, &keys, verify.json, out)
        } else {
            entry(file, &keys, verify.json, out)
        };
    }
    // The checkpoint is read before the database: one that is written meanwhile covers no less.
    let evidence = evidence(verify, env)?;
    let reader = verify.database.open_to_verify(env).await?;
    // Who can't see how far it is misses nothing else, so what can't be written here is no fault.
    let mut progress = |entries: u64| {
        if env.terminal.errors {
            let _ = write!(errors, "\r{entries} entries").and_then(|()| errors.flush());
        }
    };
    let result = inspect::verify(&reader, &evidence, &mut progress).await;
    reader.close().await;
    if env.terminal.errors {
        let _ = write!(errors, "{CLEAR_LINE}");
    }
    let report = result.map_err(|error| match error {
        VerifyError::Open(error) => unreadable(&error),
        error @ VerifyError::Read(_) => Stop::failed(error),
    })?;
    if verify.json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        write_text(&report, &evidence, &verify.database.place(env)?, out)?;
    }
    Ok(if report.is_sound() { Exit::Good } else { Exit::Tampered })
}

/// Checks a proof of one entry, which needs nothing but itself and one of the keys.
fn entry(file: &Path, keys: &[Verifier], json: bool, out: &mut dyn Write) -> Result<Exit, Stop> {
    let proof = read_some(file, "proof", MAX_PROOF)?;
    let read = std::str::from_utf8(&proof).map_err(|_| EntryProofError::Malformed).and_then(EntryProof::read);
    let checked = read.and_then(|proof| {
        let (checkpoint, key) = proof.verify_by_any(keys)?;
        Ok((proof, key, checkpoint))
    });
    match checked {
        Ok((proof, ..)) if json => writeln!(out, "{}", proof.entry)?,
        Ok((proof, key, checkpoint)) => {
            let entry = inspect::read_entry(proof.entry.as_bytes())
                .map_err(|e| Stop::failed(format_args!("the proven entry can't be read: {e}")))?;
            writeln!(
                out,
                "good: entry {} stands in the log of `{}`, under a checkpoint over {} entries by the key {}",
                proof.index,
                plain(key.origin()),
                checkpoint.size,
                key.id()
            )?;
            write!(out, "{}", inspect::pretty(&entry))?;
            writeln!(out)?;
        }
        Err(e) => {
            writeln!(out, "NOT PROVEN: `{}`: {e}", plain(&file.display().to_string()))?;
            return Ok(Exit::Tampered);
        }
    }
    Ok(Exit::Good)
}

/// Checks an archive, which needs nothing but itself and one of the keys.
fn archive(file: &Path, keys: &[Verifier], json: bool, out: &mut dyn Write) -> Result<Exit, Stop> {
    let shown = file.display();
    let input = std::fs::File::open(file)
        .map_err(|e| Stop::usage(format_args!("can't read the archive `{shown}`: {e}")))?;
    let read = archive::Reader::open(std::io::BufReader::new(input), keys).and_then(archive::Reader::finish);
    let proven = match read {
        Ok(proven) => proven,
        Err(e) => {
            writeln!(out, "NOT PROVEN: `{}`: {}", plain(&shown.to_string()), plain(&why(&e)))?;
            return Ok(Exit::Tampered);
        }
    };
    let (from, to) = (proven.header.from(), proven.header.to());
    let key = proven.header.key().id();
    if json {
        let mut object = Object::new();
        object.set("origin", proven.header.origin());
        object.set("key_id", key);
        object.set("from", from);
        object.set("to", to);
        object.set("root", proven.header.checkpoint().root.to_string());
        object.set("sha256", proven.sha256);
        object.set("bytes", proven.bytes);
        writeln!(out, "{}", Json::Object(object))?;
    } else {
        writeln!(
            out,
            "good: entries {from} to {} of `{}` are as they were recorded, under a checkpoint over {to} \
             entries by the key {key}\nsha256 {}",
            to - 1,
            plain(proven.header.origin()),
            proven.sha256
        )?;
    }
    Ok(Exit::Good)
}

/// What to check against.
fn evidence(verify: &Verify, env: &Env) -> Result<Evidence, Stop> {
    let named = verify.database.named(env)?;
    let (key, other_keys) = signed_by(&verify.public_key, &verify.database, env)?;
    let mut files = verify.checkpoint.clone();
    if files.is_empty() && verify.database.database.is_none() {
        files.extend(named.into_iter().flat_map(|named| named.checkpoint_files));
        // A configured file may not have been written yet, nor be there beside a copy.
        files.retain(|file| file.exists());
    }
    let checkpoints = files.iter().map(|file| read_checkpoint(file)).collect::<Result<_, _>>()?;
    let from = verify.from.as_deref().map(read_checkpoint).transpose()?;
    // That check reads every entry, those before the begin as well.
    let entries_only = verify.entries_only || from.is_some();
    Ok(Evidence { key, other_keys, checkpoints, from, log: LogId::single(), entries_only })
}

fn read_checkpoint(file: &Path) -> Result<Kept, Stop> {
    let name = format!("the checkpoint file `{}`", file.display());
    Ok(Kept { name, note: read_some(file, "checkpoint", MAX_CHECKPOINT)? })
}

/// A whole file, if it is not larger than any such file is.
fn read_some(file: &Path, what: &str, most: u64) -> Result<Vec<u8>, Stop> {
    use std::io::Read as _;
    let failed = |e: &dyn std::fmt::Display| {
        Stop::usage(format_args!("can't read the {what} `{}`: {e}", file.display()))
    };
    let opened = std::fs::File::open(file).map_err(|e| failed(&e))?;
    let mut bytes = Vec::new();
    opened.take(most + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    if bytes.len() as u64 > most {
        return Err(failed(&"too large for one"));
    }
    Ok(bytes)
}

fn write_text(
    report: &Report,
    evidence: &Evidence,
    record: &store::Database,
    out: &mut dyn Write,
) -> io::Result<()> {
    if report.is_sound() {
        writeln!(
            out,
            "good: {} entries and {} checkpoints of `{}` are as they were recorded",
            report.good,
            report.checkpoints,
            plain(evidence.key.origin())
        )?;
        // The logs of several replicas have no root together.
        if report.logs.is_empty() {
            writeln!(out, "root {}", report.root)?;
        }
        for (name, log) in &report.logs {
            let (name, root) = (plain(name), &log.root);
            write!(out, "log {name}: {} entries and {} checkpoints, root {root}", log.good, log.checkpoints)?;
            match log.covered {
                0 => writeln!(out)?,
                covered => writeln!(out, "; the first {covered} under a checkpoint that was given")?,
            }
        }
        for line in report.says() {
            writeln!(out, "{}", plain(&line))?;
        }
        if report.not_read > 0 {
            writeln!(
                out,
                "the first {} were not read: their stored hashes make the root of the checkpoint that you trust; \
                 whether their texts still have these hashes was not looked at",
                report.not_read
            )?;
        }
        if evidence.entries_only {
            writeln!(
                out,
                "the indexes were not checked: what is looked up by them (lists, views) may still miss entries"
            )?;
        }
        if evidence.checkpoints.is_empty() && evidence.from.is_none() {
            writeln!(
                out,
                "no checkpoint was given: an end that was cut off together with its head can't be noticed"
            )?;
        } else if report.covered < report.good {
            writeln!(
                out,
                "the checkpoints that were given cover {} of {} entries: an end behind these that was cut off together \
                 with its head can't be noticed",
                report.covered, report.good
            )?;
        }
        return Ok(());
    }
    let record = plain(&record.to_string());
    if !report.other_keys.is_empty() {
        let name = |key: &Verifier| format!("{}+{}", key.origin(), key.id());
        let given: Vec<String> = [&evidence.key].into_iter().chain(&evidence.other_keys).map(name).collect();
        writeln!(
            out,
            "NOT PROVEN: nothing of `{record}` is signed by the key {}; it says it is signed by {}\n\
             this is the record of another log, or one that was put in its place: if you gave the wrong public key, give the \
             one of this log, else keep the file, since it is not the record that this key signed",
            plain(&given.join(", ")),
            plain(&report.other_keys.join(", "))
        )?;
        // Nothing before it is good either.
        if let Some(bad) = &report.first_bad {
            writeln!(out, "first bad entry: {}{}: {}", bad.seq, id(bad), plain(&bad.what))?;
        }
        return write_rest(report, out);
    }
    writeln!(out, "TAMPERED: `{record}` is not as it was recorded")?;
    match &report.first_bad {
        Some(bad) => {
            writeln!(out, "first bad entry: {}{}: {}", bad.seq, id(bad), plain(&bad.what))?;
            writeln!(out, "the {} entries before it are good", report.good)?;
        }
        None => writeln!(out, "no entry is bad: all {} are as they were recorded", report.good)?,
    }
    write_rest(report, out)
}

/// What else is wrong.
fn write_rest(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if let Some(doubt) = &report.first_in_doubt {
        writeln!(out, "first entry in doubt: {}{}: {}", doubt.seq, id(doubt), plain(&doubt.what))?;
    }
    for problem in &report.problems {
        writeln!(out, "also: {}", plain(problem))?;
    }
    Ok(())
}

fn id(entry: &Bad) -> String {
    entry.id.as_deref().map_or_else(String::new, |id| format!(" (id {})", plain(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_replicas_log_is_told_with_its_own_root() {
        let (_, public) = crate::seal::generate_key("tunnelwarden/test").unwrap();
        let evidence = Evidence::of(Verifier::new(&public).unwrap());
        let of_log =
            |good, root: &str| Report { good, checkpoints: 1, root: root.into(), ..Report::default() };
        let b = Report { covered: 1, ..of_log(3, "BBB=") };
        let logs = vec![("a".to_owned(), of_log(2, "AAA=")), ("b".to_owned(), b)];
        let report = Report { good: 5, covered: 1, checkpoints: 2, logs, ..Report::default() };
        let mut out = Vec::new();
        write_text(&report, &evidence, &PathBuf::from("audit.db").into(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let begin = "good: 5 entries and 2 checkpoints of `tunnelwarden/test` are as they were recorded\n\
                     log a: 2 entries and 1 checkpoints, root AAA=\n\
                     log b: 3 entries and 1 checkpoints, root BBB=; the first 1 under a checkpoint that was given\n";
        assert!(text.starts_with(begin), "{text}");
    }
}
