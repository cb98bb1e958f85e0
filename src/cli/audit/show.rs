//! `audit show`: everything that the record has of one call.

use std::io::{self, Write};

use super::{Database, open, unreadable};
use crate::cli::{Env, Exit};
use crate::inspect::{plain, pretty, read_entry};

/// Shows a call.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Show {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// The call's request id, or the id of any of its entries.
    pub id: String,
    /// Print the stored entries, byte for byte, one a line.
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn run(show: &Show, env: &Env, out: &mut (dyn Write + Send)) -> io::Result<Exit> {
    let path = match show.database.path(env) {
        Ok(path) => path,
        Err(what) => {
            writeln!(out, "{what}")?;
            return Ok(Exit::Usage);
        }
    };
    let reader = match open(&path, out).await? {
        Ok(reader) => reader,
        Err(exit) => return Ok(exit),
    };
    let rows = match reader.get(&show.id).await {
        Ok(rows) => rows,
        Err(error) => return unreadable(&error, out),
    };
    reader.close().await;
    if rows.is_empty() {
        let id = plain(&show.id);
        writeln!(out, "no entry has `{id}` as its id or request id; look for it with `audit list`")?;
        return Ok(Exit::Failed);
    }
    for row in rows {
        match read_entry(row.entry.as_bytes()) {
            _ if show.json => writeln!(out, "{}", row.entry)?,
            Ok(entry) => writeln!(out, "entry {}\n{}", row.seq, pretty(&entry))?,
            Err(e) => writeln!(out, "entry {} can't be read: {e}; run `tunnelwarden audit verify`", row.seq)?,
        }
    }
    Ok(Exit::Good)
}
