//! `tunnelwarden audit list | tail | stats | show | history | diff | export | psk-age | reconcile | find-secret | prove | verify | archive |
//! copy`: the record, read and proven, what is old moved out, and all of it moved to a server.
//!
//! Each takes its database from the configuration or from a flag: an outside auditor has a copy of the file, a
//! checkpoint and a public key, and no configuration. Not here: what is looked for and how (`inspect`).

mod archive;
mod color;
mod copy;
mod cursor;
mod diff;
mod export;
mod find_secret;
mod history;
mod lines;
mod list;
mod progress;
mod prove;
mod psk_age;
mod reconcile;
mod show;
mod source;
mod stats;
mod tail;
#[cfg(test)]
mod tests;
mod verify;
mod views;
mod which;

use std::io::Write;

use super::{Env, Exit, Stop};
use crate::store::{ReadError, StoreError};

pub use archive::Archive;
pub use copy::Copy;
pub use diff::Diff;
pub use export::{Export, Format};
pub use find_secret::FindSecret;
pub use history::History;
pub use list::List;
pub use prove::Prove;
pub use psk_age::PskAge;
pub use reconcile::Reconcile;
pub use show::Show;
pub use source::Database;
pub use stats::Stats;
pub use tail::Tail;
pub use verify::Verify;
pub use which::Which;

/// Options of all that read the record.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show times in UTC, and take days as UTC's. Otherwise both are in the zone of TZ, or the machine's; --json is
    /// always as stored, in UTC.
    #[arg(long, global = true)]
    utc: bool,
    #[command(subcommand)]
    command: Command,
}

/// Read the record, and prove that it is whole.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// List entries, oldest first.
    #[command(after_help = "\
Examples:
  tunnelwarden audit list --config tunnelwarden.toml --since 7d --operation generate_psk
  tunnelwarden audit list --config tunnelwarden.toml --subject alice --kind refusal
  tunnelwarden audit list --config tunnelwarden.toml --view changes --field /customer_endpoint
  tunnelwarden audit list --database audit.db --tunnel c4a7362d577a6c3019a474fd6f485821 --json")]
    List(Box<List>),
    /// Show the newest entries, and each one as it comes.
    #[command(after_help = "\
Examples:
  tunnelwarden audit tail --config tunnelwarden.toml -f
  tunnelwarden audit tail --config tunnelwarden.toml -f --kind refusal --team network")]
    Tail(Box<Tail>),
    /// Count calls: by what was asked, by whom, by team, and why some were refused or failed.
    #[command(after_help = "\
Examples:
  tunnelwarden audit stats --config tunnelwarden.toml --since 7d
  tunnelwarden audit stats --config tunnelwarden.toml --operation generate_psk --limit 0 --json")]
    Stats(Box<Stats>),
    /// Tell one call's story: who, by which rule, what was asked, what was before, what changed.
    #[command(after_help = "\
Examples:
  tunnelwarden audit show --config tunnelwarden.toml 01990b1c-7c6e-7d2b-8f5e-0c8a5d6b7e10
  tunnelwarden audit show --database audit.db 01990b1c-7c6e-7d2b-8f5e-0c8a5d6b7e10 --json")]
    Show(Show),
    /// Tell what became of one tunnel: every write on it, oldest first, with what it changed.
    #[command(after_help = "\
Examples:
  tunnelwarden audit history --config tunnelwarden.toml berlin
  tunnelwarden audit history --config tunnelwarden.toml c4a7362d577a6c3019a474fd6f485821 --since 30d")]
    History(History),
    /// List changed fields, a line each: when, by whom, of which tunnel, before and after.
    #[command(after_help = "\
Examples:
  tunnelwarden audit diff --config tunnelwarden.toml --since 7d --field customer_endpoint
  tunnelwarden audit diff --config tunnelwarden.toml --tunnel berlin
  tunnelwarden audit diff --config tunnelwarden.toml 01990b1c-7c6e-7d2b-8f5e-0c8a5d6b7e10 --json

With --json each line is a row of the view `changes`, with its columns.")]
    Diff(Box<Diff>),
    /// Write a small file that proves one entry to whoever has the public key.
    #[command(after_help = "\
Examples:
  tunnelwarden audit prove --config tunnelwarden.toml 01990b1c-7c6e-7d2b-8f5e-0c8a5d6b7e10 --to call.tlog-proof
  tunnelwarden audit verify call.tlog-proof --public-key audit.pub

The file is a C2SP tlog-proof; the entry itself stands in its line `extra`, in Base64.")]
    Prove(Prove),
    /// Hand the record to another system: byte for byte, as CSV, or as OCSF events.
    #[command(after_help = "\
Examples:
  tunnelwarden audit export --config tunnelwarden.toml --since 2026-01-01 --format csv --to january.csv
  tunnelwarden audit export --config tunnelwarden.toml --format ocsf --follow --cursor /var/lib/siem/cursor

With --cursor each entry comes at least once, whatever is killed: the cursor moves when the lines were written.")]
    Export(Box<Export>),
    /// Tell how old each tunnel's key is, and which were replaced past this proxy.
    #[command(after_help = "\
