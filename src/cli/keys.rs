//! `tunnelwarden keys generate`: makes the keys that a configuration names and that don't exist yet.

use std::io::Write;

use crate::config;
use crate::service::{Made, make_keys};

use super::{ConfigFile, Env, Exit, Stop};

/// What can be done with keys.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Make the keys that the configuration names and that don't exist yet; never replaces one
    #[command(after_help = "Examples:
  tunnelwarden keys generate --config tunnelwarden.toml")]
    Generate(ConfigFile),
}

/// Runs it.
///
/// # Errors
/// What keeps a key from being made.
pub fn run(command: &Command, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    let Command::Generate(file) = command;
    let config = config::load(&file.config, &env.vars).map_err(Stop::usage)?;
    for made in make_keys(&config.audit).map_err(Stop::failed)? {
        match made {
            Made::New(path) => writeln!(out, "made   {}", path.display())?,
            Made::Kept(path) => writeln!(out, "kept   {}", path.display())?,
            Made::Public(path) => writeln!(out, "public {}: give this to whoever verifies", path.display())?,
        }
    }
    Ok(Exit::Good)
}
