//! `audit prove`: one entry with all that proves it, for somebody who has nothing but the public key.

use std::io::Write;
use std::path::PathBuf;

use super::source::signed_by;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{self, ProveError, VerifyError, plain, read_entry};
use crate::store::Row;

/// Proves an entry.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Prove {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// The public key, or the file that holds it; without it, the configured signing key's.
    #[arg(long, value_name = "FILE|KEY")]
    pub public_key: Option<String>,
    /// The entry's id, or the request id of a call that has one entry.
    pub id: String,
    /// Where to write the proof; to standard output otherwise.
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

pub(super) async fn run(prove: &Prove, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let verifier = signed_by(prove.public_key.as_slice(), &prove.database, env)?.0;
    let reader = prove.database.open(env).await?;
    let rows = reader.get(&prove.id).await.map_err(|error| unreadable(&error))?;
    let row = chosen(&rows, &prove.id)?;
    let proven = inspect::prove(&reader, &verifier, row.seq).await;
    reader.close().await;
    let proof = proven.map_err(|error| match error {
        ProveError::Read(VerifyError::Open(error)) => unreadable(&error),
        ProveError::Read(error) => Stop::failed(error),
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