Examples:
  tunnelwarden audit psk-age --config tunnelwarden.toml
  tunnelwarden audit psk-age --config tunnelwarden.toml --older-than 90d || mail ...   # for cron: 4 where there are any

A key that somebody replaced without this proxy is seen once a call through it has read the tunnel.")]
    PskAge(PskAge),
    /// Compare the record with the upstream's own audit logs: what went past this proxy, and what is missing there.
    #[command(after_help = "\
Examples:
  tunnelwarden audit reconcile --config tunnelwarden.toml
  tunnelwarden audit reconcile --config tunnelwarden.toml --since 7d --json || mail ...   # 4 where there are findings

It goes on where the last run ended that `serve` recorded ([audit.reconcile] in the configuration), and writes nothing
itself. The token of the upstream must be allowed to read audit logs. Where a part of them can't be read that is said, and
the exit code is 1 if nothing is found in the rest; so it is where no account is known.")]
    Reconcile(Reconcile),
    /// Say whether a secret that turned up somewhere was ever handled, which tunnels may still have it, and where it can be read.
    #[command(after_help = "\
Examples:
  tunnelwarden audit find-secret --config tunnelwarden.toml          # asks for it, unseen
  pass show suspect | tunnelwarden audit find-secret --config tunnelwarden.toml --json

The secret is never taken from the arguments, where others can see it. It is compared by its keyed fingerprint, so the
key of fingerprints is needed: who has the record alone can't ask. Of calls whose bodies are not kept (`audit.bodies`) only
the keys that they replaced are known. Where somebody put it into a text, such as a description or a user agent, it stands
readable, and the entries are named; bodies that were archived are looked at with --archive.")]
    FindSecret(FindSecret),
    /// Move the bodies of old entries out of the record into a file that verifies by itself; stop `serve` first.
    #[command(after_help = "\
Examples:
  tunnelwarden audit archive --config tunnelwarden.toml --before 2026-01-01 --to 2025.archive.gz
  tunnelwarden audit verify 2025.archive.gz --public-key audit.pub
  zcat 2025.archive.gz | tail -n +2 | jq .request.body

The record verifies as before and says what was archived, when and by whom. Who did what, what changed, and what tells of
keys stays in it. If it is cut short, run it again, with the same file: it says if that is to be ended first.")]
    Archive(Archive),
    /// Move a record from a file to a PostgreSQL server, byte for byte; stop `serve` first.
    Copy(Copy),
    /// Prove that no entry was changed, dropped, added or reordered; exit code 3 where one was.
    #[command(after_help = "\
Examples:
  tunnelwarden audit verify --config tunnelwarden.toml
  tunnelwarden audit verify --database audit.db --public-key audit.pub --checkpoint checkpoint.txt
  tunnelwarden audit verify --database audit.db --public-key audit.pub --checkpoint ours.txt --checkpoint theirs.txt
  tunnelwarden audit verify --database audit.db --public-key audit.pub --from last-month.txt --checkpoint today.txt
  tunnelwarden audit verify call.tlog-proof --public-key audit.pub

With --from the entries that the checkpoint covers are not read again, only their stored hashes: verify all of them once.
Without a checkpoint that was kept elsewhere, an end of the record that was cut off together with its
signed head can't be noticed.")]
    Verify(Verify),
}

/// Runs the command. Progress goes to `errors`, where that is a terminal.
///
/// # Errors
/// What can't be read.
pub async fn run(
    args: &Args,
    env: &Env,
    out: &mut (dyn Write + Send),
    errors: &mut (dyn Write + Send),
) -> Result<Exit, Stop> {
    let in_utc = args.utc.then(|| env.in_utc());
    let env = in_utc.as_ref().unwrap_or(env);
    match &args.command {
        Command::List(list) => list::run(list, env, out).await,
        Command::Show(show) => show::run(show, env, out).await,
        Command::Diff(asked) => diff::run(asked, env, out).await,
        Command::Export(export) => export::run(export, env, out, errors).await,
        Command::FindSecret(find) => find_secret::run(find, env, out, errors).await,
        Command::History(history) => history::run(history, env, out).await,
        Command::PskAge(asked) => psk_age::run(asked, env, out).await,
        Command::Reconcile(asked) => reconcile::run(asked, env, out, errors).await,
        Command::Stats(stats) => stats::run(stats, env, out).await,
        Command::Tail(tail) => tail::run(tail, env, out).await,
        Command::Prove(prove) => prove::run(prove, env, out).await,
        Command::Archive(asked) => archive::run(asked, env, out, errors).await,
        Command::Copy(asked) => copy::run(asked, env, out, errors).await,
        Command::Verify(verify) => verify::run(verify, env, out, errors).await,
    }
}

/// What kept us from reading. A file that is damaged was tampered with, by somebody or by a disk.
fn unreadable(error: &ReadError) -> Stop {
    let exit = if error.fault == StoreError::Corrupt { Exit::Tampered } else { Exit::Failed };
    Stop { exit, what: error.to_string() }
}
