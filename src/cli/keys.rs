//! `tunnelwarden keys`: makes the keys that a configuration names and that don't exist yet, and replaces the one that
//! signs the record.

use std::io::Write;

use super::{ConfigFile, Env, Exit, Stop};
use crate::config::{self, Config};
use crate::inspect::plain;
use crate::service::{Made, make_keys, rotate_key};

/// What can be done with keys.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Make the keys that the configuration names and that don't exist yet; never replaces one
    #[command(after_help = "Examples:
  tunnelwarden keys generate --config tunnelwarden.toml")]
    Generate(ConfigFile),
    /// Replace the key that signs the record: stop `serve` first, every replica; if this is cut short, run it again
    #[command(after_help = "Examples:
  tunnelwarden keys rotate --config tunnelwarden.toml")]
    Rotate(ConfigFile),
}

/// Runs it.
///
/// # Errors
/// What keeps a key from being made or replaced.
pub async fn run(command: &Command, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let load = |file: &ConfigFile| config::load(&file.config, &env.vars).map_err(Stop::usage);
    match command {
        Command::Generate(file) => generate(&load(file)?, out),
        Command::Rotate(file) => rotate(&load(file)?, env, out).await,
    }
}

fn generate(config: &Config, out: &mut dyn Write) -> Result<Exit, Stop> {
    for made in make_keys(&config.audit).map_err(Stop::failed)? {
        match made {
            Made::New(path) => writeln!(out, "made   {}", path.display())?,
            Made::Kept(path) => writeln!(out, "kept   {}", path.display())?,
            Made::Public(path) => writeln!(out, "public {}: give this to whoever verifies", path.display())?,
        }
    }
    Ok(Exit::Good)
}

async fn rotate(config: &Config, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    if config.audit.database.file().is_none() {
        // Nothing else is said for so long.
        writeln!(
            out,
            "taking each log of the record, and waiting up to 20 seconds for one that a process has"
        )?;
        out.flush()?;
    }
    let rotated = rotate_key(&config.audit, env.clock.clone(), env.operator()).await.map_err(Stop::failed)?;
    for (log, size) in &rotated.logs {
        let whose =
            log.as_deref().map_or("the record".to_owned(), |name| format!("the log `{}`", plain(name)));
        writeln!(out, "the old key signs the first {size} entries of {whose}, a new one all behind them")?;
    }
    writeln!(
        out,
        "public {}: give this to whoever verifies\n\
         public {}: for proofs from before; the old private key is gone",
        rotated.public.display(),
        rotated.old_public.display()
    )?;
    if rotated.logs.iter().any(|(log, _)| log.is_some()) {
        let file = config.audit.signing_key_file.display();
        writeln!(
            out,
            "now put `{file}` in place for every other replica, before one starts: with the old key none does"
        )?;
    }
    Ok(Exit::Good)
}
