//! `audit copy`: moves a record from a file to a server.

use std::io::Write;

use super::progress::Progress;
use super::source::{Database, place, signed_by};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::plain;
use crate::service::copy;
use crate::store;

/// What `copy` takes.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The log keeps its origin, its keys, its checkpoints and its proofs. It is verified before and where it arrived; cut short, the
same command goes on. Stop `serve` first, give the server to it afterwards, and keep the file until you have seen `audit verify`.

Examples:
  tunnelwarden audit copy --from sqlite:audit.db --to postgres://tunnelwarden@db.example/tunnelwarden \\
      --public-key audit-signing.key.pub")]
pub struct Copy {
    /// The record's file: `sqlite:FILE`
    #[arg(long, value_name = "URL")]
    pub from: String,
    /// The server, as a role that may write there: `postgres://...` (the password in PGPASSWORD)
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// What the log is called there, beside those of the replicas.
    #[arg(long, value_name = "NAME", default_value = "before")]
    pub name: String,
    /// The public key that signed it, as text or as its file; once for each.
    #[arg(long, value_name = "KEY|FILE", required = true)]
    pub public_key: Vec<String>,
    /// Take a server that does not prove who it is: anyone on the way can be it, and learns the password.
    #[arg(long)]
    pub allow_insecure_database: bool,
}

pub(super) async fn run(
    asked: &Copy,
    env: &Env,
    out: &mut (dyn Write + Send),
    errors: &mut (dyn Write + Send),
) -> Result<Exit, Stop> {
    let from = place("--from", &asked.from, false)?;
    let to = place("--to", &asked.to, asked.allow_insecure_database)?;
    let (Some(from), store::Database::Postgres(to)) = (from.file(), &to) else {
        return Err(Stop::usage(
            "a record is moved from a file (`sqlite:...`) to a server (`postgres://...`)",
        ));
    };
    let to = to.clone().for_replica(&asked.name).map_err(|e| Stop::usage(format_args!("--name {e}")))?;
    let keys = signed_by(&asked.public_key, &Database::default(), env)?;
    let copied = {
        let mut progress = Progress::new(env, errors, "entries");
        let mut told = 0;
        let mut done = |entries: u64| {
            progress.add(entries.saturating_sub(told));
            told = entries;
        };
        copy(from, &to, keys, &mut done).await.map_err(|e| Stop::failed(plain(&e)))?
    };
    writeln!(
        out,
        "good: {} entries and {} checkpoints are there as they were recorded, as the log `{}`",
        copied.entries, copied.checkpoints, asked.name
    )?;
    if copied.before > 0 {
        writeln!(out, "{} of the entries were there already", copied.before)?;
    }
    Ok(Exit::Good)
}
