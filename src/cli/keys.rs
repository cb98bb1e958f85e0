//! `tunnelwarden keys generate`: makes the keys that a configuration names and that don't exist yet.

use std::io::Write;

use crate::config;
use crate::service::{Made, make_keys};

use super::{ConfigFile, Env, Exit, fail};

/// What can be done with keys.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Make the keys that the configuration names and that don't exist yet; never replaces one
    #[command(after_help = "Examples:
  tunnelwarden keys generate --config tunnelwarden.toml")]
    Generate(ConfigFile),
}

/// Runs it.
pub fn run(command: &Command, env: &Env, out: &mut (dyn Write + Send)) -> Exit {
    let Command::Generate(file) = command;
    let config = match config::load(&file.config, &env.vars) {
        Ok(config) => config,
        Err(problems) => return fail(out, Exit::Usage, &problems),
    };
    let told = match make_keys(&config.audit) {
        Ok(made) => made.iter().try_for_each(|made| match made {
            Made::New(path) => writeln!(out, "made   {}", path.display()),
            Made::Kept(path) => writeln!(out, "kept   {}", path.display()),
            Made::Public(path) => writeln!(out, "public {}: give this to whoever verifies", path.display()),
        }),
        Err(why) => return fail(out, Exit::Failed, &why),
    };
    told.map_or_else(|e| fail(out, Exit::Failed, &e), |()| Exit::Good)
}
