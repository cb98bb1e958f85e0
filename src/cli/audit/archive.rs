//! `audit archive`: moves the bodies of old entries out of the record into a file.

use std::io::Write;
use std::path::PathBuf;

use super::progress::Progress;
use crate::cli::{ConfigFile, Env, Exit, Stop};
use crate::config;
use crate::inspect::{parse_time, plain};
use crate::service::{self, ArchiveOutcome, ArchiveRequest};

/// Archives old entries.
#[derive(clap::Args, Clone, Debug)]
pub struct Archive {
    /// The configuration that names the record and the key that signs it.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Entries that are older than this: a date or time, or how long ago, such as `365d`.
    #[arg(long, value_name = "TIME")]
    pub before: String,
    /// The file to write, which must not exist; or the one of a run that was cut short, to end that.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

pub(super) async fn run(
    archive: &Archive,
    env: &Env,
    out: &mut (dyn Write + Send),
    errors: &mut (dyn Write + Send),
) -> Result<Exit, Stop> {
    let config = config::load(&archive.config.config, &env.vars).map_err(Stop::usage)?;
    let before = parse_time(&archive.before, env.clock.now(), &env.zone())
        .map_err(|e| Stop::usage(format_args!("--before: {e}")))?;
    if before > env.clock.now() {
        return Err(Stop::usage("--before: that is yet to come"));
    }
    let request = ArchiveRequest { before, file: archive.to.clone(), operator: env.operator() };
    let done = {
        let mut progress = Progress::new(env, errors, "entries written or replaced");
        service::archive(&config.audit, request, env.clock.clone(), &mut |more| progress.add(more)).await
    };
    tell(&done.map_err(Stop::failed)?, archive, out)
}

fn tell(done: &ArchiveOutcome, archive: &Archive, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    match &done.archived {
        Some(proven) => {
            writeln!(
                out,
                "archived: entries {} to {}, {} bytes in `{}`\nsha256 {}",
                proven.header.from(),
                proven.header.to() - 1,
                proven.bytes,
                plain(&archive.to.display().to_string()),
                proven.sha256
            )?;
        }
        None if done.ended.is_some() => {
            writeln!(
                out,
                "ended: an archive that was cut short; run it again, with another name, for what came since"
            )?;
        }
        None => writeln!(out, "nothing to archive before that time")?,
    }
    if let Some(by) = done.held_back {
        writeln!(out, "it goes no further because of {by}")?;
    }
    Ok(Exit::Good)
}
