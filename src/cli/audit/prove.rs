//! `audit prove`: one entry with all that proves it, for somebody who has nothing but the public key.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::source::signed_by;
use super::which::parse_id;
use super::{Database, unreadable};
use crate::archive;
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{self, ProveError, VerifyError, plain, read_entry};
use crate::seal::Verifier;
use crate::service::why;
use crate::store::Row;

/// Proves an entry.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Prove {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// The public key, or the file that holds it; without it, the configured signing key's. With --archive also older
    /// ones, by which that may be signed.
    #[arg(long, value_name = "FILE|KEY")]
    pub public_key: Vec<String>,
    /// The entry's id, or the request id of a call that has one entry.
    #[arg(value_parser = parse_id)]
    pub id: String,
    /// The archive that has the entry, if it was archived.
    #[arg(long, value_name = "FILE")]
    pub archive: Option<PathBuf>,
    /// Where to write the proof; to standard output otherwise.
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

pub(super) async fn run(prove: &Prove, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let (verifier, others) = signed_by(&prove.public_key, &prove.database, env)?;
    let keys = [vec![verifier.clone()], others].concat();
    let reader = prove.database.open(env).await?;
    let rows = reader.get(&prove.id).await.map_err(|error| unreadable(&error))?;
    let row = chosen(&rows, &prove.id)?;
    let text = prove.archive.as_deref().map(|file| archived(file, &keys, row.seq)).transpose()?;
    let proven = inspect::prove(&reader, &verifier, row.seq, text).await;
    reader.close().await;
    let proof = proven.map_err(|error| match error {
        ProveError::Read(VerifyError::Open(error)) => unreadable(&error),
        ProveError::Read(error) => Stop::failed(error),
        error @ ProveError::Archived(_) => Stop::usage(error),
        error @ (ProveError::Unproven(..) | ProveError::Missing(_)) => {
            Stop { exit: Exit::Tampered, what: error.to_string() }
        }
    })?;
    let Some(to) = &prove.to else {
        write!(out, "{}", proof.to_text())?;
        return Ok(Exit::Good);
    };
    let shown = plain(&to.display().to_string());
    std::fs::write(to, proof.to_text())
        .map_err(|e| Stop::failed(format_args!("can't write the proof `{shown}`: {e}")))?;
    writeln!(
        out,
        "entry {} is proven by `{shown}`\n\
         to check it elsewhere: tunnelwarden audit verify {shown} --public-key <the key of `{}`>",
        row.seq,
        plain(verifier.origin())
    )?;
    Ok(Exit::Good)
}

/// The text of an entry, out of the archive that has it.
fn archived(file: &Path, keys: &[Verifier], seq: u64) -> Result<String, Stop> {
    let shown = plain(&file.display().to_string());
    let failed = |e: &dyn std::fmt::Display| Stop::usage(format_args!("the archive `{shown}`: {e}"));
    let input = std::fs::File::open(file).map_err(|e| failed(&e))?;
    let input = std::io::BufReader::new(input);
    let mut archive = archive::Reader::open(input, keys).map_err(|e| failed(&why(&e)))?;
    while let Some((at, text)) = archive.next_entry().map_err(|e| failed(&why(&e)))? {
        if at == seq {
            return Ok(text.to_owned());
        }
    }
    Err(failed(&format_args!("it does not have entry {seq}")))
}

/// The entry with this id, else the only one of the call.
fn chosen<'a>(rows: &'a [Row], id: &str) -> Result<&'a Row, Stop> {
    let text = |row: &Row, name: &str| {
        let entry = read_entry(row.entry.as_bytes()).ok()?;
        entry.get(name)?.as_str().map(str::to_owned)
    };
    if let Some(row) = rows.iter().find(|row| text(row, "id").as_deref() == Some(id)) {
        return Ok(row);
    }
    match rows {
        [] => Err(Stop::failed(format_args!("no entry has `{}` as its id or request id", plain(id)))),
        [row] => Ok(row),
        rows => {
            let named = |row: &Row| {
                let word = |name| text(row, name).unwrap_or_else(|| "?".to_owned());
                format!("{} ({})", word("id"), word("kind"))
            };
            let ids = rows.iter().map(named).collect::<Vec<_>>().join(", ");
            Err(Stop::usage(format_args!("the call has {} entries; give the id of one: {ids}", rows.len())))
        }
    }
}
